"""Long polls: many at once cost nobody anything, and none outlives the program or its client."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from api.dags import etl, held, talking
from api.live import LONG, PATIENCE, Gate, Live, Waiting, answer_of, until
from ppacer.api.door import News
from ppacer.api.link import Link
from ppacer.api.remote import HttpExecutorClient
from ppacer.errors import PpacerError
from ppacer.protocol import Hello

Make = Callable[..., Live]
POLLS = 100
SRC = Path(__file__).parents[2] / "src"


@contextmanager
def many(live: Live, path: str, count: int = POLLS) -> Iterator[list[Waiting]]:
    """So many requests for the same thing on their way."""
    with ExitStack() as stack:
        yield [stack.enter_context(live.asking(path)) for _ in range(count)]


@pytest.fixture
def alive(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How many requests are waiting just now."""
    count = 0
    real = News.until

    async def counted(*args: Any) -> Any:
        nonlocal count
        count += 1
        try:
            return await real(*args)
        finally:
            count -= 1

    monkeypatch.setattr(News, "until", counted)
    return lambda: count


def held_run(live: Live, gate: Gate) -> int:
    """A run that waits at the gate."""
    run_id = live.trigger("held")
    assert gate.arrived.wait(PATIENCE)
    return run_id


def test_a_hundred_long_polls_do_not_hold_up_anybody(
    live: Make, gate: Gate, alive: Callable[[], int]
) -> None:
    program = live(held(), etl(), talking())
    run_id = held_run(program, gate)
    with (
        many(program, f"/api/v1/runs/{run_id}?wait={LONG}") as for_end,
        many(program, f"/api/v1/runs/{run_id}/logs?after=999&wait={LONG}") as for_logs,
    ):
        until(lambda: alive() == 2 * POLLS)
        for path in ("/healthz", "/", "/api/v1/dags", f"/api/v1/runs/{run_id}", "/nothing"):
            assert program.get(path).status < 500
        program.run("etl")
        program.run("talking", rows=20)
        assert not any(waiting.is_answered(0) for waiting in [*for_end, *for_logs])
        gate.open()
        answers = [waiting.answer() for waiting in [*for_end, *for_logs]]
    assert {answer.status for answer in answers} == {200}
    assert {answer.json["run"]["status"] for answer in answers[:POLLS]} == {"SUCCESS"}
    assert {answer.json["ended"] for answer in answers[POLLS:]} == {True}


