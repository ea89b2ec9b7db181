"""The executors as readers see them."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ppacer.engine import RunStatus, TaskStatus
from ppacer.engine.changes import STOPPED
from ppacer.store.schema import dagruns, dagruntasks, dags, executors
from ppacer.store.views import ExecutorView, LostView

DIFFERING_MAX = 20  # dags that are named; there may be thousands, and as many executors


def executor_views(connection: sa.Connection, after: str, limit: int) -> list[ExecutorView]:
    """A page of executors in the order of their names."""
    query = sa.select(executors).where(executors.c.Name > after).order_by(executors.c.Name).limit(limit)
    rows = connection.execute(query).all()
    running, versions = _running(connection), _versions(connection)
    return [_view(row, running.get(row.Name, 0), versions) for row in rows]


def lost_executors(connection: sa.Connection, since: datetime, limit: int) -> list[LostView]:
    """The executors that have gone after an instant without having said so, the latest first."""
    e = executors.c
    query = sa.select(e.Name, e.GoneReason, e.GoneAt).where(
        e.GoneAt > since, e.GoneReason.not_in(("", STOPPED))
    )
    rows = connection.execute(query.order_by(e.GoneAt.desc(), e.Name).limit(limit))
    return [LostView(*row) for row in rows]


def _running(connection: sa.Connection) -> dict[str, int]:
    """How many attempts each executor has, by the rows."""
    t, r = dagruntasks.c, dagruns.c
    open_runs = dagruntasks.join(dagruns, sa.and_(t.DagId == r.DagId, t.ExecTs == r.ExecTs))
    query = (
        sa.select(t.Executor, sa.func.count())
        .select_from(open_runs)
        .where(r.Status == RunStatus.RUNNING, t.Status == TaskStatus.RUNNING, t.LostAt.is_(None))
        .group_by(t.Executor)
    )
    return {row[0]: row[1] for row in connection.execute(query)}


def _versions(connection: sa.Connection) -> Sequence[Any]:
    query = sa.select(dags.c.DagId, dags.c.DagVersion).where(dags.c.RemovedAt.is_(None))
    return connection.execute(query.order_by(dags.c.DagId)).all()


def _view(row: Any, running: int, versions: Sequence[Any]) -> ExecutorView:
    loaded: dict[str, str] = json.loads(row.DagVersions)
    differing = [dag.DagId for dag in versions if loaded.get(dag.DagId) != dag.DagVersion]
    state = "GONE" if row.GoneAt is not None else "DRAINING" if row.DrainingAt or row.DrainAskedAt else "UP"
    return ExecutorView(
        name=row.Name,
        state=state,
        host=row.Host,
        pid=row.Pid,
        version=row.Version,
        protocol=row.Protocol,
        slots=row.Slots,
        running=running if state != "GONE" else 0,
        labels=json.loads(row.Labels) or [],
        runners=json.loads(row.Runners) or [],
        dags=len(loaded),
        differing=differing[:DIFFERING_MAX],
        differing_count=len(differing),
        started_at=row.StartedAt,
        heartbeat_at=row.HeartbeatAt,
        drain_asked_at=row.DrainAskedAt,
        gone_at=row.GoneAt,
        gone_reason=row.GoneReason,
    )
