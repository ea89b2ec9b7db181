"""DagRunWatcher: creates runs when their schedule points come, and accounts for the points that get none.

Every dag has a cursor, the first point not accounted for. A heap of cursors makes a step cost what is due,
not what exists. Points of a gap, in which nobody watched, are settled by the dag's catch-up policy; all
others run, however late. At the cap of open runs the cursor waits.
"""

import heapq
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from ppacer.dag import Dag
from ppacer.dag.values import dumps
from ppacer.engine import RunRef, ScheduleEvent
from ppacer.engine.changes import DagMarked, PointRecorded
from ppacer.engine.events import PointsSkipped, RunDue
from ppacer.errors import ConflictError, PpacerError, ScheduleError
from ppacer.schedule import RECENT, first_point, next_point, settle_missed
from ppacer.store import DagRow

log = logging.getLogger("ppacer.scheduler")

GAP = timedelta(seconds=60)  # a longer time without a step means that points were missed
GAPS_MAX = 16  # older ones are forgotten: their points, if any still wait at a cap, run late
POINTS_PER_STEP = 1_000  # of one dag; the rest in the next step
DAWN = datetime.min.replace(tzinfo=UTC)

NewRef = Callable[[str, datetime], RunRef | None]


class Gap(NamedTuple):
    """A time without steps: the points in (begin, end] are missed."""

    begin: datetime
    end: datetime


class Cursor:
    """One dag with its schedule and the first point that is not accounted for."""

    __slots__ = (
        "dag",
        "disabled",
        "disabled_at",
        "last_at",
        "next_at",
        "params",
        "paused_at",
        "row",
        "settled",
    )

    def __init__(self, dag: Dag, row: DagRow) -> None:
        self.dag = dag
        self.row = row
        self.last_at = row.last_at
        self.next_at = row.next_at
        self.paused_at = row.paused_at
        self.disabled = row.disabled_reason
        self.disabled_at = row.disabled_at
        self.settled: Gap | None = None  # the latest gap that was dealt with
        self.params: str | None = None


