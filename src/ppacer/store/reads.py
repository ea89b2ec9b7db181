"""Read models: what the command line, the API and the pages show, over read-only connections."""

import json
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ppacer.choices import DagState
from ppacer.config import Mask, masked
from ppacer.dag import Graph
from ppacer.dag.values import dumps
from ppacer.engine import RUN_FINAL, RunStatus
from ppacer.errors import NotFoundError, StoreError
from ppacer.store import dag_pages, database
from ppacer.store.attempts import (
    around,
    attempt_view,
    past_runs,
    result_of,
    rows_of,
    source_at,
    source_view,
    task_views,
)
from ppacer.store.audits import AuditSearch, audit_views, find_audit
from ppacer.store.backfills import backfill_views, one_backfill, run_counts, view_of, without_runs
from ppacer.store.dag_lists import dag_rows, next_points
from ppacer.store.executors import executor_views, lost_executors
from ppacer.store.open_runs import KnownNeeds, by_needs, tasks_at
from ppacer.store.recent import error_of, failing, hours, oldest_running, recent_runs
from ppacer.store.run_lists import RunSearch, find_runs, latest_ends, page_of_runs, plain
from ppacer.store.schema import (
    dagrunresults,
    dagruns,
    dags,
    dagtasks,
    dagversions,
    schedules,
)
from ppacer.store.store import INTEGER_MAX
from ppacer.store.tokens import TokenRow, every_token
from ppacer.store.views import (
    PAGE_MAX,
    AuditFound,
    AuditView,
    BackfillDetail,
    BackfillView,
    DagView,
    ExecutorView,
    HourView,
    LostView,
    NextView,
    PastRun,
    PointView,
    ResultView,
    RunDetail,
    RunMark,
    RunsFound,
    RunView,
    SourceView,
    TasksAt,
)

GRAPHS_MAX = 16  # of which a reader remembers the latest: that of 10,000 tasks takes 3 MB, and 20 ms to read


