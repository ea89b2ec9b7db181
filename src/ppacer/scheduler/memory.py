"""What the scheduler has in memory: a cache of rows, read back at start and after any trouble."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial

from ppacer.clock import Now
from ppacer.dag import Dag
from ppacer.engine import Engine, RunRef
from ppacer.engine.changes import BackfillEnded, BackfillMoved, Change, DagMarked, PointRecorded
from ppacer.engine.events import PointsSkipped, RoomChanged, RunDue, Triggered
from ppacer.scheduler.backfills import Backfills
from ppacer.scheduler.roll import Roll
from ppacer.scheduler.task_scheduler import TaskScheduler
from ppacer.scheduler.watcher import DagRunWatcher
from ppacer.store import Store

TICK = timedelta(microseconds=1)

Planned = RunDue | PointsSkipped | PointRecorded | DagMarked | Triggered | BackfillMoved | BackfillEnded


class Memory:
    """Open runs, cursors of dags, backfills, executors. Only of executors it knows more than the rows."""

    def __init__(
        self, store: Store, registry: Mapping[str, Dag], new_token: Callable[[], str], lease: float
    ) -> None:
        self.store = store
        self.registry = registry
        self.engine = Engine()
        self.watcher = DagRunWatcher(registry)
        self.backfills = Backfills(store, registry)
        self.tasks = TaskScheduler(self.engine, new_token, lease)
        self.roll = Roll(self.tasks)
        self._newest_run = 0
        self._fresh: set[tuple[str, datetime]] = set()  # runs that are not committed yet
        self._free: dict[str, datetime] = {}  # by dag: the first instant behind those of its fresh triggers

    def read_back(self, now: Now) -> list[Change]:
        """Everything anew from the rows. Returns what follows from it, which is to be committed at once."""
        self.tasks.is_sure = False
        engine = self._engine_from_rows()
        dag_rows, executor_rows = self.store.dag_rows(), self.store.executor_rows()
        backfill_rows, newest_backfill = self.store.open_backfills(), self.store.newest_backfill_id()
        self._newest_run = self.store.newest_run_id()
        # All is read. Had the database gone away before, an engine without runs would answer meanwhile.
        self.engine = self.tasks.engine = engine
        self._fresh.clear()
        self._free.clear()
        changes: list[Change] = list(self.watcher.load(dag_rows, now.utc))
        self.backfills.load(backfill_rows, newest_backfill)
        for lost in self.tasks.adopt(now):
            changes += engine.handle(lost, now.utc)
        changes += self.roll.read_back(executor_rows, now)
        for dag_id, room in list(engine.room.items()):
            changes += engine.handle(RoomChanged(dag_id, room), now.utc)
        self.tasks.is_sure = True
        return changes

    def _engine_from_rows(self) -> Engine:
        engine = Engine()
        engine.room = self.store.removed_rooms()
        for dag in self.registry.values():
            engine.room[dag.id] = dag.max_active_runs
        for row, graph, attempts in self.store.open_runs():
            engine.restore(row, graph, attempts)
        return engine

    def plan(self, dag_ids: Iterable[str], now: datetime) -> list[Change]:
        """What becomes of the due points of these dags."""
        changes: list[Change] = []
        for dag_id in dag_ids:
            for event in self.watcher.plan(dag_id, now, self.engine.has_room, self.new_ref):
                changes += self.take(event, now)
        return changes

    def plan_backfills(self, backfill_ids: Iterable[int], now: datetime) -> list[Change]:
        """What these backfills do now; points of a dag that are due by themselves go first."""
        behind = partial(self.watcher.is_behind, now=now)
        changes: list[Change] = []
        for backfill_id in backfill_ids:
            for event in self.backfills.plan(backfill_id, now, self.engine, behind, self.new_ref):
                changes += self.take(event, now)
        return changes

    def take(self, event: Planned, now: datetime) -> list[Change]:
        """Changes of what watcher and backfills say: their own words, or an event for the engine."""
        if isinstance(event, RunDue | PointsSkipped | Triggered):
            return self.engine.handle(event, now)
        return [event]

    def ended(self, dag_ids: set[str]) -> None:
        """Runs of these dags have ended: who waits for that is looked at again."""
        self.watcher.unblock(dag_ids)
        self.backfills.wake(dag_ids)

    def new_ref(self, dag_id: str, exec_ts: datetime) -> RunRef | None:
        """The next run number; None when the dag has a run with this execution time."""
        if (dag_id, exec_ts) in self._fresh or self.store.has_run(dag_id, exec_ts):
            return None
        self._fresh.add((dag_id, exec_ts))
        self._newest_run += 1
        return RunRef(self._newest_run, dag_id, exec_ts)

    def triggered_ref(self, dag_id: str, now: datetime) -> RunRef:
        """The next run number for a run by hand: its execution time is now, or the next one that is free."""
        exec_ts = max(now, self._free.get(dag_id, now))
        while (ref := self.new_ref(dag_id, exec_ts)) is None:
            exec_ts += TICK
        self._free[dag_id] = exec_ts + TICK
        return ref

    def committed(self, changes: Sequence[Change], now: Now) -> None:
        """These changes are rows now."""
        self._fresh.clear()
        self._free.clear()
        if changes:
            self.roll.committed(changes, now)
        self.tasks.committed(changes, now)
