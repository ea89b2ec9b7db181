"""What the oracle knows of a run, folded from committed changes alone; and how it says what is wrong."""

from datetime import datetime
from types import SimpleNamespace
from typing import NoReturn

from ppacer.dag import Graph, TaskSpec
from ppacer.engine.changes import RunCreated
from ppacer.engine.model import Reason, RunRef, RunStatus, TaskStatus, Trigger

# Python 3.11 looks for a member of an enum itself ten times as long, and the oracle names one at every turn.
S = SimpleNamespace(**TaskStatus.__members__)
R = SimpleNamespace(**RunStatus.__members__)
RUN_ENDED = frozenset({RunStatus.SUCCESS, RunStatus.FAILED, RunStatus.CANCELLED})
TASK_ENDED = frozenset(
    {
        TaskStatus.SUCCESS,
        TaskStatus.FAILED,
        TaskStatus.UPSTREAM_FAILED,
        TaskStatus.CANCELLED,
        TaskStatus.SKIPPED,
    }
)


class Violation(AssertionError):  # noqa: N818 - the word of docs/reliability.md is "violated"
    """An invariant of docs/reliability.md does not hold; `number` is the one it has there."""

    def __init__(self, number: int, text: str) -> None:
        super().__init__(f"invariant {number}: {text}")
        self.number = number
        self.text = text


def wrong(number: int, text: str) -> NoReturn:
    """Says it in one sentence."""
    raise Violation(number, text)


class Attempt:
    """A row of `dagruntasks`: an attempt, or a final status that a task reached without one."""

    __slots__ = (
        *(
            "awake",
            "code",
            "cpu",
            "created_at",
            "denied",
            "ended_at",
            "error",
            "executions",
            "executor",
            "granted_at",
        ),
        *("lease_end_at", "lost_at", "named", "peak", "reason", "restart", "result", "retry", "retry_at"),
        *("run", "status", "task", "token"),
    )

    def __init__(
        self, run: "Run", task: "Task", retry: int, restart: int, at: datetime, status: TaskStatus
    ) -> None:
        self.run, self.task = run, task
        self.retry, self.restart = retry, restart
        self.created_at = at
        self.status = status
        self.token: str | None = None
        self.executor: str | None = None
        self.granted_at: datetime | None = None
        self.lease_end_at: datetime | None = None
        self.lost_at: datetime | None = None
        self.ended_at: datetime | None = at if status in TASK_ENDED else None
        self.reason: Reason | None = None
        self.error: str | None = None
        self.result: str | None = None
        self.retry_at: datetime | None = None
        self.peak: int | None = None
        self.code: str | None = None  # that ran, by its hash
        self.cpu: float | None = None
        self.awake = 0.0  # when it was granted, on the clock that stands still while the host sleeps
        self.named = 0.0  # when its executor last said that it holds it
        self.denied = False  # a heartbeat since then did not name it
        self.executions = 0

    def __str__(self) -> str:
        return f"attempt {self.retry} of {self.task.spec.id!r} in run {self.run.ref.run_id}"


class Task:
    """One task of a run. `spent`, `lost`: retries used up and attempts replaced since the latest restart."""

    __slots__ = ("attempts", "children", "lost", "parents", "position", "spec", "spent", "status")

    def __init__(self, position: int, spec: TaskSpec, children: tuple[int, ...]) -> None:
        self.position, self.spec = position, spec
        self.parents, self.children = spec.parents, children
        self.status: TaskStatus = S.NO_STATUS
        self.attempts: list[Attempt] = []
        self.spent = 0
        self.lost = 0


class Run:
    """A run, open or ended, with every attempt."""

    __slots__ = (
        *("backfill_id", "cancel_at", "cancels", "changed_at", "created_at", "ended_at", "graph"),
        *("is_fresh", "open", "params", "ref", "restart", "restarts", "started_at", "status"),
        *("tasks", "trigger", "version"),
    )

    def __init__(self, change: RunCreated, graph: Graph) -> None:
        self.ref: RunRef = change.ref
        self.version = change.version
        self.trigger: Trigger = change.trigger
        self.params = change.params
        self.backfill_id = change.backfill_id
        self.graph = graph
        self.status: RunStatus = R.SCHEDULED
        self.created_at = self.changed_at = change.at
        self.started_at: datetime | None = None
        self.ended_at: datetime | None = None
        self.cancel_at: datetime | None = None
        self.cancels = 0  # how often it was cancelled
        self.restart = 0
        self.restarts: dict[int, datetime] = {}
        self.tasks = [Task(at, spec, graph.children[at]) for at, spec in enumerate(graph.tasks)]
        self.open = len(self.tasks)  # tasks without a final status
        self.is_fresh = False  # it began, or began anew, in this transaction

    def __str__(self) -> str:
        return f"run {self.ref.run_id} of {self.ref.dag_id!r} at {self.ref.exec_ts:%Y-%m-%dT%H:%M:%S.%f}"

    def set_status(self, task: Task, status: TaskStatus) -> None:
        """Moves one task, and counts those that are open."""
        self.open += (task.status in TASK_ENDED) - (status in TASK_ENDED)
        task.status = status

    def may_start(self, task: Task) -> bool:
        """The trigger rule: all parents have succeeded."""
        return all(self.tasks[parent].status is S.SUCCESS for parent in task.parents)
