"""The HTTP client against answers that no scheduler gives."""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec
import pytest

from ppacer import errors
from ppacer.api.client import HttpClient
from ppacer.api.link import checked_url
from ppacer.api.wire import ERRORS, Done, Problem
from ppacer.app.admission import url_for_others
from ppacer.cli.backend import leader_url, reachable
from ppacer.errors import PpacerError


@contextmanager
def answering(status: int, body: bytes, headers: dict[str, str] | None = None) -> Iterator[HttpClient]:
    """A client of a server that always answers the same."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send_response(status)
            for name, value in {"content-length": str(len(body)), **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            with closing(HttpClient(f"http://127.0.0.1:{server.server_port}")) as asking:
                yield asking
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"<html>hello</html>"),
        (200, b""),
        (200, b'{"runs": 1}'),
        (200, b'{"dags": []}'),
        (200, b"\xff\xfe"),
        (404, b"<html>not found</html>"),
        (500, b""),
        (302, b""),
        (404, b'{"detail": 7}'),
    ],
)
def test_what_does_not_answer_as_ppacer_is_one_of_our_errors(status: int, body: bytes) -> None:
    with (
        answering(status, body, {"location": "http://127.0.0.1:1/"}) as asking,
        pytest.raises(PpacerError) as error,
    ):
        asking.runs()
    assert asking.url in str(error.value)


def test_an_answer_of_the_next_version_is_read_as_far_as_it_is_known() -> None:
    with answering(200, b'{"dag_id": "a", "run_id": 3, "exec_ts": null, "more": [1]}') as asking:
        assert asking.cancel(3) == Done("a", 3)


@pytest.mark.parametrize(("kind", "status"), ERRORS)
def test_errors_arrive_as_what_they_were(kind: type[PpacerError], status: int) -> None:
    body = msgspec.json.encode(Problem("the sentence", kind.code, "Title", status))
    with answering(status, body) as asking, pytest.raises(PpacerError, match=r"^the sentence$") as error:
        asking.pause("a")
    assert isinstance(error.value, errors.CommandError if kind.code == "bad_request" else kind)


def test_a_server_that_hangs_up_is_unavailable() -> None:
    headers = {"content-length": "100", "connection": "close"}
    with answering(200, b"{", headers) as asking, pytest.raises(errors.SchedulerUnavailable, match="broke"):
        asking.dags()


def test_an_error_without_a_known_code_is_still_a_sentence() -> None:
    body = b'{"detail": "I am a teapot", "code": "teapot"}'
    with answering(418, body) as asking, pytest.raises(errors.CommandError, match="I am a teapot"):
        asking.dags()


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("localhost:9321", "http://localhost:9321"),
        (" https://host/ppacer/ ", "https://host/ppacer"),
        ("http://[::1]:80", "http://[::1]:80"),
    ],
)
def test_addresses_as_people_type_them(text: str, url: str) -> None:
    assert checked_url(text) == url


def test_a_scheduler_on_all_addresses_is_reached_on_this_machine() -> None:
    assert reachable("http://0.0.0.0:80") == "http://127.0.0.1:80"
    assert reachable("http://[::]:80") == "http://[::1]:80"
    assert reachable("http://10.0.0.1:80") == "http://10.0.0.1:80"


@pytest.mark.parametrize("bound", ["http://0.0.0.0:80", "http://[::]:80"])
def test_who_listens_on_all_addresses_is_found_by_the_name_of_the_machine(bound: str) -> None:
    assert url_for_others(bound) == f"http://{socket.gethostname()}:80"
    assert leader_url(url_for_others(bound), f"{socket.gethostname()}-1-a") == "http://127.0.0.1:80"
    assert leader_url("http://other:80", "other-1-a") == "http://other:80"


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:80", "http://127.8.0.1:80", "http://[::1]:80", "http://0.0.0.0:80"]
)
def test_who_listens_for_its_own_machine_is_asked_from_nowhere_else(url: str) -> None:
    assert url_for_others("http://127.0.0.1:80") == "http://127.0.0.1:80"
    assert leader_url(url, f"{socket.gethostname()}-1-a") == url
    assert leader_url(url, "other-1-a") is None


def test_a_command_whose_connection_broke_is_sent_again_with_the_same_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Three times at most, and then it is told."""
    monkeypatch.setattr("ppacer.api.client.PAUSES", (0.0, 0.0, 0.0))
    keys: list[str | None] = []

    class Handler(BaseHTTPRequestHandler):
        answers = 3

        def do_POST(self) -> None:
            keys.append(self.headers["idempotency-key"])
            if len(keys) >= self.answers:
                body = b'{"dag_id": "a"}'
                self.send_response(200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    client = HttpClient(f"http://127.0.0.1:{server.server_port}")
    try:
        assert client.pause("a") == Done("a")
        assert len(keys) == 3
        assert len(set(keys)) == 1
        Handler.answers = 100
        with pytest.raises(errors.SchedulerUnavailable, match="broke"):
            client.pause("a")
        assert len(keys) == 3 + 4
        assert len(set(keys)) == 2
    finally:
        client.close()
        server.shutdown()
        server.server_close()
        thread.join()
