"""Several schedulers, one of which leads: which one is asked, and when the next one is."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ppacer.api.link import Link, Question
from ppacer.api.wire import Why
from ppacer.errors import ConfigError, NoAnswerError, SchedulerUnavailable


class Fake(ThreadingHTTPServer):
    """A scheduler that answers as it is told: with its name, as a standby, or by hanging up."""

    def __init__(self, name: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.name, self.mood, self.asked = name, "leads", 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        assert isinstance(self.server, Fake)
        self.server.asked += 1
        if self.server.mood == "hangs up":
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        status, body = 200, {"why": self.server.name}
        if self.server.mood == "stands by":
            status, body = 503, {"code": "unavailable", "detail": "another one leads"}
        if self.server.mood == "does not answer":
            status, body = 503, {"code": "no_answer", "detail": "it may still be carried out"}
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def serving(name: str) -> Iterator[Fake]:
    with Fake(name) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def a() -> Iterator[Fake]:
    with serving("a") as server:
        yield server


@pytest.fixture
def b() -> Iterator[Fake]:
    with serving("b") as server:
        yield server


def nobody() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def ask(link: Link) -> str:
    return link.ask(Question("GET", "/x", 30.0), Why).why


def test_one_that_stands_by_is_passed_over_until_it_leads(a: Fake, b: Fake) -> None:
    a.mood = "stands by"
    link = Link(f"{a.url},{b.url}")
    assert [ask(link), ask(link)] == ["b", "b"]
    assert a.asked == 1  # once was enough to know
    a.mood, b.mood = "leads", "stands by"
    assert [ask(link), ask(link)] == ["a", "a"]
    link.close()


def test_one_that_cannot_be_reached_is_passed_over(b: Fake) -> None:
    link = Link(f"{nobody()}, {b.url}")
    assert ask(link) == "b"
    assert link.url == b.url
    link.close()


def test_what_may_have_been_done_is_not_asked_of_another_one(a: Fake, b: Fake) -> None:
    a.mood = "hangs up"
    link = Link(f"{a.url},{b.url}")
    with pytest.raises(SchedulerUnavailable, match="the connection broke"):
        ask(link)
    assert b.asked == 0
    assert ask(link) == "b"  # who asks again asks the next one
    link.close()


def test_what_a_scheduler_has_taken_and_not_answered_is_not_asked_of_another_one(a: Fake, b: Fake) -> None:
    a.mood = "does not answer"
    link = Link(f"{a.url},{b.url}")
    with pytest.raises(NoAnswerError, match="may still be carried out"):
        ask(link)
    assert b.asked == 0
    link.close()


def test_when_none_leads_the_last_one_says_why(a: Fake, b: Fake) -> None:
    a.mood = b.mood = "stands by"
    link = Link(f"{a.url},{b.url}")
    with pytest.raises(SchedulerUnavailable, match="another one leads"):
        ask(link)
    assert (a.asked, b.asked) == (1, 1)
    a.mood = "leads"
    assert ask(link) == "a"
    link.close()


def test_a_list_with_a_hole_is_a_sentence() -> None:
    with pytest.raises(ConfigError, match="'' is not the address of a scheduler"):
        Link("http://127.0.0.1:9321,")
