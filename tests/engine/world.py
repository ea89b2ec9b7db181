"""What the engine's tests are written with: graphs, events and changes as short lines."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from engine.oracle import Rows
from ppacer.dag import Graph, TaskSpec
from ppacer.engine import Engine, Reason, RunRef, ScheduleEvent
from ppacer.engine.changes import (
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
    Restart,
    RetryDue,
    RoomChanged,
    RunDue,
    Succeeded,
    Triggered,
)

T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)
LEASE = timedelta(seconds=30)


def at(seconds: float) -> datetime:
    """An instant so many seconds after the beginning of the test."""
    return T0 + timedelta(seconds=seconds)


def graph(*lines: str, **configs: dict[str, Any]) -> Graph:
    """`graph("a", "b: a", "c: a b", b={"retries": 2})`: each line is a task and its parents."""
    tasks: list[TaskSpec] = []
    index: dict[str, int] = {}
    for line in lines:
        task_id, _, parents = line.partition(":")
        places = tuple(sorted(index[parent] for parent in parents.split()))
        index[task_id] = len(tasks)
        tasks.append(TaskSpec(task_id, places, **configs.get(task_id, {})))
    return Graph(tasks)


def chain(length: int) -> Graph:
    return graph(*(f"t{n}" if n == 0 else f"t{n}: t{n - 1}" for n in range(length)))


def fan(width: int) -> Graph:
    """1 → width → 1."""
    middle = [f"m{n}" for n in range(width)]
    return graph("first", *(f"{name}: first" for name in middle), f"last: {' '.join(middle)}")


class World:
    """An engine whose every answer is checked by the oracle; keeps the tokens of running attempts."""

    def __init__(self, room: int | None = None) -> None:
        self.engine = Engine()
        self.rows = Rows()
        self.now = 0.0
        self.tokens: dict[tuple[int, str], str] = {}
        self.given = 0
        self.last: Event | None = None
        if room is not None:
            self.room(room)

    def handle(self, event: Event) -> list[str]:
        """The changes as lines, after the oracle has looked at them and at the engine."""
        return tell(self.changes(event))

    def changes(self, event: Event) -> list[Change]:
        changes = self._fold(event)
        self.rows.check(self.engine)
        return changes

    def _fold(self, event: Event) -> list[Change]:
        self.last = event
        changes = self.engine.handle(event, at(self.now))
        self.rows.fold(event, changes)
        for change in changes:
            if isinstance(change, AttemptGranted):
                self.tokens[change.ref.run_id, change.task_id] = change.token
        return changes

    def trigger(self, graph: Graph, run_id: int = 1, dag_id: str = "d") -> list[str]:
        return self.handle(Triggered(RunRef(run_id, dag_id, at(run_id)), graph, "v1"))

    def due(self, graph: Graph, run_id: int = 1, dag_id: str = "d") -> list[str]:
        ref = RunRef(run_id, dag_id, at(run_id))
        return self.handle(RunDue(ref, graph, "v1", ScheduleEvent.REGULAR, at(run_id + 60)))

    def claim(self, count: int = 1, executor: str = "x") -> list[str]:
        tokens = [f"k{n}" for n in range(self.given + 1, self.given + count + 1)]
        self.given += count
        return self.handle(Claimed(executor, tokens, at(self.now) + LEASE))

    def succeed(self, task_id: str, result: str | None = None, run_id: int = 1) -> list[str]:
        retry, token = self.running(run_id, task_id)
        return self.handle(Succeeded(run_id, task_id, retry, token, result))

    def fail(
        self,
        task_id: str,
        reason: Reason = Reason.FAILED,
        error: str | None = "no",
        run_id: int = 1,
        *,
        begun: bool = True,
    ) -> list[str]:
        retry, token = self.running(run_id, task_id)
        return self.handle(Failed(run_id, task_id, retry, token, reason, error, begun=begun))

    def lose(self, task_id: str, run_id: int = 1) -> list[str]:
        return self.handle(LeaseExpired(run_id, task_id, self.rows.latest(run_id, task_id)))

    def find(self, task_id: str, run_id: int = 1) -> list[str]:
        return self.handle(LeaseRenewed(run_id, task_id, *self.running(run_id, task_id)))

    def cancel(self, run_id: int = 1) -> list[str]:
        return self.handle(Cancel(run_id))

    def restart(self, run_id: int = 1) -> list[str]:
        """As the scheduler does it: a closed run is read back from its rows first."""
        if run_id not in self.engine.runs:
            self.engine.restore(*self.rows.run(run_id))
        changes = self._fold(Restart(run_id))
        self.engine.forget(run_id)
        self.rows.check(self.engine)
        return tell(changes)

    def room(self, runs: int, dag_id: str = "d") -> list[str]:
        return self.handle(RoomChanged(dag_id, runs))

    def wait(self, seconds: float) -> list[str]:
        """Time passes, and the retries that are due by then become ready."""
        self.now += seconds
        lines = [line for due in self.engine.due(at(self.now)) for line in tell(self._fold(due))]
        self.rows.check(self.engine)
        return lines

    def retry_due(self, task_id: str, retry: int, run_id: int = 1) -> list[str]:
        return self.handle(RetryDue(run_id, task_id, retry))

    def running(self, run_id: int, task_id: str) -> tuple[int, str]:
        """Number and token of the attempt of a task that was granted last."""
        return self.rows.latest(run_id, task_id), self.tokens[run_id, task_id]

    def forget_everything(self) -> None:
        """A new engine, made from the rows alone."""
        self.engine = self.rows.restored(self.engine.room)
        self.rows.check(self.engine)

    def work(self, count: int = 1, failing: Iterable[str] = ()) -> list[str]:
        """Claims and ends attempts until nothing is ready; the task ids in the order of their grants."""
        failing, order = set(failing), list[str]()
        while self.engine.ready_count:
            for line in [line for line in self.claim(count) if " granted " in line]:
                run, _, name = line.split()[0].rpartition("/")
                task_id, order = name.split(".")[0], [*order, line.split()[0]]
                if task_id in failing:
                    self.fail(task_id, run_id=int(run or 1))
                else:
                    self.succeed(task_id, run_id=int(run or 1))
        return order

    def status(self, run_id: int = 1) -> str:
        return str(self.rows.runs[run_id].status)

    def statuses(self, run_id: int = 1) -> dict[str, str]:
        """The status of every task of a run."""
        return {id: str(status) for id, status in self.rows.statuses(run_id).items()}


def tell(changes: Iterable[Change]) -> list[str]:
    """One line for each change, with every field that differs from change to change."""
    return [_line(change) for change in changes]


def _line(change: Change) -> str:
    match change:
        case PointRecorded(dag_id, _, event, ts, next_ts):
            return f"point {dag_id} {event} {_seconds(ts)} next {_seconds(next_ts)}"
        case RunCreated(ref, _, version, trigger, params):
            name = f"{ref.dag_id}@{_seconds(ref.exec_ts)}"
            return f"run {ref.run_id} {name} {version} {trigger} {params or ''}".strip()
        case RunChanged(ref, _, was, status):
            return f"run {ref.run_id} {was} > {status}"
        case RunRestarted(ref, _, restart):
            return f"run {ref.run_id} restart {restart}"
        case CancelRequested(ref, _):
            return f"run {ref.run_id} cancel"
        case AttemptCreated(ref, task_id, retry, restart, _, status):
            return f"{_name(ref, task_id, retry)} new {status}" + (
                f" in restart {restart}" if restart else ""
            )
        case AttemptGranted(ref, _, task_id, retry, _, token, executor, _):
            return f"{_name(ref, task_id, retry)} granted {token} to {executor}"
        case AttemptEnded():
            return _ended(change)
        case AttemptLost(ref, task_id, retry, _):
            return f"{_name(ref, task_id, retry)} lost"
        case AttemptFound(ref, task_id, retry, _):
            return f"{_name(ref, task_id, retry)} found"
        case AlertQueued(ref, task_id, retry, kind, error, _):
            return f"alert {kind} {_name(ref, task_id, retry)} {error}"
        case _:
            raise AssertionError(change)


def _ended(change: AttemptEnded) -> str:
    parts = [_name(change.ref, change.task_id, change.retry), str(change.was), ">", str(change.status)]
    if change.token is not None:
        parts.append(f"by {change.token}")
    if change.reason is not None:
        parts.append(str(change.reason))
    if change.error is not None:
        parts.append(f"({change.error})")
    if change.result is not None:
        parts.append(f"= {change.result}")
    if change.retry_at is not None:
        parts.append(f"retry at {_seconds(change.retry_at)}")
    if change.peak_memory is not None:
        parts.append(f"peak {change.peak_memory}")
    if change.body_hash is not None:
        parts.append(f"ran {change.body_hash}")
    if change.cpu_seconds is not None:
        parts.append(f"cpu {change.cpu_seconds}")
    return " ".join(parts)


def _name(ref: RunRef, task_id: str, retry: int) -> str:
    return f"{task_id}.{retry}" if ref.run_id == 1 else f"{ref.run_id}/{task_id}.{retry}"


def _seconds(moment: datetime | None) -> str:
    return "never" if moment is None else f"{(moment - T0).total_seconds():g}"
