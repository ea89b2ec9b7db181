"""What the engine decides: rows to be written. Replaying the changes gives the tables."""

from datetime import datetime
from enum import StrEnum

import msgspec

from ppacer.engine.model import Reason, RunRef, RunStatus, ScheduleEvent, TaskStatus, Trigger


class AlertKind(StrEnum):
    """What an alert is about."""

    FAILURE = "FAILURE"
    RETRY = "RETRY"


class RunCreated(msgspec.Struct, frozen=True, gc=False):
    """A new row in `dagruns`, with status SCHEDULED."""

    ref: RunRef
    at: datetime
    version: str
    trigger: Trigger
    params: str | None
    backfill_id: int | None = None


class RunChanged(msgspec.Struct, frozen=True, gc=False):
    """A run began (RUNNING), ended, or waits again after a restart (SCHEDULED)."""

    ref: RunRef
    at: datetime
    was: RunStatus
    status: RunStatus


class RunRestarted(msgspec.Struct, frozen=True, gc=False):
    """A new row in `dagrunrestarts`; the run's earlier cancellation is forgotten."""

    ref: RunRef
    at: datetime
    restart: int


class CancelRequested(msgspec.Struct, frozen=True, gc=False):
    """The run shall end; it ends when its last running attempt does."""

    ref: RunRef
    at: datetime


class PointRecorded(msgspec.Struct, frozen=True, gc=False):
    """A new row in `schedules`; it moves the dag's cursor to `next_ts`, unless manual or OUT_OF_BAND."""

    dag_id: str
    at: datetime
    event: ScheduleEvent
    ts: datetime
    next_ts: datetime | None


class DagMarked(msgspec.Struct, frozen=True, gc=False):
    """A dag was paused, or disabled with a reason, or (both None) may run again."""

    dag_id: str
    paused_at: datetime | None = None
    disabled_at: datetime | None = None
    disabled_reason: str | None = None


class AttemptCreated(msgspec.Struct, frozen=True, gc=False):
    """A new row in `dagruntasks`: SCHEDULED, or a final status without an attempt."""

    ref: RunRef
    task_id: str
    retry: int
    restart: int
    at: datetime
    status: TaskStatus = TaskStatus.SCHEDULED


class AttemptGranted(msgspec.Struct, frozen=True, gc=False):
    """SCHEDULED → RUNNING, for the holder of `token`. `position` is the task's place in the graph."""

    ref: RunRef
    position: int
    task_id: str
    retry: int
    at: datetime
    token: str
    executor: str
    lease_end_at: datetime


class AttemptEnded(msgspec.Struct, frozen=True, gc=False):
    """An attempt's last status; `retry_at`: when the next one is due. `was` is SCHEDULED only at a cancel.

    `body_hash`: of the code that ran, as its executor knows it; None for one that told nothing.
    """

    ref: RunRef
    task_id: str
    retry: int
    at: datetime
    was: TaskStatus
    status: TaskStatus
    token: str | None = None
    reason: Reason | None = None
    error: str | None = None
    result: str | None = None
    retry_at: datetime | None = None
    peak_memory: int | None = None
    body_hash: str | None = None
    cpu_seconds: float | None = None


class AttemptLost(msgspec.Struct, frozen=True, gc=False):
    """The attempt stays RUNNING, marked lost, until its successor is granted."""

    ref: RunRef
    task_id: str
    retry: int
    at: datetime


class AttemptFound(msgspec.Struct, frozen=True, gc=False):
    """A lost attempt is lost no more: its executor has it."""

    ref: RunRef
    task_id: str
    retry: int
    at: datetime


class AlertQueued(msgspec.Struct, frozen=True, gc=False):
    """A new row in `outbox`; written with the fact it tells about, or not at all."""

    ref: RunRef
    task_id: str
    retry: int
    kind: AlertKind
    error: str | None
    at: datetime


class AlertTried(msgspec.Struct, frozen=True, gc=False):
    """An alert was taken (no error), or not: then it is tried again at `again_at`, or given up (None)."""

    alert_id: int
    at: datetime
    error: str | None = None
    again_at: datetime | None = None


