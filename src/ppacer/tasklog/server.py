"""The table on a PostgreSQL server as its writer sees it: the same as a `LogFile`, beside the other tables.

So one that takes over the lead shows what was said before. Here there may be two writers for a moment, a
former leader's and the new one's: each takes a lock for the transaction that gives out numbers.
"""

import contextlib
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import URL, Connection, Engine, delete, func, inspect, select, text
from sqlalchemy.sql.functions import count

from ppacer import postgres
from ppacer.tasklog.connections import refuse_newer
from ppacer.tasklog.records import Stored
from ppacer.tasklog.schema import VERSION, metadata, tasklogs

WRITING = 0x70706C6F  # the lock of who gives out numbers, and of who makes the table
SAMPLE_ROWS = 1_000
ROW_BYTES = 150  # of a row beside its values, with its part of the indexes
READERS_MAX = 4
COLUMNS = ", ".join(str(column.name) for column in tasklogs.c)
STATEMENT = "statement_timeout = '10s'"
WRITES = postgres.WRITES
READS = ("default_transaction_read_only = on",)


def server_engine(url: URL, *, writer: bool = False) -> Engine:
    """Connections to the server; only the writer's may change something."""
    connections, settings = (1, WRITES) if writer else (READERS_MAX, READS)
    return postgres.engine(url, "ppacer logs", connections, STATEMENT, *settings)


def layout(connection: Connection) -> int:
    """The layout of the table, from its comment; 0 when there is no table."""
    found = select(func.obj_description(func.to_regclass(str(tasklogs.name)), "pg_class"))
    comment = connection.execute(found).scalar()
    return int(comment.rpartition(" ")[2]) if comment else 0


class LogTable:
    """The one connection that writes; opening it makes the table where it is missing."""

    def __init__(self, url: URL) -> None:
        self._engine = server_engine(url, writer=True)
        with contextlib.ExitStack() as undo:
            undo.callback(self._engine.dispose)
            self._connection = self._engine.connect()
            self._prepare(url)
            with self._connection.begin():
                self.newest_id = self._newest()
            self._excess = 0  # rows that this sweep is still to delete; none: the next call counts them
            undo.pop_all()

    def close(self) -> None:
        """Close without raising."""
        with contextlib.suppress(Exception):
            self._connection.close()
        self._engine.dispose()

    def is_current(self) -> bool:
        """Whether this is still the place that is meant: nobody moves a server's table away unnoticed."""
        return True

    def append(self, rows: Sequence[Stored]) -> int:
        """Commit the rows in one transaction and return the LogId of the first; the others follow it."""
        with self._numbering():
            first = max(self.newest_id, self._newest()) + 1
            driver: Any = self._connection.connection.driver_connection
            into = f"COPY {tasklogs.name} ({COLUMNS}) FROM STDIN"
            with driver.cursor() as cursor, cursor.copy(into) as copy:
                for log_id, row in enumerate(rows, first):
                    copy.write_row((*row, log_id))
        self.newest_id = first + len(rows) - 1
        return first

    def prune(self, before: datetime | None, bytes_max: int | None, batch: int) -> int:
        """Delete at most `batch` of the oldest rows; see `LogFile.prune`."""
        with self._connection.begin():
            deleted = self._delete_old(before, batch) if before is not None else 0
            if bytes_max is not None and deleted < batch:
                deleted += self._delete_excess(bytes_max, batch - deleted)
        return deleted

    def forget(self, dag_id: str, exec_tss: Sequence[datetime], batch: int) -> int:
        """Delete at most `batch` rows of these runs, and return how many it were; the newest row stays."""
        mine = (tasklogs.c.DagId == dag_id, tasklogs.c.ExecTs.in_(exec_tss))
        ids = select(tasklogs.c.LogId).where(*mine, tasklogs.c.LogId < self.newest_id).limit(batch)
        with self._connection.begin():
            return self._connection.execute(delete(tasklogs).where(tasklogs.c.LogId.in_(ids))).rowcount

    @contextlib.contextmanager
    def _numbering(self) -> Iterator[None]:
        with self._connection.begin():
            self._connection.execute(select(func.pg_advisory_xact_lock(WRITING)))
            yield

    def _prepare(self, url: URL) -> None:
        with self._numbering():
            if not inspect(self._connection).has_table(str(tasklogs.name)):
                metadata.create_all(self._connection)
                comment = f"COMMENT ON TABLE {tasklogs.name} IS 'task logs of ppacer, layout {VERSION}'"
                self._connection.execute(text(comment))
            refuse_newer(layout(self._connection), url.database)

    def _newest(self) -> int:
        return int(
            self._connection.execute(select(func.coalesce(func.max(tasklogs.c.LogId), 0))).scalar_one()
        )

    def _delete_old(self, before: datetime, batch: int) -> int:
        oldest = select(tasklogs.c.LogId, tasklogs.c.InsertTs).order_by(tasklogs.c.LogId).limit(batch)
        window = oldest.subquery()
        old = select(window.c.LogId).where(window.c.InsertTs < before, window.c.LogId < self.newest_id)
        return self._connection.execute(delete(tasklogs).where(tasklogs.c.LogId.in_(old))).rowcount

    def _delete_excess(self, bytes_max: int, batch: int) -> int:
        """In as many calls as a sweep takes: the rows are counted in the first one, which takes a while."""
        if not self._excess:
            self._excess = self._count_excess(bytes_max)
        ids = select(tasklogs.c.LogId).where(tasklogs.c.LogId < self.newest_id).order_by(tasklogs.c.LogId)
        oldest = ids.limit(min(self._excess, batch))
        deleted = self._connection.execute(delete(tasklogs).where(tasklogs.c.LogId.in_(oldest))).rowcount
        self._excess = max(0, self._excess - deleted) if deleted else 0
        return deleted

    def _count_excess(self, bytes_max: int) -> int:
        """The size on the disk does not shrink when rows go, so that of the rows is estimated.

        Their number is not the distance of the numbers at the ends: runs that were deleted have left holes.
        """
        size = func.pg_total_relation_size(func.to_regclass(str(tasklogs.name)))
        if int(self._connection.execute(select(size)).scalar_one() or 0) <= bytes_max:
            return 0
        lowest = self._connection.execute(select(func.min(tasklogs.c.LogId))).scalar() or 0
        allowed = bytes_max // self._bytes_of_a_row()
        if self.newest_id - lowest + 1 <= allowed:  # there cannot be more rows
            return 0
        rows = self._connection.execute(select(count(tasklogs.c.LogId))).scalar_one()
        return max(0, rows - allowed)

    def _bytes_of_a_row(self) -> int:
        newest = select(tasklogs).order_by(tasklogs.c.LogId.desc()).limit(SAMPLE_ROWS).subquery()
        values = func.sum(sum(func.coalesce(func.pg_column_size(column), 0) for column in newest.c))
        total, rows = self._connection.execute(select(values, count(newest.c.LogId))).one()
        return ROW_BYTES + int((total or 0) / max(rows, 1))
