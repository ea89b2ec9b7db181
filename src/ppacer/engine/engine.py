"""The engine: `handle(event, now) -> changes` is its only door. Pure: no I/O, clock, chance or threads.

    RunDue, Triggered ──► _create ──► _admit ──► _begin ──► _ready (roots)
    Claimed ────────────► grants from the ready queue, oldest first
    Succeeded ──────────► children lose an unmet parent ──► _ready ──► or the run ends
    Failed ─────────────► retry later | _fail ──► _close everything downstream ──► or the run ends
    LeaseExpired ───────► marked lost, ready again | _fail
    LeaseRenewed ───────► lost no more, if nobody else has been given it
    Cancel ─────────────► _close everything that waits; what runs ends by itself
    Restart ────────────► what is not SUCCESS begins anew

An event about something that is not so any more (an old token, an ended run) gives no changes. Every event
costs in proportion to the tasks it changes, because each task counts its unmet parents.
"""

import heapq
from collections import Counter, deque
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

import msgspec

from ppacer.dag import Graph
from ppacer.engine.changes import (
    AlertKind,
    AlertQueued,
    AttemptCreated,
    AttemptEnded,
    AttemptFound,
    AttemptGranted,
    AttemptLost,
    CancelRequested,
    Change,
    PointRecorded,
    RunChanged,
    RunCreated,
    RunRestarted,
)
from ppacer.engine.events import (
    Cancel,
    Claimed,
    Event,
    Failed,
    LeaseExpired,
    LeaseRenewed,
    PointsSkipped,
    Restart,
    RetryDue,
    RoomChanged,
    RunDue,
    Succeeded,
    Triggered,
)
from ppacer.engine.model import (
    RUN_FINAL,
    TASK_FINAL,
    TRANSITIONS,
    AttemptRow,
    Reason,
    RunRow,
    RunState,
    RunStatus,
    ScheduleEvent,
    TaskState,
    TaskStatus,
    Trigger,
)
from ppacer.engine.ready import Lane, ReadyQueue, needs_of, take
from ppacer.engine.recovery import run_from_rows
from ppacer.engine.retries import LOST_MAX, SPENDING, ended, ended_by_mistake, lost_for_good, next_delay

ROOM_DEFAULT = 16  # as Dag.max_active_runs
STALE_MAX = 1_000  # entries out of date, beside as many as are not, for which nothing is done

Changes = list[Change]


