"""What happened lately: the newest runs of many dags, dags that fail, and how much ran hour by hour.

None of these counts or scans more than it shows: with a hundred thousand runs they walk along indexes.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from ppacer.engine import RunStatus, TaskStatus
from ppacer.store.schema import dagruns, dagruntasks, dags
from ppacer.store.views import HourView

HOUR_CHARS = len("2026-11-26 19")  # of an instant as text, on either engine
FAILED_MAX = 1_000  # of the newest failed runs it is seen whether their dag has succeeded since


def recent_runs(
    connection: sa.Connection, dag_ids: Sequence[str], count: int, since: datetime | None = None
) -> Sequence[Any]:
    """What marks of the newest `count` runs of each of these dags, created since then, need; oldest first."""
    r, d = dagruns.c, dags.c
    low = 0 if since is None else first_run(connection, since)
    inner = dagruns.alias("earlier").c
    earlier = sa.select(inner.RunId).where(inner.DagId == d.DagId, inner.RunId >= low)
    last = earlier.order_by(inner.RunId.desc()).offset(count - 1).limit(1).scalar_subquery()
    # The only bound of the number: beside another one SQLite would count back anew for each run.
    mine = sa.and_(r.DagId == d.DagId, r.RunId >= sa.func.coalesce(last, low))
    query = sa.select(r.DagId, r.RunId, r.ExecTs, r.Status, r.StartedAt, r.EndedAt)
    query = query.select_from(dags.join(dagruns, mine)).where(d.DagId.in_(dag_ids))
    return connection.execute(query.order_by(r.DagId, r.RunId)).all()


def failing(connection: sa.Connection, limit: int) -> Sequence[Any]:
    """The last run of each dag that has failed, where no later one has ended since; the latest end first."""
    r, later = dagruns.c, dagruns.alias("later").c
    failed = sa.select(r.RunId).where(r.Status == RunStatus.FAILED).order_by(r.RunId.desc()).limit(FAILED_MAX)
    newer = sa.select(sa.literal(1)).where(
        later.DagId == r.DagId, later.RunId > r.RunId, later.EndedAt.is_not(None)
    )
    served = sa.select(dags.c.DagId).where(dags.c.DagId == r.DagId, dags.c.RemovedAt.is_(None))
    query = sa.select(dagruns).where(r.RunId.in_(failed), ~newer.exists(), served.exists())
    return connection.execute(query.order_by(r.EndedAt.desc(), r.RunId.desc()).limit(limit)).all()


def oldest_running(connection: sa.Connection, limit: int) -> Sequence[Any]:
    """The runs that have been running longest, oldest first."""
    query = sa.select(dagruns).where(dagruns.c.Status == RunStatus.RUNNING)
    return connection.execute(query.order_by(dagruns.c.RunId).limit(limit)).all()


def error_of(connection: sa.Connection, dag_id: str, exec_ts: datetime) -> tuple[str, str] | None:
    """The task of a run that failed last, and its error; None when none has."""
    t = dagruntasks.c
    query = (
        sa.select(t.TaskId, t.Error)
        .where(t.DagId == dag_id, t.ExecTs == exec_ts, t.Status == TaskStatus.FAILED, t.Error.is_not(None))
        .order_by(t.Restart.desc(), t.InsertTs.desc())
        .limit(1)
    )
    row = connection.execute(query).one_or_none()
    return None if row is None else (row.TaskId, row.Error)


def hours(connection: sa.Connection, since: datetime, count: int) -> list[HourView]:
    """How many runs were created in each of `count` hours from `since` on, by what they are now.

    Numbers of runs grow with time, so where the hours begin is found by halving.
    """
    r = dagruns.c
    until = since + timedelta(hours=count)
    hour = sa.func.substr(sa.cast(r.InsertTs, sa.String), 1, HOUR_CHARS)
    query = (
        sa.select(hour, r.Status, sa.func.count())
        .where(r.RunId >= first_run(connection, since), r.InsertTs >= since, r.InsertTs < until)
        .group_by(hour, r.Status)
    )
    found: dict[str, dict[str, int]] = {}
    for begin, status, number in connection.execute(query):
        found.setdefault(begin.replace("T", " "), {})[status] = number
    begins = [since + timedelta(hours=at) for at in range(count)]
    return [HourView(begin, found.get(f"{begin:%Y-%m-%d %H}", {})) for begin in begins]


def first_run(connection: sa.Connection, at: datetime) -> int:
    """The number of the first run created at that time or later; one behind the last if there is none."""
    r = dagruns.c
    low, high = 0, (connection.execute(sa.select(sa.func.max(r.RunId))).scalar() or -1) + 1
    query = sa.select(r.RunId, r.InsertTs).where(r.RunId >= sa.bindparam("middle")).order_by(r.RunId).limit(1)
    while low < high:
        middle = (low + high) // 2
        run_id, inserted_at = connection.execute(query, {"middle": middle}).one()
        low, high = (run_id + 1, high) if inserted_at < at else (low, middle)
    return low
