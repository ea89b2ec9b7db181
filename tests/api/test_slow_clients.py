"""Who sends slowly, or reads slowly, or not at all, keeps nobody else from being served."""

import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

import pytest

from api.live import PATIENCE, Gate, Live, answer_of, is_problem, parsed
from ppacer.api.connection import connections_max

COUNT = 60
WHOLE = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
TRIGGER = b"POST /api/v1/dags/etl/trigger HTTP/1.1\r\nHost: 127.0.0.1\r\n"


@contextmanager
def clients(live: Live, data: bytes) -> Iterator[list[socket.socket]]:
    """Connections on which only this was sent."""
    with ExitStack() as stack:
        opened = []
        for _ in range(COUNT):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", live.port), PATIENCE))
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
                assert waiting.is_answered(PATIENCE)
                assert answer_of(waiting.connection.getresponse()).status == 200
        shared.run("etl")
        before = shared.rows()
    assert shared.get("/healthz").status == 200
    assert shared.rows() == before


def test_of_many_who_say_nothing_the_oldest_are_gone_and_others_are_not(
    shared: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ppacer.api.connection.SILENT_MAX", COUNT // 2)
    there = ("127.0.0.1", shared.port)
    with (
        socket.create_connection(there, PATIENCE, source_address=("127.0.0.2", 0)) as other,
        clients(shared, b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n") as opened,
    ):
        assert all(is_closed(connection) for connection in opened[: COUNT // 2])
        for connection in (other, *opened[COUNT // 2 :]):
            connection.sendall(WHOLE if connection is other else b"\r\n")
            assert is_answered(connection)


def test_who_has_asked_something_may_stay_and_ask_again(
    shared: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ppacer.api.connection.SILENT_MAX", COUNT // 2)
    with ExitStack() as stack:
        opened = []
        for _ in range(COUNT):
            opened.append(stack.enter_context(socket.create_connection(("127.0.0.1", shared.port), PATIENCE)))
            opened[-1].sendall(WHOLE)
            assert is_answered(opened[-1])
        for connection in opened:
            connection.sendall(WHOLE)
            assert is_answered(connection)


@pytest.mark.parametrize(
    ("files", "connections"),
    [(1_024, 768), (20, 100), (1_000_000, 10_000), (resource.RLIM_INFINITY, 10_000)],
)
def test_connections_leave_files_for_the_rest_of_the_program(
    monkeypatch: pytest.MonkeyPatch, files: int, connections: int
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (files, files))
    assert connections_max() == connections


def test_who_does_not_read_holds_up_nobody(shared: Live) -> None:
    """Many large answers at once on each connection, and not one byte of them is read."""
    run_id = shared.run("talking", rows=1000)
    request = f"GET /api/v1/runs/{run_id}/logs HTTP/1.1\r\nHost: {shared.host}\r\n\r\n".encode()
    with clients(shared, request * 20):
        with shared.asking("/api/v1/runs") as waiting:
            assert waiting.is_answered(PATIENCE)
            assert waiting.answer().status == 200
        shared.run("etl")


def test_a_slow_request_is_answered_in_the_end(shared: Live) -> None:
    with clients(shared, b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1") as opened:
        for connection in opened:
            connection.sendall(b"\r\n\r\n")
        assert all(connection.recv(20).startswith(b"HTTP/1.1 200") for connection in opened)


def is_answered(connection: socket.socket) -> bool:
    """Reads the answer of /healthz."""
    data = connection.recv(65536)
    while data and not data.endswith(b"}"):
        data += connection.recv(65536)
    return data.startswith(b"HTTP/1.1 200")


def is_closed(connection: socket.socket) -> bool:
    """Whether the server ends the connection soon, whatever it says before."""
    connection.settimeout(PATIENCE)
    try:
        while connection.recv(65536):
            pass
    except ConnectionResetError:
        pass
    except TimeoutError:
        return False
    return True


@pytest.mark.parametrize(
    ("first", "half"),
    [(b"", b""), (b"", b"GET /healthz HTTP/1.1\r\nHost: 127"), (WHOLE, b"GET /he"), (WHOLE, b"\r\n")],
)
def test_a_header_that_is_not_whole_in_time_closes_the_connection(
    shared: Live, monkeypatch: pytest.MonkeyPatch, first: bytes, half: bytes
) -> None:
    hurry = partial(monkeypatch.setattr, "ppacer.api.connection.HEADER_SECONDS", 0.2)
    if not first:
        hurry()
    with socket.create_connection(("127.0.0.1", shared.port), PATIENCE) as connection:
        if first:  # has all the time it needs
            connection.sendall(first)
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")
            hurry()
        connection.sendall(half)
        begin = time.monotonic()
        assert is_closed(connection)
        assert time.monotonic() - begin < 10  # not by the keep-alive timer of 15 s


def trickle(connection: socket.socket) -> None:
    """A byte of a request now and then, for as long as there is patience."""
    connection.sendall(b"GET /")
    for _ in range(50 * PATIENCE):
        connection.sendall(b"G")
        time.sleep(0.02)


def test_a_byte_now_and_then_does_not_keep_a_connection(
    shared: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ppacer.api.connection.HEADER_SECONDS", 0.2)
    with (
        socket.create_connection(("127.0.0.1", shared.port)) as connection,
        pytest.raises((ConnectionResetError, BrokenPipeError)),
    ):
        trickle(connection)


def test_a_body_that_is_not_whole_in_time_is_refused(shared: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ppacer.api.guard.BODY_SECONDS", 0.2)
    answer = parsed(shared.raw(TRIGGER + b"Content-Length: 10\r\n\r\n{"))  # until the server closes
    assert is_problem(answer, 408, "request_timeout")


def test_a_byte_of_a_body_now_and_then_does_not_keep_a_connection(
    shared: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ppacer.api.guard.BODY_SECONDS", 0.2)
    with socket.create_connection(("127.0.0.1", shared.port)) as connection:
        connection.sendall(TRIGGER + b"Content-Length: 100000\r\n\r\n{")
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            trickle(connection)


def test_a_large_body_over_a_slow_line_is_read(shared: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ppacer.api.guard.BODY_SECONDS", 0.3)
    body = b" " * 100_000 + b"{}"
    with socket.create_connection(("127.0.0.1", shared.port)) as connection:
        head = TRIGGER + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
        for at in range(0, len(body), 20_000):
            connection.sendall((b"" if at else head) + body[at : at + 20_000])
            time.sleep(0.15)
        assert connection.recv(100).startswith(b"HTTP/1.1 201")


def test_everybody_who_is_slow_is_gone_within_ten_seconds(patience: dict[str, float]) -> None:
    assert patience["connection.HEADER_SECONDS"] < 10
    assert patience["guard.BODY_SECONDS"] < 10


def test_time_at_work_does_not_count(shared: Live, monkeypatch: pytest.MonkeyPatch, gate: Gate) -> None:
    """Neither the limit of headers nor that of bodies ends a long poll, nor a half request behind it."""
    run_id = shared.trigger("held")
    monkeypatch.setattr("ppacer.api.connection.HEADER_SECONDS", 1.0)
    monkeypatch.setattr("ppacer.api.guard.BODY_SECONDS", 1.0)
    request = f"GET /api/v1/runs/{run_id}?wait=2 HTTP/1.1\r\nHost: {shared.host}\r\n\r\n".encode()
    received = shared.raw(request + b"GET /he", until=lambda data: b"exec_ts" in data)
    assert parsed(received).json["run"]["status"] == "RUNNING"
    gate.open()
    shared.ended(run_id)