class Engine:
    """All open runs, and what is ready to be granted. Memory is a cache of rows: `restore` rebuilds it."""

    def __init__(self) -> None:
        self.runs: dict[int, RunState] = {}
        self.active: Counter[str] = Counter()  # RUNNING runs of a dag
        self.backfilling: Counter[int] = Counter()  # open runs of a backfill
        self.room: dict[str, int] = {}  # max_active_runs of a dag
        self.waiting: dict[str, deque[int]] = {}  # runs that wait for room
        self.ready = ReadyQueue()  # with entries that are out of date, which are passed over
        self.ready_count = 0  # without them
        self._entries = 0  # with them
        self.lost: dict[str, tuple[int, int]] = {}  # run and position of attempts that are lost, by token
        self.retries: list[tuple[datetime, int, int, int]] = []  # heap of (due, run, position, retry)

    def handle(self, event: Event, now: datetime) -> Changes:
        """The changes that follow from `event` at the time `now`; none when it is out of date."""
        changes: Changes = []
        _HANDLERS[type(event)](self, event, now, changes)
        return changes

    # -- runs ----------------------------------------------------------------------------------------------

    def _run_due(self, event: RunDue, now: datetime, out: Changes) -> None:
        if event.ref.run_id in self.runs:
            return
        out.append(PointRecorded(event.ref.dag_id, now, event.event, event.ref.exec_ts, event.next_ts))
        run = RunState(event.ref, event.graph, Trigger.SCHEDULE, event.params)
        self._create(run, event.version, now, out)

    def _triggered(self, event: Triggered, now: datetime, out: Changes) -> None:
        if event.ref.run_id in self.runs:
            return
        manual = ScheduleEvent.MANUALLY_TRIGGERED
        out.append(PointRecorded(event.ref.dag_id, now, manual, event.ref.exec_ts, None))
        trigger = Trigger.MANUAL if event.backfill_id is None else Trigger.BACKFILL
        run = RunState(event.ref, event.graph, trigger, event.params, backfill_id=event.backfill_id)
        self._create(run, event.version, now, out)

    def _points_skipped(self, event: PointsSkipped, now: datetime, out: Changes) -> None:
        out.append(PointRecorded(event.dag_id, now, ScheduleEvent.SKIPPED, event.start, event.end))

    def _create(self, run: RunState, version: str, now: datetime, out: Changes) -> None:
        out.append(RunCreated(run.ref, now, version, run.trigger, run.params, run.backfill_id))
        self.runs[run.ref.run_id] = run
        self._count_for_backfill(run, 1)
        self._admit(run, now, out)

    def _admit(self, run: RunState, now: datetime, out: Changes) -> None:
        """Begins the run when its dag has room, else it waits its turn."""
        dag_id = run.ref.dag_id
        if self.has_room(dag_id):
            self._begin(run, now, out)
        else:
            self.waiting.setdefault(dag_id, deque()).append(run.ref.run_id)

    def has_room(self, dag_id: str) -> bool:
        """True when one more run of the dag may be RUNNING."""
        return self.active[dag_id] < self.room.get(dag_id, ROOM_DEFAULT)

    def _begin(self, run: RunState, now: datetime, out: Changes) -> None:
        out.append(RunChanged(run.ref, now, run.status, RunStatus.RUNNING))
        run.status = RunStatus.RUNNING
        self.active[run.ref.dag_id] += 1
        for position, task in enumerate(run.tasks):
            if task.unmet == 0 and task.status is TaskStatus.NO_STATUS:
                self._ready(run, position, now, out)
        if not run.open:
            self._end(run, now, out)

    def _end_if_done(self, run: RunState, now: datetime, out: Changes) -> None:
        """Ends the run when all its tasks are final, and lets the next one of the dag begin."""
        if not run.open and run.status not in RUN_FINAL:
            self._end(run, now, out)
            self._fill_room(run.ref.dag_id, now, out)

    def _end(self, run: RunState, now: datetime, out: Changes) -> None:
        dag_id, status = run.ref.dag_id, RunStatus.FAILED if run.failed else RunStatus.SUCCESS
        if run.is_cancelled or (run.cancelling and not run.tasks):
            status = RunStatus.CANCELLED
        out.append(RunChanged(run.ref, now, run.status, status))
        if run.status is RunStatus.RUNNING:
            self.active[dag_id] -= 1
            if not self.active[dag_id]:
                del self.active[dag_id]
        else:
            self.waiting[dag_id].remove(run.ref.run_id)
        self._count_for_backfill(run, -1)
        run.status = status
        del self.runs[run.ref.run_id]

    def _count_for_backfill(self, run: RunState, by: int) -> None:
        """The run has come into memory, or has left it."""
        if run.backfill_id is not None:
            self.backfilling[run.backfill_id] += by
            if not self.backfilling[run.backfill_id]:
                del self.backfilling[run.backfill_id]

    def _fill_room(self, dag_id: str, now: datetime, out: Changes) -> None:
        queue = self.waiting.get(dag_id)
        while queue and self.has_room(dag_id):
            self._begin(self.runs[queue.popleft()], now, out)
        if not queue:
            self.waiting.pop(dag_id, None)

    def _room_changed(self, event: RoomChanged, now: datetime, out: Changes) -> None:
        self.room[event.dag_id] = event.max_active_runs
        self._fill_room(event.dag_id, now, out)

    # -- attempts ------------------------------------------------------------------------------------------

    def _ready(self, run: RunState, position: int, now: datetime, out: Changes) -> None:
        """A new attempt, to be granted to whoever asks next."""
        task = run.tasks[position]
        self._move(task, TaskStatus.SCHEDULED)
        task.retry += 1
        task.retry_at = None
        out.append(AttemptCreated(run.ref, run.graph.tasks[position].id, task.retry, run.restart, now))
        self._offer(run, position)

    def _offer(self, run: RunState, position: int) -> None:
        task, needs = run.tasks[position], needs_of(run.graph.tasks[position])
        self.ready_count += 1
        if task.is_lost and task.token is not None:
            self.lost[task.token] = run.ref.run_id, position
        if task.offered != task.retry:
            task.offered = task.retry
            self.ready.put(needs, run.ref.dag_id, run.ref.run_id, position, task.retry)
            self._entries += 1
            if self._entries > 2 * self.ready_count + STALE_MAX:
                self._entries = self.ready.sweep(self._is_ready)

    def _is_ready(self, run_id: int, position: int, retry: int) -> bool:
        """Whether an entry of the queue is not out of date; one that is must be taken out."""
        run = self.runs.get(run_id)
        if run is None:
            return False
        task = run.tasks[position]
        if task.retry == retry and (task.status is TaskStatus.SCHEDULED or task.is_lost):
            return True
        if task.offered == retry:
            task.offered = -1
        return False

    def _claimed(self, event: Claimed, now: datetime, out: Changes) -> None:
        lanes = self.ready.lanes(event.labels, event.runners)
        for token in event.tokens:
            run, position = self._next_ready(lanes, event.without)
            if run is None:
                return
            task, task_id = run.tasks[position], run.graph.tasks[position].id
            if task.is_lost:
                self._replace_lost(run, position, now, out)
            self._move(task, TaskStatus.RUNNING)
            task.token, task.executor = token, event.executor
            grant = (run.ref, position, task_id, task.retry, now, token, event.executor, event.lease_end_at)
            out.append(AttemptGranted(*grant))

    def _next_ready(self, lanes: list[Lane], without: frozenset[str]) -> tuple[RunState | None, int]:
        while (entry := take(lanes, without)) is not None:
            _, run_id, position, retry = entry
            self._entries -= 1
            if self._is_ready(run_id, position, retry):
                self.ready_count -= 1
                run = self.runs[run_id]
                run.tasks[position].offered = -1
                return run, position
        return None, 0

    def _replace_lost(self, run: RunState, position: int, now: datetime, out: Changes) -> None:
        """Closes the lost attempt in the transaction that grants its successor."""
        task, task_id = run.tasks[position], run.graph.tasks[position].id
        error = f"lost: executor {task.executor} is gone, with its program or for longer than a lease"
        lost = Failed(run.ref.run_id, task_id, task.retry, token="", reason=Reason.LOST, error=error)
        out.append(ended(run, position, now, TaskStatus.FAILED_PENDING_RETRY, lost, now))
        task.is_lost = False
        self.lost.pop(task.token or "", None)
        task.retry += 1
        out.append(AttemptCreated(run.ref, task_id, task.retry, run.restart, now))

    def _find(self, run_id: int, task_id: str) -> tuple[RunState | None, int]:
        """The open run and the position of a task in it; None for what is unknown or has ended."""
        run = self.runs.get(run_id)
        position = None if run is None else run.graph.index.get(task_id)
        return (None, 0) if position is None else (run, position)

    def _holder(self, run_id: int, task_id: str, token: str) -> tuple[RunState | None, int]:
        """The run and position of a running attempt, if `token` is the one it was granted with."""
        run, position = self._find(run_id, task_id)
        if run is None:
            return None, 0
        task = run.tasks[position]
        holds = task.status is TaskStatus.RUNNING and task.token == token
        return (run, position) if holds else (None, 0)

    def _succeeded(self, event: Succeeded, now: datetime, out: Changes) -> None:
        run, position = self._holder(event.run_id, event.task_id, event.token)
        if run is None:
            return
        task = run.tasks[position]
        head = (run.ref, event.task_id, task.retry, now, TaskStatus.RUNNING, TaskStatus.SUCCESS, task.token)
        took = (event.peak_memory, event.body_hash, event.cpu_seconds)
        out.append(AttemptEnded(*head, None, None, event.result, None, *took))
        self._settle_task(run, task, TaskStatus.SUCCESS)
        task.has_result = event.result is not None
        for child in run.graph.children[position]:
            below = run.tasks[child]
            below.unmet -= 1
            if below.unmet == 0 and below.status is TaskStatus.NO_STATUS:
                self._ready(run, child, now, out)
        self._end_if_done(run, now, out)

    def _failed(self, event: Failed, now: datetime, out: Changes) -> None:
        run, position = self._holder(event.run_id, event.task_id, event.token)
        if run is None:
            return
        task, spec = run.tasks[position], run.graph.tasks[position]
        if event.reason is Reason.CANCELLED and not run.cancelling:
            event = msgspec.structs.replace(event, reason=ended_by_mistake(spec, event.begun))
        if task.is_lost and event.reason is not Reason.LOST:
            task.lost -= 1  # it was heard of after all
        delay = None if run.cancelling else next_delay(run.ref, spec, task, event.reason, event.begun)
        if delay is None:
            self._fail(run, position, event, now, out)
            return
        retry_at = now + delay
        out.append(ended(run, position, now, TaskStatus.FAILED_PENDING_RETRY, event, retry_at))
        self._drop_lost(task)
        self._move(task, TaskStatus.FAILED_PENDING_RETRY)
        task.token, task.retry_at = None, retry_at
        if spec.alert_on_retry and event.reason in SPENDING:
            out.append(AlertQueued(run.ref, spec.id, task.retry, AlertKind.RETRY, event.error, now))
        if delay:
            heapq.heappush(self.retries, (retry_at, run.ref.run_id, position, task.retry))
        else:
            self._ready(run, position, now, out)

    def _fail(self, run: RunState, position: int, end: Failed, now: datetime, out: Changes) -> None:
        """The attempt was the last one: the task is final, and so is everything downstream."""
        task, spec = run.tasks[position], run.graph.tasks[position]
        status = TaskStatus.CANCELLED if run.cancelling else TaskStatus.FAILED
        out.append(ended(run, position, now, status, end, None))
        self._settle_task(run, task, status)
        if status is TaskStatus.FAILED and spec.alert_on_failure:
            out.append(AlertQueued(run.ref, spec.id, task.retry, AlertKind.FAILURE, end.error, now))
        if not run.cancelling:
            self._fail_downstream(run, position, now, out)
        self._end_if_done(run, now, out)

    def _fail_downstream(self, run: RunState, position: int, now: datetime, out: Changes) -> None:
        todo = list(run.graph.children[position])
        for below in todo:
            if run.tasks[below].status is TaskStatus.NO_STATUS:
                self._close(run, below, TaskStatus.UPSTREAM_FAILED, now, out)
                todo.extend(run.graph.children[below])

    def _close(self, run: RunState, position: int, status: TaskStatus, now: datetime, out: Changes) -> None:
        """Makes a task that waits final; it gets a row of its own unless its attempt has one already."""
        task, task_id = run.tasks[position], run.graph.tasks[position].id
        if task.status is TaskStatus.SCHEDULED:
            self.ready_count -= 1
            was, reason = TaskStatus.SCHEDULED, Reason.CANCELLED
            out.append(AttemptEnded(run.ref, task_id, task.retry, now, was, status, None, reason))
        else:
            task.retry += 1
            out.append(AttemptCreated(run.ref, task_id, task.retry, run.restart, now, status))
        self._settle_task(run, task, status)

    def _lease_expired(self, event: LeaseExpired, now: datetime, out: Changes) -> None:
        run, position = self._find(event.run_id, event.task_id)
        if run is None:
            return
        task, spec = run.tasks[position], run.graph.tasks[position]
        if task.status is not TaskStatus.RUNNING or task.retry != event.retry or task.is_lost:
            return
        task.lost += 1
        if run.cancelling or spec.at_most_once or task.lost > LOST_MAX:
            self._give_up_lost(run, position, now, out)
            return
        task.is_lost = True
        out.append(AttemptLost(run.ref, spec.id, task.retry, now))
        self._offer(run, position)

    def _lease_renewed(self, event: LeaseRenewed, now: datetime, out: Changes) -> None:
        run, position = self._holder(event.run_id, event.task_id, event.token)
        if run is not None and (task := run.tasks[position]).is_lost:
            self._drop_lost(task)
            task.lost -= 1
            out.append(AttemptFound(run.ref, event.task_id, task.retry, now))

    def _give_up_lost(self, run: RunState, position: int, now: datetime, out: Changes) -> None:
        task, spec = run.tasks[position], run.graph.tasks[position]
        error = lost_for_good(task, spec)
        end = Failed(run.ref.run_id, spec.id, task.retry, "", Reason.LOST, error)
        self._fail(run, position, end, now, out)

    def _retry_due(self, event: RetryDue, now: datetime, out: Changes) -> None:
        run, position = self._find(event.run_id, event.task_id)
        if run is None:
            return
        task = run.tasks[position]
        if task.status is TaskStatus.FAILED_PENDING_RETRY and task.retry == event.retry:
            self._ready(run, position, now, out)

    def due(self, now: datetime) -> list[RetryDue]:
        """The retries whose delay is over; each is named once."""
        events = []
        while self.retries and self.retries[0][0] <= now:
            _, run_id, position, retry = heapq.heappop(self.retries)
            run = self.runs.get(run_id)
            if run is not None:
                events.append(RetryDue(run_id, run.graph.tasks[position].id, retry))
        return events

    def next_due(self) -> datetime | None:
        """When the next retry is due; None when none waits."""
        return self.retries[0][0] if self.retries else None

    # -- commands ------------------------------------------------------------------------------------------

    def _cancel(self, event: Cancel, now: datetime, out: Changes) -> None:
        run = self.runs.get(event.run_id)
        if run is None or run.cancelling:
            return
        run.cancelling = True
        out.append(CancelRequested(run.ref, now))
        for position, task in enumerate(run.tasks):
            if task.is_lost:
                self._give_up_lost(run, position, now, out)
            elif task.status is not TaskStatus.RUNNING and task.status not in TASK_FINAL:
                self._close(run, position, TaskStatus.CANCELLED, now, out)
        self._end_if_done(run, now, out)

    def _restart(self, event: Restart, now: datetime, out: Changes) -> None:
        run = self.runs.get(event.run_id)
        if run is None or run.status not in (RunStatus.FAILED, RunStatus.CANCELLED):
            return
        run.restart += 1
        was, run.status = run.status, RunStatus.SCHEDULED
        out += [RunRestarted(run.ref, now, run.restart), RunChanged(run.ref, now, was, run.status)]
        run.cancelling, run.failed, run.is_cancelled, run.open = False, 0, False, 0
        for task in run.tasks:  # what is SUCCESS stays, so the counts of unmet parents do too
            if task.status is not TaskStatus.SUCCESS:
                self._reset(task)
                run.open += 1
        self._admit(run, now, out)

    def _reset(self, task: TaskState) -> None:
        self._move(task, TaskStatus.NO_STATUS)
        task.spent = task.lost = 0
        task.token, task.is_lost, task.retry_at, task.refusals = None, False, None, None

    # -- small steps ---------------------------------------------------------------------------------------

    def _move(self, task: TaskState, status: TaskStatus) -> None:
        assert status in TRANSITIONS[task.status], (task.status, status)
        task.status = status

    def _drop_lost(self, task: TaskState) -> None:
        """A lost attempt that was heard of again is not offered any more."""
        if task.is_lost:
            task.is_lost = False
            self.lost.pop(task.token or "", None)
            self.ready_count -= 1

    def _settle_task(self, run: RunState, task: TaskState, status: TaskStatus) -> None:
        """Makes the task final."""
        self._drop_lost(task)
        self._move(task, status)
        task.token, task.retry_at = None, None
        run.open -= 1
        if status is TaskStatus.FAILED:
            run.failed += 1
        elif status is TaskStatus.CANCELLED:
            run.is_cancelled = True

    # -- recovery ------------------------------------------------------------------------------------------

    def restore(self, row: RunRow, graph: Graph, attempts: Iterable[AttemptRow]) -> RunState:
        """Puts a run back into memory from its rows; `attempts` ordered by number."""
        run = run_from_rows(row, graph, attempts)
        self.runs[row.ref.run_id] = run
        self._count_for_backfill(run, 1)
        if run.status is RunStatus.RUNNING:
            self.active[row.ref.dag_id] += 1
        elif run.status is RunStatus.SCHEDULED:
            self.waiting.setdefault(row.ref.dag_id, deque()).append(row.ref.run_id)
        for position, task in enumerate(run.tasks):
            if task.status is TaskStatus.SCHEDULED or task.is_lost:
                self._offer(run, position)
            elif task.status is TaskStatus.FAILED_PENDING_RETRY and task.retry_at is not None:
                heapq.heappush(self.retries, (task.retry_at, row.ref.run_id, position, task.retry))
        return run

    def forget(self, run_id: int) -> None:
        """Takes a closed run out of memory again (one that was read back for a restart)."""
        run = self.runs.get(run_id)
        if run is not None and run.status in RUN_FINAL:
            del self.runs[run_id]
            self._count_for_backfill(run, -1)


_HANDLERS: dict[type, Callable[[Engine, Any, datetime, Changes], None]] = {
    RunDue: Engine._run_due,
    Triggered: Engine._triggered,
    PointsSkipped: Engine._points_skipped,
    Claimed: Engine._claimed,
    Succeeded: Engine._succeeded,
    Failed: Engine._failed,
    LeaseExpired: Engine._lease_expired,
    LeaseRenewed: Engine._lease_renewed,
    RetryDue: Engine._retry_due,
    Cancel: Engine._cancel,
    Restart: Engine._restart,
    RoomChanged: Engine._room_changed,
}
