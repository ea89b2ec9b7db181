"""What can happen to the engine. Ids, tokens and times come from outside."""

from datetime import datetime

import msgspec

from ppacer.dag import Graph
from ppacer.engine.model import Reason, RunRef, ScheduleEvent


class RunDue(msgspec.Struct, frozen=True, gc=False):
    """A schedule point has come: `event` is REGULAR or CAUGHT_UP, `next_ts` the point after it."""

    ref: RunRef
    graph: Graph
    version: str
    event: ScheduleEvent
    next_ts: datetime | None
    params: str | None = None


class PointsSkipped(msgspec.Struct, frozen=True, gc=False):
    """The points in [start, end) get no run; `end` None: the schedule is over."""

    dag_id: str
    start: datetime
    end: datetime | None


class Triggered(msgspec.Struct, frozen=True, gc=False):
    """Somebody wants a run now; or a backfill does, whose number is given."""

    ref: RunRef
    graph: Graph
    version: str
    params: str | None = None
    backfill_id: int | None = None


class Claimed(msgspec.Struct, frozen=True, gc=False):
    """An executor takes as many ready tasks as there are tokens, which nobody has used before.

    It takes those only that its `labels` and `runners` suffice for (None: it takes all), and none of the dags
    `without` which it is.
    """

    executor: str
    tokens: list[str]
    lease_end_at: datetime
    labels: frozenset[str] | None = None
    runners: frozenset[str] | None = None
    without: frozenset[str] = frozenset()


class Succeeded(msgspec.Struct, frozen=True, gc=False):
    """An attempt ended well; `result` is JSON text, `body_hash` that of the code that ran."""

    run_id: int
    task_id: str
    retry: int
    token: str
    result: str | None = None
    peak_memory: int | None = None
    body_hash: str | None = None
    cpu_seconds: float | None = None


class Failed(msgspec.Struct, frozen=True, gc=False):
    """An attempt ended otherwise; LOST: its executor says that it died with its surroundings.

    `begun`: False when the task was certainly not started.
    """

    run_id: int
    task_id: str
    retry: int
    token: str
    reason: Reason
    error: str | None = None
    peak_memory: int | None = None
    begun: bool = True
    body_hash: str | None = None
    cpu_seconds: float | None = None


class LeaseExpired(msgspec.Struct, frozen=True, gc=False):
    """Nobody has heard of the executor of this attempt for a whole lease."""

    run_id: int
    task_id: str
    retry: int


class LeaseRenewed(msgspec.Struct, frozen=True, gc=False):
    """The executor of a lost attempt has it still, and nobody else was given the next one yet."""

    run_id: int
    task_id: str
    retry: int
    token: str


class RetryDue(msgspec.Struct, frozen=True, gc=False):
    """The delay after the failed attempt number `retry` is over."""

    run_id: int
    task_id: str
    retry: int


class Cancel(msgspec.Struct, frozen=True, gc=False):
    """Somebody wants the run to end."""

    run_id: int


class Restart(msgspec.Struct, frozen=True, gc=False):
    """Somebody wants a failed or cancelled run, which is in memory for this, to go on."""

    run_id: int


class RoomChanged(msgspec.Struct, frozen=True, gc=False):
    """The dag's `max_active_runs` is another one: runs that wait may start."""

    dag_id: str
    max_active_runs: int


Event = (
    RunDue
    | PointsSkipped
    | Triggered
    | Claimed
    | Succeeded
    | Failed
    | LeaseExpired
    | LeaseRenewed
    | RetryDue
    | Cancel
    | Restart
    | RoomChanged
)
