"""The reader of logs.db: pages, tails and counts of one attempt, task or run, in the order of LogId."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, Select, func, select
from sqlalchemy.exc import SQLAlchemyError

from ppacer.choices import LEVELS
from ppacer.clock import to_text
from ppacer.errors import ConfigError, StoreUnavailable
from ppacer.tasklog.connections import (
    Place,
    engine_of,
    explain,
    place_of,
    refuse_newer,
    user_version,
    where,
)
from ppacer.tasklog.records import LogRow, row_of, storable
from ppacer.tasklog.schema import tasklogs

LIMIT_MAX = 10_000
"""Rows of one page."""

TEXT_MAX = 1000
"""Characters of a text to search for."""


class LogReader:
    """Reads beside the writer, also from another process and from many threads.

    Each call opens a file anew: that costs 0.3 ms and always finds the file that is there now. A file that
    does not exist yet has no rows.
    Errors: StoreUnavailable when the file cannot be read, ConfigError for an impossible filter.
    """

    def __init__(self, path_or_url: str | Path) -> None:
        self.place = place_of(path_or_url)
        self._engine = _engine_of(self.place)

    def close(self) -> None:
        """Closes the connections to a server; a file is not kept open."""
        self._engine.dispose()

    def read(
        self,
        dag_id: str,
        exec_ts: datetime,
        task_id: str | None = None,
        retry: int | None = None,
        *,
        after: int = 0,
        limit: int = 1000,
        level: str | None = None,
        text: str | None = None,
    ) -> list[LogRow]:
        """The first `limit` rows (10,000 at most) above LogId `after`: the last one of the page before.

        `task_id` and `retry` narrow to a task and an attempt, `level` to it and graver ones, `text` to the
        messages that contain it, whatever the case of ASCII letters.
        """
        where = _where(dag_id, exec_ts, task_id, retry, level, text)
        statement = select(tasklogs).where(*where, tasklogs.c.LogId > after)
        return self._rows(statement.order_by(tasklogs.c.LogId).limit(_limit(limit)))

    def tail(
        self,
        dag_id: str,
        exec_ts: datetime,
        task_id: str | None = None,
        retry: int | None = None,
        *,
        before: int | None = None,
        after: int = 0,
        limit: int = 100,
        level: str | None = None,
        text: str | None = None,
    ) -> list[LogRow]:
        """The last `limit` rows of what `read` would give, in the order of LogId too.

        `before`: only rows below that LogId, the first one of the page behind.
        """
        where = _where(dag_id, exec_ts, task_id, retry, level, text)
        statement = select(tasklogs).where(*where, tasklogs.c.LogId > after)
        if before is not None:
            statement = statement.where(tasklogs.c.LogId < before)
        return self._rows(statement.order_by(tasklogs.c.LogId.desc()).limit(_limit(limit)))[::-1]

    def back(
        self, dag_id: str, exec_ts: datetime, task_id: str, retry: int, *, before: int | None, rows: int
    ) -> int:
        """The LogId of the row that many rows before the last one; 0 when there are no more than these."""
        where = _where(dag_id, exec_ts, task_id, retry, None, None)
        statement = select(tasklogs.c.LogId).where(*where)
        if before is not None:
            statement = statement.where(tasklogs.c.LogId < before)
        return self._number(statement.order_by(tasklogs.c.LogId.desc()).offset(rows).limit(1))

    def count(
        self, dag_id: str, exec_ts: datetime, task_id: str | None = None, retry: int | None = None
    ) -> int:
        """How many rows the run, task or attempt has."""
        where = _where(dag_id, exec_ts, task_id, retry, None, None)
        return self._number(select(func.count()).select_from(tasklogs).where(*where))

    def bytes(self) -> int | None:
        """What they take on the disk; None when there are none yet."""
        if isinstance(self.place, Path):
            files = (self.place, self.place.with_name(f"{self.place.name}-wal"))
            return sum(file.stat().st_size for file in files if file.exists()) or None
        table = func.to_regclass(str(tasklogs.name))
        rows = self._fetch(select(func.pg_total_relation_size(table)))
        return int(rows[0][0]) if rows else None

    def newest_id(self) -> int:
        """The highest LogId, 0 if there is no row: for followers in a process that has no writer."""
        return self._number(select(func.coalesce(func.max(tasklogs.c.LogId), 0)))

    def _number(self, statement: Select[Any]) -> int:
        rows = self._fetch(statement)
        return int(rows[0][0]) if rows else 0

    def _rows(self, statement: Select[Any]) -> list[LogRow]:
        return [row_of(row) for row in self._fetch(statement)]

    def _fetch(self, statement: Select[Any]) -> Sequence[Sequence[Any]]:
        """The answer; nothing at all from a file that is not there, or has no table yet."""
        if isinstance(self.place, Path) and not self.place.exists():
            return []
        try:
            with self._engine.connect() as connection:
                version = _version(connection)
                refuse_newer(version, where(self.place))
                return connection.execute(statement).all() if version else []
        except SQLAlchemyError as error:
            raise StoreUnavailable(f"task logs cannot be read: {explain(error, self.place)}") from error


def _engine_of(place: Place) -> Engine:
    if isinstance(place, Path):
        return engine_of(place)
    from ppacer.tasklog.server import server_engine

    return server_engine(place)


def _version(connection: Connection) -> int:
    if connection.dialect.name == "sqlite":
        return user_version(connection)
    from ppacer.tasklog.server import layout

    return layout(connection)


def _where(
    dag_id: str,
    exec_ts: datetime,
    task_id: str | None,
    retry: int | None,
    level: str | None,
    text: str | None,
) -> list[ColumnElement[bool]]:
    where = [tasklogs.c.DagId == dag_id, tasklogs.c.ExecTs == to_text(exec_ts)]
    if task_id is not None:
        where.append(tasklogs.c.TaskId == task_id)
    if retry is not None:
        where.append(tasklogs.c.Retry == retry)
    if level is not None:
        where.append(tasklogs.c.Level.in_(_from_level(level)))
    if text:
        where.append(tasklogs.c.Message.icontains(_searchable(text), autoescape=True))
    return where


def _from_level(level: str) -> Sequence[str]:
    if level not in LEVELS:
        raise ConfigError(f"there is no log level {level!r}; choose one of {', '.join(LEVELS)}")
    return LEVELS[LEVELS.index(level) :]


def _searchable(text: str) -> str:
    if len(text) > TEXT_MAX:
        raise ConfigError(f"the text to search for has {len(text)} characters; {TEXT_MAX} are allowed")
    return storable(text)


def _limit(limit: int) -> int:
    if not 1 <= limit <= LIMIT_MAX:
        raise ConfigError(f"a page of logs has 1 to {LIMIT_MAX} rows, not {limit}")
    return limit