def test_news_of_other_runs_wakes_nobody(live: Make, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred who wait would otherwise read the database at every commit of anybody."""
    from ppacer.store.reads import Reads

    program = live(held(), talking())
    run_id = held_run(program, gate)
    looked: list[int] = []
    real = Reads.run

    def counting(self: Reads, run_id: int) -> Any:
        looked.append(run_id)
        return real(self, run_id)

    monkeypatch.setattr(Reads, "run", counting)
    with many(program, f"/api/v1/runs/{run_id}?wait={LONG}", 10) as waiting:
        until(lambda: looked.count(run_id) >= len(waiting))  # each once, before it waits for news
        looked.clear()
        for _ in range(5):
            program.run("talking", rows=20)
        assert run_id not in looked
        gate.open()
        assert {one.answer().status for one in waiting} == {200}


def test_who_goes_away_is_not_waited_for(live: Make, gate: Gate, alive: Callable[[], int]) -> None:
    """Otherwise polls that nobody reads any more would count against the limit of connections."""
    program = live(held())
    run_id = held_run(program, gate)
    with many(program, f"/api/v1/runs/{run_id}?wait={LONG}"):
        until(lambda: alive() == POLLS)
    until(lambda: alive() == 0)
    gate.open()


def test_who_sends_without_end_while_waiting_is_answered(live: Make, gate: Gate) -> None:
    program = live(held())
    run_id = held_run(program, gate)
    head = f"GET /api/v1/runs/{run_id}?wait={LONG} HTTP/1.1\r\nHost: {program.host}\r\n"
    head += "Transfer-Encoding: chunked\r\n\r\n"
    chunks = (b"10000\r\n" + b" " * 65536 + b"\r\n") * 33
    received = program.raw(head.encode() + chunks, until=lambda data: data.endswith(b"}"))
    assert received.startswith(b"HTTP/1.1 200")


def test_the_end_of_the_program_answers_all_who_wait(
    tmp_path: Path, gate: Gate, alive: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ppacer.api.server.GRACE_SECONDS", LONG)  # it is not this that ends their waiting
    with Live(tmp_path, held()) as program, ExitStack() as stack:
        run_id = held_run(program, gate)
        polls = stack.enter_context(many(program, f"/api/v1/runs/{run_id}?wait={LONG}"))
        polls += stack.enter_context(many(program, f"/api/v1/runs/{run_id}/logs?after=999&wait={LONG}"))
        until(lambda: alive() == 2 * POLLS)
        stopping = threading.Thread(target=program.stop)
        stopping.start()
        answers = [answer_of(poll.connection.getresponse()) for poll in polls]
        assert {answer.status for answer in answers} == {200}
        gate.open()
        stopping.join(PATIENCE)
        assert not stopping.is_alive()


PROGRAM = """
import ppacer
import ppacer.api.parameters
import ppacer.api.server
from ppacer import Dag, task

ppacer.api.parameters.WAIT_SECONDS_MAX = %r
ppacer.api.server.GRACE_SECONDS = %r

@task(runner="thread")
def hold(ctx):
    import time
    while not ctx.cancelled:
        time.sleep(0.01)

with Dag("held") as held:
    hold()

ppacer.serve(held, port=0, drain=0.2, grace=0.2)
"""


@contextmanager
def served(folder: Path, grace: int) -> Iterator[tuple["subprocess.Popen[bytes]", int]]:
    """PROGRAM in a process of its own, and the port that it listens on."""
    (folder / "dags.py").write_text(PROGRAM % (LONG, grace))
    environ = {**os.environ, "PYTHONPATH": str(SRC)}
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(
            [sys.executable, "dags.py"], cwd=folder, env=environ, stdout=log, stderr=log
        ) as process,
    ):
        try:
            owner = folder / "scheduler.db.lock"
            until(lambda: owner.exists() and '"url"' in owner.read_text())
            yield process, int(json.loads(owner.read_text())["url"].rsplit(":", 1)[1])
        finally:
            process.kill()


@pytest.mark.parametrize(("number", "is_slow"), [(signal.SIGTERM, False), (signal.SIGINT, True)])
def test_a_program_with_open_long_polls_ends_soon_and_well(
    tmp_path: Path, number: int, is_slow: bool
) -> None:
    """Even one with a client that never sends the rest of its request: that one is given up in the end."""
    grace, count = (5, 3) if is_slow else (LONG, 25)
    with served(tmp_path, grace) as (process, port), ExitStack() as stack:

        def send(request: str) -> socket.socket:
            address = ("127.0.0.1", port)
            connection = stack.enter_context(socket.create_connection(address, PATIENCE))
            connection.sendall(f"{request} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n".encode())
            return connection

        assert b" 201 " in send("POST /api/v1/dags/held/trigger").recv(1000)
        polls = [send(f"GET /api/v1/runs/1?wait={LONG}") for _ in range(count)]
        polls += [send(f"GET /api/v1/runs/1/logs?wait={LONG}") for _ in range(count)]
        stack.enter_context(socket.create_connection(("127.0.0.1", port), PATIENCE))  # says nothing at all
        if is_slow:
            send("POST /api/v1/dags/held/pause HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n{")
        assert b" 200 " in send("GET /healthz").recv(1000)  # so all that was sent before has been read
        process.send_signal(number)
        assert process.wait(PATIENCE) == 0
        assert all(poll.recv(100).startswith(b"HTTP/1.1 200") for poll in polls)
    said = (tmp_path / "log").read_text()
    assert "Traceback" not in said
    assert ("Cancel" in said) is is_slow  # the server's word for a request that it had to give up


def test_an_executor_that_polls_does_not_hold_up_the_end(tmp_path: Path) -> None:
    with (
        served(tmp_path, LONG) as (process, port),
        HttpExecutorClient(Link(f"http://127.0.0.1:{port}", None), "w1") as client,
    ):
        client.hello(Hello("w1", slots=1))
        answers = []

        def claims() -> None:
            with suppress(PpacerError):
                while True:
                    answers.append(client.claim("w1", 1, LONG))

        thread = threading.Thread(target=claims)
        thread.start()
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert len(answers) <= 1  # the poll that was open; nobody waited for another one
    assert "Cancel" not in (tmp_path / "log").read_text()


def test_who_was_told_costs_nothing_until_it_listens_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def told() -> list[int]:
        loop, news, calls, counts = asyncio.get_running_loop(), News(), [], []
        real = loop.call_soon_threadsafe

        def counted(*args: Any) -> Any:
            calls.append(args)
            return real(*args)

        monkeypatch.setattr(loop, "call_soon_threadsafe", counted)
        with news.watch(["runs", "dags"]) as event, news.watch(["dags"]):
            for _ in range(3):
                for _ in range(50):
                    news.tell(["runs", "other"])
                    await asyncio.sleep(0)
                assert event.is_set()
                counts.append(len(calls))
                event.clear()
            news.tell(["other"])
            news.close()
            await event.wait()
        news.tell(["runs", "dags"])  # nobody is there any more
        return [*counts, len(calls)]

    assert asyncio.run(told()) == [1, 2, 3, 4]
