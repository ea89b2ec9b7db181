"""The workloads, each in a fresh interpreter: `python -m bench.workloads NAME RUNNER` prints one JSON line.

A fresh interpreter, because the warm parent of the task processes is forked from a program without threads,
and because what one workload leaves in memory must not help or hurt the next.
"""

import json
import logging
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import ppacer
from ppacer.dag import Dag, Registry, task
from ppacer.schedule import Cron

SLOTS = 16
REPEATS = 5
FAN = 1_000
CHAIN = 100
DIAMONDS = 200


@task
def noop() -> None:
    """Does nothing: what remains is ppacer."""


def node(id: str) -> Any:
    """One no-op in the dag that is open."""
    return noop.with_options(id=id)()


def chain(length: int = CHAIN) -> Dag:
    """t0 → t1 → …"""
    with Dag("chain") as dag:
        nodes = [node(f"t{i}") for i in range(length)]
        for before, after in pairwise(nodes):
            before >> after
    return dag


def fan(width: int = FAN) -> Dag:
    """1 → width → 1"""
    with Dag("fan") as dag:
        node("first") >> [node(f"t{i}") for i in range(width)] >> node("last")
    return dag


def diamond(runs: int = DIAMONDS) -> Dag:
    """a → b, c → d; so many runs at a time."""
    with Dag("diamond", max_active_runs=runs) as dag:
        node("a") >> [node("b"), node("c")] >> node("d")
    return dag


def hourly(count: int) -> list[Dag]:
    """So many dags of two tasks that run once an hour."""
    dags = []
    for number in range(count):
        with Dag(f"dag{number}", schedule=Cron(f"{number % 60} * * * *")) as dag:
            node("a") >> node("b")
        dags.append(dag)
    return dags


def timed_runs(
    dag: Dag,
    runner: str,
    runs: int,
    repeats: int = REPEATS,
    past: str = "",
    others: Sequence[Dag] = (),
    after_each: Callable[[], None] = lambda: None,
    over_http: bool = False,
) -> list[float]:
    """Seconds from the triggers to the end of all `runs` runs, `repeats` times, after one run to warm up.

    `past` names a database to begin with; else it is an empty one. `over_http`: the executor is a program of
    its own, which knows the dags of `remote_dags`.
    """
    from ppacer.app import make_warm_parent
    from ppacer.notify import LogSender

    registry = Registry([dag, *others])
    # before all other imports, as `serve` does it
    warm = None if over_http else make_warm_parent(registry, LogSender(), None)

    from ppacer.config import Settings
    from ppacer.engine import RUN_FINAL
    from ppacer.engine.changes import Change, RunChanged
    from ppacer.scheduler import TriggerRun

    left, done = 0, threading.Event()

    def watch(changes: Sequence[Change]) -> None:
        nonlocal left
        left -= sum(isinstance(c, RunChanged) and c.status in RUN_FINAL for c in changes)
        if left <= 0:
            done.set()

    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(
            db=f"{folder}/scheduler.db", logs_db=f"{folder}/logs.db", runner=runner, slots=SLOTS, echo=False
        )
        if past:
            shutil.copy(past, settings.db)
        program = _two_programs(registry, settings) if over_http else _one_program(registry, settings, warm)
        with program as scheduler:
            scheduler.listeners.append(watch)
            seconds = []
            for repeat in range(repeats + 1):
                left = 1 if repeat == 0 else runs
                done.clear()
                began = time.perf_counter()
                requests = [scheduler.submit(TriggerRun(dag.id)) for _ in range(left)]
                assert done.wait(300), "the runs did not end"
                seconds.append(time.perf_counter() - began)
                for request in requests:
                    request.future.result()
                after_each()
        _assert_all_succeeded(settings.db, dag.id)
    return seconds[1:]


@contextmanager
def _one_program(registry: Registry, settings: Any, warm: Any) -> Iterator[Any]:
    """Scheduler and executor in this process."""
    from ppacer.app.program import Program
    from ppacer.notify import LogSender

    with Program(registry, settings, LogSender(), str, warm, http=False).running() as program:
        yield program.scheduler


@contextmanager
def _two_programs(registry: Registry, settings: Any) -> Iterator[Any]:
    """The scheduler in this process, and an executor that speaks HTTP with it."""
    import msgspec

    from ppacer.app.interpreter import quick_switches
    from ppacer.app.scheduler_half import SchedulerHalf
    from ppacer.notify import LogSender

    file = Path(__file__).with_name("remote_dags.py")
    settings = msgspec.structs.replace(settings, port=0)
    with quick_switches(), SchedulerHalf(registry, settings, LogSender(), str).running() as half:
        command = [sys.executable, "-m", "ppacer", "executor", str(file), "--scheduler", str(half.url)]
        command += ["--slots", str(settings.slots), "--runner", settings.runner]
        folder = Path(settings.db).parent
        with (folder / "executor.log").open("wb") as log:
            executor = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
        try:
            yield half.scheduler
        finally:
            if executor.poll() is not None:
                print((folder / "executor.log").read_text(), file=sys.stderr)
            executor.terminate()
            executor.wait(30)