class DagRunWatcher:
    """The cursors of all dags. Memory only: `load` rebuilds it from rows, the engine's changes move it on."""

    def __init__(self, registry: Mapping[str, Dag]) -> None:
        self.registry = registry
        self.cursors: dict[str, Cursor] = {}
        self.blocked: set[str] = set()  # dags at their cap
        self.gaps: list[Gap] = []  # oldest first
        self.is_watching = True  # False: runs begin by hand only
        self._heap: list[tuple[datetime, str]] = []

    def missed(self, begin: datetime, end: datetime) -> None:
        """Nobody watched in this time; one that began at the same moment has become longer."""
        others = [gap for gap in self.gaps if gap.begin != begin]
        self.gaps = [*others, Gap(begin, end)][-GAPS_MAX:]

    def set_back(self, now: datetime) -> None:
        """The clock shows an earlier time than before: what lies behind it is to come, and not missed."""
        self.gaps = [Gap(gap.begin, min(gap.end, now)) for gap in self.gaps if gap.begin < now]

    def load(self, rows: Mapping[str, DagRow], now: datetime) -> Iterator[DagMarked]:
        """Puts every registered dag on its cursor; dags whose schedule raises are disabled."""
        self.cursors.clear()
        self.blocked.clear()
        self._heap.clear()
        for dag_id, dag in self.registry.items():
            if dag_id not in rows:
                continue
            cursor = self.cursors[dag_id] = Cursor(dag, rows[dag_id])
            if cursor.disabled is not None:
                continue
            try:
                _begin(cursor)
            except PpacerError as error:
                yield self.disable(dag_id, error, now)
            self._push(cursor)

    def _push(self, cursor: Cursor) -> None:
        if cursor.next_at is not None and self._gets_runs(cursor):
            heapq.heappush(self._heap, (cursor.next_at, cursor.dag.id))

    def _gets_runs(self, cursor: Cursor) -> bool:
        return self.is_watching and cursor.paused_at is None and cursor.disabled is None

    def next_wake(self) -> datetime | None:
        """When the next point of any dag is due."""
        return self._heap[0][0] if self._heap else None

    def due(self, now: datetime) -> list[str]:
        """The dags with points at or before `now`; each is named once, and is to be planned at once."""
        dag_ids: dict[str, None] = {}
        while self._heap and self._heap[0][0] <= now:
            at, dag_id = heapq.heappop(self._heap)
            cursor = self.cursors.get(dag_id)
            if cursor is not None and cursor.next_at == at:
                dag_ids[dag_id] = None
        return list(dag_ids)

    def is_due(self, dag_id: str, now: datetime) -> bool:
        """Whether this dag has points that wait to be planned."""
        cursor = self.cursors.get(dag_id)
        return cursor is not None and cursor.next_at is not None and cursor.next_at <= now

    def is_behind(self, dag_id: str, now: datetime) -> bool:
        """Whether this dag has points that wait for their runs, and will get them."""
        return self.is_due(dag_id, now) and self._gets_runs(self.cursors[dag_id])

    def plan(
        self, dag_id: str, now: datetime, has_room: Callable[[str], bool], new_ref: NewRef
    ) -> Iterator[RunDue | PointsSkipped | PointRecorded | DagMarked]:
        """What becomes of the due points of one dag, one by one: the caller decides each before the next.

        `new_ref` gives a new run its number, or None when the dag has a run with this execution time.
        """
        cursor = self.cursors.get(dag_id)
        if cursor is None or cursor.paused_at is not None or cursor.disabled is not None:
            return
        self.blocked.discard(dag_id)
        try:
            yield from self._run_due(cursor, now, has_room, new_ref)
        except ScheduleError as error:
            if cursor.next_at is not None:
                yield PointRecorded(dag_id, now, ScheduleEvent.OUT_OF_BAND, cursor.next_at, None)
            yield self.disable(dag_id, error, now)
            return
        if dag_id not in self.blocked:
            self._push(cursor)

    def _run_due(
        self, cursor: Cursor, now: datetime, has_room: Callable[[str], bool], new_ref: NewRef
    ) -> Iterator[RunDue | PointsSkipped]:
        dag, schedule = cursor.dag, cursor.dag.schedule
        assert schedule is not None, dag.id
        for _ in range(POINTS_PER_STEP):
            yield from self._settle_missed(cursor)
            point = cursor.next_at
            if point is None or point > now:
                return
            if not has_room(dag.id):
                self.blocked.add(dag.id)
                return
            after = next_point(schedule, point, point)
            ref = new_ref(dag.id, point)
            cursor.last_at, cursor.next_at = point, after
            if ref is None:
                yield PointsSkipped(dag.id, point, after)
            else:
                yield RunDue(ref, dag.graph, dag.version, self._event(point), after, cursor.params)

    def _settle_missed(self, cursor: Cursor) -> Iterator[PointsSkipped]:
        """Once for every gap to which the cursor comes; what one leaves over may lie in the next."""
        schedule = cursor.dag.schedule
        assert schedule is not None, cursor.dag.id
        while (at := cursor.next_at) is not None:
            gap = self._gap_of(at)
            if gap is None or gap == cursor.settled:
                return
            settled = settle_missed(schedule, at, gap.end, cursor.dag.catch_up)
            cursor.settled = gap
            if settled.skipped is not None:
                cursor.last_at, cursor.next_at = settled.skipped.start, settled.resume
                yield PointsSkipped(cursor.dag.id, settled.skipped.start, settled.skipped.end)

    def _gap_of(self, point: datetime) -> Gap | None:
        """The gap in which a point fell due; the latest, should the clock have been set back between two."""
        return next((gap for gap in reversed(self.gaps) if gap.begin < point <= gap.end), None)

    def _event(self, point: datetime) -> ScheduleEvent:
        gap = self._gap_of(point)
        late = gap is not None and point < gap.end - RECENT
        return ScheduleEvent.CAUGHT_UP if late else ScheduleEvent.REGULAR

    def unblock(self, dag_ids: Iterable[str]) -> None:
        """Runs of these dags have ended: their waiting cursors are looked at again."""
        for dag_id in self.blocked.intersection(dag_ids):
            self.blocked.discard(dag_id)
            self._push(self.cursors[dag_id])

    def disable(self, dag_id: str, error: Exception, now: datetime) -> DagMarked:
        """Takes one dag out of service, visibly; the others go on."""
        cursor = self.cursors[dag_id]
        cursor.disabled, cursor.disabled_at = str(error), now
        log.error("dag %s is disabled: %s", dag_id, error)
        return DagMarked(dag_id, cursor.paused_at, now, cursor.disabled)

    def pause(self, dag_id: str, now: datetime) -> Iterator[DagMarked]:
        """No scheduled runs from now on; points that pass are accounted for when the pause ends."""
        cursor = self.cursors[dag_id]
        if cursor.paused_at is None:
            cursor.paused_at = now
            yield DagMarked(dag_id, now, cursor.disabled_at, cursor.disabled)

    def unpause(self, dag_id: str, now: datetime) -> Iterator[DagMarked | PointsSkipped]:
        """Scheduled runs again, also of a disabled dag; the points in between are one skipped stretch.

        When its schedule fails now, where that stretch ends cannot be told: it raises, and nothing changes.
        """
        cursor = self.cursors[dag_id]
        if cursor.paused_at is None and cursor.disabled is None:
            return
        try:
            _begin(cursor)
            skipped = list(self._skip_meantime(cursor, now))
        except PpacerError as error:
            raise ConflictError(f"dag {dag_id!r} cannot go on: {error}") from error
        cursor.paused_at = cursor.disabled = cursor.disabled_at = None
        yield DagMarked(dag_id)
        yield from skipped
        self._push(cursor)

    def _skip_meantime(self, cursor: Cursor, now: datetime) -> Iterator[PointsSkipped]:
        start, schedule = cursor.next_at, cursor.dag.schedule
        if schedule is None or start is None or start > now:
            return
        after = next_point(schedule, now, start)
        cursor.last_at, cursor.next_at = start, after
        yield PointsSkipped(cursor.dag.id, start, after)


def _begin(cursor: Cursor) -> None:
    """Finds the first point of a dag that has none yet, and the parameters of its runs.

    A new dag may begin at the schedule's start, a changed schedule begins now. No point after one that is
    accounted for: the schedule is over.
    """
    dag, row = cursor.dag, cursor.row
    if dag.schedule is None:
        return
    cursor.params = dumps(dag.params.validate({})) if dag.params.type else None
    if cursor.next_at is None and cursor.last_at is None:
        is_new = row.since_at == row.create_at
        cursor.next_at = first_point(dag.schedule, row.since_at, dag.catch_up if is_new else False)
