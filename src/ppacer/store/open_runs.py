"""What the open runs of a page are at: one question for all of them, answered in a line for each state.

It looks at a bounded number of attempts: of a page full of huge runs, the last ones stay without an answer.
"""

from collections.abc import Sequence

import sqlalchemy as sa

from ppacer.engine import TaskStatus
from ppacer.store.schema import dagruns, dagruntasks
from ppacer.store.views import LOST, TasksAt

LOOKED_MAX = 20_000  # attempts: some 30 ms


def tasks_at(connection: sa.Connection, run_ids: Sequence[int]) -> dict[int, list[TasksAt]]:
    """By run: how many of its tasks are at what, and the names of two of them, the first and the last."""
    r, t = dagruns.c, dagruntasks.c
    columns = (t.DagId, t.ExecTs, t.TaskId, t.Retry, t.Status, t.Restart, t.RetryAt, t.LostAt)
    mine = sa.and_(t.DagId == r.DagId, t.ExecTs == r.ExecTs)
    query = sa.select(r.RunId, r.Restarts, *columns).select_from(dagruns.join(dagruntasks, mine))
    looked = query.where(r.RunId.in_(run_ids)).limit(LOOKED_MAX).subquery()
    a, later = looked.c, dagruntasks.alias("later").c
    same = (later.DagId == a.DagId, later.ExecTs == a.ExecTs, later.TaskId == a.TaskId)
    is_latest = ~sa.select(sa.literal(1)).where(*same, later.Retry > a.Retry).exists()
    is_lost = sa.and_(a.Status == TaskStatus.RUNNING, a.LostAt.is_not(None))
    status = sa.case((is_lost, LOST), else_=a.Status)
    found: dict[int, list[TasksAt]] = {}
    for run_id, *line in connection.execute(
        sa.select(
            a.RunId, status, sa.func.count(), sa.func.min(a.TaskId), sa.func.max(a.TaskId),
            sa.func.min(a.RetryAt),
        )
        .where(sa.or_(a.Restart >= a.Restarts, a.Status == TaskStatus.SUCCESS))
        .where(sa.or_(a.Status != TaskStatus.FAILED_PENDING_RETRY, is_latest))
        .group_by(a.RunId, status)
    ):  # fmt: skip
        found.setdefault(run_id, []).append(TasksAt(*line))
    return found
