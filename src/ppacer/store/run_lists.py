"""Lists of runs: by dag and state, by time, by what ids and parameters contain, the slowest of the newest.

Numbers of runs grow with time, so a stretch of time is a stretch of numbers. What no index knows is looked
for among the newest `LOOKED_MAX` runs that fit otherwise; the answer says from where to look on.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from ppacer.engine import RUN_FINAL, RunStatus
from ppacer.store.recent import first_run
from ppacer.store.schema import dagruns

LOOKED_MAX = 10_000
ENDED_MAX = 1_000  # of the newest runs of each state it is seen which ended last: no index has the ends


class RunSearch(NamedTuple):
    """What runs are wanted; `since` and `until` are about when they were created.

    `slowest`: those that took or take longest come first, instead of the newest.
    """

    dag_id: str | None = None
    status: Sequence[str] = ()
    since: datetime | None = None
    until: datetime | None = None
    text: str | None = None
    trigger: str | None = None
    slowest: bool = False
    before: int | None = None


class Found(NamedTuple):
    """A page of rows, and the number below which there may be more of them.

    `looked`: how many runs were looked at, where the search ended before the last one; else None.
    """

    rows: Sequence[Any]
    before: int | None
    looked: int | None


def find_runs(connection: sa.Connection, search: RunSearch, now: datetime, limit: int) -> Found:
    """A page of what is searched for."""
    low, before = _stretch(connection, search)
    if search.slowest or search.text or search.trigger:
        return _among_newest(connection, search, low, before, now, limit)
    query = page_of_runs(search.dag_id, search.status, before, limit + 1, low)
    rows = connection.execute(query).all()
    return Found(rows[:limit], rows[limit - 1].RunId if len(rows) > limit else None, None)


def _stretch(connection: sa.Connection, search: RunSearch) -> tuple[int, int | None]:
    """From which number on, and below which one."""
    low = 0 if search.since is None else first_run(connection, search.since)
    if search.until is None:
        return low, search.before
    high = first_run(connection, search.until)
    return low, high if search.before is None else min(high, search.before)


def _among_newest(
    connection: sa.Connection, search: RunSearch, low: int, before: int | None, now: datetime, limit: int
) -> Found:
    r = dagruns.c
    numbers = _numbers_of(search.dag_id, search.status, before, LOOKED_MAX, low).subquery()
    newest = sa.select(numbers.c.RunId).order_by(numbers.c.RunId.desc()).limit(LOOKED_MAX)
    window = newest.subquery()
    looked, last = connection.execute(sa.select(sa.func.count(), sa.func.min(window.c.RunId))).one()
    query = sa.select(dagruns).where(r.RunId.in_(sa.select(window.c.RunId)))
    if search.trigger:
        query = query.where(r.TriggeredBy == search.trigger)
    if search.text:
        query = query.where(_contains(search.text))
    order = _duration(connection, now).desc() if search.slowest else r.RunId.desc()
    rows = connection.execute(query.order_by(order, r.RunId.desc()).limit(limit + 1)).all()
    is_cut = looked == LOOKED_MAX
    if len(rows) > limit and not search.slowest:
        return Found(rows[:limit], rows[limit - 1].RunId, None)
    return Found(rows[:limit], last if is_cut else None, looked if is_cut else None)


def _contains(text: str) -> sa.ColumnElement[bool]:
    r = dagruns.c
    return sa.or_(r.DagId.icontains(text, autoescape=True), r.Params.icontains(text, autoescape=True))


def _duration(connection: sa.Connection, now: datetime) -> sa.ColumnElement[Any]:
    """How long a run took or takes; nothing for one that waits."""
    r = dagruns.c
    end = sa.func.coalesce(r.EndedAt, sa.literal(now, r.EndedAt.type))
    if connection.dialect.name == "sqlite":
        return sa.func.coalesce(sa.func.julianday(end) - sa.func.julianday(r.StartedAt), 0.0)
    return sa.func.coalesce(sa.extract("epoch", end - r.StartedAt), 0.0)


def page_of_runs(
    dag_id: str | None, statuses: Sequence[str], before: int | None, limit: int, low: int = 0
) -> sa.Select[Any]:
    """The newest runs of each status, and of these the newest."""
    r, found = dagruns.c, _numbers_of(dag_id, statuses, before, limit, low)
    return sa.select(dagruns).where(r.RunId.in_(found)).order_by(r.RunId.desc()).limit(limit)


def latest_ends(limit: int) -> sa.Select[Any]:
    """The runs that ended last, the latest first."""
    r, newest = dagruns.c, _numbers_of(None, [*RUN_FINAL], None, ENDED_MAX, 0)
    order = r.EndedAt.desc(), r.RunId.desc()
    return sa.select(dagruns).where(r.RunId.in_(newest)).order_by(*order).limit(limit)


def _numbers_of(
    dag_id: str | None, statuses: Sequence[str], before: int | None, limit: int, low: int
) -> sa.CompoundSelect[Any]:
    """The newest runs of each status: every part walks along an index, and ends.

    Most runs succeed, so those of one dag are looked for among its runs, all others by their status.
    """
    r = dagruns.c
    query = sa.select(r.RunId).order_by(r.RunId.desc()).limit(limit)
    if dag_id is not None:
        query = query.where(r.DagId == dag_id)
    if before is not None:
        query = query.where(r.RunId < before)
    if low:
        query = query.where(r.RunId >= low)
    parts = [
        query.where((plain(r.Status) if dag_id and status == RunStatus.SUCCESS else r.Status) == status)
        for status in sorted({*statuses})
    ]
    each = [part.subquery() for part in parts or [query]]
    return sa.union_all(*(sa.select(part.c.RunId) for part in each))


def plain(column: sa.Column[str]) -> sa.ColumnElement[str]:
    """The same text, but no column: so no index of it is chosen where that of another column is better."""
    return column.concat("")
