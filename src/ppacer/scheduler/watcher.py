"""DagRunWatcher: creates runs when their schedule points come, and accounts for the points that get none.

Every dag has a cursor, the first point not accounted for. A heap of cursors makes a step cost what is due,
not what exists. A point at or before `missed_before` fell due while nobody watched: those are settled by
the dag's catch-up policy; later ones run, however late. At the cap of open runs the cursor waits.
"""

import heapq
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta

from ppacer.dag import Dag
from ppacer.dag.values import dumps
from ppacer.engine import RunRef, ScheduleEvent
from ppacer.engine.changes import DagMarked
from ppacer.engine.events import PointsSkipped, RunDue
from ppacer.errors import ScheduleError
from ppacer.schedule import RECENT, first_point, next_point, settle_missed
from ppacer.store import DagRow

log = logging.getLogger("ppacer.scheduler")

GAP = timedelta(seconds=60)  # a longer time without a step means that points were missed
POINTS_PER_STEP = 1_000  # of one dag; the rest in the next step


class Cursor:
    """One dag with its schedule and the first point that is not accounted for."""

    __slots__ = ("dag", "disabled", "last_at", "next_at", "params", "paused_at", "settled_for")

    def __init__(self, dag: Dag, row: DagRow) -> None:
        self.dag = dag
        self.last_at = row.last_at
        self.next_at = row.next_at
        self.paused_at = row.paused_at
        self.disabled = row.disabled_reason
        self.settled_for: datetime | None = None  # the value of missed_before that was dealt with
        self.params: str | None = None
        if dag.schedule is not None:
            self.params = dumps(dag.params.validate({})) if dag.params.type else None


