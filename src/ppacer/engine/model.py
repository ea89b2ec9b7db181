"""The words of the engine: statuses, reasons, the legal transitions, and what it keeps of an open run."""

from datetime import datetime
from enum import StrEnum

import msgspec

from ppacer.dag import Graph


class RunStatus(StrEnum):
    """A dag run: SCHEDULED (created, waits for room) → RUNNING → one of the others."""

    SCHEDULED = "SCHEDULED"
    RUNNING = "RUNNING"
    SUCCESS = "SUCCESS"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class TaskStatus(StrEnum):
    """A task of a run, and an attempt of it. NO_STATUS is never stored: it is a task without a row."""

    NO_STATUS = "NO_STATUS"
    SCHEDULED = "SCHEDULED"
    RUNNING = "RUNNING"
    SUCCESS = "SUCCESS"
    FAILED = "FAILED"
    FAILED_PENDING_RETRY = "FAILED_PENDING_RETRY"
    UPSTREAM_FAILED = "UPSTREAM_FAILED"
    CANCELLED = "CANCELLED"
    SKIPPED = "SKIPPED"


class Reason(StrEnum):
    """Why an attempt ended without success; only the first two use up retries."""

    FAILED = "FAILED"
    TIMED_OUT = "TIMED_OUT"
    LOST = "LOST"
    HANDED_BACK = "HANDED_BACK"
    REFUSED = "REFUSED"
    CANCELLED = "CANCELLED"


class Trigger(StrEnum):
    """Who started a run."""

    SCHEDULE = "schedule"
    MANUAL = "manual"
    BACKFILL = "backfill"


class ScheduleEvent(StrEnum):
    """What became of a schedule point; the words of the original."""

    REGULAR = "REGULAR"
    CAUGHT_UP = "CAUGHT_UP"
    SKIPPED = "SKIPPED"
    OUT_OF_BAND = "OUT_OF_BAND"
    MANUALLY_TRIGGERED = "MANUALLY_TRIGGERED"


RUN_FINAL = frozenset({RunStatus.SUCCESS, RunStatus.FAILED, RunStatus.CANCELLED})
TASK_FINAL = frozenset(
    {
        TaskStatus.SUCCESS,
        TaskStatus.FAILED,
        TaskStatus.UPSTREAM_FAILED,
        TaskStatus.CANCELLED,
        TaskStatus.SKIPPED,
    }
)

# What may follow what for one task of a run; everything else is a bug. A restart is the only way out of a
# final status, and not out of SUCCESS. RUNNING → RUNNING is a lost attempt whose successor is granted.
TRANSITIONS: dict[TaskStatus, frozenset[TaskStatus]] = {
    TaskStatus.NO_STATUS: frozenset({TaskStatus.SCHEDULED, TaskStatus.UPSTREAM_FAILED, TaskStatus.CANCELLED}),
    TaskStatus.SCHEDULED: frozenset({TaskStatus.RUNNING, TaskStatus.CANCELLED}),
    TaskStatus.RUNNING: frozenset(
        {
            TaskStatus.RUNNING,
            TaskStatus.SUCCESS,
            TaskStatus.FAILED,
            TaskStatus.FAILED_PENDING_RETRY,
            TaskStatus.CANCELLED,
        }
    ),
    TaskStatus.FAILED_PENDING_RETRY: frozenset({TaskStatus.SCHEDULED, TaskStatus.CANCELLED}),
    TaskStatus.FAILED: frozenset({TaskStatus.NO_STATUS}),
    TaskStatus.UPSTREAM_FAILED: frozenset({TaskStatus.NO_STATUS}),
    TaskStatus.CANCELLED: frozenset({TaskStatus.NO_STATUS}),
    TaskStatus.SKIPPED: frozenset({TaskStatus.NO_STATUS}),
    TaskStatus.SUCCESS: frozenset(),
}


class RunRef(msgspec.Struct, frozen=True):
    """A run by both its names: the number, and the dag with its execution time."""

    run_id: int
    dag_id: str
    exec_ts: datetime


class TaskState:
    """One task of an open run. `retry` is the number of the latest attempt, -1 before the first."""

    __slots__ = (
        *("executor", "has_result", "is_lost", "lost", "offered", "refusals"),
        *("retry", "retry_at", "spent", "status", "token", "unmet"),
    )

    def __init__(self, unmet: int) -> None:
        self.status = TaskStatus.NO_STATUS
        self.retry = -1
        self.offered = -1  # the number of the attempt that stands in the queue of what is ready
        self.unmet = unmet  # parents that are not SUCCESS
        self.spent = 0  # retries used up since the latest restart
        self.lost = 0  # attempts lost since the latest restart
        self.refusals: dict[str, int] | None = None  # since the latest restart, by executor
        self.token: str | None = None
        self.executor: str | None = None
        self.is_lost = False
        self.has_result = False
        self.retry_at: datetime | None = None


class RunState:
    """An open run: its pinned graph and the state of every task, by position in the graph."""

    __slots__ = (
        *("backfill_id", "cancelling", "failed", "graph", "is_cancelled", "open", "params"),
        *("ref", "restart", "status", "tasks", "trigger"),
    )

    def __init__(
        self,
        ref: RunRef,
        graph: Graph,
        trigger: Trigger,
        params: str | None,
        restart: int = 0,
        backfill_id: int | None = None,
    ) -> None:
        self.ref = ref
        self.graph = graph
        self.trigger = trigger
        self.params = params  # JSON text
        self.restart = restart
        self.backfill_id = backfill_id
        self.status = RunStatus.SCHEDULED
        self.cancelling = False
        self.tasks = [TaskState(len(spec.parents)) for spec in graph.tasks]
        self.open = len(self.tasks)  # tasks that are not final
        self.failed = 0
        self.is_cancelled = False  # some task was cancelled


class RunRow(msgspec.Struct, frozen=True):
    """What the store knows of a run, as far as the engine needs it."""

    ref: RunRef
    status: RunStatus
    version: str
    trigger: Trigger
    params: str | None
    restart: int
    cancelling: bool
    backfill_id: int | None = None


class AttemptRow(msgspec.Struct, frozen=True):
    """What the store knows of an attempt, as far as the engine needs it."""

    task_id: str
    retry: int
    restart: int
    status: TaskStatus
    inserted_at: datetime
    reason: Reason | None = None
    token: str | None = None
    executor: str | None = None
    is_lost: bool = False
    retry_at: datetime | None = None
    has_result: bool = False
