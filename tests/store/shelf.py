"""What the store's tests share: changes in a word, and the rows as the driver has them, without our code."""

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg

from engine.world import LEASE, at
from ppacer.clock import to_text
from ppacer.engine import Reason, RunRef, RunStatus, TaskStatus, Trigger
from ppacer.engine.changes import (
    AttemptCreated,
    AttemptEnded,
    AttemptGranted,
    Change,
    ExecutorGreeted,
    RunChanged,
    RunCreated,
)
from ppacer.store.schema import metadata

REF = RunRef(1, "d", at(1))
SRC = Path(__file__).parents[2] / "src"
A_DAG = """
    INSERT INTO dags (
        DagId, CreateTs, CreateVersion, HashDagMeta, HashTasks, Attributes, DagVersion, ScheduleSinceAt
    )
    VALUES ('d', '2026-03-01T12:00:00Z', '1', 'm', 't', '{}', 'v1', '2026-03-01T12:00:00Z')
"""
WAIT = 120.0  # seconds until a test gives up waiting for another process


Db = str | Path
"""A file, or the URL of a database on a server."""


def is_file(db: Db) -> bool:
    """Whether it is on SQLite."""
    return "://" not in str(db)


@contextmanager
def connect(db: Db) -> Iterator[Any]:
    """A connection of the driver, which commits at the end."""
    if is_file(db):
        with closing(sqlite3.connect(db)) as connection:
            yield connection
            connection.commit()
    else:
        with psycopg.connect(str(db)) as connection:
            yield connection


def query(db: Db, sql: str) -> list[dict[str, Any]]:
    """The answer, with names and times as the schema writes them, whatever the engine."""
    columns = (column.name for table in metadata.tables.values() for column in table.c)
    names = {name.lower(): str(name) for name in columns}
    with connect(db) as connection:
        cursor = connection.execute(sql)
        found = [names.get(column[0].lower(), column[0]) for column in cursor.description]
        return [dict(zip(found, map(_plain, row), strict=True)) for row in cursor.fetchall()]


def _plain(value: Any) -> Any:
    return to_text(value.astimezone(UTC)) if isinstance(value, datetime) else value


def rows(db: Db, table: str, *columns: str) -> list[dict[str, Any]]:
    """Every row of a table, sorted, read by another connection."""
    found = query(db, f"SELECT {', '.join(columns) or '*'} FROM {table}")
    return sorted(found, key=lambda row: repr(tuple(row.values())))


TABLES = {
    True: "SELECT name AS found FROM sqlite_master WHERE type = 'table'",
    False: "SELECT tablename AS found FROM pg_tables WHERE schemaname = 'public'",
}


def dump(db: Db) -> dict[str, list[tuple[Any, ...]]]:
    """Every table with all its rows."""
    names = [row["found"] for row in query(db, TABLES[is_file(db)])]
    return {name: [tuple(row.values()) for row in rows(db, name)] for name in names}


def execute(db: Db, *statements: str) -> None:
    """Changes the database behind the store's back."""
    with connect(db) as connection:
        for statement in statements:
            connection.execute(statement)


@contextmanager
def refusing(db: Db, event: str, table: str, when: str = "1 = 1") -> Iterator[None]:
    """Meanwhile the database refuses this event of a row of the table, with the word "stopped"."""
    trigger = f"CREATE TRIGGER stop BEFORE {event} ON {table} FOR EACH ROW WHEN ({when})"
    if is_file(db):
        execute(db, f"{trigger} BEGIN SELECT RAISE(ABORT, 'stopped'); END")
    else:
        raises = "LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'stopped'; END $$"
        execute(db, f"CREATE OR REPLACE FUNCTION stop() RETURNS trigger {raises}")
        execute(db, f"{trigger} EXECUTE FUNCTION stop()")
    yield
    execute(db, "DROP TRIGGER stop" if is_file(db) else f"DROP TRIGGER stop ON {table}")


def created(ref: RunRef = REF, status: RunStatus = RunStatus.RUNNING) -> list[Change]:
    """A run that has begun, or waits."""
    changes: list[Change] = [RunCreated(ref, at(0), "v1", Trigger.MANUAL, None)]
    if status is RunStatus.RUNNING:
        changes.append(RunChanged(ref, at(0), RunStatus.SCHEDULED, RunStatus.RUNNING))
    return changes


def new(task_id: str, retry: int = 0, ref: RunRef = REF, status: TaskStatus = TaskStatus.SCHEDULED) -> Change:
    return AttemptCreated(ref, task_id, retry, 0, at(retry), status)


def granted(task_id: str, token: str, retry: int = 0, ref: RunRef = REF) -> Change:
    return AttemptGranted(ref, 0, task_id, retry, at(retry + 1), token, "x", at(retry + 1) + LEASE)


def ended(
    task_id: str,
    token: str | None,
    status: TaskStatus = TaskStatus.SUCCESS,
    retry: int = 0,
    ref: RunRef = REF,
    result: str | None = None,
) -> Change:
    reason = Reason.FAILED if status is TaskStatus.FAILED else None
    return AttemptEnded(
        ref, task_id, retry, at(retry + 2), TaskStatus.RUNNING, status, token, reason, None, result
    )


def greeted(name: str) -> Change:
    """An executor has said hello for the first time."""
    return ExecutorGreeted(
        name=name, at=at(0), is_new=True, host="h", pid=1, version="1", protocol=2, slots=1,
        labels=None, runners=None, dag_versions={}, identity="i", life="l",
    )  # fmt: skip


def text(seconds: float) -> str:
    """An instant of the tests, as it stands in the file."""
    return to_text(at(seconds))


def python(program: str, *arguments: str, **options: Any) -> subprocess.Popen[str]:
    """A Python process of its own; it must be waited for."""
    command = [sys.executable, "-c", program, *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, **{**pipes, **options})