def _assert_all_succeeded(db: str, dag_id: str) -> None:
    """That of this dag; others have a schedule, and may have begun at this very minute."""
    with sqlite3.connect(db) as connection:
        bad = connection.execute(
            "SELECT Status, COUNT(*) FROM dagruntasks WHERE DagId = ? AND Status <> 'SUCCESS' GROUP BY 1",
            (dag_id,),
        ).fetchall()
    assert not bad, bad


def raw_commit() -> list[float]:
    """Milliseconds of a bare commit with synchronous=FULL: one row, one transaction."""
    with tempfile.TemporaryDirectory() as folder:
        connection = _raw(folder)
        connection.execute("CREATE TABLE t (a)")
        return [_commits(connection, 100) for _ in range(REPEATS)]


def _commits(connection: sqlite3.Connection, count: int) -> float:
    began = time.perf_counter()
    for number in range(count):
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO t VALUES (?)", (number,))
        connection.execute("COMMIT")
    return (time.perf_counter() - began) / count * 1000


def raw_ceiling() -> list[float]:
    """Tasks/s of nothing but the three statements of a task (insert, two updates), FULL, batches of 100."""
    rows, results = 20_000, []
    for _ in range(REPEATS):
        with tempfile.TemporaryDirectory() as folder:
            connection = _raw(folder)
            connection.execute(
                "CREATE TABLE t (dag TEXT, ts TEXT, id TEXT, n INT, s TEXT, PRIMARY KEY (dag, ts, id, n))"
                " WITHOUT ROWID"
            )
            began = time.perf_counter()
            for at in range(0, rows, 100):
                keys = [("dag", "2024-03-11T12:00:00.000000Z", f"t{i}", 0) for i in range(at, at + 100)]
                for sql in (
                    "INSERT INTO t VALUES (?, ?, ?, ?, 'SCHEDULED')",
                    "UPDATE t SET s = 'RUNNING' WHERE dag = ? AND ts = ? AND id = ? AND n = ?",
                    "UPDATE t SET s = 'SUCCESS' WHERE dag = ? AND ts = ? AND id = ? AND n = ?",
                ):
                    connection.execute("BEGIN IMMEDIATE")
                    connection.executemany(sql, keys)
                    connection.execute("COMMIT")
            results.append(rows / (time.perf_counter() - began))
            connection.close()
    return results


def raw_forks(count: int = 500) -> list[float]:
    """Forks/s of a process with what the parent of task processes has imported; the children only end."""
    import ppacer.executor.parent  # noqa: F401 - for its size

    results = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        for number in range(count):
            if number >= SLOTS:
                os.wait()
            if os.fork() == 0:
                os._exit(0)
        for _ in range(SLOTS):
            os.wait()
        results.append(count / (time.perf_counter() - began))
    return results


def _raw(folder: str) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{folder}/raw.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    return connection


def engine_events(make: Callable[[int], Dag], size: int = 10_000) -> list[float]:
    """Events/s of the engine alone: a grant and a success for each task, whoever is granted many at once."""
    from ppacer.engine import Engine, RunRef
    from ppacer.engine.changes import AttemptGranted
    from ppacer.engine.events import Claimed, Succeeded, Triggered

    dag, now, results = make(size), datetime.now(UTC), []
    for repeat in range(REPEATS):
        engine, events = Engine(), 1
        began = time.perf_counter()
        engine.handle(Triggered(RunRef(repeat, dag.id, now), dag.graph, "v"), now)
        while repeat in engine.runs:
            for change in engine.handle(Claimed("e", ["token"] * min(64, engine.ready_count), now), now):
                if isinstance(change, AttemptGranted):
                    engine.handle(Succeeded(repeat, change.task_id, change.retry, change.token), now)
                    events += 2
        results.append(events / (time.perf_counter() - began))
    return results


def many_tasks() -> list[float]:
    """Seconds to define a dag of 10,000 tasks and start a scheduler with it on an empty database."""
    return [_start(lambda: Registry([chain(10_000)])) for _ in range(REPEATS)]


def many_dags() -> list[float]:
    """Seconds to define 10,000 scheduled dags of two tasks and start a scheduler with them."""

    def define() -> Registry:
        dags = []
        for number in range(10_000):
            with Dag(f"dag{number}", schedule=Cron(f"{number % 60} {number % 24} * * *")) as dag:
                node("a") >> node("b")
            dags.append(dag)
        return Registry(dags)

    return [_start(define) for _ in range(3)]


def _start(define: Callable[[], Registry]) -> float:
    from ppacer.clock import SystemClock
    from ppacer.scheduler import Scheduler
    from ppacer.store import Store

    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        registry = define()
        store = Store(f"{folder}/scheduler.db")
        Scheduler(store, registry, SystemClock()).start(SystemClock().now())
        seconds = time.perf_counter() - began
        store.close()
    return seconds


