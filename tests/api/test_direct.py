"""The short way of reports and heartbeats answers as the usual one does, and leaves to it what is unusual."""

import asyncio
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from io import FileIO
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest
from starlette.responses import Response

from api.live import PATIENCE, Live, parsed, until
from api.live import Answer as HttpAnswer
from ppacer.api import connection, direct
from ppacer.api.access import Access
from ppacer.api.connection import Outgoing
from ppacer.api.direct import Direct
from ppacer.api.door import Door
from ppacer.api.guard import Guard
from ppacer.api.route import BIG
from ppacer.errors import UnknownExecutorError
from ppacer.protocol import Answer, Grant
from ppacer.scheduler.requests import FromExecutor

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


@pytest.mark.parametrize("number", [2**31, 2**63, -1])
@pytest.mark.parametrize("which", ["run_id", "retry"])
def test_numbers_that_no_database_holds_are_of_no_attempt(shared: Live, which: str, number: int) -> None:
    report = {"run_id": 1, "task_id": "a", "retry": 0, "token": "t", "end": "SUCCESS", which: number}
    body = json.dumps({"reports": [report]}).encode()
    answer = parsed(shared.raw(head(shared, "report", body, connection="close") + b"\r\n" + body))
    assert (answer.status, answer.json["accepted"]) == (200, [False])


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


class Told:
    """An Outgoing without a client."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, Any]] = []
        self.ended = asyncio.Event()

    def send(self, response: Response) -> bytes:
        self.answers.append((response.status_code, json.loads(bytes(response.body))))
        return b""

    def end(self, rest: bytes) -> None:
        self.ended.set()


class Parts:
    """A Direct whose scheduler is in the hands of the test."""

    def __init__(self) -> None:
        self.future: Future[Any] = Future()
        door = cast(Door, SimpleNamespace(submit=lambda ask: self.future))
        guard = cast(Guard, SimpleNamespace(refusal=lambda *arguments: None))
        access = cast(Access, SimpleNamespace(admits_at_once=lambda *arguments: True))
        self.direct = Direct(door, guard, access)

    async def ask(self, *, answered: Any = None) -> tuple[int, Any]:
        """Status and body of the answer when the scheduler answers this."""
        told = Told()
        scope = {"type": "http", "path": "/api/v1/executors/w/report", "headers": []}
        assert self.direct.take(scope, REPORT, lambda: cast(Outgoing, told))
        if isinstance(answered, Exception):
            self.future.set_exception(answered)
        elif answered is not None:
            self.future.set_result(answered)
        async with asyncio.timeout(60.0):
            await told.ended.wait()
        assert len(told.answers) == 1
        return told.answers[0]


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


class Asked:
    """Requests of a live server that wait for an answer by the test."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.futures: SimpleQueue[Future[Any]] = SimpleQueue()
        self.loop: asyncio.AbstractEventLoop | None = None
        monkeypatch.setattr(Door, "submit", self._submit)

    def _submit(self, ask: FromExecutor) -> Future[Any]:
        self.loop = asyncio.get_running_loop()
        future: Future[Any] = Future()
        self.futures.put(future)
        return future

    def next(self) -> Future[Any]:
        """The next one, as soon as it is there and the server waits for it."""
        future = self.futures.get(timeout=PATIENCE)
        self.turn()
        return future

    def turn(self) -> None:
        """Waits until the loop has done what it is at."""
        assert self.loop is not None
        turn = threading.Event()
        self.loop.call_soon_threadsafe(turn.set)
        assert turn.wait(PATIENCE)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    return Asked(monkeypatch)


@contextmanager
def connected(live: Live) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", live.port), PATIENCE) as client:
        yield client


def send(client: socket.socket, live: Live) -> None:
    client.sendall(head(live, "report", REPORT) + b"\r\n" + REPORT)


def received(client: socket.socket) -> Any:
    """The JSON of the next answer."""

    def part() -> bytes:
        part = client.recv(65536)
        assert part, "the server has closed the connection"
        return part

    data = b""
    while b"\r\n\r\n" not in data:
        data += part()
    lines, _, body = data.partition(b"\r\n\r\n")
    size = int(lines.lower().partition(b"content-length:")[2].split(b"\r")[0])
    while len(body) < size:
        body += part()
    return json.loads(body)


def grants(size: int) -> Answer:
    return Answer(
        [Grant(1, "d", datetime(2026, 1, 1, tzinfo=UTC), "t", 0, "x", "trigger", results={"a": "1" * size})]
    )


