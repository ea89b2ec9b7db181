"""Attempts as people look at them: of a run, of a task, what they returned, how long they took before.

Walks along the primary key (dag, run, task, attempt): a million rows of other runs cost nothing.
"""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from ppacer.dag import Graph
from ppacer.engine import RunStatus, TaskStatus
from ppacer.store.schema import dagrunresults, dagruns, dagruntasks, dagtasks
from ppacer.store.views import AttemptView, PastRun, ResultView, SourceView, TaskView

IDS_MAX = 500  # tasks that are looked up one by one; beyond, all rows of the run are read


def rows_of(connection: sa.Connection, run: Any, task_ids: Iterable[str] | None = None) -> Sequence[Any]:
    """The attempts of a run, or of these tasks of it, in order of time."""
    t = dagruntasks.c
    query = sa.select(dagruntasks).where(t.DagId == run.DagId, t.ExecTs == run.ExecTs)
    ids = None if task_ids is None else list(task_ids)
    if ids is not None and len(ids) <= IDS_MAX:
        query = query.where(t.TaskId.in_(ids))
    return connection.execute(query.order_by(t.InsertTs, t.TaskId, t.Retry)).all()


def around(
    connection: sa.Connection, run: Any, graph: Graph, task_id: str
) -> tuple[list[TaskView], list[AttemptView]]:
    """A task with those that say why it is where it is, and its attempts.

    These are its parents; of one that was not started because others failed all tasks before it, too.
    """
    position = graph.index[task_id]
    wanted = {position, *graph.tasks[position].parents}
    rows = rows_of(connection, run, [graph.tasks[at].id for at in wanted])
    mine = [row for row in rows if row.TaskId == task_id]
    if any(row.Status == TaskStatus.UPSTREAM_FAILED for row in mine):
        wanted = _ancestors(graph, position)
        rows = rows_of(connection, run, [graph.tasks[at].id for at in wanted])
    tasks = task_views(graph, rows, run.Restarts, sorted(wanted))
    return tasks, [attempt_view(row) for row in mine]


def _ancestors(graph: Graph, position: int) -> set[int]:
    """The positions of a task and of all before it."""
    found, todo = {position}, [position]
    for at in todo:  # grows while it is walked
        fresh = [parent for parent in graph.tasks[at].parents if parent not in found]
        found.update(fresh)
        todo += fresh
    return found


def result_of(
    connection: sa.Connection, run: Any, task_id: str, retry: int, chars_max: int
) -> ResultView | None:
    """The beginning of what an attempt returned, as JSON; None when it returned nothing."""
    r = dagrunresults.c
    mine = (r.DagId == run.DagId, r.ExecTs == run.ExecTs, r.TaskId == task_id, r.Retry == retry)
    query = sa.select(sa.func.substr(r.Result, 1, chars_max), sa.func.length(r.Result)).where(*mine)
    row = connection.execute(query).first()
    return None if row is None else ResultView(row[0], is_whole=row[1] <= chars_max)


def source_at(
    connection: sa.Connection, dag_id: str, task_id: str, at: Any, body_hash: str | None = None
) -> SourceView | None:
    """The source of a task as it was at that time; the oldest one when it is not known that far back.

    `body_hash`: only of versions with this code, of which there are several when its configuration changed.
    """
    t = dagtasks.c
    query = sa.select(dagtasks).where(t.DagId == dag_id, t.TaskId == task_id)
    if body_hash is not None:
        query = query.where(t.TaskBodyHash == body_hash)
    then = query.where(t.InsertTs <= at).order_by(t.Revision.desc()).limit(1)
    row = connection.execute(then).first() or connection.execute(query.order_by(t.Revision).limit(1)).first()
    return None if row is None else source_view(row)


def source_view(row: Any) -> SourceView:
    """The read model of a row of `dagtasks`."""
    facts = (row.TaskId, row.Revision, bool(row.IsCurrent), row.InsertTs, row.TaskTypeName)
    return SourceView(*facts, row.TaskBodySource, row.TaskBodyHash)


def past_runs(connection: sa.Connection, run: Any, task_ids: Sequence[str], count: int) -> list[PastRun]:
    """How long these tasks took in the last runs that ended before it, where they succeeded; oldest first."""
    r, t = dagruns.c, dagruntasks.c
    ended = sa.select(dagruns).where(r.DagId == run.DagId, r.RunId < run.RunId, r.EndedAt.is_not(None))
    before = connection.execute(ended.order_by(r.RunId.desc()).limit(count)).all()[::-1]
    found = {row.ExecTs: PastRun(row.RunId, _span(row), {}) for row in before}
    query = sa.select(t.ExecTs, t.TaskId, t.StartedAt, t.EndedAt).where(
        t.DagId == run.DagId, t.ExecTs.in_(list(found)), t.TaskId.in_(task_ids),
        t.Status == TaskStatus.SUCCESS, t.StartedAt.is_not(None),
    )  # fmt: skip
    for row in connection.execute(query) if found and task_ids else ():
        found[row.ExecTs].took[row.TaskId] = row.EndedAt - row.StartedAt
    return list(found.values())


def _span(run: Any) -> timedelta | None:
    """How long a run took that needed no restart, whose pauses would count."""
    if run.Status != RunStatus.SUCCESS or run.Restarts or run.StartedAt is None:
        return None
    span: timedelta = run.EndedAt - run.StartedAt
    return span


def attempt_view(row: Any) -> AttemptView:
    """The read model of a row of `dagruntasks`."""
    return AttemptView(
        task_id=row.TaskId,
        retry=row.Retry,
        restart=row.Restart,
        status=row.Status,
        reason=row.Reason,
        error=row.Error,
        executor=row.Executor,
        inserted_at=row.InsertTs,
        started_at=row.StartedAt,
        ended_at=row.EndedAt,
        retry_at=row.RetryAt,
        result_bytes=row.ResultBytes,
        peak_memory=row.PeakMemory,
        body_hash=row.TaskBodyHash,
        cpu_seconds=row.CpuSeconds,
    )


def task_views(
    graph: Graph, attempts: Sequence[Any], restarts: int, positions: Iterable[int] | None = None
) -> list[TaskView]:
    """Each task with its latest attempt; of those before a restart only the successful ones count.

    `positions`: of some tasks only, and then the same of their parents.
    """
    latest: dict[str, Any] = {}
    for row in attempts:
        if row.TaskId not in latest or row.Retry > latest[row.TaskId].Retry:
            latest[row.TaskId] = row
    shown = range(len(graph)) if positions is None else positions
    return [_task(graph, position, latest.get(graph.tasks[position].id), restarts) for position in shown]


def _task(graph: Graph, position: int, row: Any, restarts: int) -> TaskView:
    spec = graph.tasks[position]
    parents = [graph.tasks[parent].id for parent in spec.parents]
    needs: dict[str, Any] = {"labels": list(spec.labels), "runner": spec.runner}
    if row is None or (row.Restart < restarts and row.Status != TaskStatus.SUCCESS):
        retry = -1 if row is None else row.Retry
        return TaskView(spec.id, parents, TaskStatus.NO_STATUS, retry, spec.retries, **needs)
    return TaskView(
        task_id=spec.id,
        parents=parents,
        status=row.Status,
        retry=row.Retry,
        retries=spec.retries,
        reason=row.Reason,
        error=row.Error,
        executor=row.Executor,
        inserted_at=row.InsertTs,
        started_at=row.StartedAt,
        ended_at=row.EndedAt,
        retry_at=row.RetryAt,
        lost_at=row.LostAt,
        **needs,
    )