def idle_program(count: str) -> None:
    """A program with `count` hourly dags, until it is killed; for the measurement of idleness."""
    ppacer.serve(hourly(int(count)), port=0)


def fan_program() -> None:
    """A program with the fan dag, until it is killed; each task leaves a line in the file ledger."""

    @task
    def mark(ctx: ppacer.TaskContext) -> None:
        ledger = os.open("ledger", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.write(ledger, f"{ctx.run.run_id} {ctx.task_id} {ctx.retry}\n".encode())
        os.close(ledger)

    with Dag("fan") as dag:
        (
            mark.with_options(id="first")()
            >> [mark.with_options(id=f"t{i}")() for i in range(FAN)]
            >> mark.with_options(id="last")()
        )
    ppacer.serve(dag, port=0, slots=SLOTS, echo=False)


def latencies(runner: str) -> list[float]:
    """Milliseconds from the end of one task's code to the beginning of the next one's, all of a chain."""
    with tempfile.TemporaryDirectory() as folder:
        ledger = os.open(f"{folder}/ledger", os.O_RDWR | os.O_APPEND | os.O_CREAT)

        @task
        def stamp(ctx: ppacer.TaskContext) -> None:
            begun = time.monotonic()
            os.write(ledger, f"{ctx.run.run_id} {ctx.task_id[1:]} {begun} {time.monotonic()}\n".encode())

        with Dag("stamps") as dag:
            nodes = [stamp.with_options(id=f"t{i}")() for i in range(CHAIN)]
            for before, after in pairwise(nodes):
                before >> after
        timed_runs(dag, runner, 1)
        text = Path(folder, "ledger").read_text()
        lines = sorted([float(word) for word in line.split()] for line in text.splitlines())
        os.close(ledger)
    return [(b[2] - a[3]) * 1000 for a, b in pairwise(lines) if a[0] == b[0] > 1]


def memory_of_runs(steps: int = 50, runs: int = 1_000) -> list[float]:
    """MB in use after so many runs of one task, and after as many again, and so on."""
    from resource import getpagesize

    used: list[float] = []

    def look() -> None:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        used.append(pages * getpagesize() / 1e6)

    with Dag("single", max_active_runs=runs) as dag:
        node("only")
    timed_runs(dag, "thread", runs, steps, after_each=look)
    return used


def over_http(name: str, runner: str) -> list[float]:
    """Seconds of a workload whose executor is a program of its own."""
    make, runs = {"chain": (chain, 1), "fan": (fan, 1), "diamonds": (diamond, DIAMONDS)}[name]
    return timed_runs(make(), runner, runs, over_http=True)


WORKLOADS: dict[str, Callable[[str], list[float]]] = {
    "chain": lambda runner: [seconds / CHAIN * 1000 for seconds in timed_runs(chain(), runner, 1)],
    "fan": lambda runner: [(FAN + 2) / seconds for seconds in timed_runs(fan(), runner, 1)],
    "diamonds": lambda runner: [
        DIAMONDS * 4 / seconds for seconds in timed_runs(diamond(), runner, DIAMONDS)
    ],
    "chain_http": lambda runner: [seconds / CHAIN * 1000 for seconds in over_http("chain", runner)],
    "fan_http": lambda runner: [(FAN + 2) / seconds for seconds in over_http("fan", runner)],
    "diamonds_http": lambda runner: [DIAMONDS * 4 / seconds for seconds in over_http("diamonds", runner)],
    "raw_commit": lambda _: raw_commit(),
    "raw_ceiling": lambda _: raw_ceiling(),
    "raw_forks": lambda _: raw_forks(),
    "engine_chain": lambda _: engine_events(chain),
    "engine_fan": lambda _: engine_events(fan),
    "many_tasks": lambda _: many_tasks(),
    "many_dags": lambda _: many_dags(),
    "fan_of": lambda width: [
        (int(width) + 2) / seconds for seconds in timed_runs(fan(int(width)), "thread", 1, 3)
    ],
    "open_runs": lambda runs: [
        int(runs) * 4 / seconds for seconds in timed_runs(diamond(int(runs)), "thread", int(runs), 3)
    ],
    "beside_dags": lambda count: [
        seconds / CHAIN * 1000 for seconds in timed_runs(chain(), "thread", 1, 3, others=hourly(int(count)))
    ],
    "latencies": latencies,
    "memory_of_runs": lambda _: memory_of_runs(),
}

PROGRAMS: dict[str, Callable[[str], None]] = {"idle": idle_program, "fan_program": lambda _: fan_program()}


def main() -> None:
    """Runs one workload and prints its figures, or becomes one of the programs."""
    logging.disable(logging.WARNING)
    name, argument = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else ""
    if name in PROGRAMS:
        PROGRAMS[name](argument)
    else:
        print(json.dumps(WORKLOADS[name](argument)))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))
    main()
