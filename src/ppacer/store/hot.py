"""The few statements on the path of every task: compiled once by SQLAlchemy, run by the driver.

Executing through SQLAlchemy costs ten times as much per row as the driver. On SQLite many rows go into one
statement, because the driver lets go of the interpreter lock at each step, and beside one busy thread waits
5 ms to have it back: row by row, 100 rows took 550 ms instead of 1.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from itertools import chain
from operator import itemgetter
from typing import Any

import sqlalchemy as sa

from ppacer.engine import TaskStatus
from ppacer.store.schema import (
    audit,
    backfillpoints,
    backfills,
    dagrunrestarts,
    dagrunresults,
    dagruns,
    dagruntasks,
    dags,
    executors,
    outbox,
    requests,
    schedules,
    tokens,
)

Row = dict[str, Any]

ROWS_MAX = 256  # in one statement; at most 22 parameters each, of the 32,766 that SQLite allows
EXACT_MAX = 16  # up to here one statement for each number of rows, above only powers of two

# What happens often. Here no two rows of a batch are about the same row of the table, see `Batch`.
MANY = {"insert_run", "change_run", "insert_point", "move_cursor"}
MANY |= {"insert_attempt", "grant_attempt", "end_attempt", "insert_result", "insert_backfill_point"}


Make = Callable[[Iterable[str]], sa.Insert | sa.Update]
"""Makes the statement for rows with these keys."""


class Hot:
    """One statement, compiled for each set of columns that rows have: what a row leaves out stays NULL.

    Most columns of an attempt are NULL for most of its life. To bind them all the same took two thirds of the
    time to insert a row, and a third of that to end an attempt.
    """

    def __init__(self, name: str, make: Make, dialect: sa.Dialect) -> None:
        self._name, self._make, self._dialect = name, make, dialect
        self._compiled: dict[tuple[str, ...], Compiled] = {}

    def run(self, cursor: Any, rows: Sequence[Row]) -> int:
        """Executes the statement once per row, and returns how many rows of the table it touched."""
        groups: dict[tuple[str, ...], list[Row]] = {}
        for row in rows:
            groups.setdefault(tuple(row), []).append(row)
        return sum(self.compiled(keys).run(cursor, group) for keys, group in groups.items())

    def compiled(self, keys: tuple[str, ...]) -> "Compiled":
        """The statement for rows with these keys."""
        found = self._compiled.get(keys)
        if found is None:
            statement = self._make(keys).compile(dialect=self._dialect)
            found = self._compiled[keys] = Compiled(statement, is_many=self._name in MANY)
        return found


class Compiled:
    """One statement as the driver takes it; `run` executes it for many rows."""

    def __init__(self, compiled: Any, *, is_many: bool) -> None:
        self.sql = str(compiled)
        self._keys: list[str] | None = getattr(compiled, "positiontup", None)
        self._is_many = is_many

    def run(self, cursor: Any, rows: Sequence[Row]) -> int:
        """Executes the statement once per row; the keys of a row are the statement's parameters."""
        if self._keys is None:  # parameters by name: PostgreSQL, whose driver sends them in one go
            cursor.executemany(self.sql, rows)
            return int(cursor.rowcount)
        values = list(map(itemgetter(*self._keys), rows))
        if not self._is_many:
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


def _insert(table: sa.Table) -> Make:
    return lambda keys: sa.insert(table).values(_set(table, *keys))


def _update(
    table: sa.Table, *key: str, values: dict[Any, Any] | None = None
) -> Callable[[Iterable[str]], sa.Update]:
    """Sets `values`, by default the columns that a row names, of the row with this key."""

    def make(keys: Iterable[str]) -> sa.Update:
        new = values or _set(table, *(name for name in keys if not name.startswith("k_")))
        return sa.update(table).values(new).where(*_where(table, *key))

    return make


def _attempt(*conditions: sa.ColumnElement[bool]) -> Make:
    make = _update(dagruntasks, "DagId", "ExecTs", "TaskId", "Retry")
    return lambda keys: make(keys).where(*conditions)


def _is(table: sa.Table, status: TaskStatus) -> sa.ColumnElement[bool]:
    return table.c.Status == sa.literal_column(f"'{status}'")


def queries() -> dict[str, sa.Select[Any]]:
    """What is asked for every run, for every task that takes results, for every command with a key."""
    runs, results, q = dagruns, dagrunresults, requests
    reply = sa.select(q.c.Fingerprint, q.c.Reply)
    result = sa.select(results.c.Result).where(*_where(results, "DagId", "ExecTs", "TaskId"))
    return {
        "has_run": sa.select(runs.c.RunId).where(*_where(runs, "DagId", "ExecTs")),
        "reply": reply.where(*_where(q, "Actor", "IdempotencyKey")),
        "result": result.order_by(results.c.Retry.desc()),
    }


def _unless_sent(column: sa.Column[Any]) -> sa.ColumnElement[Any]:
    """A new value, but what was delivered stays delivered: the record of an earlier try may come late."""
    return sa.case((outbox.c.SentAt.is_not(None), column), else_=_parameter(column.name))


def statements() -> dict[str, Make]:
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
    same_token = attempts.c.Token.is_not_distinct_from(_parameter("k_Token"))
    tried = {outbox.c[name]: _unless_sent(outbox.c[name]) for name in ("LastError", "NextTryAt", "GivenUpAt")}
    tried[outbox.c.SentAt] = sa.func.coalesce(outbox.c.SentAt, _parameter("SentAt"))
    tried[outbox.c.Tries] = outbox.c.Tries + sa.literal_column("1")
    passed = backfills.c.Passed + sa.bindparam("Passed", type_=sa.Integer)
    moved = {**_set(backfills, "Position"), backfills.c.Passed: passed}
    change_backfill = _update(backfills, "BackfillId")
    return {
        "insert_run": _insert(runs),
        "mark_run": _update(runs, "RunId", values=mark),
        "change_run": _update(runs, "RunId", "Status", values=status),
        "insert_restart": _insert(dagrunrestarts),
        "insert_point": _insert(schedules),
        "move_cursor": _update(dags, "DagId"),
        "mark_dag": _update(dags, "DagId"),
        "insert_attempt": _insert(attempts),
        "grant_attempt": _attempt(_is(attempts, TaskStatus.SCHEDULED)),
        "lose_attempt": _attempt(_is(attempts, TaskStatus.RUNNING)),
        "end_attempt": _attempt(*_where(attempts, "Status"), same_token),
        "insert_result": _insert(dagrunresults),
        "insert_alert": _insert(outbox),
        "try_alert": _update(outbox, "AlertId", values=tried),
        "insert_audit": _insert(audit),
        "insert_request": _insert(requests),
        "insert_token": _insert(tokens),
        "revoke_token": _update(tokens, "TokenId"),
        "insert_executor": _insert(executors),
        "change_executor": _update(executors, "Name"),
        "insert_backfill": _insert(backfills),
        "insert_backfill_point": _insert(backfillpoints),
        "move_backfill": _update(backfills, "BackfillId", "Position", values=moved),
        "change_backfill": lambda keys: change_backfill(keys).where(backfills.c.EndedAt.is_(None)),
    }
