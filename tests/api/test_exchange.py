"""One connection of a client, against a server that answers with bytes as they are written here."""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from urllib3 import exceptions
from urllib3.util import parse_url

from ppacer.api.exchange import Exchange
from ppacer.api.link import Link, Question
from ppacer.errors import ConfigError, SchedulerUnavailable

REQUEST = b"GET /x HTTP/1.1\r\nhost: x\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"
CLOSING = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi"


class Served:
    """Counts connections; each gives the same answer to each request."""

    def __init__(self, answer: bytes, hangs_up: bool) -> None:
        self.answer, self.hangs_up, self.connections = answer, hangs_up, 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.exchange = Exchange(parse_url(f"http://127.0.0.1:{self.listener.getsockname()[1]}"))

    def run(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            with connection:
                while connection.recv(4096) and self._answer(connection):
                    pass

    def _answer(self, connection: socket.socket) -> bool:
        for piece in self.answer.split(b"|"):
            connection.sendall(piece)
        return not self.hangs_up


@contextmanager
def served(answer: bytes, *, hangs_up: bool = False) -> Iterator[Served]:
    server = Served(answer, hangs_up)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    with closing(server.exchange):
        yield server
    server.listener.shutdown(socket.SHUT_RDWR)
    server.listener.close()
    thread.join(5.0)


@pytest.mark.parametrize(
    "answer",
    [
        OK,
        b"HTTP/1.1 200 OK\r\ncontent-le|ngth: 2\r\n\r\nh|i",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nh\r\n|1\r\ni\r\n0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n|HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi",
    ],
    ids=["whole", "in pieces", "in chunks", "after a continue"],
)
def test_a_connection_is_used_again(answer: bytes) -> None:
    with served(answer) as server:
        assert [server.exchange.ask(REQUEST, 5.0) for _ in range(3)] == [(200, b"hi")] * 3
    assert server.connections == 1


@pytest.mark.parametrize(
    ("answer", "hangs_up"),
    [(CLOSING, False), (OK, True), (b"HTTP/1.1 200 OK\r\n\r\nhi", True)],
    ids=["it says so", "it does so", "the end is the end"],
)
def test_another_connection_is_made_when_the_server_closes_one(answer: bytes, hangs_up: bool) -> None:
    with served(answer, hangs_up=hangs_up) as server:
        for number in (1, 2):
            assert server.exchange.ask(REQUEST, 5.0) == (200, b"hi")
            while server.exchange._connection.is_connected:  # until the end of the connection is here
                pass
            assert server.connections == number


@pytest.mark.parametrize(
    "answer",
    [b"", b"HTTP/1.1 200", b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nhi", b"SSH-2.0-OpenSSH\r\n"],
    ids=["nothing", "half a line", "half a body", "not HTTP"],
)
def test_half_an_answer_is_none(answer: bytes) -> None:
    with (
        served(answer, hangs_up=True) as server,
        pytest.raises(exceptions.ProtocolError, match="connection broke"),
    ):
        server.exchange.ask(REQUEST, 5.0)


def test_an_answer_that_does_not_come_is_not_waited_for_longer() -> None:
    with served(b"HTTP/1.1 200 OK\r\n") as server, pytest.raises(exceptions.TimeoutError, match="in time"):
        server.exchange.ask(REQUEST, 0.05)


def test_a_server_without_tls_is_a_sentence() -> None:
    with served(b"HTTP/1.1 400 No\r\n\r\n", hangs_up=True) as server:
        url = f"https://127.0.0.1:{server.listener.getsockname()[1]}"
        with closing(Link(url)) as link, pytest.raises(SchedulerUnavailable, match="no scheduler answers"):
            link.ask(Question("GET", "/x", 5.0), dict[str, str])


@pytest.mark.parametrize("token", ["two words", "line\r\nx-more: 1", "żółw"])
def test_a_token_cannot_add_to_the_request(token: str) -> None:
    with pytest.raises(ConfigError, match="the access token"):
        Link("http://127.0.0.1:1", token)


@pytest.mark.parametrize(
    ("url", "address"),
    [("http://[fd00::ab]", ("fd00::ab", 80)), ("https://[2001:db8::10]", ("2001:db8::10", 443))],
)
def test_an_address_of_ipv6_needs_no_port(url: str, address: tuple[str, int]) -> None:
    connection = Exchange(parse_url(url))._connection
    assert (connection.host, connection.port) == address
