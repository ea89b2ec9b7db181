"""What is in the database, read by plain SQL and not by the code under torture."""

import shutil
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

RUNS = """
    SELECT RunId, DagId, ExecTs, Status, TriggeredBy, Restarts, CancelRequestedAt, EndedAt FROM dagruns
"""
ATTEMPTS = """
    SELECT r.RunId, t.TaskId, t.Retry, t.Restart, t.Status, t.Reason, t.Token, t.EndedAt, t.Error
    FROM dagruntasks t JOIN dagruns r ON r.DagId = t.DagId AND r.ExecTs = t.ExecTs
    ORDER BY r.RunId, t.TaskId, t.Retry
"""
RESTARTS = """
    SELECT r.RunId, COUNT(*) FROM dagrunrestarts x JOIN dagruns r ON r.DagId = x.DagId AND r.ExecTs = x.ExecTs
    GROUP BY r.RunId
"""
PARENTS = "SELECT DagId, TaskId, Parents FROM dagtasks WHERE IsCurrent = 1"
POINTS = "SELECT DagId, ScheduleTs, NextScheduleTs, Event FROM schedules ORDER BY DagId, ScheduleTs"
ALERTS = """
    SELECT r.RunId, o.TaskId, o.Retry
    FROM outbox o JOIN dagruns r ON r.DagId = o.DagId AND r.ExecTs = o.ExecTs
    WHERE o.Kind = 'FAILURE'
"""
CHECK = "PRAGMA integrity_check"


class Run(NamedTuple):
    """A row of dagruns."""

    run_id: int
    dag_id: str
    exec_ts: str
    status: str
    trigger: str
    restarts: int
    cancel_requested_at: str | None
    ended_at: str | None


class Attempt(NamedTuple):
    """A row of dagruntasks, by the number of its run."""

    run_id: int
    task_id: str
    retry: int
    restart: int
    status: str
    reason: str | None
    token: str | None
    ended_at: str | None
    error: str | None


class Point(NamedTuple):
    """A row of schedules."""

    dag_id: str
    schedule_ts: str
    next_schedule_ts: str | None
    event: str


@dataclass(frozen=True)
class Rows:
    """All rows of one moment."""

    damage: list[str]
    runs: dict[int, Run]
    attempts: list[Attempt]
    restarts: dict[int, int]
    parents: dict[tuple[str, str], str]
    points: list[Point]
    alerts: set[tuple[int, str, int]]

    @property
    def open_runs(self) -> list[Run]:
        """The runs that have not ended."""
        return [run for run in self.runs.values() if run.ended_at is None]

    def by_task(self) -> dict[tuple[int, str], list[Attempt]]:
        """The attempts of each task of each run, in their order."""
        found: dict[tuple[int, str], list[Attempt]] = defaultdict(list)
        for attempt in self.attempts:
            found[attempt.run_id, attempt.task_id].append(attempt)
        return found


def read(db: Path) -> Rows:
    """What a start would find now. A copy is opened, because opening it here would already be the recovery.

    Only for a database on which no program runs.
    """
    with TemporaryDirectory(prefix="ppacer-torture-") as folder:
        for suffix in ("", "-wal"):
            if (file := db.with_name(db.name + suffix)).exists():
                shutil.copy(file, Path(folder, file.name))
        with closing(sqlite3.connect(Path(folder, db.name))) as connection:
            return rows_of(connection.execute)


def rows_of(ask: Callable[[str], Iterable[Any]]) -> Rows:
    """All rows, by whoever answers SQL; times must come as text."""
    return Rows(
        damage=[text for (text,) in ask(CHECK) if text != "ok"],
        runs={row[0]: Run(*row) for row in ask(RUNS)},
        attempts=[Attempt(*row) for row in ask(ATTEMPTS)],
        restarts=dict(ask(RESTARTS)),
        parents={(dag_id, task_id): text for dag_id, task_id, text in ask(PARENTS)},
        points=[Point(*row) for row in ask(POINTS)],
        alerts=set(ask(ALERTS)),
    )
