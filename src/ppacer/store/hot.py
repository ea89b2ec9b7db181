"""The few statements on the path of every task: compiled once by SQLAlchemy, run by the driver.

Executing through SQLAlchemy costs ten times as much per row as the driver's `executemany`; here a batch of
changes becomes a handful of such calls, and each says how many rows it expects to touch.
"""

from collections.abc import Sequence
from operator import itemgetter
from typing import Any

import sqlalchemy as sa

from ppacer.engine import TaskStatus
from ppacer.store.schema import (
    dagrunrestarts,
    dagrunresults,
    dagruns,
    dagruntasks,
    dags,
    outbox,
    schedules,
)

Row = dict[str, Any]


class Hot:
    """One compiled statement; `run` executes it for many rows and returns how many it touched."""

    def __init__(self, name: str, statement: sa.Insert | sa.Update, dialect: sa.Dialect) -> None:
        compiled = statement.compile(dialect=dialect)
        self.name = name
        self.sql = str(compiled)
        self.positions: list[str] | None = getattr(compiled, "positiontup", None)

    def run(self, cursor: Any, rows: Sequence[Row]) -> int:
        """Executes the statement once per row; the keys of a row are the statement's parameters."""
        if self.positions is not None:
            cursor.executemany(self.sql, map(itemgetter(*self.positions), rows))
        else:
            cursor.executemany(self.sql, rows)
        return int(cursor.rowcount)


def _where(table: sa.Table, *names: str) -> list[sa.ColumnElement[bool]]:
    """`column = :k_column` for each name: the k_ keeps the key apart from the new value."""
    return [table.c[name] == sa.bindparam(f"k_{name}", type_=sa.types.NullType()) for name in names]


def _set(table: sa.Table, *names: str) -> dict[Any, Any]:
    return {table.c[name]: sa.bindparam(name, type_=sa.types.NullType()) for name in names}


def _insert(table: sa.Table) -> sa.Insert:
    return sa.insert(table).values(_set(table, *table.c.keys()))


_ATTEMPT = ("DagId", "ExecTs", "TaskId", "Retry")


def statements() -> dict[str, sa.Insert | sa.Update]:
    """Every hot statement by name, in the order in which a batch executes them."""
    attempts, runs = dagruntasks, dagruns
    same_token = attempts.c.Token.is_not_distinct_from(sa.bindparam("k_Token", type_=sa.types.NullType()))
    alert = sa.insert(outbox).values(_set(outbox, *(name for name in outbox.c.keys() if name != "AlertId")))
    mark = {
        runs.c.Restarts: sa.func.coalesce(sa.bindparam("Restarts", type_=sa.Integer), runs.c.Restarts),
        **_set(runs, "CancelRequestedAt"),
    }
    status = {
        **_set(runs, "Status", "StatusUpdateTs", "EndedAt"),
        runs.c.StartedAt: sa.func.coalesce(runs.c.StartedAt, sa.bindparam("StartedAt", type_=sa.types.NullType())),
    }
    return {
        "insert_run": _insert(runs),
        "mark_run": sa.update(runs).values(mark).where(*_where(runs, "RunId")),
        "change_run": sa.update(runs).values(status).where(*_where(runs, "RunId", "Status")),
        "insert_restart": _insert(dagrunrestarts),
        "insert_point": _insert(schedules),
        "move_cursor": sa.update(dags)
        .values(_set(dags, "LastScheduleAt", "NextScheduleAt"))
        .where(*_where(dags, "DagId")),
        "mark_dag": sa.update(dags)
        .values(_set(dags, "PausedAt", "DisabledAt", "DisabledReason"))
        .where(*_where(dags, "DagId")),
        "insert_attempt": _insert(attempts),
        "grant_attempt": sa.update(attempts)
        .values(_set(attempts, "Status", "StatusUpdateTs", "Executor", "Token", "StartedAt", "LeaseEndAt"))
        .where(*_where(attempts, *_ATTEMPT), attempts.c.Status == sa.literal_column(f"'{TaskStatus.SCHEDULED}'")),
        "lose_attempt": sa.update(attempts)
        .values(_set(attempts, "LostAt"))
        .where(*_where(attempts, *_ATTEMPT), attempts.c.Status == sa.literal_column(f"'{TaskStatus.RUNNING}'")),
        "end_attempt": sa.update(attempts)
        .values(
            _set(
                attempts,
                *("Status", "StatusUpdateTs", "Reason", "Error", "EndedAt", "RetryAt", "ResultBytes", "PeakMemory"),
            )
        )
        .where(*_where(attempts, *_ATTEMPT, "Status"), same_token),
        "insert_result": _insert(dagrunresults),
        "insert_alert": alert,
        "try_alert": sa.update(outbox)
        .values(
            {
                **_set(outbox, "LastError", "NextTryAt", "SentAt", "GivenUpAt"),
                outbox.c.Tries: outbox.c.Tries + sa.literal_column("1"),
            }
        )
        .where(*_where(outbox, "AlertId")),
    }
