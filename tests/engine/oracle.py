"""The oracle: rows made by folding changes, and the invariants of a run by an independent recount.

The numbers in the comments: 1 at most one active attempt per task · 2 terminal rows never change · 3 attempt
numbers gapless and limited · 4 nothing starts before its parents · 5 a run has its pinned tasks · 6 a run is
terminal iff its tasks are, its outcome a function of theirs · 7 each point once · 8 (dag, exec_ts) unique ·
9 a result needs the current token · 12 RUNNING iff token and owner · 15 counts of unmet parents · 16 the
ready set · 17 caps · 19 no grant after a cancel · 23 at_most_once · 24, 34 memory is what the rows say · 25
only legal transitions · 32 one alert per condition · 33 upstream failure is complete. It knows the words of
the engine (statuses, changes), and nothing of how it decides.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import Any

from ppacer.dag import Graph
from ppacer.engine import AttemptRow, Engine, Reason, RunRef, RunRow, RunStatus, TaskStatus, Trigger
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
from ppacer.engine.events import Event, RoomChanged, RunDue, Triggered

S, R = TaskStatus, RunStatus
FINAL = {S.SUCCESS, S.FAILED, S.UPSTREAM_FAILED, S.CANCELLED, S.SKIPPED}
SPENDING = {Reason.FAILED, Reason.TIMED_OUT}
LOST_MAX = 3

# What may follow what in the rows of one task; the last three are a restart of the run.
TASK_MOVES = {
    (S.NO_STATUS, S.SCHEDULED),
    (S.NO_STATUS, S.UPSTREAM_FAILED),
    (S.NO_STATUS, S.CANCELLED),
    (S.SCHEDULED, S.RUNNING),
    (S.SCHEDULED, S.CANCELLED),
    (S.RUNNING, S.SUCCESS),
    (S.RUNNING, S.FAILED),
    (S.RUNNING, S.FAILED_PENDING_RETRY),
    (S.RUNNING, S.CANCELLED),
    (S.FAILED_PENDING_RETRY, S.SCHEDULED),
    (S.FAILED_PENDING_RETRY, S.CANCELLED),
    (S.FAILED, S.NO_STATUS),
    (S.UPSTREAM_FAILED, S.NO_STATUS),
    (S.CANCELLED, S.NO_STATUS),
}
RUN_MOVES = {
    (R.SCHEDULED, R.RUNNING),
    (R.SCHEDULED, R.CANCELLED),
    (R.RUNNING, R.SUCCESS),
    (R.RUNNING, R.FAILED),
    (R.RUNNING, R.CANCELLED),
    (R.FAILED, R.SCHEDULED),
    (R.CANCELLED, R.SCHEDULED),
}


OfAttempt = AttemptCreated | AttemptGranted | AttemptEnded | AttemptLost | AttemptFound
OfRun = RunCreated | RunChanged | RunRestarted | CancelRequested | AlertQueued | OfAttempt


@dataclass
class Attempt:
    """A row of `dagruntasks`."""

    task_id: str
    retry: int
    restart: int
    status: TaskStatus
    at: datetime
    reason: Reason | None = None
    token: str | None = None
    executor: str | None = None
    lost: bool = False
    retry_at: datetime | None = None
    has_result: bool = False

    def as_row(self) -> AttemptRow:
        """What the store would tell the engine."""
        return AttemptRow(
            self.task_id,
            self.retry,
            self.restart,
            self.status,
            self.at,
            self.reason,
            self.token,
            self.executor,
            self.lost,
            self.retry_at,
            self.has_result,
        )


@dataclass
class Run:
    """A row of `dagruns` with its attempts by task, oldest first."""

    ref: RunRef
    graph: Graph
    version: str
    trigger: Trigger
    params: str | None
    since: datetime
    status: RunStatus = R.SCHEDULED
    restart: int = 0
    cancelling: bool = False
    attempts: dict[str, list[Attempt]] = field(default_factory=dict)

    def current(self, task_id: str) -> list[Attempt]:
        """The attempts of a task that count: all of a success, else those since the latest restart."""
        rows = self.attempts.get(task_id, [])
        if rows and rows[-1].status is S.SUCCESS:
            return rows
        return [row for row in rows if row.restart == self.restart]

    def task_status(self, task_id: str) -> TaskStatus:
        rows = self.current(task_id)
        return rows[-1].status if rows else S.NO_STATUS

    def statuses(self) -> dict[str, TaskStatus]:
        return {spec.id: self.task_status(spec.id) for spec in self.graph.tasks}

    def parents(self, task_id: str) -> list[str]:
        return [self.graph.tasks[at].id for at in self.graph.tasks[self.graph.index[task_id]].parents]


class Rows:
    """The tables, as the changes make them. Every change that must not be raises AssertionError."""

    def __init__(self) -> None:
        self.runs: dict[int, Run] = {}
        self.points: Counter[tuple[str, datetime]] = Counter()
        self.alerts: set[tuple[int, str, int, AlertKind]] = set()
        self.room: dict[str, int] = {}
        self.task_moves: set[tuple[TaskStatus, TaskStatus]] = set()
        self._graphs: dict[int, Graph] = {}
        self._tokens: set[str] = set()

    # -- folding -------------------------------------------------------------------------------------------

    def fold(self, event: Event, changes: Sequence[Change]) -> None:
        """Applies the changes of one event to the rows."""
        if isinstance(event, RunDue | Triggered):
            self._graphs[event.ref.run_id] = event.graph
        if isinstance(event, RoomChanged):
            self.room[event.dag_id] = event.max_active_runs
        touched = {change.ref.run_id for change in changes if isinstance(change, OfRun)}
        before = {id: self.runs[id].statuses() for id in touched if id in self.runs}
        self._moves: dict[int, dict[str, list[TaskStatus]]] = {id: {} for id in touched}
        for change in changes:
            self._one(change)
        self._check_moves(before)
        self._check_alerts(changes)

    def _one(self, change: Change) -> None:
        match change:
            case RunCreated(ref, at, version, trigger, params):
                assert ref.run_id not in self.runs, ref
                names = {(run.ref.dag_id, run.ref.exec_ts) for run in self.runs.values()}
                assert (ref.dag_id, ref.exec_ts) not in names, ref  # 8
                self.runs[ref.run_id] = Run(ref, self._graphs[ref.run_id], version, trigger, params, at)
            case RunChanged(ref, at, was, status):
                run = self.runs[ref.run_id]
                assert run.status is was, (run.status, change)
                assert (was, status) in RUN_MOVES, change  # 25
                run.status, run.since = status, at
                if status is R.RUNNING:
                    active = [
                        r for r in self.runs.values() if r.ref.dag_id == ref.dag_id and r.status is R.RUNNING
                    ]
                    assert len(active) <= self.room.get(ref.dag_id, 16), change  # 17
            case RunRestarted(ref, _, restart):
                run = self.runs[ref.run_id]
                assert run.status in (R.FAILED, R.CANCELLED), run
                assert restart == run.restart + 1, change
                run.restart, run.cancelling = restart, False
            case CancelRequested(ref, _):
                run = self.runs[ref.run_id]
                assert not run.cancelling, change
                assert run.status in (R.SCHEDULED, R.RUNNING), change
                run.cancelling = True
            case PointRecorded(dag_id, _, _, ts, _):
                self.points[dag_id, ts] += 1
                assert self.points[dag_id, ts] == 1, change  # 7
            case AlertQueued(ref, task_id, retry, kind, _, _):
                key = (ref.run_id, task_id, retry, kind)
                assert key not in self.alerts, change  # 32
                self.alerts.add(key)
            case AttemptCreated() | AttemptGranted() | AttemptEnded() | AttemptLost() | AttemptFound():
                self._attempt(change)
            case _:
                raise AssertionError(f"not a change of the engine: {change}")

    def _attempt(self, change: OfAttempt) -> None:
        run = self.runs[change.ref.run_id]
        rows = run.attempts.setdefault(change.task_id, [])
        path = self._moves[run.ref.run_id].setdefault(change.task_id, [run.task_status(change.task_id)])
        if isinstance(change, AttemptCreated):
            assert change.retry == len(rows), change  # 3: gapless
            assert change.restart == run.restart, change
            assert change.status in (S.SCHEDULED, S.UPSTREAM_FAILED, S.CANCELLED), change
            assert not rows or rows[-1].status not in (S.SCHEDULED, S.RUNNING, S.SUCCESS), change  # 1
            rows.append(Attempt(change.task_id, change.retry, change.restart, change.status, change.at))
            path.append(change.status)
            return
        row = rows[-1]
        assert row.retry == change.retry, change
        if isinstance(change, AttemptGranted):
            assert row.status is S.SCHEDULED, change
            assert run.status is R.RUNNING, change
            assert not run.cancelling, change  # 19
            assert change.token not in self._tokens, change
            assert run.graph.tasks[change.position].id == change.task_id, change
            self._tokens.add(change.token)
            row.status, row.token, row.executor = S.RUNNING, change.token, change.executor
            path.append(S.RUNNING)
        elif isinstance(change, AttemptLost):
            assert row.status is S.RUNNING, change
            assert not row.lost, change
            assert not self._spec(run, change.task_id).at_most_once, change  # 23
            row.lost = True
        elif isinstance(change, AttemptFound):
            assert row.status is S.RUNNING, change
            assert row.lost, change
            row.lost = False
        else:
            assert row.status is change.was, change  # 2
            assert row.token == change.token, change  # 9
            row.status, row.reason, row.retry_at = change.status, change.reason, change.retry_at
            row.has_result = change.result is not None
            path.append(change.status)

    def _spec(self, run: Run, task_id: str) -> Any:
        return run.graph.tasks[run.graph.index[task_id]]

    def _check_moves(self, before: dict[int, dict[str, TaskStatus]]) -> None:
        for run_id, paths in self._moves.items():
            for task_id, status in self.runs[run_id].statuses().items():
                was = before[run_id][task_id] if run_id in before else S.NO_STATUS
                path = [was, *paths.get(task_id, [status])]
                moves = {(old, new) for old, new in pairwise(path) if old is not new}
                assert moves <= TASK_MOVES, (run_id, task_id, path)  # 25
                self.task_moves |= moves

    def _check_alerts(self, changes: Sequence[Change]) -> None:
        """32: an alert for every condition that asks for one, in the same breath, and for nothing else."""
        wanted = set()
        for change in changes:
            if not isinstance(change, AttemptEnded):
                continue
            spec = self._spec(self.runs[change.ref.run_id], change.task_id)
            key = (change.ref.run_id, change.task_id, change.retry)
            if change.status is S.FAILED and spec.alert_on_failure:
                wanted.add((*key, AlertKind.FAILURE))
            if change.status is S.FAILED_PENDING_RETRY and change.reason in SPENDING and spec.alert_on_retry:
                wanted.add((*key, AlertKind.RETRY))
        queued = {(c.ref.run_id, c.task_id, c.retry, c.kind) for c in changes if isinstance(c, AlertQueued)}
        assert queued == wanted, (queued, wanted)

    # -- reading back --------------------------------------------------------------------------------------

    def latest(self, run_id: int, task_id: str) -> int:
        """The number of the latest attempt, -1 when there is none."""
        return len(self.runs[run_id].attempts.get(task_id, [])) - 1

    def statuses(self, run_id: int) -> dict[str, TaskStatus]:
        """The status of every task of a run."""
        return self.runs[run_id].statuses()

    def run(self, run_id: int) -> tuple[RunRow, Graph, list[AttemptRow]]:
        """What `Store.run` gives."""
        run = self.runs[run_id]
        row = RunRow(run.ref, run.status, run.version, run.trigger, run.params, run.restart, run.cancelling)
        attempts = sorted((a.as_row() for rows in run.attempts.values() for a in rows), key=lambda a: a.retry)
        return row, run.graph, attempts

    def restored(self, room: dict[str, int]) -> Engine:
        """A new engine that knows the rows and nothing else."""
        engine = Engine()
        engine.room = dict(room)
        for run in sorted(self.runs.values(), key=lambda run: (run.since, run.ref.run_id)):
            if run.status in (R.SCHEDULED, R.RUNNING):
                engine.restore(*self.run(run.ref.run_id))
        return engine

    # -- the invariants --------------------------------------------------------------------------------------

    def check(self, engine: Engine) -> None:
        """Everything that must hold between two events, in the rows and between the rows and the engine."""
        for run in self.runs.values():
            self._check_run(run)
        self._check_room()
        self._check_memory(engine)
        mine, restored = picture(engine), picture(self.restored(engine.room))
        assert mine == restored, (mine, restored)  # 24, 34

    def _check_run(self, run: Run) -> None:
        ids = {spec.id for spec in run.graph.tasks}
        assert set(run.attempts) <= ids, run.ref  # 5
        statuses = run.statuses()
        closed = run.status not in (R.SCHEDULED, R.RUNNING)
        assert closed == all(s in FINAL for s in statuses.values()) or not ids, (run.ref, statuses)  # 6
        if closed:
            assert run.status is _outcome(run, list(statuses.values())), (run.ref, statuses)  # 6
        if run.status is R.SCHEDULED:
            assert all(s in (S.NO_STATUS, S.SUCCESS) for s in statuses.values()), (run.ref, statuses)
        for task_id, status in statuses.items():
            self._check_task(run, task_id, status, [statuses[parent] for parent in run.parents(task_id)])

    def _check_task(self, run: Run, task_id: str, status: TaskStatus, parents: list[TaskStatus]) -> None:
        where, spec, rows = (
            (run.ref, task_id, status, parents),
            self._spec(run, task_id),
            run.current(task_id),
        )
        open_rows = [row for row in run.attempts.get(task_id, []) if row.status in (S.SCHEDULED, S.RUNNING)]
        assert len(open_rows) <= 1, where  # 1
        assert not open_rows or open_rows[0] is rows[-1], where
        met = all(parent is S.SUCCESS for parent in parents)
        doomed = any(parent in (S.FAILED, S.UPSTREAM_FAILED) for parent in parents)
        if status in (S.SCHEDULED, S.RUNNING, S.FAILED_PENDING_RETRY, S.SUCCESS, S.FAILED):
            assert met, where  # 4
        if status is S.UPSTREAM_FAILED:
            assert doomed, where
        if status is S.NO_STATUS and run.status is R.RUNNING:
            assert not doomed, where  # 33
            assert not met, where  # what can start is ready
            assert not run.cancelling, where
        if status is S.CANCELLED:
            assert run.cancelling, where
        spent = [r for r in rows if r.restart == rows[-1].restart and r.reason in SPENDING] if rows else []
        assert len(spent) <= spec.retries + 1, where  # 3
        lost = [
            r for r in rows if r.lost and r.reason in (None, Reason.LOST)
        ]  # the others were heard of again
        assert sum(r.restart == rows[-1].restart for r in lost) <= LOST_MAX, where
        losses = (
            [r for r in rows if r.restart == rows[-1].restart and r.reason is Reason.LOST] if rows else []
        )
        assert sum(r.status is not S.CANCELLED for r in losses) <= LOST_MAX + 1, where
        if spec.at_most_once:
            started = [r for r in rows if r.token is not None and r.reason is not Reason.REFUSED]
            assert len([r for r in started if r.restart == rows[-1].restart]) <= 1, where  # 23
        for row in rows:
            assert (row.retry_at is not None) == (row.status is S.FAILED_PENDING_RETRY), where

    def _check_room(self) -> None:
        active = Counter(run.ref.dag_id for run in self.runs.values() if run.status is R.RUNNING)
        for run in self.runs.values():
            if run.status is R.SCHEDULED:
                dag_id = run.ref.dag_id
                assert active[dag_id] >= self.room.get(dag_id, 16), (run.ref, active)  # it waits for a reason

    def _check_memory(self, engine: Engine) -> None:
        open_ids = {run_id for run_id, run in self.runs.items() if run.status in (R.SCHEDULED, R.RUNNING)}
        assert set(engine.runs) == open_ids  # memory holds only open runs
        ready, lost = set(), dict[str, tuple[int, int]]()
        for run_id in open_ids:
            run, memory = self.runs[run_id], engine.runs[run_id]
            statuses = run.statuses()
            for position, (spec, task) in enumerate(zip(run.graph.tasks, memory.tasks, strict=True)):
                rows = run.current(spec.id)
                latest = rows[-1] if rows else None
                assert task.status is statuses[spec.id], (run.ref, spec.id)
                assert task.retry == self.latest(run_id, spec.id), (run.ref, spec.id)
                unmet = sum(statuses[parent] is not S.SUCCESS for parent in run.parents(spec.id))
                assert task.unmet == unmet, (run.ref, spec.id)  # 15
                assert (task.token is not None) == (task.status is S.RUNNING), (run.ref, spec.id)  # 12
                if latest is not None and latest.status is S.RUNNING:
                    assert (task.token, task.executor) == (latest.token, latest.executor), run.ref
                    assert task.is_lost == latest.lost, run.ref
                if latest is not None and (latest.status is S.SCHEDULED or task.is_lost):
                    ready.add((run_id, position, latest.retry))
                if latest is not None and latest.status is S.FAILED_PENDING_RETRY:
                    assert latest.retry_at is not None, run.ref
                    due = engine.next_due()
                    assert due is not None, run.ref
                    assert due <= latest.retry_at, run.ref
                if task.is_lost and task.token is not None:
                    lost[task.token] = run_id, position
        assert engine.lost == lost
        entries = Counter(entry for entry in engine.ready if entry in ready)
        assert entries == Counter(ready), (engine.ready, ready)  # 16
        assert engine.ready_count == len(ready), (engine.ready_count, ready)  # 16


def _outcome(run: Run, statuses: list[TaskStatus]) -> RunStatus:
    """The outcome of a run is a function of its tasks."""
    if S.CANCELLED in statuses or (run.cancelling and not statuses):
        return R.CANCELLED
    return R.FAILED if S.FAILED in statuses else R.SUCCESS


def picture(engine: Engine) -> dict[str, Any]:
    """What an engine remembers, without what is only order or history: equal pictures decide equally."""
    runs = {}
    for run_id, run in engine.runs.items():
        head = (run.ref, run.status, run.trigger, run.params, run.restart, run.cancelling)
        counts = (run.open, run.failed, run.is_cancelled)
        runs[run_id] = (*head, *counts, tuple(map(_task_picture, run.tasks)))
    live = {
        (at, run_id, position, retry)
        for at, run_id, position, retry in engine.retries
        if run_id in engine.runs
        and engine.runs[run_id].tasks[position].retry == retry
        and engine.runs[run_id].tasks[position].status is S.FAILED_PENDING_RETRY
    }
    waiting = {dag_id: set(queue) for dag_id, queue in engine.waiting.items()}
    return {"runs": runs, "active": dict(engine.active), "waiting": waiting, "retries": live}


def _task_picture(task: Any) -> tuple[Any, ...]:
    if task.status in FINAL:
        return (task.status, task.retry, task.unmet, task.has_result)
    owner = (task.token, task.executor) if task.status is S.RUNNING else None
    spent = (task.spent, task.lost, task.refusals)
    return (task.status, task.retry, task.unmet, owner, task.is_lost, task.retry_at, *spent)
