"""Retention: finds what is old enough to go, and deletes it in small transactions.

A reader finds it, in no hurry and without a lock. The scheduler's thread deletes it slice by slice, as far as
it is still old then: a run that was restarted meanwhile stays whole, and no run is ever half deleted.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa

from ppacer.store import database
from ppacer.store.schema import (
    Instant,
    audit,
    backfillpoints,
    backfills,
    dagrunrestarts,
    dagrunresults,
    dagruns,
    dagruntasks,
    dags,
    dagtasks,
    dagversions,
    executors,
    outbox,
    requests,
    schedules,
)

RUNS_MAX = 100  # looked at together
WEIGHT_MAX = 100  # rows of attempts and pages of results in one slice, 5 ms of CPU; a larger run goes alone
PAGE_BYTES = 4096
ROWS_MAX = 500  # small rows in one slice


class Old(msgspec.Struct, frozen=True):
    """One slice of the past: what one transaction deletes."""

    def delete(self, connection: sa.Connection) -> int:
        """Deletes it; returns how many runs, points, revisions or rows it were."""
        raise NotImplementedError


class OldOfDag(Old, frozen=True):
    """A slice of the past of a dag, as far as it is older than `before`."""

    dag_id: str
    before: datetime


class OldAudit(Old, frozen=True):
    """What people asked for long ago, up to the row `last`."""

    last: int

    def delete(self, connection: sa.Connection) -> int:
        """Rows are written in the order of time."""
        return connection.execute(sa.delete(audit).where(audit.c.AuditId <= self.last)).rowcount


class OldReplies(Old, frozen=True):
    """Answers that nobody asks for any more: those of `last` and before."""

    last: datetime

    def delete(self, connection: sa.Connection) -> int:
        """A command with such a key is a new one now."""
        return connection.execute(sa.delete(requests).where(requests.c.InsertTs <= self.last)).rowcount


class OldExecutors(Old, frozen=True):
    """Executors that are gone since before `before`."""

    names: Sequence[str]
    before: datetime

    def delete(self, connection: sa.Connection) -> int:
        """One that has come back meanwhile stays. Attempts know their executors by name only."""
        e = executors.c
        old = (e.Name.in_(self.names), e.GoneAt < self.before, e.DrainAskedAt.is_(None))
        return connection.execute(sa.delete(executors).where(*old)).rowcount


class OldBackfillPoints(Old, frozen=True):
    """The points of a backfill that has ended, up to the one at `last`."""

    backfill_id: int
    last: int

    def delete(self, connection: sa.Connection) -> int:
        """What has ended never asks for them again."""
        p = backfillpoints.c
        mine = (p.BackfillId == self.backfill_id, p.Position <= self.last)
        return connection.execute(sa.delete(backfillpoints).where(*mine)).rowcount


class OldBackfill(Old, frozen=True):
    """A backfill that has ended, and of which neither a run nor a point is left."""

    backfill_id: int

    def delete(self, connection: sa.Connection) -> int:
        """It cannot have got a new run."""
        mine = backfills.c.BackfillId == self.backfill_id
        return connection.execute(sa.delete(backfills).where(mine)).rowcount


class OldRuns(OldOfDag, frozen=True):
    """Runs that ended long ago, with everything that hangs on them."""

    run_ids: Sequence[int]
    exec_tss: Sequence[datetime]

    def delete(self, connection: sa.Connection) -> int:
        """Also the attempts, results, restarts and alerts of each run that goes."""
        r = dagruns.c
        old = sa.select(r.RunId, r.ExecTs).where(r.RunId.in_(self.run_ids), r.DagId == self.dag_id)
        rows = connection.execute(old.where(r.EndedAt < self.before)).all()
        exec_tss = [row.ExecTs for row in rows]
        for table in (dagruntasks, dagrunresults, dagrunrestarts, outbox):
            mine = (table.c.DagId == self.dag_id, table.c.ExecTs.in_(exec_tss))
            connection.execute(sa.delete(table).where(*mine))
        connection.execute(sa.delete(dagruns).where(r.RunId.in_([row.RunId for row in rows])))
        return len(rows)


class OldPoints(OldOfDag, frozen=True):
    """What became of schedule points, up to the one at `last`. The cursor of a dag is in `dags`."""

    last: datetime

    def delete(self, connection: sa.Connection) -> int:
        """A stretch that was recorded lately stays, however long ago it began."""
        s = schedules.c
        old = (s.DagId == self.dag_id, s.ScheduleTs <= self.last, s.InsertTs < self.before)
        return connection.execute(sa.delete(schedules).where(*old)).rowcount


class OldVersions(OldOfDag, frozen=True):
    """Graphs that no run has pinned. Only the current one, which stays, can be pinned by new runs."""

    versions: Sequence[str]

    def delete(self, connection: sa.Connection) -> int:
        """Never the current one."""
        v = dagversions.c
        current = sa.select(dags.c.DagVersion).where(dags.c.DagId == self.dag_id).scalar_subquery()
        old = (v.DagId == self.dag_id, v.DagVersion.in_(self.versions), v.DagVersion != current)
        return connection.execute(sa.delete(dagversions).where(*old)).rowcount


class OldTasks(OldOfDag, frozen=True):
    """Revisions of tasks, of which no kept version of the dag knows."""

    revisions: Sequence[tuple[str, int]]

    def delete(self, connection: sa.Connection) -> int:
        """Never a current one."""
        t = dagtasks.c
        listed = sa.tuple_(t.TaskId, t.Revision).in_(self.revisions)
        old = (t.DagId == self.dag_id, t.IsCurrent == 0, listed)
        return connection.execute(sa.delete(dagtasks).where(*old)).rowcount


class Past:
    """Finds what is older than a day and not among the newest runs of its dag; never writes."""

    def __init__(self, db: str | Any) -> None:
        self.url = database.make_url(db)
        self._engine = database.reader_engine(self.url)

    def close(self) -> None:
        """Closes the connections."""
        self._engine.dispose()

    def slices(self, before: datetime, runs_min: int) -> Iterator[Old]:
        """Everything that may go, dag by dag, oldest first; of each dag the newest `runs_min` runs stay.

        Between two slices no transaction is open. What is yielded should be gone before the next is asked
        for: versions may go when their last run has.
        """
        for dag_id in self._dag_ids(before):
            yield from self._runs(dag_id, before, runs_min)
            yield from self._points(dag_id, before)
            yield from self._versions(dag_id, before)
            yield from self._tasks(dag_id, before)
        yield from self._backfills(before)
        yield from self._audit(before)

    def replies(self, before: datetime) -> Iterator[OldReplies]:
        """The answers of commands before `before`, oldest first."""
        q = requests.c
        query = sa.select(q.InsertTs).where(q.InsertTs < before).order_by(q.InsertTs).limit(ROWS_MAX)
        while rows := self._rows(query):
            yield OldReplies(rows[-1].InsertTs)

    def executors(self, before: datetime) -> Iterator[OldExecutors]:
        """Those that are gone since before `before`; not who was drained, and still is when he comes back."""
        e = executors.c
        query = (
            sa.select(e.Name)
            .where(e.GoneAt < before, e.DrainAskedAt.is_(None))
            .order_by(e.Name)
            .limit(ROWS_MAX)
        )
        rows = self._rows(query)
        while rows:
            yield OldExecutors([row.Name for row in rows], before)
            rows = self._rows(query.where(e.Name > rows[-1].Name))

    def _backfills(self, before: datetime) -> Iterator[OldBackfillPoints | OldBackfill]:
        """All but the newest, so that no number is given twice."""
        b, r = backfills.c, dagruns.c
        in_range = (r.DagId == b.DagId, r.ExecTs >= b.FromTs, r.ExecTs < b.ToTs)
        has_run = sa.exists().where(*in_range, r.BackfillId == b.BackfillId)
        newest = sa.select(sa.func.max(b.BackfillId)).scalar_subquery()
        old = (b.EndedAt < before, b.BackfillId != newest, ~has_run)
        query = sa.select(b.BackfillId, b.PointCount).where(*old).order_by(b.BackfillId)
        for row in self._rows(query.limit(RUNS_MAX)):
            for last in range(ROWS_MAX - 1, row.PointCount + ROWS_MAX - 1, ROWS_MAX):
                yield OldBackfillPoints(row.BackfillId, last)
            yield OldBackfill(row.BackfillId)

    def _audit(self, before: datetime) -> Iterator[OldAudit]:
        """By number: the clock may have been set, and then a row goes with its neighbours."""
        a, last = audit.c, 0
        while page := self._rows(
            sa.select(a.AuditId, a.At).where(a.AuditId > last).order_by(a.AuditId).limit(ROWS_MAX)
        ):
            old = [row.AuditId for row in page if row.At < before]
            if not old:
                return
            last = old[-1]
            yield OldAudit(last)

    def _rows(self, query: sa.Select[Any]) -> Sequence[Any]:
        with database.in_words(self.url), self._engine.connect() as connection:
            return connection.execute(query).all()

    def _dag_ids(self, before: datetime) -> list[str]:
        """The dags that have a past: a few steps in indexes for each, whatever they have."""
        d, r, s, v, t = dags.c, dagruns.c, schedules.c, dagversions.c, dagtasks.c
        run = sa.select(r.InsertTs).where(r.DagId == d.DagId).order_by(r.RunId).limit(1)
        point = sa.select(s.ScheduleTs).where(s.DagId == d.DagId).order_by(s.ScheduleTs).limit(1)
        version = (v.DagId == d.DagId, v.InsertTs < before, v.DagVersion != d.DagVersion)
        task = (t.DagId == d.DagId, t.IsCurrent == 0, t.InsertTs < before)
        has_past = sa.or_(
            run.scalar_subquery() < before,
            point.scalar_subquery() < before,
            sa.exists().where(*version),
            sa.exists().where(*task),
        )
        return [row.DagId for row in self._rows(sa.select(d.DagId).where(has_past).order_by(d.DagId))]

    def _runs(self, dag_id: str, before: datetime, runs_min: int) -> Iterator[OldRuns]:
        """From the first run on, until a page has none that began before `before`: later ones are younger."""
        newest, at = self._newest_old(dag_id, runs_min), 0
        while newest is not None:
            page = self._rows(_page_of_runs(dag_id, at, newest, before))
            if not any(row.InsertTs < before for row in page):
                return
            at = page[-1].RunId
            ended = [row for row in page if row.EndedAt is not None and row.EndedAt < before]
            for part in _parts([row for row in ended if not row.HasAlert]):
                run_ids, exec_tss = [row.RunId for row in part], [row.ExecTs for row in part]
                yield OldRuns(dag_id, before, run_ids, exec_tss)

    def _newest_old(self, dag_id: str, runs_min: int) -> int | None:
        """The newest run that is not among the newest `runs_min`."""
        r = dagruns.c
        query = sa.select(r.RunId).where(r.DagId == dag_id).order_by(r.RunId.desc())
        rows = self._rows(query.limit(1).offset(runs_min))
        return rows[0].RunId if rows else None

    def _points(self, dag_id: str, before: datetime) -> Iterator[OldPoints]:
        s = schedules.c
        old = (s.DagId == dag_id, s.ScheduleTs < before, s.InsertTs < before)
        query = sa.select(s.ScheduleTs).where(*old).order_by(s.ScheduleTs).limit(WEIGHT_MAX)
        rows = self._rows(query)
        while rows:
            last = rows[-1].ScheduleTs
            yield OldPoints(dag_id, before, last)
            rows = self._rows(query.where(s.ScheduleTs > last)) if len(rows) == WEIGHT_MAX else ()

    def _versions(self, dag_id: str, before: datetime) -> Iterator[OldVersions]:
        v, r, d = dagversions.c, dagruns.c, dags.c
        old = (v.DagId == dag_id, v.InsertTs < before, v.DagVersion != d.DagVersion)
        query = sa.select(v.DagVersion).join_from(dagversions, dags, v.DagId == d.DagId).where(*old)
        versions = {row.DagVersion for row in self._rows(query)}
        if versions:
            pins = self._rows(sa.select(r.DagVersion).where(r.DagId == dag_id).distinct())
            free = sorted(versions - {row.DagVersion for row in pins})
            for at in range(0, len(free), RUNS_MAX):
                yield OldVersions(dag_id, before, free[at : at + RUNS_MAX])

    def _tasks(self, dag_id: str, before: datetime) -> Iterator[OldTasks]:
        """A revision stays while there is a version of the time in which it was the newest of its task.

        The last revision of a task stays.
        """
        t, v = dagtasks.c, dagversions.c
        until = sa.func.lead(t.InsertTs, type_=Instant).over(partition_by=t.TaskId, order_by=t.Revision)
        columns = (t.TaskId, t.Revision, t.IsCurrent, t.InsertTs, until.label("UntilTs"))
        each = sa.select(*columns).where(t.DagId == dag_id).subquery()
        e = each.c
        known = sa.exists().where(v.DagId == dag_id, v.InsertTs >= e.InsertTs, v.InsertTs < e.UntilTs)
        query = sa.select(e.TaskId, e.Revision).where(e.IsCurrent == 0, e.UntilTs < before, ~known)
        rows = self._rows(query.order_by(e.TaskId, e.Revision))
        for at in range(0, len(rows), RUNS_MAX):
            part = rows[at : at + RUNS_MAX]
            yield OldTasks(dag_id, before, [(row.TaskId, row.Revision) for row in part])


def _page_of_runs(dag_id: str, after: int, newest: int, before: datetime) -> sa.Select[Any]:
    """The next runs of a dag; of the old ones their weight, and whether an alert is still to be delivered."""
    r, t, o = dagruns.c, dagruntasks.c, outbox.c
    is_old = r.EndedAt < before
    rows = sa.func.count() + sa.func.coalesce(sa.func.sum(t.ResultBytes), 0) // PAGE_BYTES
    weight = sa.select(rows).where(t.DagId == r.DagId, t.ExecTs == r.ExecTs).scalar_subquery()
    alert = sa.exists().where(o.DagId == r.DagId, o.ExecTs == r.ExecTs, o.NextTryAt.is_not(None))
    columns = (
        *(r.RunId, r.ExecTs, r.InsertTs, r.EndedAt),
        sa.case((is_old, weight), else_=0).label("Weight"),
        sa.and_(is_old, alert).label("HasAlert"),
    )
    mine = (r.DagId == dag_id, r.RunId > after, r.RunId <= newest)
    return sa.select(*columns).where(*mine).order_by(r.RunId).limit(RUNS_MAX)


def _parts(rows: Sequence[Any]) -> Iterator[list[Any]]:
    """Cuts where the next row would make a part too heavy; every part has at least one row."""
    part: list[Any] = []
    weight = 0
    for row in rows:
        if part and weight + row.Weight > WEIGHT_MAX:
            yield part
            part, weight = [], 0
        part.append(row)
        weight += row.Weight
    if part:
        yield part
