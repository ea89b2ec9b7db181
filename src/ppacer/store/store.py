"""The scheduler's side of the database: applies batches of changes, reads back what memory needs."""

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

import sqlalchemy as sa

from ppacer.clock import to_text
from ppacer.dag import Graph
from ppacer.engine import RUN_FINAL, AttemptRow, Reason, RunRef, RunRow, RunStatus, TaskStatus, Trigger
from ppacer.engine.changes import Change
from ppacer.errors import Deposed, StoreError, StoreUnavailable
from ppacer.store import backfills, database, migrate
from ppacer.store.backfills import BackfillRow
from ppacer.store.batch import Batch
from ppacer.store.hot import Hot, Read, queries, statements
from ppacer.store.leader import fence
from ppacer.store.retention import Old
from ppacer.store.schema import dagruns, dagruntasks, dags, dagversions, executors
from ppacer.store.tokens import TokenRow, every_token

log = logging.getLogger("ppacer.store")

IN_MAX = 500  # values in one IN (…); SQLite allows 32,766 parameters
INTEGER_MAX = 2**31 - 1  # of an INTEGER in PostgreSQL: no id or number of ours is above


class StaleWrite(StoreError):  # noqa: N818 - an outcome, not a fault of the caller
    """A conditional write found another state than memory had: nothing was written, read the rows again."""


class ExecutorRow(NamedTuple):
    """What the scheduler has to know of a row in `executors`."""

    identity: str
    is_gone: bool
    is_drained: bool = False  # somebody has asked for it


class DagRow:
    """What the scheduler keeps in memory of a row in `dags`."""

    __slots__ = (
        "create_at",
        "dag_id",
        "disabled_at",
        "disabled_reason",
        "last_at",
        "next_at",
        "paused_at",
        "since_at",
        "version",
    )

    def __init__(self, row: Any) -> None:
        self.dag_id: str = row.DagId
        self.version: str = row.DagVersion
        self.create_at: datetime = row.CreateTs
        self.since_at: datetime = row.ScheduleSinceAt
        self.last_at: datetime | None = row.LastScheduleAt
        self.next_at: datetime | None = row.NextScheduleAt
        self.paused_at: datetime | None = row.PausedAt
        self.disabled_at: datetime | None = row.DisabledAt
        self.disabled_reason: str | None = row.DisabledReason


