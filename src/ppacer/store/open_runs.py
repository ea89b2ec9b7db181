"""What the open runs of a page are at: one question for all of them, answered in a line for each state.

It looks at a bounded number of attempts: of a page full of huge runs, the oldest ones stay without an answer.
"""

from collections.abc import Iterable, Mapping, Sequence

import msgspec
import sqlalchemy as sa

from ppacer.engine import TaskStatus
from ppacer.store.schema import dagruns, dagruntasks, dagversions
from ppacer.store.views import LOST, TasksAt

LOOKED_MAX = 20_000  # attempts: some 30 ms
VERSIONS_MAX = 1_000  # of dags, of which a reader remembers what their tasks need: nothing, for the most part

Version = tuple[str, str]
"""A dag, and one of its versions."""


class _Needs(msgspec.Struct, frozen=True):
    """Of a task in the JSON of a graph what it asks of an executor."""

    id: str
    labels: tuple[str, ...] = ()
    runner: str | None = None


class KnownNeeds:
    """What the tasks of versions of dags ask of an executor; a version never changes, so it is read once."""

    def __init__(self) -> None:
        self._known: dict[Version, dict[str, _Needs]] = {}

    def of(self, connection: sa.Connection, versions: set[Version]) -> Mapping[Version, dict[str, _Needs]]:
        """By version its tasks that ask for anything; one question for all that are not known yet."""
        known, v = self._known, dagversions.c
        if missing := versions - known.keys():
            query = sa.select(v.DagId, v.DagVersion, v.Graph)
            dag_ids, versions_of_them = map(set, zip(*missing, strict=True))
            # Not pairs IN pairs: for that SQLite reads the whole table.
            query = query.where(v.DagId.in_(dag_ids), v.DagVersion.in_(versions_of_them))
            rows = [row for row in connection.execute(query) if (row.DagId, row.DagVersion) in missing]
            read = {(row.DagId, row.DagVersion): _needs(row.Graph) for row in rows}
            known = {**known, **read}
            self._known = dict([*known.items()][-VERSIONS_MAX:])  # replaced, never changed: by many threads
        return known


def _needs(graph: str) -> dict[str, _Needs]:
    tasks = msgspec.json.decode(graph, type=list[_Needs])
    return {task.id: task for task in tasks if task.labels or task.runner}


def by_needs(
    connection: sa.Connection, found: dict[int, list[TasksAt]], known: KnownNeeds
) -> dict[int, list[TasksAt]]:
    """The same, with the tasks that are ready told apart by what they need, where any of their dag does."""
    waiting = [
        run_id for run_id, at in found.items() if any(one.status == TaskStatus.SCHEDULED for one in at)
    ]
    if not waiting:
        return found
    r, t = dagruns.c, dagruntasks.c
    runs = connection.execute(sa.select(r.RunId, r.DagId, r.DagVersion).where(r.RunId.in_(waiting))).all()
    needs = known.of(connection, {(row.DagId, row.DagVersion) for row in runs})
    asking = {row.RunId: of for row in runs if (of := needs.get((row.DagId, row.DagVersion)))}
    if not asking:
        return found
    mine = sa.and_(t.DagId == r.DagId, t.ExecTs == r.ExecTs)
    query = sa.select(r.RunId, t.TaskId).select_from(dagruns.join(dagruntasks, mine))
    query = query.where(r.RunId.in_([*asking]), t.Status == TaskStatus.SCHEDULED, t.Restart >= r.Restarts)
    ready: dict[int, list[str]] = {}
    for run_id, task_id in connection.execute(query.order_by(t.TaskId).limit(LOOKED_MAX)):
        ready.setdefault(run_id, []).append(task_id)
    return found | {run_id: _told_apart(found[run_id], ids, asking[run_id]) for run_id, ids in ready.items()}


def _told_apart(at: Iterable[TasksAt], ready: Sequence[str], needs: Mapping[str, _Needs]) -> list[TasksAt]:
    nothing, alike = _Needs(""), dict[tuple[tuple[str, ...], str | None], list[str]]()
    for task_id in ready:
        of = needs.get(task_id, nothing)
        alike.setdefault((of.labels, of.runner), []).append(task_id)
    return [one for one in at if one.status != TaskStatus.SCHEDULED] + [
        TasksAt(TaskStatus.SCHEDULED, len(ids), ids[0], ids[-1], None, [*labels], runner)
        for (labels, runner), ids in alike.items()
    ]


def tasks_at(connection: sa.Connection, run_ids: Sequence[int]) -> dict[int, list[TasksAt]]:
    """By run: how many of its tasks are at what, and the names of two of them, the first and the last.

    Runs whose attempts were not all looked at are left out.
    """
    r, t = dagruns.c, dagruntasks.c
    columns = (t.DagId, t.ExecTs, t.TaskId, t.Retry, t.Status, t.Restart, t.RetryAt, t.LostAt)
    mine = sa.and_(t.DagId == r.DagId, t.ExecTs == r.ExecTs)
    query = sa.select(r.RunId, r.Restarts, *columns).select_from(dagruns.join(dagruntasks, mine))
    some = query.where(r.RunId.in_(run_ids)).order_by(r.RunId.desc()).limit(LOOKED_MAX).subquery()
    ends = (sa.func.count().over().label("looked"), sa.func.min(some.c.RunId).over().label("oldest"))
    looked = sa.select(some, *ends).subquery()
    a, later = looked.c, dagruntasks.alias("later").c
    same = (later.DagId == a.DagId, later.ExecTs == a.ExecTs, later.TaskId == a.TaskId)
    is_latest = ~sa.select(sa.literal(1)).where(*same, later.Retry > a.Retry).exists()
    is_lost = sa.and_(a.Status == TaskStatus.RUNNING, a.LostAt.is_not(None))
    status = sa.case((is_lost, LOST), else_=a.Status)
    found: dict[int, list[TasksAt]] = {run_id: [] for run_id in run_ids}
    cut = -1
    for run_id, count, oldest, *line in connection.execute(
        sa.select(
            a.RunId, sa.func.max(a.looked), sa.func.max(a.oldest),
            status, sa.func.count(), sa.func.min(a.TaskId), sa.func.max(a.TaskId), sa.func.min(a.RetryAt),
        )
        .where(sa.or_(a.Restart >= a.Restarts, a.Status == TaskStatus.SUCCESS))
        .where(sa.or_(a.Status != TaskStatus.FAILED_PENDING_RETRY, is_latest))
        .group_by(a.RunId, status)
    ):  # fmt: skip
        found[run_id].append(TasksAt(*line))
        cut = oldest if count == LOOKED_MAX else cut
    return {run_id: at for run_id, at in found.items() if run_id > cut}
