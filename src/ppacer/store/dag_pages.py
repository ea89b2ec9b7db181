"""What the pages of one dag ask for: a grid of tasks and runs, and the versions of the dag and its tasks.

Every question is about the runs and tasks that are shown; none is answered by counting what is not.
"""

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import sqlalchemy as sa

from ppacer.dag import Graph
from ppacer.engine import TaskStatus
from ppacer.store.schema import dagruntasks, dagtasks, dagversions
from ppacer.store.views import CellView, ConfigView, RunView, TaskView, VersionView

TASKS_MAX = 10_000  # for one answer
CHANGES_MAX = 8  # tasks that are named of those that a version has changed


Cells = dict[tuple[int, str], CellView]  # by run and task


class DagPages:
    """The questions, over connections that only read."""

    def __init__(self, connect: Callable[[], AbstractContextManager[sa.Connection]]) -> None:
        self._connect = connect

    def cells(self, runs: Sequence[RunView], task_ids: Sequence[str] | None = None) -> Cells:
        """The latest attempt of tasks (None: of all) in runs of one dag."""
        with self._connect() as connection:
            return _cells(connection, runs, task_ids) if runs else {}

    def errors(self, run: RunView, task_ids: Sequence[str]) -> dict[str, str]:
        """The errors of the latest attempts of tasks in a run, where they have one."""
        with self._connect() as connection:
            return _errors(connection, run, task_ids) if task_ids else {}

    def configs(
        self, dag_id: str, *, after: tuple[int, int] | None = None, limit: int = 100
    ) -> list[ConfigView]:
        """The current tasks of a dag layer by layer, from the first behind that place on."""
        with self._connect() as connection:
            return _configs(connection, dag_id, after, limit)

    def task_ids(self, dag_id: str) -> list[str]:
        """The tasks that a dag has now, layer by layer."""
        with self._connect() as connection:
            return _task_ids(connection, dag_id)

    def versions(self, dag_id: str, *, limit: int = 20) -> list[VersionView]:
        """The versions of a dag that are kept, newest first."""
        with self._connect() as connection:
            return _versions(connection, dag_id, limit)


def _cells(connection: sa.Connection, runs: Sequence[RunView], task_ids: Sequence[str] | None) -> Cells:
    """Of attempts before a restart only the successful ones count."""
    t = dagruntasks.c
    by_time = {run.exec_ts: run for run in runs}
    columns = (t.ExecTs, t.TaskId, t.Retry, t.Status, t.Restart, t.StartedAt, t.EndedAt)
    query = sa.select(*columns).where(t.DagId == runs[0].dag_id, t.ExecTs.in_(by_time)).order_by(t.Retry)
    if task_ids is not None:
        query = query.where(t.TaskId.in_(task_ids))
    found: Cells = {}
    for exec_ts, task_id, retry, status, restart, started_at, ended_at in connection.execute(query):
        run = by_time[exec_ts]
        counts = restart >= run.restarts or status == TaskStatus.SUCCESS
        shown = (status, started_at, ended_at) if counts else (TaskStatus.NO_STATUS, None, None)
        found[run.run_id, task_id] = CellView(retry, *shown)
    return found


def _errors(connection: sa.Connection, run: RunView, task_ids: Sequence[str]) -> dict[str, str]:
    """Why the latest attempts of these tasks have failed, where they have."""
    t = dagruntasks.c
    query = sa.select(t.TaskId, t.Error).where(
        t.DagId == run.dag_id, t.ExecTs == run.exec_ts, t.TaskId.in_(task_ids), t.Error.is_not(None)
    )
    return dict(tuple(row) for row in connection.execute(query.order_by(t.Retry)))


def tasks_of(graph: Graph, run: RunView | None, found: Cells) -> list[TaskView]:
    """The tasks of a graph in topological order, with what became of them in a run."""
    none = CellView(-1, TaskStatus.NO_STATUS, None, None)
    tasks = []
    for spec in graph.tasks:
        cell = none if run is None else found.get((run.run_id, spec.id), none)
        tasks.append(
            TaskView(
                spec.id,
                [graph.tasks[parent].id for parent in spec.parents],
                cell.status,
                cell.retry,
                spec.retries,
                started_at=cell.started_at,
                ended_at=cell.ended_at,
            )
        )
    return tasks


def _configs(
    connection: sa.Connection, dag_id: str, after: tuple[int, int] | None, limit: int
) -> list[ConfigView]:
    """The current tasks of a dag with their configuration, in the order of the graph's layers."""
    t = dagtasks.c
    columns = (t.TaskId, t.TaskTypeName, t.TaskConfig, t.Revision, t.InsertTs, t.PosDepth, t.PosWidth)
    query = sa.select(*columns).where(t.DagId == dag_id, t.IsCurrent == 1)
    if after is not None:
        depth, width = after
        query = query.where(sa.or_(t.PosDepth > depth, sa.and_(t.PosDepth == depth, t.PosWidth > width)))
    query = query.order_by(t.PosDepth, t.PosWidth, t.TaskId).limit(limit)
    return [
        ConfigView(row[0], row[1], json.loads(row[2]), row[3], row[4], (row[5], row[6]))
        for row in connection.execute(query)
    ]


def _task_ids(connection: sa.Connection, dag_id: str) -> list[str]:
    """The tasks that a dag has now, in the order of the graph's layers."""
    t = dagtasks.c
    query = sa.select(t.TaskId).where(t.DagId == dag_id, t.IsCurrent == 1)
    query = query.order_by(t.PosDepth, t.PosWidth, t.TaskId).limit(TASKS_MAX)
    return [*connection.execute(query).scalars()]


def _versions(connection: sa.Connection, dag_id: str, limit: int) -> list[VersionView]:
    """The versions of a dag that are kept, newest first, each with the tasks that it has changed."""
    v = dagversions.c
    query = sa.select(v.DagVersion, v.InsertTs).where(v.DagId == dag_id)
    kept = connection.execute(query.order_by(v.InsertTs.desc()).limit(limit)).all()
    changed: dict[str, list[tuple[str, int]]] = {version: [] for version, _ in kept}
    counts: dict[str, int] = {}
    for version, task_id, revision, count in connection.execute(_changes(dag_id, [*changed])):
        changed[version].append((task_id, revision))
        counts[version] = count
    return [VersionView(version, at, changed[version], counts.get(version, 0)) for version, at in kept]


def _changes(dag_id: str, versions: Sequence[str]) -> sa.Select[Any]:
    """Of the tasks that each of these versions has changed the first ones, and how many there are."""
    t = dagtasks.c
    place = sa.func.row_number().over(partition_by=t.DagVersion, order_by=(t.TaskId, t.Revision))
    count = sa.func.count().over(partition_by=t.DagVersion)
    ranked = (
        sa.select(t.DagVersion, t.TaskId, t.Revision, count.label("Count"), place.label("Place"))
        .where(t.DagId == dag_id, t.DagVersion.in_(versions))
        .subquery()
    )
    r = ranked.c
    query = sa.select(r.DagVersion, r.TaskId, r.Revision, r.Count).where(r.Place <= CHANGES_MAX)
    return query.order_by(r.DagVersion, r.Place)