class Reads:
    """Answers questions about what is in the database; safe from any thread, never writes.

    `mask` hides secrets in parameters, which the database has as the tasks need them.
    """

    def __init__(self, db: str | Any, mask: Mask = str) -> None:
        self._mask = mask
        self.url = database.make_url(db)
        path = database.sqlite_path(self.url)
        if path is not None and not path.exists():
            raise StoreError(
                f"there is no database {path}; start a scheduler with `ppacer serve`, or name it with --db"
            )
        self._engine = database.reader_engine(self.url)
        self.dag_pages = dag_pages.DagPages(self._connect)
        self._graphs: dict[tuple[str, str], Graph] = {}
        self._needs = KnownNeeds()

    def close(self) -> None:
        """Closes the connections."""
        self._engine.dispose()

    @contextmanager
    def _connect(self) -> Iterator[sa.Connection]:
        with database.in_words(self.url), self._engine.connect() as connection:
            yield connection

    def executors(self, *, after: str = "", limit: int = 100) -> list[ExecutorView]:
        """Executors in the order of their names, from the first one behind `after`."""
        with self._connect() as connection:
            return executor_views(connection, after, _page(limit))

    def lost_executors(self, since: datetime, *, limit: int = 20) -> list[LostView]:
        """The executors that have gone after an instant without having said so, the latest first."""
        with self._connect() as connection:
            return lost_executors(connection, since, _page(limit))

    # -- backfills -------------------------------------------------------------------------------------------

    def backfills(
        self,
        *,
        dag_id: str | None = None,
        before: int | None = None,
        limit: int = 20,
        is_open: bool = False,
    ) -> list[BackfillView]:
        """Backfills, newest first, from the first one with a number below `before`."""
        with self._connect() as connection:
            return backfill_views(connection, dag_id, before, _page(limit), is_open, self._mask)

    def backfill(self, backfill_id: int) -> BackfillDetail:
        """One backfill with the counts of its runs. Raises NotFoundError."""
        with self._connect() as connection:
            row = connection.execute(one_backfill(backfill_id)).first()
            if row is None:
                raise NotFoundError(f"there is no backfill {backfill_id}; `ppacer backfill list` lists them")
            view = view_of(row, self._mask)
            return BackfillDetail(view, run_counts(connection, view))

    def without_runs(self, dag_id: str, points: Sequence[datetime]) -> list[datetime]:
        """Those of the points, which ascend, that have no run."""
        with self._connect() as connection:
            return without_runs(connection, dag_id, points)

    # -- dags ------------------------------------------------------------------------------------------------

    def dags(
        self,
        *,
        after: str = "",
        limit: int = 100,
        tag: str | None = None,
        removed: bool = False,
        text: str | None = None,
        state: DagState | None = None,
        planned: bool = False,
    ) -> list[DagView]:
        """Dags in order of their ids, from the first one behind `after`; `text`: in the id or in a tag.

        `planned`: only those that have a schedule.
        """
        asked: dict[str, Any] = {"tag": tag, "removed": removed, "text": text, "state": state}
        with self._connect() as connection:
            rows = dag_rows(connection, after=after, limit=_page(limit), planned=planned, **asked)
            return _with_runs(connection, rows, self._mask)

    def disabled(self, *, limit: int = 20) -> list[DagView]:
        """Dags whose schedule failed, in the order of their ids."""
        return self.dags(limit=limit, state=DagState.DISABLED)

    def next_points(self, until: datetime, *, limit: int = 100) -> list[NextView]:
        """The next point of each dag that has one until then and may run, soonest first."""
        with self._connect() as connection:
            return next_points(connection, until, _page(limit))

    def dag(self, dag_id: str) -> DagView:
        """One dag, also a removed one. Raises NotFoundError."""
        with self._connect() as connection:
            rows = connection.execute(sa.select(dags).where(dags.c.DagId == dag_id)).all()
            if not rows:
                raise NotFoundError(f"there is no dag {dag_id!r}; `ppacer dags` lists them")
            return _with_runs(connection, rows, self._mask)[0]

    def dags_of(self, dag_ids: Collection[str]) -> dict[str, DagView]:
        """Those of these dags that there are, also removed ones."""
        query = sa.select(dags).where(dags.c.DagId.in_(sorted(dag_ids)[:PAGE_MAX]))
        with self._connect() as connection:
            rows = connection.execute(query).all() if dag_ids else []
            return {dag.dag_id: dag for dag in _with_runs(connection, rows, self._mask)}

    def schedules_of(self, dag_ids: Collection[str]) -> dict[str, str | None]:
        """The schedules of those of these dags that there are."""
        query = sa.select(dags.c.DagId, dags.c.Schedule).where(dags.c.DagId.in_(sorted(dag_ids)[:PAGE_MAX]))
        with self._connect() as connection:
            return {row[0]: row[1] for row in connection.execute(query)}

    def points(self, dag_id: str, *, before: datetime | None = None, limit: int = 20) -> list[PointView]:
        """What became of the latest schedule points of a dag before that time, newest first."""
        s = schedules.c
        query = (
            sa.select(schedules).where(s.DagId == dag_id).order_by(s.ScheduleTs.desc()).limit(_page(limit))
        )
        if before is not None:
            query = query.where(s.ScheduleTs < before)
        with self._connect() as connection:
            rows = connection.execute(query)
            return [PointView(row.Event, row.ScheduleTs, row.NextScheduleTs, row.InsertTs) for row in rows]

    def sources(self, dag_id: str, task_id: str) -> list[SourceView]:
        """Every version of a task's source, newest first."""
        t = dagtasks.c
        query = sa.select(dagtasks).where(t.DagId == dag_id, t.TaskId == task_id).order_by(t.Revision.desc())
        with self._connect() as connection:
            return [source_view(row) for row in connection.execute(query.limit(PAGE_MAX))]

    # -- access ----------------------------------------------------------------------------------------------

    def tokens(self) -> list[TokenRow]:
        """Every access token ever made, oldest first."""
        with self._connect() as connection:
            return [TokenRow(*row) for row in connection.execute(every_token())]

    def audit(
        self,
        *,
        dag_id: str | None = None,
        run_id: int | None = None,
        actor: str | None = None,
        command: str | None = None,
        refused: bool | None = None,
        before: int | None = None,
        limit: int = 20,
    ) -> list[AuditView]:
        """What was asked for, newest first, from the first row with a number below `before`."""
        search = AuditSearch(dag_id, run_id, actor, command, refused, before)
        with self._connect() as connection:
            return audit_views(connection, search, _page(limit), self._mask)

    def find_audit(self, search: AuditSearch, *, limit: int = 50) -> AuditFound:
        """A page of it, by looking at so many rows at most."""
        with self._connect() as connection:
            return find_audit(connection, search, _page(limit), self._mask)

    # -- runs ------------------------------------------------------------------------------------------------

    def runs(
        self,
        *,
        dag_id: str | None = None,
        status: Sequence[str] = (),
        before: int | None = None,
        limit: int = 20,
    ) -> list[RunView]:
        """Runs, newest first, from the first one with a number below `before`."""
        query = page_of_runs(dag_id, status, before, _page(limit))
        with self._connect() as connection:
            return [_run(row, self._mask) for row in connection.execute(query)]

    def latest_ends(self, *, limit: int = 20) -> list[RunView]:
        """The runs that ended last, the latest first."""
        with self._connect() as connection:
            return [_run(row, self._mask) for row in connection.execute(latest_ends(_page(limit)))]

    def find_runs(self, search: RunSearch, now: datetime, *, limit: int = 50) -> RunsFound:
        """A page of runs as they are searched for, newest or slowest first."""
        with self._connect() as connection:
            found = find_runs(connection, search, now, _page(limit))
        runs = [_run(row, self._mask) for row in found.rows]
        if search.text:  # a secret is not found by trying: what is hidden does not count
            runs = [run for run in runs if _is_seen(search.text, run)]
        return RunsFound(runs, found.before, found.looked)

    def recent_runs(
        self, dag_ids: Sequence[str], count: int, since: datetime | None = None
    ) -> dict[str, list[RunMark]]:
        """The newest `count` runs at most of each of these dags created since then, oldest first."""
        found: dict[str, list[RunMark]] = {dag_id: [] for dag_id in dag_ids}
        with self._connect() as connection:
            for dag_id, *mark in recent_runs(connection, dag_ids, count, since):
                found[dag_id].append(RunMark(*mark))
        return found

    def failing(self, *, limit: int = 20) -> list[RunView]:
        """The last run that has ended of each dag where that failed, the latest end first."""
        with self._connect() as connection:
            return [_run(row, self._mask) for row in failing(connection, _page(limit))]

    def oldest_running(self, *, limit: int = 20) -> list[RunView]:
        """The runs that have been running longest, oldest first."""
        with self._connect() as connection:
            return [_run(row, self._mask) for row in oldest_running(connection, _page(limit))]

    def errors_of(self, runs: Sequence[RunView]) -> dict[int, tuple[str, str]]:
        """By the numbers of runs that failed: the task that did so last, and its error."""
        with self._connect() as connection:
            found = {run.run_id: error_of(connection, run.dag_id, run.exec_ts) for run in runs}
        return {run_id: error for run_id, error in found.items() if error is not None}

    def hours(self, since: datetime, count: int) -> list[HourView]:
        """How many runs were created hour by hour, and what became of them."""
        with self._connect() as connection:
            return hours(connection, since, count)

    def runs_at(self, dag_id: str, times: Sequence[datetime]) -> list[RunView]:
        """The runs of a dag with these execution times."""
        r = dagruns.c
        query = sa.select(dagruns).where(r.DagId == dag_id, r.ExecTs.in_(times))
        with self._connect() as connection:
            return [_run(row, self._mask) for row in connection.execute(query)]

    def run(self, run_id: int) -> RunView:
        """One run without its tasks. Raises NotFoundError."""
        with self._connect() as connection:
            return _run(_find_run(connection, run_id), self._mask)

    def runs_of(self, run_ids: Sequence[int]) -> list[RunView]:
        """Those of these runs that there are, newest first."""
        r, possible = dagruns.c, [run_id for run_id in run_ids if run_id <= INTEGER_MAX]
        query = sa.select(dagruns).where(r.RunId.in_(possible)).order_by(r.RunId.desc()).limit(PAGE_MAX)
        with self._connect() as connection:
            return [_run(row, self._mask) for row in connection.execute(query)]

    def tasks_at(self, run_ids: Sequence[int]) -> dict[int, list[TasksAt]]:
        """What the tasks of open runs are at, by run; nothing of a run that none has begun of."""
        with self._connect() as connection:
            return by_needs(connection, tasks_at(connection, run_ids), self._needs) if run_ids else {}

    def run_detail(self, run_id: int) -> RunDetail:
        """One run with every task and attempt. Raises NotFoundError."""
        with self._connect() as connection:
            row = _find_run(connection, run_id)
            attempts = rows_of(connection, row)
            tasks = task_views(self._graph(connection, row.DagId, row.DagVersion), attempts, row.Restarts)
        return RunDetail(_run(row, self._mask), tasks, [attempt_view(attempt) for attempt in attempts])

    def task_detail(self, run_id: int, task_id: str) -> RunDetail:
        """One run with the attempts of a task, and of its tasks those that say why this one is where it is.

        Raises NotFoundError.
        """
        with self._connect() as connection:
            row = _find_run(connection, run_id)
            graph = self._graph(connection, row.DagId, row.DagVersion)
            if task_id not in graph.index:
                raise NotFoundError(f"run {run_id} of {row.DagId} has no task {task_id!r}")
            return RunDetail(_run(row, self._mask), *around(connection, row, graph, task_id))

    def graph(self, dag_id: str, version: str) -> Graph:
        """The graph of a version of a dag."""
        with self._connect() as connection:
            return self._graph(connection, dag_id, version)

    def _graph(self, connection: sa.Connection, dag_id: str, version: str) -> Graph:
        """The graph with which a run began. A version never changes, so a few are kept."""
        key, v = (dag_id, version), dagversions.c
        if (graph := self._graphs.get(key)) is None:
            query = sa.select(v.Graph).where(v.DagId == dag_id, v.DagVersion == version)
            graph = Graph.from_json(connection.execute(query).scalar_one())
            kept = [*self._graphs.items()][1 - GRAPHS_MAX :]
            self._graphs = dict([*kept, (key, graph)])  # replaced, never changed: by many threads
        return graph

    def past_runs(self, run_id: int, task_ids: Sequence[str], *, count: int) -> list[PastRun]:
        """How long these tasks took in the last `count` ended runs of the same dag, oldest first."""
        with self._connect() as connection:
            return past_runs(connection, _find_run(connection, run_id), task_ids, count)

    def result_of(self, run_id: int, task_id: str, retry: int, *, chars_max: int) -> ResultView | None:
        """The first characters of what an attempt returned; None when it returned nothing."""
        with self._connect() as connection:
            return result_of(connection, _find_run(connection, run_id), task_id, retry, chars_max)

    def source_at(
        self, dag_id: str, task_id: str, at: datetime, *, body_hash: str | None = None
    ) -> SourceView | None:
        """The source of a task as it was at that time; None when none of its versions has that hash."""
        with self._connect() as connection:
            return source_at(connection, dag_id, task_id, at, body_hash)

    def result(self, run_id: int, task_id: str) -> str | None:
        """The JSON text of what a task returned in a run; None when it returned nothing."""
        r = dagrunresults.c
        with self._connect() as connection:
            row = _find_run(connection, run_id)
            query = sa.select(r.Result).where(
                r.DagId == row.DagId, r.ExecTs == row.ExecTs, r.TaskId == task_id
            )
            text: str | None = connection.execute(query.order_by(r.Retry.desc()).limit(1)).scalar()
            return text

    def results(self, run_id: int) -> dict[str, str]:
        """The JSON texts of everything that the tasks of a run have returned, by task."""
        r = dagrunresults.c
        with self._connect() as connection:
            row = _find_run(connection, run_id)
            mine = (r.DagId == row.DagId, r.ExecTs == row.ExecTs)
            query = sa.select(r.TaskId, r.Result).where(*mine).order_by(r.Retry)
            return {row.TaskId: row.Result for row in connection.execute(query)}


