"""The few statements on the path of every task: compiled once by SQLAlchemy, run by the driver.

Executing through SQLAlchemy costs ten times as much per row as the driver. On SQLite many rows go into one
statement, because the driver lets go of the interpreter lock at each step, and beside one busy thread waits
5 ms to have it back: row by row, 100 rows took 550 ms instead of 1.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import chain
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

ROWS_MAX = 256  # in one statement; 20 parameters each, of the 32,766 that SQLite allows
EXACT_MAX = 16  # up to here one statement for each number of rows, above only powers of two

# What happens often. Here no two rows of a batch are about the same row of the table, see `Batch`.
MANY = {"insert_run", "change_run", "insert_point", "move_cursor"}
MANY |= {"insert_attempt", "grant_attempt", "end_attempt", "insert_result"}


class Hot:
    """One compiled statement; `run` executes it for many rows and returns how many it touched."""

    def __init__(self, name: str, statement: sa.Insert | sa.Update, dialect: sa.Dialect) -> None:
        compiled = statement.compile(dialect=dialect)
        self.sql = str(compiled)
        self._keys: list[str] | None = getattr(compiled, "positiontup", None)
        self._many = name in MANY and self._keys is not None

    def run(self, cursor: Any, rows: Sequence[Row]) -> int:
        """Executes the statement once per row; the keys of a row are the statement's parameters."""
        if self._keys is None:  # parameters by name: PostgreSQL, whose driver sends them in one go
            cursor.executemany(self.sql, rows)
            return int(cursor.rowcount)
        values = list(map(itemgetter(*self._keys), rows))
        if not self._many:
            cursor.executemany(self.sql, values)
            return int(cursor.rowcount)
        touched, start = 0, 0
        for size in sizes(len(values)):
            cursor.execute(_for_rows(self.sql, size), list(chain(*values[start : start + size])))
            touched, start = touched + cursor.rowcount, start + size
        return touched


class Read:
    """One compiled query for one row."""

    def __init__(self, query: sa.Select[Any], dialect: sa.Dialect) -> None:
        compiled = query.compile(dialect=dialect)
        self.sql = str(compiled)
        self._keys: list[str] | None = getattr(compiled, "positiontup", None)

    def first(self, cursor: Any, key: Row) -> Any:
        """The first row found, or None."""
        cursor.execute(self.sql, key if self._keys is None else [key[name] for name in self._keys])
        return cursor.fetchone()


def sizes(rows: int) -> Iterator[int]:
    """The rows of each statement: few statements for any number, and few different ones to prepare."""
    while rows:
        size = rows if rows <= EXACT_MAX else min(ROWS_MAX, 1 << (rows.bit_length() - 1))
        yield size
        rows -= size


@cache
def _for_rows(sql: str, rows: int) -> str:
    """The same statement for many rows: VALUES (…), (…), which an UPDATE joins as `new`."""
    if rows == 1:
        return sql
    if sql.startswith("INSERT"):
        head, values = sql.split(" VALUES ")
        return f"{head} VALUES {', '.join([values] * rows)}"
    parts = sql.split("?")
    columns = [f"new.column{number}" for number in range(1, len(parts))]
    update, where = "".join(chain(*zip(parts, [*columns, ""], strict=True))).split(" WHERE ")
    values = f"({', '.join('?' * len(columns))})"
    return f"{update} FROM (VALUES {', '.join([values] * rows)}) AS new WHERE {where}"


def _parameter(name: str) -> sa.BindParameter[Any]:
    return sa.bindparam(name, type_=sa.types.NullType())  # values come as the driver takes them


def _where(table: sa.Table, *names: str) -> list[sa.ColumnElement[bool]]:
    """`column = :k_column` for each name: the k_ keeps the key apart from the new value."""
    return [table.c[name] == _parameter(f"k_{name}") for name in names]


def _set(table: sa.Table, *names: str) -> dict[Any, Any]:
    return {table.c[name]: _parameter(name) for name in names}


def _insert(table: sa.Table) -> sa.Insert:
    return sa.insert(table).values(_set(table, *table.c.keys()))


def _attempt(*names: str) -> sa.Update:
    attempts = dagruntasks
    key = _where(attempts, "DagId", "ExecTs", "TaskId", "Retry")
    return sa.update(attempts).values(_set(attempts, *names)).where(*key)


def _is(table: sa.Table, status: TaskStatus) -> sa.ColumnElement[bool]:
    return table.c.Status == sa.literal_column(f"'{status}'")


def queries() -> dict[str, sa.Select[Any]]:
    """What is asked for every run, and for every task that takes results."""
    runs, results = dagruns, dagrunresults
    result = sa.select(results.c.Result).where(*_where(results, "DagId", "ExecTs", "TaskId"))
    return {
        "has_run": sa.select(runs.c.RunId).where(*_where(runs, "DagId", "ExecTs")),
        "result": result.order_by(results.c.Retry.desc()),
    }


def statements() -> dict[str, sa.Insert | sa.Update]:
    """Every hot statement by name, in the order in which a batch executes them."""
    runs, attempts = dagruns, dagruntasks
    mark = {
        runs.c.Restarts: sa.func.coalesce(sa.bindparam("Restarts", type_=sa.Integer), runs.c.Restarts),
        **_set(runs, "CancelRequestedAt"),
    }
    status = {
        **_set(runs, "Status", "StatusUpdateTs", "EndedAt"),
        runs.c.StartedAt: sa.func.coalesce(runs.c.StartedAt, _parameter("StartedAt")),
    }
    grant = _attempt("Status", "StatusUpdateTs", "Executor", "Token", "StartedAt", "LeaseEndAt")
    end = _attempt(
        *("Status", "StatusUpdateTs", "Reason", "Error", "EndedAt", "RetryAt", "ResultBytes", "PeakMemory")
    )
    same_token = attempts.c.Token.is_not_distinct_from(_parameter("k_Token"))
    alert = sa.insert(outbox).values(_set(outbox, *outbox.c.keys()[1:]))
    tried = {
        **_set(outbox, "LastError", "NextTryAt", "SentAt", "GivenUpAt"),
        outbox.c.Tries: outbox.c.Tries + sa.literal_column("1"),
    }
    cursor = _set(dags, "LastScheduleAt", "NextScheduleAt")
    marks = _set(dags, "PausedAt", "DisabledAt", "DisabledReason")
    return {
        "insert_run": _insert(runs),
        "mark_run": sa.update(runs).values(mark).where(*_where(runs, "RunId")),
        "change_run": sa.update(runs).values(status).where(*_where(runs, "RunId", "Status")),
        "insert_restart": _insert(dagrunrestarts),
        "insert_point": _insert(schedules),
        "move_cursor": sa.update(dags).values(cursor).where(*_where(dags, "DagId")),
        "mark_dag": sa.update(dags).values(marks).where(*_where(dags, "DagId")),
        "insert_attempt": _insert(attempts),
        "grant_attempt": grant.where(_is(attempts, TaskStatus.SCHEDULED)),
        "lose_attempt": _attempt("LostAt").where(_is(attempts, TaskStatus.RUNNING)),
        "end_attempt": end.where(*_where(attempts, "Status"), same_token),
        "insert_result": _insert(dagrunresults),
        "insert_alert": alert,
        "try_alert": sa.update(outbox).values(tried).where(*_where(outbox, "AlertId")),
    }
