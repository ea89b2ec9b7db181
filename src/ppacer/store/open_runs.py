"""What the open runs of a page are at: one question for all of them, answered in a line for each state.

It looks at a bounded number of attempts: of a page full of huge runs, the oldest ones stay without an answer.
"""

from collections.abc import Sequence

import sqlalchemy as sa

from ppacer.engine import TaskStatus
from ppacer.store.schema import dagruns, dagruntasks
from ppacer.store.views import LOST, TasksAt

LOOKED_MAX = 20_000  # attempts: some 30 ms


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
