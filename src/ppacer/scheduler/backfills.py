"""Backfills: runs for points of the past, a few at once, while the dag's own points go first.

A backfill has its points from the beginning, as rows, and a position among them. It is looked at when it is
new, when a run of its dag has ended and when the dag's own points were planned, so that it costs nothing
while it waits.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import datetime

from ppacer.dag import Dag
from ppacer.engine import Engine
from ppacer.engine.changes import (
    BackfillCancelled,
    BackfillCreated,
    BackfillEnded,
    BackfillMarked,
    BackfillMoved,
)
from ppacer.engine.events import Triggered
from ppacer.scheduler.watcher import NewRef
from ppacer.store import Store
from ppacer.store.backfills import BackfillRef, BackfillRow

POINTS_PER_STEP = 100  # of one backfill; the rest in the next step
POINTS_READ = 500  # at once
FIRST_LINE = 500  # characters of an error that are kept


class Backfill:
    """An open backfill, and its next points as far as they were read."""

    __slots__ = (
        "ahead",
        "count",
        "is_cancelled",
        "max_active_runs",
        "params",
        "paused_at",
        "position",
        "ref",
    )

    def __init__(self, row: BackfillRow) -> None:
        self.ref = row.ref
        self.max_active_runs = row.max_active_runs
        self.params = row.params
        self.count = row.count
        self.position = row.position
        self.paused_at = row.paused_at
        self.is_cancelled = row.cancel_requested_at is not None
        self.ahead: deque[datetime] = deque()

    @property
    def is_over(self) -> bool:
        """Whether it begins no more runs, ever."""
        return self.is_cancelled or self.position == self.count


class Backfills:
    """The open ones. Memory only: `load` rebuilds it from rows."""

    def __init__(self, store: Store, registry: Mapping[str, Dag]) -> None:
        self.open: dict[int, Backfill] = {}
        self._store = store
        self._registry = registry
        self._due: set[int] = set()
        self._newest = 0

    def load(self, rows: Iterable[BackfillRow], newest: int) -> None:
        """Everything anew; each is looked at once. `newest`: the highest number ever given."""
        self.open = {row.ref.backfill_id: Backfill(row) for row in rows}
        self._due = set(self.open)
        self._newest = newest

    @property
    def are_due(self) -> bool:
        """Whether one of them is to be looked at."""
        return bool(self._due)

    def due(self, dag_ids: Collection[str] = ()) -> list[int]:
        """Those that are to be looked at, oldest first, and those of these dags; each is named once."""
        if dag_ids:
            self.wake(set(dag_ids))
        if not self._due:
            return []
        due, self._due = sorted(self._due), set()
        return due

    def wake(self, dag_ids: set[str]) -> None:
        """Those of these dags may be able to go on."""
        self._due.update(id for id, one in self.open.items() if one.ref.dag_id in dag_ids)

    def plan(
        self,
        backfill_id: int,
        now: datetime,
        engine: Engine,
        is_behind: Callable[[str], bool],
        new_ref: NewRef,
    ) -> Iterator[BackfillMoved | Triggered | BackfillEnded]:
        """What one of them does now, piece by piece: the caller decides each before the next.

        `new_ref` as for the watcher; `is_behind` tells that the dag has points of its own that are due.
        """
        one = self.open.get(backfill_id)
        if one is None:
            return
        for _ in range(POINTS_PER_STEP):
            if one.is_over or not self._has_room(one, engine, is_behind):
                break
            yield from self._next_run(one, new_ref)
        else:
            self._due.add(backfill_id)
        if one.is_over and not engine.backfilling[backfill_id]:
            del self.open[backfill_id]
            yield BackfillEnded(backfill_id, now)

    def _has_room(self, one: Backfill, engine: Engine, is_behind: Callable[[str], bool]) -> bool:
        dag_id = one.ref.dag_id
        return (
            one.paused_at is None
            and dag_id in self._registry
            and engine.backfilling[one.ref.backfill_id] < one.max_active_runs
            and engine.has_room(dag_id)
            and not is_behind(dag_id)
        )

    def _next_run(self, one: Backfill, new_ref: NewRef) -> Iterator[BackfillMoved | Triggered]:
        """The next point gets its run, unless it has one by now."""
        dag, position = self._registry[one.ref.dag_id], one.position
        if not one.ahead:
            one.ahead.extend(self._store.backfill_points(one.ref.backfill_id, position, POINTS_READ))
        ref = new_ref(dag.id, one.ahead.popleft())
        one.position += 1
        yield BackfillMoved(one.ref.backfill_id, position, ref is None)
        if ref is not None:
            yield Triggered(ref, dag.graph, dag.version, one.params, one.ref.backfill_id)

    # -- commands --------------------------------------------------------------------------------------------

    def next_id(self) -> int:
        """The number of a new one."""
        return self._newest + 1

    def add(self, made: BackfillCreated) -> None:
        """A new one, to be looked at in the next step: its points are rows then."""
        ref = BackfillRef(made.backfill_id, made.dag_id)
        count, by = len(made.points), made.created_by
        row = BackfillRow(ref, made.max_active_runs, made.params, count, 0, made.at, by, None, None, None)
        self.open[made.backfill_id] = Backfill(row)
        self._newest = made.backfill_id
        self._due.add(made.backfill_id)

    def pause(self, one: Backfill, now: datetime) -> Iterator[BackfillMarked]:
        """It begins no more runs for now."""
        if one.paused_at is None:
            one.paused_at = now
            yield BackfillMarked(one.ref.backfill_id, now)

    def unpause(self, one: Backfill) -> Iterator[BackfillMarked]:
        """It goes on."""
        if one.paused_at is not None:
            one.paused_at = None
            self._due.add(one.ref.backfill_id)
            yield BackfillMarked(one.ref.backfill_id)

    def cancel(self, one: Backfill, now: datetime) -> Iterator[BackfillCancelled]:
        """It begins no more runs, and ends when none is open."""
        if not one.is_cancelled:
            one.is_cancelled = True
            self._due.add(one.ref.backfill_id)
            yield BackfillCancelled(one.ref.backfill_id, now)

    def give_up(self, backfill_id: int, error: Exception, now: datetime) -> list[BackfillMarked]:
        """Pauses one that cannot go on, visibly; the others go on."""
        one = self.open.get(backfill_id)
        if one is None:
            return []
        one.paused_at = now
        reason = f"{type(error).__name__}: {error}"[:FIRST_LINE]
        return [BackfillMarked(backfill_id, now, reason)]
