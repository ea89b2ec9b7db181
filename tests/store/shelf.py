"""What the store's tests share: changes in a word, and the rows as sqlite3 shows them, without our code."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from engine.world import LEASE, at
from ppacer.clock import to_text
from ppacer.engine import Reason, RunRef, RunStatus, TaskStatus, Trigger
from ppacer.engine.changes import (
    AttemptCreated,
    AttemptEnded,
    AttemptGranted,
    Change,
    RunChanged,
    RunCreated,
)

REF = RunRef(1, "d", at(1))
SRC = Path(__file__).parents[2] / "src"
A_DAG = """
    INSERT INTO dags (
        DagId, CreateTs, CreateVersion, HashDagMeta, HashTasks, Attributes, DagVersion, ScheduleSinceAt
    )
    VALUES ('d', '2026-03-01T12:00:00Z', '1', 'm', 't', '{}', 'v1', '2026-03-01T12:00:00Z')
"""
WAIT = 30.0  # seconds until a test gives up waiting for another process


def rows(path: Path, table: str, *columns: str) -> list[dict[str, Any]]:
    """Every row of a table, sorted, read by another connection."""
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        connection.row_factory = sqlite3.Row
        names = ", ".join(columns) or "*"
        found = connection.execute(f"SELECT {names} FROM {table}").fetchall()
        return [dict(row) for row in sorted(found, key=lambda row: repr(tuple(row)))]


def dump(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Every table with all its rows."""
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        return {name: sorted(connection.execute(f"SELECT * FROM {name}"), key=repr) for (name,) in names}


def execute(path: Path, *statements: str) -> None:
    """Changes the file behind the store's back."""
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


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


def text(seconds: float) -> str:
    """An instant of the tests, as it stands in the file."""
    return to_text(at(seconds))


def python(program: str, *arguments: str, **options: Any) -> subprocess.Popen[str]:
    """A Python process of its own; it must be waited for."""
    command = [sys.executable, "-c", program, *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, **{**pipes, **options})