def _is_seen(text: str, run: RunView) -> bool:
    wanted = text.casefold()
    return wanted in run.dag_id.casefold() or (bool(run.params) and wanted in dumps(run.params).casefold())


def _page(limit: int) -> int:
    return max(1, min(limit, PAGE_MAX))


def _find_run(connection: sa.Connection, run_id: int) -> Any:
    row = connection.execute(sa.select(dagruns).where(dagruns.c.RunId == run_id)).first()
    if row is None:
        raise NotFoundError(f"there is no run {run_id}; `ppacer runs` lists them")
    return row


def _run(row: Any, mask: Mask) -> RunView:
    return RunView(
        run_id=row.RunId,
        dag_id=row.DagId,
        exec_ts=row.ExecTs,
        status=row.Status,
        trigger=row.TriggeredBy,
        version=row.DagVersion,
        restarts=row.Restarts,
        inserted_at=row.InsertTs,
        started_at=row.StartedAt,
        ended_at=row.EndedAt,
        cancel_requested_at=row.CancelRequestedAt,
        params=masked(json.loads(row.Params), mask) if row.Params else {},
        backfill_id=row.BackfillId,
    )


def _with_runs(connection: sa.Connection, rows: Sequence[Any], mask: Mask) -> list[DagView]:
    """The dags with their newest run and the number of open ones; two more queries for a whole page."""
    ids, r = [row.DagId for row in rows], dagruns.c
    if not ids:
        return []
    # Not MAX with GROUP BY, which would read every run of these dags.
    last = sa.select(r.RunId).where(r.DagId == dags.c.DagId).order_by(r.RunId.desc()).limit(1)
    newest = sa.select(last.scalar_subquery()).where(dags.c.DagId.in_(ids))
    runs = connection.execute(sa.select(dagruns).where(r.RunId.in_(newest)))
    latest = {row.DagId: _run(row, mask) for row in runs}
    unfinished = [status for status in RunStatus if status not in RUN_FINAL]
    counts = sa.select(r.DagId, r.Status, sa.func.count().label("n"))
    counts = counts.where(r.Status.in_(unfinished), plain(r.DagId).in_(ids)).group_by(r.DagId, r.Status)
    open_runs: Counter[tuple[str, str]] = Counter()
    for row in connection.execute(counts):
        open_runs[row.DagId, row.Status] = row.n
    return [_dag(row, latest.get(row.DagId), open_runs, mask) for row in rows]


def _dag(row: Any, latest: RunView | None, open_runs: Counter[tuple[str, str]], mask: Mask) -> DagView:
    attributes = json.loads(row.Attributes)
    return DagView(
        dag_id=row.DagId,
        schedule=row.Schedule,
        tags=attributes["Tags"],
        next_at=row.NextScheduleAt,
        paused_at=row.PausedAt,
        disabled_reason=row.DisabledReason,
        removed_at=row.RemovedAt,
        version=row.DagVersion,
        catch_up=attributes["CatchUp"],
        max_active_runs=attributes["MaxActiveRuns"],
        params_schema=masked(attributes["Params"], mask),
        running=open_runs[row.DagId, RunStatus.RUNNING],
        waiting=open_runs[row.DagId, RunStatus.SCHEDULED],
        latest=latest,
    )
