"""Hand-made histories for the tests of the oracle: a legal one in a few words, and changes to spoil it."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from ppacer.clock import Now
from ppacer.dag import Dag, Node
from ppacer.engine.changes import (
    AlertKind,
    AlertQueued,
    AttemptCreated,
    AttemptEnded,
    AttemptGranted,
    CancelRequested,
    Change,
    PointRecorded,
    RunChanged,
    RunCreated,
    RunRestarted,
)
from ppacer.engine.model import Reason, RunRef, RunStatus, ScheduleEvent, TaskStatus, Trigger
from ppacer.protocol import End, Grant, Report
from ppacer.scheduler.requests import Claim, Heartbeat, Reports
from sim.dags import Step
from sim.fold import Fold
from sim.oracle import Oracle

BEGIN = datetime(2026, 11, 2, 12, tzinfo=UTC)
LEASE = 30.0
S, R = TaskStatus, RunStatus


def seconds(count: float) -> timedelta:
    """Short, because stories are full of it."""
    return timedelta(seconds=count)


def chain(*ids: str, dag: str = "d", options: dict[str, Any] | None = None, **rest: Any) -> Dag:
    """A dag whose tasks follow each other; `options` are those of the first task."""
    nodes = [Node(Step(id), **(options or {} if at == 0 else {})) for at, id in enumerate(ids)]
    for before, after in pairwise(nodes):
        before.next(after)
    made = Dag(dag, *nodes[:1], **rest)
    made.finish()
    return made


class Story:
    """An oracle, a fold of the same changes, a clock, and short words for what happens."""

    def __init__(self, *dags: Dag) -> None:
        self.oracle = Oracle(LEASE)
        self.fold = Fold()
        self.utc, self.mono = BEGIN, 1000.0
        self.dags: dict[str, Dag] = {}
        self.deploy(*dags)

    @property
    def now(self) -> Now:
        """The time of the story."""
        return Now(self.utc, self.mono)

    def deploy(self, *dags: Dag) -> None:
        """A start with these dags."""
        self.dags = {dag.id: dag for dag in dags}
        self.fold.sync(self.dags, self.utc)
        self.oracle.deployed(self.dags, self.now)
        self.oracle.up(self.now)
        self.step()

    def wait(self, count: float, step: float | None = None) -> None:
        """Time passes; with steps of the scheduler every so often."""
        end = self.mono + count
        while self.mono < end:
            span = min(step or count, end - self.mono)
            self.utc, self.mono = self.utc + seconds(span), self.mono + span
            if step:
                self.step()

    def step(self) -> None:
        """A step of the scheduler that finds nothing to do."""
        self.oracle.check_touched(None, self.now)

    def commit(self, *changes: Change) -> None:
        """One transaction."""
        self.oracle.committed(changes, self.now)
        self.fold.apply(changes)

    def look(self) -> None:
        """At everything."""
        self.oracle.check_everything(None, self.fold.tables, self.now)

    def end(self) -> None:
        """All is healed."""
        self.look()
        self.oracle.check_end(None, self.fold.tables, self.now)

    # -- runs ----------------------------------------------------------------------------------------------

    def ref(self, run_id: int = 1, dag: str = "d") -> RunRef:
        """A run triggered by hand, in the order of its number."""
        return RunRef(run_id, dag, BEGIN + timedelta(microseconds=run_id))

    def triggered(self, ref: RunRef, **other: Any) -> list[Change]:
        """The run and its record."""
        version = self.dags[ref.dag_id].version
        values: dict[str, Any] = {"trigger": Trigger.MANUAL, "version": version, "params": None} | other
        event = ScheduleEvent.MANUALLY_TRIGGERED
        return [
            RunCreated(ref, self.utc, **values),
            PointRecorded(ref.dag_id, self.utc, event, ref.exec_ts, None),
        ]

    def begun(self, ref: RunRef, restart: int = 0, roots: Sequence[str] | None = None) -> list[Change]:
        """The run goes on, its roots are ready."""
        graph = self.dags[ref.dag_id].graph
        ids = [task.id for task in graph.tasks if not task.parents] if roots is None else roots
        return [
            self.run(ref, R.SCHEDULED, R.RUNNING),
            *(AttemptCreated(ref, id, 0, restart, self.utc) for id in ids),
        ]

    def run(self, ref: RunRef, was: RunStatus, status: RunStatus) -> RunChanged:
        """One change of a run."""
        return RunChanged(ref, self.utc, was, status)

    def start(self, run_id: int = 1, dag: str = "d") -> RunRef:
        """Triggers a run that begins at once."""
        ref = self.ref(run_id, dag)
        self.commit(*self.triggered(ref), *self.begun(ref))
        return ref

    # -- attempts ------------------------------------------------------------------------------------------

    def claim(self, executor: str = "e", slots: int = 4) -> None:
        """An executor asks for work."""
        self.oracle.heard(executor, Claim(executor, slots, 0.0), self.now)

    def beat(self, *tokens: str, executor: str = "e") -> None:
        """A heartbeat."""
        self.oracle.heard(executor, Heartbeat(executor, list(tokens)), self.now)

    def created(self, ref: RunRef, task: str, retry: int = 0, restart: int = 0) -> AttemptCreated:
        """A task is ready."""
        return AttemptCreated(ref, task, retry, restart, self.utc)

    def granted(
        self, ref: RunRef, task: str, retry: int = 0, executor: str = "e", **other: Any
    ) -> AttemptGranted:
        """The row of a grant."""
        position = self.dags[ref.dag_id].graph.index[task]
        token = other.get("token", f"{ref.run_id}.{task}.{retry}")
        end = other.get("end", self.utc + seconds(LEASE))
        return AttemptGranted(ref, position, task, retry, self.utc, token, executor, end)

    def grant(self, ref: RunRef, task: str, retry: int = 0, executor: str = "e") -> Grant:
        """Claims, grants, and hands the grant over."""
        self.claim(executor)
        row = self.granted(ref, task, retry, executor)
        self.commit(row)
        return self.take(row)

    def take(self, row: AttemptGranted) -> Grant:
        """What the executor gets for this row."""
        ref, spec = row.ref, self.dags[row.ref.dag_id].graph.tasks[row.position]
        names = (ref.run_id, ref.dag_id, ref.exec_ts, row.task_id, row.retry, row.token)
        grant = Grant(*names, self.oracle.runs.runs[ref.run_id].trigger, spec.timeout)
        self.oracle.granted(row.executor, grant)
        return grant

    def work(self, grant: Grant, end: End = End.SUCCESS, executor: str = "e", **other: Any) -> None:
        """Executes, and reports."""
        self.oracle.executed(executor, grant)
        self.oracle.finished(executor, grant, end)
        self.report(grant, end, executor, **other)

    def report(self, grant: Grant, end: End, executor: str = "e", **other: Any) -> Reports:
        """The scheduler hears of an end."""
        names = (grant.run_id, grant.task_id, grant.retry, grant.token)
        ask = Reports(executor, [Report(*names, end, **other)])
        self.oracle.heard(executor, ask, self.now)
        return ask

    def ended(
        self, grant: Grant, status: TaskStatus, reason: Reason | None = None, **other: Any
    ) -> AttemptEnded:
        """The row of an end."""
        ref = self.oracle.runs.runs[grant.run_id].ref
        values: dict[str, Any] = {"was": S.RUNNING, "token": grant.token, "reason": reason} | other
        return AttemptEnded(ref, grant.task_id, grant.retry, self.utc, status=status, **values)

    def alert(self, grant: Grant, kind: AlertKind = AlertKind.FAILURE) -> AlertQueued:
        """The row of an alert."""
        ref = self.oracle.runs.runs[grant.run_id].ref
        return AlertQueued(ref, grant.task_id, grant.retry, kind, None, self.utc)

    # -- whole episodes ------------------------------------------------------------------------------------

    def fail(self, ref: RunRef, task: str, retry: int = 0) -> None:
        """A task of a single-task run fails for good, and the run with it."""
        grant = self.grant(ref, task, retry)
        self.work(grant, End.FAILED)
        end = self.ended(grant, S.FAILED, Reason.FAILED)
        self.commit(end, self.alert(grant), self.run(ref, R.RUNNING, R.FAILED))

    def pending(self, ref: RunRef, task: str, retry: int, wait: float) -> Grant:
        """A task fails and waits for its next attempt."""
        grant = self.grant(ref, task, retry)
        self.work(grant, End.FAILED)
        due = self.utc + seconds(wait)
        self.commit(self.ended(grant, S.FAILED_PENDING_RETRY, Reason.FAILED, retry_at=due))
        return grant

    def finish(self, ref: RunRef, task: str, retry: int = 0, *more: Change) -> None:
        """A task succeeds, with what follows from it."""
        grant = self.grant(ref, task, retry)
        self.work(grant)
        self.commit(self.ended(grant, S.SUCCESS), *more)

    def restarted(self, ref: RunRef, restart: int = 1) -> list[Change]:
        """A failed run goes on."""
        was = self.oracle.runs.runs[ref.run_id].status
        return [RunRestarted(ref, self.utc, restart), self.run(ref, was, R.SCHEDULED)]

    def cancel(self, ref: RunRef) -> CancelRequested:
        """The row of a cancel."""
        return CancelRequested(ref, self.utc)

    # -- schedules -----------------------------------------------------------------------------------------

    def point(
        self, ts: datetime, next_ts: datetime | None, event: str = "REGULAR", dag: str = "d"
    ) -> PointRecorded:
        """A row of `schedules`."""
        return PointRecorded(dag, self.utc, ScheduleEvent(event), ts, next_ts)

    def scheduled(self, run_id: int, ts: datetime, dag: str = "d", **other: Any) -> list[Change]:
        """A run of a point that begins at once, without tasks or with ready ones."""
        ref = RunRef(run_id, dag, ts)
        values: dict[str, Any] = {"trigger": Trigger.SCHEDULE, "version": self.dags[dag].version} | other
        return [RunCreated(ref, self.utc, params=None, **values), *self.begun(ref)]