class Store:
    """One database, one writer. Every method is one transaction; only the scheduler's thread calls them."""

    def __init__(self, db: str | Any, term: int | None = None) -> None:
        """`term`: that of the leader (see `ppacer.store.leader`), without which nothing can be written."""
        self.is_deposed = False
        self._term = term
        self.url = database.make_url(db)
        self.path = database.sqlite_path(self.url)
        self._engine = database.writer_engine(self.url)
        try:
            with database.in_words(self.url):
                migrate.prepare(self._engine, self.url)
                self._connection = self._engine.connect()
        except BaseException:
            self._engine.dispose()
            raise
        self._file = None if self.path is None else database.identity(self.path)
        dialect = self._engine.dialect
        self._hot = {name: Hot(name, statement, dialect) for name, statement in statements().items()}
        self._reads = {name: Read(query, dialect) for name, query in queries().items()}
        text = lru_cache(maxsize=8192)(to_text)
        self._stamp: Callable[[datetime | None], Any] = (
            (lambda at: None if at is None else text(at)) if self.path is not None else lambda at: at
        )
        self._graphs: dict[tuple[str, str], Graph] = {}

    def close(self) -> None:
        """Closes the connection; on SQLite this also folds the write-ahead log into the file."""
        self._connection.close()
        self._engine.dispose()

    @property
    def write(self) -> AbstractContextManager[sa.Connection]:
        """A context manager: one transaction on the writing connection, errors in words."""
        return self._transaction(self._term)

    @contextmanager
    def _transaction(self, term: int | None) -> Iterator[sa.Connection]:
        with database.in_words(self.url):
            transaction = self._connection.begin()
            try:
                if term is not None:
                    with closing(self._connection.connection.cursor()) as cursor:
                        self._fence(cursor, term)
                yield self._connection
                transaction.commit()
            except BaseException:
                transaction.close()
                self._roll_back()  # after a COMMIT that failed SQLAlchemy takes the transaction for ended
                raise

    def _fence(self, cursor: Any, term: int) -> None:
        try:
            fence(cursor, term)
        except Deposed:
            self.is_deposed = True
            raise

    def _roll_back(self) -> None:
        """A connection that is lost is dropped: the next transaction makes a new one."""
        if self._connection.invalidated:
            return
        try:
            self._connection.connection.rollback()
        except Exception as error:
            if self.path is not None:
                raise
            self._connection.invalidate(error)

    def apply(self, changes: Sequence[Change]) -> None:
        """Writes a batch of changes in one transaction: all of it is durable when this returns.

        Raises StaleWrite when a row was not in the expected state, StoreUnavailable when the database
        refuses for now. After any error the truth is in the rows, not in what was asked for.
        """
        batch = Batch(changes, self._stamp, self._hot)
        with self._by_driver() as cursor:
            if self._term is not None:
                self._fence(cursor, self._term)
            for name, rows in batch.rows.items():
                if rows:
                    touched = self._hot[name].run(cursor, rows)
                    if touched != len(rows):
                        raise StaleWrite(f"{name} touched {touched} rows of {len(rows)}")

    @contextmanager
    def _by_driver(self) -> Iterator[Any]:
        """A cursor of the driver in one transaction: SQLAlchemy's costs 40 µs, as much as to write a task."""
        with database.in_words(self.url):
            driver = self._connection.connection
            cursor = driver.cursor()
            try:
                if self.path is not None:  # other drivers begin by themselves
                    cursor.execute("BEGIN IMMEDIATE")
                yield cursor
                driver.commit()
            except BaseException:
                self._roll_back()
                raise
            finally:
                cursor.close()

    def forget(self, old: Old) -> int:
        """Deletes a slice of the past in one transaction; returns how many rows of its kind it were."""
        with self.write as connection:
            return old.delete(connection)

    def look(self) -> None:
        """Raises StoreUnavailable when the path leads no longer to the open file.

        SQLite would go on to write into a file without a name, which is gone when it is closed. 2 µs.
        """
        if self.path is not None and database.identity(self.path) != self._file:
            raise StoreUnavailable(
                f"{self.path} was removed or replaced while this program had it open, and what is written "
                "now would be lost: stop the program, put the file back (or begin anew without it), start "
                "again"
            )

    def probe(self) -> None:
        """Proves that the database can be written, by a write that changes nothing.

        Raises StoreUnavailable when it cannot: on a full disk everything else works, and reads as well.
        """
        self.look()
        with self.write as connection:
            connection.execute(migrate.REWRITE_STAMP)

    # -- reading back ----------------------------------------------------------------------------------------

    def _rows(self, query: sa.Select[Any]) -> Sequence[Any]:
        with self._transaction(term=None) as connection:
            return connection.execute(query).all()

    def _row(self, name: str, **key: Any) -> Any:
        """The first row that a hot query finds, or None."""
        with self._by_driver() as cursor:
            return self._reads[name].first(cursor, key)

    def dag_rows(self) -> dict[str, DagRow]:
        """The dags that are not removed, by id."""
        return {
            row.DagId: DagRow(row) for row in self._rows(sa.select(dags).where(dags.c.RemovedAt.is_(None)))
        }

    def removed_rooms(self) -> dict[str, int]:
        """The `max_active_runs` of removed dags, by id: their open runs go on within it."""
        rows = self._rows(sa.select(dags.c.DagId, dags.c.Attributes).where(dags.c.RemovedAt.is_not(None)))
        return {row.DagId: json.loads(row.Attributes)["MaxActiveRuns"] for row in rows}

    def executor_rows(self) -> dict[str, ExecutorRow]:
        """Every executor that ever said hello, by name."""
        e = executors.c
        rows = self._rows(sa.select(e.Name, e.Identity, e.GoneAt, e.DrainAskedAt))
        return {
            row.Name: ExecutorRow(row.Identity, row.GoneAt is not None, row.DrainAskedAt is not None)
            for row in rows
        }

    def newest_run_id(self) -> int:
        """The highest RunId ever given, 0 in an empty database."""
        return self._rows(sa.select(sa.func.coalesce(sa.func.max(dagruns.c.RunId), 0)))[0][0]  # type: ignore[no-any-return]  # an integer column

    def open_runs(self) -> Iterator[tuple[RunRow, Graph, list[AttemptRow]]]:
        """Every run that has not ended, with its pinned graph and its attempts by number.

        They come in the order in which they began, or began to wait, so that who waited first goes on first.
        """
        unfinished = dagruns.c.Status.in_([status for status in RunStatus if status not in RUN_FINAL])
        runs = self._rows(
            sa.select(dagruns).where(unfinished).order_by(dagruns.c.StatusUpdateTs, dagruns.c.RunId)
        )
        for at in range(0, len(runs), IN_MAX):
            yield from self._with_attempts(runs[at : at + IN_MAX])

    def run(self, run_id: int) -> tuple[RunRow, Graph, list[AttemptRow]] | None:
        """One run, open or closed; None when there is no such run."""
        if not 0 < run_id <= INTEGER_MAX:
            return None  # no column could hold it, and it comes from outside
        found = self._rows(sa.select(dagruns).where(dagruns.c.RunId == run_id))
        return next(iter(self._with_attempts(found)), None)

    def attempt(self, run_id: int, task_id: str, retry: int) -> AttemptRow | None:
        """One attempt of a run, open or closed; None when there is no such attempt."""
        if not (0 < run_id <= INTEGER_MAX and 0 <= retry <= INTEGER_MAX):
            return None  # no column could hold it, and it comes from outside
        t, r = dagruntasks.c, dagruns.c
        join = dagruntasks.join(dagruns, sa.and_(t.DagId == r.DagId, t.ExecTs == r.ExecTs))
        query = sa.select(dagruntasks).select_from(join).where(r.RunId == run_id, t.TaskId == task_id)
        rows = self._rows(query.where(t.Retry == retry))
        return _attempt_row(rows[0]) if rows else None

    def _with_attempts(self, runs: Sequence[Any]) -> Iterator[tuple[RunRow, Graph, list[AttemptRow]]]:
        t, ids = dagruntasks.c, [row.RunId for row in runs]
        join = dagruntasks.join(dagruns, sa.and_(t.DagId == dagruns.c.DagId, t.ExecTs == dagruns.c.ExecTs))
        columns = (t.TaskId, t.Retry, t.Restart, t.Status, t.InsertTs, t.Reason, t.Token)
        more = (t.Executor, t.LostAt, t.RetryAt, t.ResultBytes)
        query = (
            sa.select(dagruns.c.RunId, *columns, *more)
            .select_from(join)
            .where(dagruns.c.RunId.in_(ids))
            .order_by(dagruns.c.RunId, t.InsertTs, t.TaskId, t.Retry)
        )
        attempts: dict[int, list[AttemptRow]] = {run_id: [] for run_id in ids}
        for row in self._rows(query):
            attempts[row.RunId].append(_attempt_row(row))
        for row in runs:
            rows = sorted(
                attempts[row.RunId], key=lambda attempt: attempt.retry
            )  # stable: oldest first within
            yield _run_row(row), self.graph(row.DagId, row.DagVersion), rows

    def graph(self, dag_id: str, version: str) -> Graph:
        """The graph that runs of this version have pinned."""
        key = (dag_id, version)
        if key not in self._graphs:
            query = sa.select(dagversions.c.Graph)
            query = query.where(dagversions.c.DagId == dag_id, dagversions.c.DagVersion == version)
            rows = self._rows(query)
            if not rows:
                raise StoreError(
                    f"version {version} of dag {dag_id!r} is not in the database; was a row deleted?"
                )
            self.keep_graph(dag_id, version, Graph.from_json(rows[0].Graph))
        return self._graphs[key]

    def keep_graph(self, dag_id: str, version: str, graph: Graph) -> None:
        """Remembers a graph; old ones are dropped, because they can be read again."""
        while len(self._graphs) >= 20_000:
            self._graphs.pop(next(iter(self._graphs)))
        self._graphs[dag_id, version] = graph

    def result(self, ref: RunRef, task_id: str) -> str | None:
        """The JSON text of what a task returned in this run; None when it returned nothing."""
        exec_ts = self._stamp(ref.exec_ts)
        row = self._row("result", k_DagId=ref.dag_id, k_ExecTs=exec_ts, k_TaskId=task_id)
        return None if row is None else str(row[0])

    def reply(self, actor: str, key: str) -> tuple[str, str] | None:
        """Fingerprint and reply of the command for which this caller has used this key before."""
        row = self._row("reply", k_Actor=actor, k_IdempotencyKey=key)
        return None if row is None else (row[0], row[1])

    def token_rows(self) -> list[TokenRow]:
        """Every token ever made, oldest first."""
        return [TokenRow(*row) for row in self._rows(every_token())]

    def open_backfills(self) -> list[BackfillRow]:
        """The backfills that have not ended, oldest first."""
        return [backfills.row_of(row) for row in self._rows(backfills.open_backfills())]

    def newest_backfill_id(self) -> int:
        """The highest BackfillId ever given, 0 when there was none."""
        return int(self._rows(backfills.newest_backfill())[0][0])

    def backfill(self, backfill_id: int) -> BackfillRow | None:
        """One backfill, open or ended; None when there is no such backfill."""
        if not 0 < backfill_id <= INTEGER_MAX:
            return None
        rows = self._rows(backfills.one_backfill(backfill_id))
        return backfills.row_of(rows[0]) if rows else None

    def backfill_points(self, backfill_id: int, position: int, limit: int) -> list[datetime]:
        """Points of a backfill from the one at `position` on, in its order."""
        return [row.ExecTs for row in self._rows(backfills.points_from(backfill_id, position, limit))]

    def without_runs(self, dag_id: str, points: Sequence[datetime]) -> list[datetime]:
        """Those of the points, which ascend, that have no run."""
        with self._transaction(term=None) as connection:
            return backfills.without_runs(connection, dag_id, points)

    def has_run(self, dag_id: str, exec_ts: datetime) -> bool:
        """True when the dag has a run with this execution time."""
        return self._row("has_run", k_DagId=dag_id, k_ExecTs=self._stamp(exec_ts)) is not None


def _run_row(row: Any) -> RunRow:
    return RunRow(
        ref=RunRef(row.RunId, row.DagId, row.ExecTs),
        status=RunStatus(row.Status),
        version=row.DagVersion,
        trigger=Trigger(row.TriggeredBy),
        params=row.Params,
        restart=row.Restarts,
        cancelling=row.CancelRequestedAt is not None,
        backfill_id=row.BackfillId,
    )


def _attempt_row(row: Any) -> AttemptRow:
    return AttemptRow(
        task_id=row.TaskId,
        retry=row.Retry,
        restart=row.Restart,
        status=TaskStatus(row.Status),
        inserted_at=row.InsertTs,
        reason=None if row.Reason is None else Reason(row.Reason),
        token=row.Token,
        executor=row.Executor,
        is_lost=row.LostAt is not None,
        retry_at=row.RetryAt,
        has_result=row.ResultBytes is not None,
    )