class DagRunWatcher:
    """The cursors of all dags. Memory only: `load` rebuilds it from rows, the engine's changes move it on."""

    def __init__(self, registry: Mapping[str, Dag]) -> None:
        self.registry = registry
        self.is_watching = True  # False: runs begin by hand only
        self.cursors: dict[str, Cursor] = {}
        self.blocked: set[str] = set()  # dags at their cap
        self.missed_before: datetime | None = None
        self._heap: list[tuple[datetime, str]] = []

    def load(self, rows: Mapping[str, DagRow], now: datetime) -> Iterator[DagMarked]:
        """Puts every registered dag on its cursor; dags whose schedule raises are disabled."""
        self.cursors.clear()
        self.blocked.clear()
        self._heap.clear()
        for dag_id, dag in self.registry.items():
            if dag_id not in rows:
                continue
            row = rows[dag_id]
            cursor = self.cursors[dag_id] = Cursor(dag, row)
            if cursor.disabled is not None:
                continue
            try:
                if dag.schedule is not None and cursor.next_at is None:
                    cursor.next_at = _first(dag, row)
            except ScheduleError as error:
                yield self.disable(dag_id, error, now)
            self._push(cursor)

    def _push(self, cursor: Cursor) -> None:
        if self.is_watching and cursor.next_at is not None and cursor.paused_at is None and cursor.disabled is None:
            heapq.heappush(self._heap, (cursor.next_at, cursor.dag.id))

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

    def plan(
        self, dag_id: str, now: datetime, has_room: Callable[[str], bool], new_ref: Callable[[str, datetime], RunRef | None]
    ) -> Iterator[RunDue | PointsSkipped | DagMarked]:
        """What becomes of the due points of one dag, one by one: the caller decides each before the next.

        `new_ref` gives a new run its number, or None when the dag has a run with this execution time.
        """
        cursor = self.cursors[dag_id]
        if cursor.paused_at is not None or cursor.disabled is not None:
            return
        try:
            yield from self._settle_missed(cursor)
            yield from self._run_due(cursor, now, has_room, new_ref)
        except ScheduleError as error:
            yield self.disable(dag_id, error, now)
            return
        if dag_id not in self.blocked:
            self._push(cursor)

    def _settle_missed(self, cursor: Cursor) -> Iterator[PointsSkipped]:
        missed, at, schedule = self.missed_before, cursor.next_at, cursor.dag.schedule
        if missed is None or cursor.settled_for == missed or at is None or at > missed or schedule is None:
            return
        settled = settle_missed(schedule, at, missed, cursor.dag.catch_up)
        cursor.settled_for = missed
        if settled.skipped is not None:
            cursor.last_at, cursor.next_at = settled.skipped.start, settled.resume
            yield PointsSkipped(cursor.dag.id, settled.skipped.start, settled.skipped.end)

    def _run_due(
        self, cursor: Cursor, now: datetime, has_room: Callable[[str], bool], new_ref: Callable[[str, datetime], RunRef | None]
    ) -> Iterator[RunDue | PointsSkipped]:
        dag, schedule = cursor.dag, cursor.dag.schedule
        assert schedule is not None, dag.id
        for _ in range(POINTS_PER_STEP):
            point = cursor.next_at
            if point is None or point > now:
                return
            if not has_room(dag.id):
                self.blocked.add(dag.id)
                return
            after = next_point(schedule, point, cursor.last_at)
            ref = new_ref(dag.id, point)
            cursor.last_at, cursor.next_at = point, after
            if ref is None:
                yield PointsSkipped(dag.id, point, after)
            else:
                yield RunDue(ref, dag.graph, dag.version, self._event(point), after, cursor.params)

    def _event(self, point: datetime) -> ScheduleEvent:
        missed = self.missed_before
        late = missed is not None and point < missed - RECENT
        return ScheduleEvent.CAUGHT_UP if late else ScheduleEvent.REGULAR

    def unblock(self, dag_ids: Iterable[str]) -> None:
        """Runs of these dags have ended: their waiting cursors are looked at again."""
        for dag_id in self.blocked.intersection(dag_ids):
            self.blocked.discard(dag_id)
            self._push(self.cursors[dag_id])

    def disable(self, dag_id: str, error: Exception, now: datetime) -> DagMarked:
        """Takes one dag out of service, visibly; the others go on."""
        cursor = self.cursors[dag_id]
        cursor.disabled = str(error)
        log.error("dag %s is disabled: %s", dag_id, error)
        return DagMarked(dag_id, cursor.paused_at, now, str(error))

    def pause(self, dag_id: str, now: datetime) -> Iterator[DagMarked]:
        """No scheduled runs from now on; points that pass are accounted for when the pause ends."""
        cursor = self.cursors[dag_id]
        if cursor.paused_at is None:
            cursor.paused_at = now
            yield DagMarked(dag_id, now, now if cursor.disabled else None, cursor.disabled)

    def unpause(self, dag_id: str, now: datetime) -> Iterator[DagMarked | PointsSkipped]:
        """Scheduled runs again, also of a disabled dag; the points of the meantime are skipped as one stretch."""
        cursor = self.cursors[dag_id]
        if cursor.paused_at is None and cursor.disabled is None:
            return
        was_paused, cursor.paused_at, cursor.disabled = cursor.paused_at is not None, None, None
        yield DagMarked(dag_id)
        try:
            yield from self._skip_pause(cursor, now) if was_paused else ()
        except ScheduleError as error:
            yield self.disable(dag_id, error, now)
        self._push(cursor)

    def _skip_pause(self, cursor: Cursor, now: datetime) -> Iterator[PointsSkipped]:
        start, schedule = cursor.next_at, cursor.dag.schedule
        if schedule is None or start is None or start > now:
            return
        cursor.last_at, cursor.next_at = start, next_point(schedule, now, start)
        yield PointsSkipped(cursor.dag.id, start, cursor.next_at)


def _first(dag: Dag, row: DagRow) -> datetime | None:
    """The first point of a dag without one: a new dag may begin at `start`, a changed schedule begins now."""
    assert dag.schedule is not None, dag.id
    if row.last_at is not None:
        return next_point(dag.schedule, row.last_at, row.last_at)
    is_new = row.since_at == row.create_at
    return first_point(dag.schedule, row.since_at, dag.catch_up if is_new else False)
