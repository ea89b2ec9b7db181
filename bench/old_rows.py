"""A database with a past: what a million old attempts cost, and what it costs to delete them.

Like `bench.workloads`: `python -m bench.old_rows NAME DATABASE` prints one JSON line, from an interpreter of
its own. The runs of the past are diamonds that ended 200 days ago.
"""

import json
import logging
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from bench.workloads import CHAIN, FAN, chain, fan, node, timed_runs
from ppacer.clock import to_text
from ppacer.dag import Dag, Registry

RUNS = 250_000
TASKS = ("a", "b", "c", "d")
DAGS = 50
CHUNK = 5_000  # runs in one transaction
LAST = timedelta(seconds=1)  # between one run and the next
VERSION = "0.0.0"
AGO = timedelta(days=200)
SLICES = 200


def diamonds() -> list[Dag]:
    """The dags of the past."""
    dags = []
    for number in range(DAGS):
        with Dag(f"old{number}") as dag:
            node("a") >> [node("b"), node("c")] >> node("d")
        dags.append(dag)
    return dags


def fill(db: Path, dags: list[Dag], runs: int, newest: datetime) -> None:
    """Adds `runs` ended runs of these diamonds, in turn, one a second, the last at `newest`."""
    make(db, dags)
    with closing(sqlite3.connect(db, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("PRAGMA cache_size=-200000")
        first = connection.execute("SELECT COALESCE(MAX(RunId), 0) + 1 FROM dagruns").fetchone()[0]
        numbers = iter(range(first, first + runs))
        while chunk := list(islice(numbers, CHUNK)):
            connection.execute("BEGIN IMMEDIATE")
            past = [(n, dags[n % len(dags)], newest - LAST * (first + runs - 1 - n)) for n in chunk]
            for table, rows in (("dagruns", _runs(past)), ("dagruntasks", _attempts(past)),
                                ("dagrunresults", _results(past)), ("schedules", _points(past))):  # fmt: skip
                insert(connection, table, rows)
            connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def make(db: Path, dags: list[Dag]) -> None:
    """The tables, and what is known of the dags."""
    from ppacer.store import Store
    from ppacer.store.sync import sync

    store = Store(db)
    sync(store, Registry(dags), datetime.now(UTC))
    store.close()


Past = list[tuple[int, Dag, datetime]]


def insert(connection: sqlite3.Connection, table: str, rows: Iterator[dict[str, Any]]) -> None:
    """Writes rows, which have the same columns."""
    first = next(rows)
    marks = ", ".join("?" * len(first))
    sql = f"INSERT INTO {table} ({', '.join(first)}) VALUES ({marks})"
    connection.execute(sql, tuple(first.values()))
    connection.executemany(sql, (tuple(row.values()) for row in rows))


def _runs(past: Past) -> Iterator[dict[str, Any]]:
    for number, dag, at in past:
        text = to_text(at)
        yield {"RunId": number, "DagId": dag.id, "ExecTs": text, "InsertTs": text, "StatusUpdateTs": text,
               "Status": "FAILED" if number % 1000 == 0 else "SUCCESS", "Version": VERSION,
               "DagVersion": dag.version, "TriggeredBy": "schedule", "Restarts": 0, "StartedAt": text,
               "EndedAt": text}  # fmt: skip


def _attempts(past: Past) -> Iterator[dict[str, Any]]:
    for number, dag, at in past:
        text = to_text(at)
        for task_id in TASKS:
            yield {"DagId": dag.id, "ExecTs": text, "TaskId": task_id, "Retry": 0, "InsertTs": text,
                   "Status": "SUCCESS", "StatusUpdateTs": text, "Version": VERSION, "Restart": 0,
                   "Executor": "local", "Token": f"{number:016x}", "StartedAt": text, "EndedAt": text,
                   "LeaseEndAt": text, "ResultBytes": 2, "PeakMemory": 12_000_000}  # fmt: skip


def _results(past: Past) -> Iterator[dict[str, Any]]:
    for _, dag, at in past:
        yield {"DagId": dag.id, "ExecTs": to_text(at), "TaskId": "a", "Retry": 0, "Result": "42"}


def _points(past: Past) -> Iterator[dict[str, Any]]:
    for _, dag, at in past:
        text, after = to_text(at), to_text(at + LAST * DAGS)
        yield {"DagId": dag.id, "InsertTs": text, "Event": "REGULAR", "ScheduleTs": text,
               "NextScheduleTs": after}  # fmt: skip


def pruned(seconds: Callable[[str], list[float]], past: str) -> list[float]:
    """The same while the past is deleted: it takes longer than the measurement."""
    from ppacer.app import retention

    retention.FIRST_SECONDS = 0.0
    return seconds(past)


def slices(past: str) -> list[float]:
    """Milliseconds of the scheduler's thread for each of the first slices of runs."""
    from ppacer.store import Store
    from ppacer.store.retention import OldRuns, Past

    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(past, f"{folder}/scheduler.db")
        store, reader = Store(f"{folder}/scheduler.db"), Past(f"{folder}/scheduler.db")
        found = islice(reader.slices(datetime.now(UTC), 100), SLICES)
        times = [_milliseconds(partial(store.forget, old)) for old in found if isinstance(old, OldRuns)]
        reader.close()
        store.close()
    return times


def look(past: str) -> list[float]:
    """Milliseconds to find out that nothing is old enough."""
    from ppacer.store.retention import Past

    reader, before = Past(past), datetime.now(UTC) - AGO - LAST * RUNS * 2
    times = [_milliseconds(lambda: list(reader.slices(before, 100))) for _ in range(5)]
    reader.close()
    return times


def pages(past: str) -> list[float]:
    """Milliseconds for the slowest of four pages: dags, runs, runs of a dag, ended runs of a dag."""
    from ppacer.store.reads import Reads

    reads = Reads(past)
    looks = (reads.dags, reads.runs, lambda: reads.runs(dag_id="old7"),
             lambda: reads.runs(dag_id="old7", status=["FAILED", "SUCCESS"]))  # fmt: skip
    times = [max(_milliseconds(look) for look in looks) for _ in range(5)]
    reads.close()
    return times


def _milliseconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000


def timed_fill(past: str) -> list[float]:
    """Seconds to write the past."""
    began = time.perf_counter()
    fill(Path(past), diamonds(), RUNS, datetime.now(UTC) - AGO)
    return [time.perf_counter() - began]


def hops(past: str) -> list[float]:
    """Milliseconds of a hop in a chain, by the thread runner."""
    return [seconds / CHAIN * 1000 for seconds in timed_runs(chain(), "thread", 1, past=past)]


def fans(past: str) -> list[float]:
    """Milliseconds of a task in 1 → 1000 → 1, by the thread runner."""
    return [seconds / (FAN + 2) * 1000 for seconds in timed_runs(fan(), "thread", 1, past=past)]


WORKLOADS: dict[str, Callable[[str], list[float]]] = {
    "fill": timed_fill,
    "chain": hops,
    "fan": fans,
    "chain_pruned": lambda past: pruned(hops, past),
    "fan_pruned": lambda past: pruned(fans, past),
    "slices": slices,
    "look": look,
    "pages": pages,
}


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    print(json.dumps(WORKLOADS[sys.argv[1]](sys.argv[2])))
