"""The table of logs.db and its one hot statement.

LogId is given by the writer under the write lock: its order is the order of the commits, so that a follower
who asks for what comes after the last one he saw never misses a row.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from sqlalchemy import TIMESTAMP, BigInteger, Column, Index, Integer, MetaData, Table, Text, insert
from sqlalchemy.dialects import sqlite
from sqlalchemy.sql import quoted_name

from ppacer.tasklog.records import Stored

VERSION = 1
"""Written into `PRAGMA user_version`; a later layout counts on from here."""

STATEMENT_ROWS = 512
"""Rows of one INSERT: 9 parameters each, of the 32,766 that SQLite allows."""


def _name(text: str) -> quoted_name:
    return quoted_name(text, quote=False)


_INSTANT = Text().with_variant(TIMESTAMP(timezone=True), "postgresql")

metadata = MetaData()

tasklogs = Table(
    _name("tasklogs"),
    metadata,
    Column(_name("DagId"), Text, nullable=False),
    Column(_name("ExecTs"), _INSTANT, nullable=False),
    Column(_name("TaskId"), Text, nullable=False),
    Column(_name("Retry"), Integer, nullable=False),
    Column(_name("InsertTs"), _INSTANT, nullable=False),
    Column(_name("Level"), Text, nullable=False),
    Column(_name("Message"), Text, nullable=False),
    Column(_name("Attributes"), Text),
    Column(_name("LogId"), BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
)

# Every new entry goes to the end of its run. An index led by the attempt would read one attempt among a
# million lines of others in 3 ms instead of 90, but each batch would touch as many pages as attempts are
# running: 39,000 records/s instead of 240,000 with 500 of them. This one also reads a whole run in order, and
# pages through an attempt, task or run in one pass.
Index(
    _name("tasklogs_run"),
    tasklogs.c.DagId,
    tasklogs.c.ExecTs,
    tasklogs.c.LogId,
    tasklogs.c.TaskId,
    tasklogs.c.Retry,
)


def inserts(rows: Sequence[Stored], first_id: int) -> Iterator[tuple[str, list[Any]]]:
    """Statements of 512, 256 … 1 rows, so that any number takes few of them.

    Many rows per statement, because the driver lets go of the interpreter lock at each step of a statement,
    and beside a busy thread waits up to 5 ms to have it back: row by row, 371 to 22,000 records/s remained of
    200,000.
    """
    start = 0
    while start < len(rows):
        size = min(STATEMENT_ROWS, 1 << ((len(rows) - start).bit_length() - 1))
        values: list[Any] = []
        for log_id, row in enumerate(rows[start : start + size], first_id + start):
            values += row
            values.append(log_id)
        yield _insert_sql(size), values
        start += size


@cache
def _insert_sql(rows: int) -> str:
    """The hot statement, compiled once for one row; SQLAlchemy would need 115 ms for 512 of them."""
    one = str(insert(tasklogs).compile(dialect=sqlite.dialect()))
    head, values = one.split(" VALUES ")
    return f"{head} VALUES {', '.join([values] * rows)}"
