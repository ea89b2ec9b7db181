"""What open pages cost a busy program, and how soon a page shows what was committed.

`python -m bench.live cost|lag` prints one JSON line. The program is in this process, as `serve` has it; the
browsers' side is a process of its own, which reads the streams and does nothing with them.
"""

import asyncio
import json
import logging
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench.workloads import SLOTS, chain, diamond, fan
from ppacer.dag import Dag, Registry, task

PAGES = 50
ROUNDS = 5
SECONDS = 3.0  # of one measurement: several events for each page
STEPS, STEP_SECONDS = 40, 0.1  # of the run that is watched


@contextmanager
def running(*dags: Dag) -> Iterator[Any]:
    """A program with its pages and the thread runner."""
    from ppacer.app.program import Program
    from ppacer.config import Settings
    from ppacer.notify import LogSender

    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(
            db=f"{folder}/scheduler.db", logs_db=f"{folder}/logs.db", runner="thread", slots=SLOTS,
            echo=False, port=0,
        )  # fmt: skip
        with Program(Registry(dags), settings, LogSender(), str, None).running() as program:
            yield program


# -- cost --------------------------------------------------------------------------------------------------


def cost() -> list[float]:
    """Throughput with fifty live pages over that before and after: of diamonds, then of 1→1000→1.

    Before and after, because the database grows: what is measured later is a little slower.
    """
    found = []
    with running(diamond(), fan()) as program:
        for dag_id, runs in (("diamond", 100), ("fan", 1)):
            ended = _batches(program.scheduler, dag_id)
            ended(runs)  # to warm up, and for pages of runs to have some
            before = _rate(ended, runs)
            for _ in range(ROUNDS):
                with watched(program.url, paths(program.url)):
                    open_pages = _rate(ended, runs)
                after = _rate(ended, runs)
                found.append(2 * open_pages / (before + after))
                before = after
    return found


def paths(url: str) -> list[str]:
    """Fifty pages as many people have them open: some the same, most not."""
    newest = _newest(url)
    some = ["/", "/dags", "/dags?text=a", "/dags/diamond", "/dags/fan", "/dags/fan/graph"]
    runs = [f"/runs/{newest - back}" for back in range(10)]
    return [*(some * 7)[: PAGES - len(runs)], *runs]


def _newest(url: str) -> int:
    connection = HTTPConnection(urlsplit(url).netloc)
    connection.request("GET", "/api/v1/runs?limit=1")
    run_id = json.loads(connection.getresponse().read())["runs"][0]["run_id"]
    connection.close()
    return int(run_id)


def _batches(scheduler: Any, dag_id: str) -> Callable[[int], None]:
    """A function that starts so many runs at once and waits for their ends."""
    from ppacer.engine import RUN_FINAL
    from ppacer.engine.changes import Change, RunChanged
    from ppacer.scheduler import TriggerRun

    left, done = 0, threading.Event()

    def watch(changes: Sequence[Change]) -> None:
        nonlocal left
        left -= sum(isinstance(one, RunChanged) and one.status in RUN_FINAL for one in changes)
        if left <= 0:
            done.set()

    def ended(runs: int) -> None:
        nonlocal left
        left = runs
        done.clear()
        for request in [scheduler.submit(TriggerRun(dag_id)) for _ in range(runs)]:
            request.future.result()
        assert done.wait(300), "the runs did not end"

    scheduler.listeners.append(watch)
    return ended


def _rate(ended: Callable[[int], None], runs: int) -> float:
    """Batches a second, over some seconds."""
    count, began = 0, time.perf_counter()
    while (seconds := time.perf_counter() - began) < SECONDS:
        ended(runs)
        count += 1
    return count / seconds


