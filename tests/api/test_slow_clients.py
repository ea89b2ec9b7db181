"""Who sends slowly, or reads slowly, or not at all, keeps nobody else from being served."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from api.live import Live, answer_of

COUNT = 60
TRIGGER = b"POST /api/v1/dags/etl/trigger HTTP/1.1\r\nHost: 127.0.0.1\r\n"


@contextmanager
def clients(live: Live, data: bytes) -> Iterator[list[socket.socket]]:
    """Connections on which only this was sent."""
    with ExitStack() as stack:
        opened = []
        for _ in range(COUNT):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", live.port), 20))
            connection.sendall(data)
            opened.append(connection)
        yield opened


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"G",
        b"GET /healthz HTTP/1.1\r\nHost: 127",
        b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n",
        TRIGGER + b"Content-Length: 10\r\n\r\n{",
        TRIGGER + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{",
    ],
    ids=repr,
)
def test_half_a_request_holds_up_nobody(shared: Live, data: bytes) -> None:
    before = shared.rows()
    with clients(shared, data):
        for path in ("/healthz", "/", "/api/v1/runs"):
            with shared.asking(path) as waiting:
                assert waiting.is_answered(10)
                assert answer_of(waiting.connection.getresponse()).status == 200
        shared.run("etl")
        before = shared.rows()
    assert shared.get("/healthz").status == 200
    assert shared.rows() == before


def test_who_does_not_read_holds_up_nobody(shared: Live) -> None:
    """Many large answers at once on each connection, and not one byte of them is read."""
    run_id = shared.run("talking", rows=1000)
    request = f"GET /api/v1/runs/{run_id}/logs HTTP/1.1\r\nHost: {shared.host}\r\n\r\n".encode()
    with clients(shared, request * 20):
        with shared.asking("/api/v1/runs") as waiting:
            assert waiting.is_answered(10)
            assert waiting.answer().status == 200
        shared.run("etl")


def test_a_slow_request_is_answered_in_the_end(shared: Live) -> None:
    with clients(shared, b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1") as opened:
        for connection in opened:
            connection.sendall(b"\r\n\r\n")
        assert all(connection.recv(20).startswith(b"HTTP/1.1 200") for connection in opened)
