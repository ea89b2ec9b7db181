"""The file as its writer sees it: append, prune, forget, nothing else."""

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

from sqlalchemy import delete, func, inspect, select

from ppacer.clock import to_text
from ppacer.errors import StoreError
from ppacer.tasklog.connections import engine_of, refuse_newer, user_version
from ppacer.tasklog.records import Stored
from ppacer.tasklog.schema import VERSION, inserts, metadata, tasklogs

VACUUM_PAGES = 1000
"""Pages given back to the file system per call of `prune`, when more than a quarter of the file is free."""


class LogFile:
    """The one connection that writes; opening it makes the file, its table and its stamp where missing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with contextlib.ExitStack() as undo:
            self._connection = engine_of(path, writer=True).connect()
            undo.callback(self._connection.close)
            self._prepare()
            self.newest_id = self._newest()
            self._file = _identity(path)
            undo.pop_all()

    def close(self) -> None:
        """Close without raising: what was not committed is rolled back by SQLite."""
        with contextlib.suppress(Exception):
            self._connection.close()

    def is_current(self) -> bool:
        """Whether the path still leads to the file that is open: somebody may have moved or removed it."""
        return self._file == _identity(self.path)

    def append(self, rows: Sequence[Stored]) -> int:
        """Commit the rows in one transaction and return the LogId of the first; the others follow it."""
        try:
            return self._append(rows)
        except sqlite3.IntegrityError:  # somebody else appended in between
            self.newest_id = max(self.newest_id, self._newest())
            return self._append(rows)

    def prune(self, before: datetime | None, bytes_max: int | None, batch: int) -> int:
        """Delete at most about `batch` of the oldest rows, and return how many it were.

        Among the `batch` rows with the lowest LogId those logged before `before`; then, while the rows take
        more than `bytes_max`, the lowest whatever their time. The newest row always stays, so that no LogId
        comes twice.
        """
        with self._deleting():
            deleted = self._delete_old(before, batch) if before is not None else 0
            if bytes_max is not None and deleted < batch:
                deleted += self._delete_excess(bytes_max, batch - deleted)
        return deleted

    def forget(self, dag_id: str, exec_tss: Sequence[datetime], batch: int) -> int:
        """Delete at most `batch` rows of these runs, and return how many it were; the newest row stays."""
        mine = (tasklogs.c.DagId == dag_id, tasklogs.c.ExecTs.in_([to_text(at) for at in exec_tss]))
        ids = select(tasklogs.c.LogId).where(*mine, tasklogs.c.LogId < self.newest_id).limit(batch)
        with self._deleting():
            return self._connection.execute(delete(tasklogs).where(tasklogs.c.LogId.in_(ids))).rowcount

    @contextlib.contextmanager
    def _deleting(self) -> Iterator[None]:
        """One transaction; afterwards, when very much of the file is free, some of it is given back."""
        with self._connection.begin():
            yield
            free = self._pragma("freelist_count")
            too_much = free > VACUUM_PAGES and free * 4 > self._pragma("page_count")
        if too_much:  # else what comes next uses the free pages again
            self._shrink()

    def _append(self, rows: Sequence[Stored]) -> int:
        first = self.newest_id + 1
        with self._connection.begin():
            cursor = self._connection.connection.cursor()
            for sql, values in inserts(rows, first):
                cursor.execute(sql, values)
            cursor.close()
        self.newest_id += len(rows)
        return first

    def _newest(self) -> int:
        with self._connection.begin():
            newest = select(func.coalesce(func.max(tasklogs.c.LogId), 0))
            return int(self._connection.execute(newest).scalar_one())

    def _prepare(self) -> None:
        with self._connection.begin():
            version = user_version(self._connection)
            if version == 0:
                if inspect(self._connection).has_table(tasklogs.name):
                    raise StoreError(f"{self.path} holds task logs of another program; move it away")
                metadata.create_all(self._connection)
                self._connection.exec_driver_sql(f"PRAGMA user_version = {VERSION}")
        refuse_newer(version, self.path)

    def _delete_old(self, before: datetime, batch: int) -> int:
        window = select(tasklogs.c.LogId).order_by(tasklogs.c.LogId).limit(1).offset(batch - 1)
        statement = delete(tasklogs).where(
            tasklogs.c.LogId <= func.coalesce(window.scalar_subquery(), self.newest_id),
            tasklogs.c.LogId < self.newest_id,
            tasklogs.c.InsertTs < to_text(before),
        )
        return self._connection.execute(statement).rowcount

    def _delete_excess(self, bytes_max: int, batch: int) -> int:
        used = self._used_bytes()
        if used <= bytes_max:
            return 0
        lowest = self._connection.execute(select(func.min(tasklogs.c.LogId))).scalar() or 0
        # As if all rows were of one size; the next call corrects it. At least one, so that the calls end.
        excess = int((self.newest_id - lowest) * (1 - bytes_max / used)) + 1
        end = min(lowest + min(excess, batch), self.newest_id)
        statement = delete(tasklogs).where(tasklogs.c.LogId < end)
        return self._connection.execute(statement).rowcount

    def _used_bytes(self) -> int:
        return (self._pragma("page_count") - self._pragma("freelist_count")) * self._pragma("page_size")

    def _shrink(self) -> None:
        """Give some pages back. Each is a row without columns, so only `executescript` goes to the end."""
        cursor = self._connection.connection.cursor()
        cursor.executescript(f"PRAGMA incremental_vacuum({VACUUM_PAGES})")
        cursor.close()

    def _pragma(self, name: str) -> int:
        return int(self._connection.exec_driver_sql(f"PRAGMA {name}").scalar_one())


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