@contextmanager
def watched(url: str, paths: Sequence[str]) -> Iterator[None]:
    """While the block runs, somebody has these pages open. AssertionError when none has changed."""
    command = [sys.executable, "-m", "bench.live", "read", urlsplit(url).netloc, *paths]
    root = Path(__file__).parent.parent
    with subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as reader:
        assert reader.stdin is not None
        assert reader.stdout is not None
        assert reader.stdout.readline() == b"open\n"
        yield
        reader.stdin.close()
        events = int(reader.stdout.readline())
        assert events, "no page has changed"


async def read(host: str, paths: Sequence[str]) -> None:
    """Reads streams until the standard input ends; says when all are open, and how many events have come."""
    events = 0
    opened = asyncio.Semaphore(0)

    async def one(path: str) -> None:
        nonlocal events
        reader, writer = await asyncio.open_connection(*host.split(":"), limit=2**24)
        writer.write(f"GET {live(path)} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        assert b"200" in await reader.readline(), path
        opened.release()
        async for line in reader:
            events += line.startswith(b"id:")

    tasks = [asyncio.create_task(one(path)) for path in paths]
    for _ in paths:
        await opened.acquire()
    print("open", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    for each in tasks:
        each.cancel()
    print(events, flush=True)


def live(path: str) -> str:
    """The stream of a page."""
    return f"/live{path.rstrip('/')}"


# -- lag ---------------------------------------------------------------------------------------------------


def lag() -> list[float]:
    """Seconds from each commit of a run to the event that shows it on the open page of its dag."""

    @task
    def step() -> None:
        time.sleep(STEP_SECONDS)

    with Dag("steps") as dag:
        nodes = [step.with_options(id=f"t{at}")() for at in range(STEPS)]
        for before, after in pairwise(nodes):
            before >> after
    with running(dag, chain()) as program:
        ended = _batches(program.scheduler, "steps")
        ended(1)
        committed: list[float] = []
        program.scheduler.listeners.append(lambda changes: committed.append(time.perf_counter()))
        first = _count(_moment(program.url, "/dags/steps"))
        shown = _Shown(program.url, "/dags/steps")
        ended(1)
        shown.until(first + len(committed))
        return [shown.at(first + number) - at for number, at in enumerate(committed, 1)]


def _moment(url: str, path: str) -> str:
    """Of which moment the page is."""
    connection = HTTPConnection(urlsplit(url).netloc)
    connection.request("GET", path)
    text = connection.getresponse().read().decode()
    connection.close()
    return text.partition("seen=")[2].partition('"')[0]


def _count(moment: str) -> int:
    """How many commits a moment has seen."""
    return int(moment.partition("-")[2], 16)


class _Shown:
    """When the stream of a page has shown which commit."""

    def __init__(self, url: str, path: str) -> None:
        self._seen: list[tuple[int, float]] = []
        self._news = threading.Condition()
        connection = HTTPConnection(urlsplit(url).netloc)
        connection.request("GET", f"{live(path)}?seen={_moment(url, path)}")
        response = connection.getresponse()
        assert response.status == 200
        assert response.readline() == b":\n"  # it listens from now on
        threading.Thread(target=self._read, args=(response,), daemon=True).start()

    def _read(self, response: Any) -> None:
        for line in response:
            if line.startswith(b"id: "):
                with self._news:
                    self._seen.append((_count(line.decode().strip()), time.perf_counter()))
                    self._news.notify()

    def until(self, count: int) -> None:
        """Waits for a commit to be shown."""
        with self._news:
            assert self._news.wait_for(lambda: self._seen and self._seen[-1][0] >= count, 60)

    def at(self, count: int) -> float:
        """When a commit was shown first."""
        return next(at for seen, at in self._seen if seen >= count)


def main() -> None:
    """Measures one of both, or reads."""
    logging.disable(logging.WARNING)
    match sys.argv[1:]:
        case ["read", host, *paths]:
            asyncio.run(read(host, paths))
        case [name, *_]:
            print(json.dumps({"cost": cost, "lag": lag}[name]()))


if __name__ == "__main__":
    main()
