"""Backfills in the database: what the scheduler keeps of them in memory, and what readers are shown."""

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa

from ppacer.config import Mask, masked
from ppacer.store.schema import backfillpoints, backfills, dagruns
from ppacer.store.views import BackfillView

PART = 2_000  # points looked up at once; SQLite allows 32,766 parameters
INSIDE_MAX = 2 * PART  # runs read of a range of so many points; by hand any number may have been started


class BackfillRef(msgspec.Struct, frozen=True):
    """A backfill by its number, and its dag."""

    backfill_id: int
    dag_id: str


class BackfillRow(msgspec.Struct, frozen=True):
    """What the scheduler has to know of a backfill."""

    ref: BackfillRef
    max_active_runs: int
    params: str | None
    count: int
    position: int
    created_at: datetime
    created_by: str
    paused_at: datetime | None
    cancel_requested_at: datetime | None
    ended_at: datetime | None


def row_of(row: Any) -> BackfillRow:
    """A row of `backfills`."""
    return BackfillRow(
        BackfillRef(row.BackfillId, row.DagId),
        row.MaxActiveRuns,
        row.Params,
        row.PointCount,
        row.Position,
        row.CreatedAt,
        row.CreatedBy,
        row.PausedAt,
        row.CancelRequestedAt,
        row.EndedAt,
    )


def open_backfills() -> sa.Select[Any]:
    """Those that have not ended, oldest first."""
    return sa.select(backfills).where(backfills.c.EndedAt.is_(None)).order_by(backfills.c.BackfillId)


def one_backfill(backfill_id: int) -> sa.Select[Any]:
    """The one with this number."""
    return sa.select(backfills).where(backfills.c.BackfillId == backfill_id)


def newest_backfill() -> sa.Select[Any]:
    """The highest number ever given, 0 when there was none."""
    return sa.select(sa.func.coalesce(sa.func.max(backfills.c.BackfillId), 0))


def points_from(backfill_id: int, position: int, limit: int) -> sa.Select[Any]:
    """Points of a backfill in their order."""
    p = backfillpoints.c
    mine = (p.BackfillId == backfill_id, p.Position >= position)
    return sa.select(p.ExecTs).where(*mine).order_by(p.Position).limit(limit)


def without_runs(connection: sa.Connection, dag_id: str, points: Sequence[datetime]) -> list[datetime]:
    """Those of the points that have no run; they ascend, and so do these."""
    parts = (points[at : at + PART] for at in range(0, len(points), PART))
    return [point for part in parts for point in _free(part, _run_at(connection, dag_id, part))]


def _run_at(connection: sa.Connection, dag_id: str, points: Sequence[datetime]) -> Sequence[datetime]:
    """When runs were, ascending: all of the range, which is fast, unless far more than points lie in it."""
    r = dagruns.c
    query = sa.select(r.ExecTs).where(r.DagId == dag_id).order_by(r.ExecTs)
    inside = query.where(r.ExecTs >= points[0], r.ExecTs <= points[-1]).limit(INSIDE_MAX)
    found = connection.execute(inside).scalars().all()
    if len(found) < INSIDE_MAX:
        return found
    return connection.execute(query.where(r.ExecTs.in_(points))).scalars().all()


def _free(points: Sequence[datetime], taken: Sequence[datetime]) -> Iterator[datetime]:
    """The points that are not taken. Side by side, because the hashes of times are slow."""
    rest = iter(taken)
    other = next(rest, None)
    for point in points:
        while other is not None and other < point:
            other = next(rest, None)
        if other != point:
            yield point


def backfill_views(
    connection: sa.Connection, dag_id: str | None, before: int | None, limit: int, is_open: bool, mask: Mask
) -> list[BackfillView]:
    """A page of backfills, newest first."""
    b = backfills.c
    query = sa.select(backfills).order_by(b.BackfillId.desc()).limit(limit)
    if dag_id is not None:
        query = query.where(b.DagId == dag_id)
    if before is not None:
        query = query.where(b.BackfillId < before)
    if is_open:
        query = query.where(b.EndedAt.is_(None))
    return [view_of(row, mask) for row in connection.execute(query)]


def view_of(row: Any, mask: Mask) -> BackfillView:
    """A row of `backfills` as readers see it."""
    return BackfillView(
        backfill_id=row.BackfillId,
        dag_id=row.DagId,
        state=_state(row),
        from_ts=row.FromTs,
        to_ts=row.ToTs,
        newest_first=bool(row.NewestFirst),
        max_active_runs=row.MaxActiveRuns,
        params=masked(json.loads(row.Params), mask) if row.Params else {},
        points=row.PointCount,
        position=row.Position,
        passed=row.Passed,
        created_at=row.CreatedAt,
        created_by=row.CreatedBy,
        paused_at=row.PausedAt,
        pause_reason=row.PauseReason,
        cancel_requested_at=row.CancelRequestedAt,
        ended_at=row.EndedAt,
    )


def _state(row: Any) -> str:
    if row.CancelRequestedAt is not None:
        return "CANCELLING" if row.EndedAt is None else "CANCELLED"
    if row.EndedAt is not None:
        return "DONE"
    return "RUNNING" if row.PausedAt is None else "PAUSED"


def run_counts(connection: sa.Connection, backfill: BackfillView) -> dict[str, int]:
    """The runs that a backfill has begun, by status; found in its range, because few runs belong to any."""
    r = dagruns.c
    in_range = (r.DagId == backfill.dag_id, r.ExecTs >= backfill.from_ts, r.ExecTs < backfill.to_ts)
    query = sa.select(r.Status, sa.func.count()).where(*in_range, r.BackfillId == backfill.backfill_id)
    return {row[0]: row[1] for row in connection.execute(query.group_by(r.Status))}