class Audited(msgspec.Struct, frozen=True, gc=False):
    """A new row in `audit`: who wanted what, and what became of it; in one transaction with that."""

    at: datetime
    actor: str
    address: str | None
    command: str
    dag_id: str | None
    run_id: int | None
    details: str
    outcome: str
    error: str | None


class ReplyKept(msgspec.Struct, frozen=True, gc=False):
    """A new row in `requests`: what a command with an idempotency key was answered, in one transaction."""

    actor: str
    key: str
    at: datetime
    fingerprint: str
    reply: str


class TokenCreated(msgspec.Struct, frozen=True, gc=False):
    """A new row in `tokens`; of the secret itself only the hash is known."""

    token_id: str
    name: str
    role: str
    token_hash: str
    at: datetime
    created_by: str
    expires_at: datetime | None


class TokenRevoked(msgspec.Struct, frozen=True, gc=False):
    """A token counts no more."""

    token_id: str
    at: datetime


class ExecutorGreeted(msgspec.Struct, frozen=True, gc=False):
    """An executor has said hello: a new row in `executors` (`is_new`), or its row from an earlier life."""

    name: str
    at: datetime
    is_new: bool
    host: str
    pid: int
    version: str
    protocol: int
    slots: int
    labels: list[str] | None
    runners: list[str] | None
    dag_versions: dict[str, str]
    identity: str
    life: str


class ExecutorHeard(msgspec.Struct, frozen=True, gc=False):
    """An executor lives; written once in a lease at most."""

    name: str
    at: datetime


class ExecutorDraining(msgspec.Struct, frozen=True, gc=False):
    """An executor takes nothing new, because it is about to end."""

    name: str
    at: datetime


class DrainAsked(msgspec.Struct, frozen=True, gc=False):
    """Somebody wants an executor to take nothing new; `at` is None when he wants it no more."""

    name: str
    at: datetime | None


STOPPED = "it has stopped"  # the reason of an executor that has said goodbye


class ExecutorGone(msgspec.Struct, frozen=True, gc=False):
    """An executor has ended, or was not heard of for a lease."""

    name: str
    at: datetime
    reason: str


class BackfillCreated(msgspec.Struct, frozen=True, gc=False):
    """A new row in `backfills`, and one in `backfillpoints` for each of its points, in their order."""

    backfill_id: int
    dag_id: str
    from_ts: datetime
    to_ts: datetime
    newest_first: bool
    max_active_runs: int
    params: str | None
    points: list[datetime]
    at: datetime
    created_by: str


class BackfillMoved(msgspec.Struct, frozen=True, gc=False):
    """The point at `position` is dealt with: it has got its run, or is passed over because it had one."""

    backfill_id: int
    position: int
    is_passed: bool


class BackfillMarked(msgspec.Struct, frozen=True, gc=False):
    """A backfill was paused, by somebody or for a reason, or (both None) goes on."""

    backfill_id: int
    paused_at: datetime | None = None
    pause_reason: str | None = None


class BackfillCancelled(msgspec.Struct, frozen=True, gc=False):
    """A backfill begins no more runs; it ends when those have that are open."""

    backfill_id: int
    at: datetime


class BackfillEnded(msgspec.Struct, frozen=True, gc=False):
    """A backfill has dealt with all its points, or was cancelled, and none of its runs is open."""

    backfill_id: int
    at: datetime


Change = (
    RunCreated
    | RunChanged
    | RunRestarted
    | CancelRequested
    | PointRecorded
    | DagMarked
    | AttemptCreated
    | AttemptGranted
    | AttemptEnded
    | AttemptLost
    | AttemptFound
    | AlertQueued
    | AlertTried
    | Audited
    | ReplyKept
    | TokenCreated
    | TokenRevoked
    | ExecutorGreeted
    | ExecutorHeard
    | ExecutorDraining
    | DrainAsked
    | ExecutorGone
    | BackfillCreated
    | BackfillMoved
    | BackfillMarked
    | BackfillCancelled
    | BackfillEnded
)