def test_an_answer_does_not_wait_for_the_loop(shared: Live, asked: Asked) -> None:
    with connected(shared) as client:
        send(client, shared)
        future, gate = asked.next(), threading.Event()
        assert asked.loop is not None
        asked.loop.call_soon_threadsafe(gate.wait, PATIENCE)
        try:
            future.set_result(Answer(accepted=[True]))
            assert received(client)["accepted"] == [True]
        finally:
            gate.set()


@pytest.fixture
def write(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[FileIO, bytes], int | None]], None]:
    """Replaces how the socket of a client is written to."""

    def replace(write: Callable[[FileIO, bytes], int | None]) -> None:
        class File(FileIO):
            def write(self, data: Any) -> int:
                return cast(int, write(super(), data))  # type: ignore[arg-type]

        monkeypatch.setattr(connection, "FileIO", File)

    return replace


@pytest.mark.parametrize("cut", [None, 40, -10])
def test_the_next_request_may_come_before_the_loop_knows_of_the_answer(
    shared: Live, asked: Asked, write: Any, cut: int | None
) -> None:
    is_sent = threading.Event()

    def slow(file: FileIO, data: bytes) -> int | None:
        sent = file.write(data)
        assert is_sent.wait(PATIENCE)
        return sent

    write(slow)
    request = head(shared, "report", REPORT) + b"\r\n" + REPORT
    with connected(shared) as client:
        client.sendall(request)
        future = asked.next()
        teller = threading.Thread(target=future.set_result, args=(Answer(accepted=[True]),))
        teller.start()
        assert received(client)["accepted"] == [True]
        client.sendall(request[:cut])
        for _ in range(2):  # in which the loop reads it
            asked.turn()
        is_sent.set()
        teller.join()
        if cut is not None:
            client.sendall(request[cut:])
        asked.next().set_result(Answer(accepted=[False]))
        assert received(client)["accepted"] == [False]


@pytest.mark.parametrize("at_once", [None, 1, 100, 2_000])
def test_what_a_client_does_not_take_at_once_follows(
    shared: Live, asked: Asked, write: Any, at_once: int | None
) -> None:
    write(lambda file, data: None if at_once is None else file.write(data[:at_once]))
    with connected(shared) as client:
        for _ in range(2):
            send(client, shared)
            told = grants(BIG // 2)
            asked.next().set_result(told)
            assert received(client) == msgspec.to_builtins(told)


def test_without_a_second_name_the_loop_answers(
    shared: Live, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "SECOND_NAMES", 0)
    with connected(shared) as client:
        send(client, shared)
        asked.next().set_result(Answer(accepted=[True]))
        assert received(client)["accepted"] == [True]


def test_who_is_not_understood_is_told_so_and_nothing_else(shared: Live, asked: Asked) -> None:
    with connected(shared) as client:
        client.sendall(head(shared, "report", REPORT) + b"\r\n" + REPORT + b"no HTTP\r\n\r\n")
        future = asked.next()
        assert client.recv(12) == b"HTTP/1.1 400"
        future.set_result(Answer())
        rest = b""
        while part := client.recv(65536):
            rest += part
        assert b"HTTP/1.1 200" not in rest


def test_an_answer_that_cannot_be_written_is_told(shared: Live, asked: Asked) -> None:
    with connected(shared) as client:
        send(client, shared)
        grant = Grant(1, "d", datetime(2026, 1, 1, tzinfo=UTC), "\ud800", 0, "x", "trigger")
        asked.next().set_result(Answer([grant]))
        assert received(client)["code"] == "error"


def sockets() -> int:
    """How many this process has open."""
    found = 0
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            found += os.readlink(f"/proc/self/fd/{name}").startswith("socket:")
    return found


def test_an_answer_to_who_has_left_leaves_nothing_behind(shared: Live, asked: Asked) -> None:
    with connected(shared) as client:  # the first one, for what a server opens once
        send(client, shared)
        asked.next().set_result(Answer())
        received(client)
        until(lambda: not Outgoing._files)
        before = sockets()
    for _ in range(3):
        with connected(shared) as client:
            send(client, shared)
            future = asked.next()
        future.set_result(Answer())
    with connected(shared) as client:
        send(client, shared)
        asked.next().set_result(Answer())
        received(client)
        until(lambda: not Outgoing._files and sockets() <= before)
