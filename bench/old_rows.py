"""A database with a past: runs of diamonds that ended long ago, written as fast as SQLite takes them."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

from ppacer.clock import to_text
from ppacer.dag import Dag, Registry

RUNS = 250_000
TASKS = ("a", "b", "c", "d")
DAGS = 50
CHUNK = 5_000  # runs in one transaction
LAST = timedelta(seconds=1)  # between one run and the next
VERSION = "0.0.0"


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
                _insert(connection, table, rows)
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


def _insert(connection: sqlite3.Connection, table: str, rows: Iterator[dict[str, Any]]) -> None:
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
