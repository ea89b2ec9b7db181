"""The short way of reports and heartbeats answers as the usual one does, and leaves to it what is unusual."""

import asyncio
import json
import socket
import time
from concurrent.futures import Future
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest

from api.live import PATIENCE, Live, parsed
from api.live import Answer as HttpAnswer
from ppacer.api import direct
from ppacer.api.access import Access
from ppacer.api.direct import Direct
from ppacer.api.door import Door
from ppacer.api.guard import Guard
from ppacer.api.route import BIG
from ppacer.errors import UnknownExecutorError
from ppacer.protocol import Answer, Grant

REPORT = b'{"reports": [{"run_id": 999, "task_id": "a", "retry": 0, "token": "t", "end": "SUCCESS"}]}'
HEARTBEAT = b'{"tokens": ["t"]}'


def head(live: Live, verb: str, body: bytes, **headers: str) -> bytes:
    """The header of a request of the executor `w`."""
    lines = {"host": live.host, "content-length": str(len(body)), **headers}
    text = f"POST /api/v1/executors/w/{verb} HTTP/1.1\r\n"
    return (
        text + "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in lines.items())
    ).encode()


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """For each request that came whole, whether it went the short way."""
    taken: list[bool] = []
    take = Direct.take

    def watched(self: Direct, *arguments: Any) -> bool:
        taken.append(take(self, *arguments))
        return taken[-1]

    monkeypatch.setattr(Direct, "take", watched)
    return taken


def same(answer: HttpAnswer) -> tuple[int, dict[str, str], Any]:
    """What does not depend on the moment."""
    headers = {name: value for name, value in answer.headers.items() if name != "date"}
    return answer.status, headers, answer.json


@pytest.mark.parametrize(("verb", "body"), [("report", REPORT), ("heartbeat", HEARTBEAT)])
def test_both_ways_give_the_same_answer(shared: Live, taken: list[bool], verb: str, body: bytes) -> None:
    request = head(shared, verb, body, connection="close") + b"\r\n" + body
    short = parsed(shared.raw(request))
    assert taken == [True]
    received = b""
    with socket.create_connection(("127.0.0.1", shared.port), PATIENCE) as usual:
        usual.sendall(request[: -len(body)])
        time.sleep(0.05)  # should it come in one piece all the same, both went the short way
        usual.sendall(body)
        while data := usual.recv(65536):
            received += data
    assert taken == [True]
    assert same(short) == same(parsed(received))
    assert short.status == 200


def test_requests_that_come_together_are_answered_in_their_order(shared: Live, taken: list[bool]) -> None:
    def one(verb: str, body: bytes, **headers: str) -> bytes:
        return head(shared, verb, body, **headers) + b"\r\n" + body

    look = f"GET /healthz HTTP/1.1\r\nhost: {shared.host}\r\n\r\n".encode()
    many = [one("report", REPORT), one("heartbeat", HEARTBEAT), look, one("heartbeat", HEARTBEAT)]
    received = shared.raw(b"".join(many) + one("report", REPORT, connection="close"))
    answers = received.split(b"HTTP/1.1 ")[1:]
    assert [answer[:3] for answer in answers] == [b"200"] * 5
    assert [b'"accepted":[false]' in answer for answer in answers] == [True, False, False, False, True]
    assert taken == [True] * 4


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({}, b"{", 400),
        ({}, b'{"tokens": [1]}', 422),
        ({"origin": "http://evil.example"}, HEARTBEAT, 403),
        ({"host": "evil.example"}, HEARTBEAT, 421),
        ({"authorization": "Bearer ppt_none"}, HEARTBEAT, 401),
    ],
)
def test_what_is_refused_goes_the_usual_way(
    shared: Live, taken: list[bool], headers: dict[str, str], body: bytes, status: int
) -> None:
    request = head(shared, "heartbeat", body, connection="close", **headers)
    assert parsed(shared.raw(request + b"\r\n" + body)).status == status
    assert taken == [False]


class Parts:
    """A Direct whose scheduler is in the hands of the test."""

    def __init__(self) -> None:
        self.future: Future[Any] = Future()
        door = cast(Door, SimpleNamespace(submit=lambda ask: self.future))
        guard = cast(Guard, SimpleNamespace(refusal=lambda *arguments: None))
        access = cast(Access, SimpleNamespace(admits_at_once=lambda *arguments: True))
        self.direct = Direct(door, guard, access)
        self.written: list[tuple[int, Any]] = []

    async def ask(self, *, answered: Any = None) -> tuple[int, Any]:
        """Status and body of the answer when the scheduler answers this."""
        done = asyncio.Event()

        def write(status: int, headers: Any, body: bytes) -> None:
            self.written.append((status, json.loads(body)))
            done.set()

        scope = {"type": "http", "path": "/api/v1/executors/w/report", "headers": []}
        assert self.direct.take(scope, REPORT, write)
        if isinstance(answered, Exception):
            self.future.set_exception(answered)
        elif answered is not None:
            self.future.set_result(answered)
        async with asyncio.timeout(60.0):
            await done.wait()
        return self.written[0]


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [(UnknownExecutorError("say hello"), 409, "unknown_executor"), (KeyError("a bug"), 500, "error")],
)
def test_what_the_scheduler_refuses_is_told(error: Exception, status: int, code: str) -> None:
    told, problem = asyncio.run(Parts().ask(answered=error))
    assert (told, problem["code"]) == (status, code)


def test_who_is_not_answered_in_time_is_told_nothing_else_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct, "EXECUTOR_SECONDS", 0.01)
    parts = Parts()
    told, problem = asyncio.run(parts.ask())
    assert (told, problem["code"]) == (503, "unavailable")
    assert parts.future.cancelled()


@pytest.mark.parametrize("size", [1, BIG + 1])
def test_inputs_of_any_size_are_told(size: int) -> None:
    grant = Grant(1, "d", datetime(2026, 1, 1, tzinfo=UTC), "t", 0, "x", "trigger", results={"a": "1" * size})
    told, body = asyncio.run(Parts().ask(answered=Answer([grant])))
    assert told == 200
    assert body["grants"][0]["results"] == {"a": "1" * size}
