"""What goes over the wire, for both ends: the bodies of answers and requests, and what errors are called."""

from datetime import datetime
from typing import Any

import msgspec

from ppacer.choices import Role
from ppacer.errors import (
    ConfigError,
    ConflictError,
    DagError,
    ExecutorRefusedError,
    KeyReusedError,
    NoAnswerError,
    NotFoundError,
    PpacerError,
    ScheduleError,
    SchedulerUnavailable,
    StoreUnavailable,
    UnknownExecutorError,
)
from ppacer.protocol import Report
from ppacer.store.views import (
    PAGE_MAX,
    AuditView,
    BackfillView,
    DagView,
    ExecutorView,
    PointView,
    RunView,
    SourceView,
)
from ppacer.tasklog import LogRecord, LogRow

ERRORS: tuple[tuple[type[PpacerError], int], ...] = (
    (NotFoundError, 404),
    (ConflictError, 409),
    (UnknownExecutorError, 409),
    (ExecutorRefusedError, 409),
    (KeyReusedError, 422),
    (NoAnswerError, 503),
    (SchedulerUnavailable, 503),
    (StoreUnavailable, 503),
    (DagError, 422),
    (ScheduleError, 422),  # of the user's own, asked for points to come
    (ConfigError, 400),  # a filter of the log reader
)
"""The status of each error, those with the narrower meaning first."""


class Problem(msgspec.Struct, frozen=True):
    """The body of every error answer (RFC 9457); other servers may leave out what is not for us."""

    detail: str
    code: str
    title: str = "Error"
    status: int = 500
    type: str = "about:blank"


class Health(msgspec.Struct, frozen=True):
    """`/healthz`: 200 while the scheduler works or stands by, 503 while it does not.

    Task logs may be in trouble alone.
    """

    state: str
    version: str
    detail: str | None = None


class Dags(msgspec.Struct, frozen=True):
    """A page of dags; `next` is what `after` is for the next page."""

    dags: list[DagView]
    next: str | None = None


class Executors(msgspec.Struct, frozen=True):
    """A page of executors; `after` of the next page is the last name."""

    executors: list[ExecutorView]


class Runs(msgspec.Struct, frozen=True):
    """A page of runs, newest first; `next` is what `before` is for the next page."""

    runs: list[RunView]
    next: int | None = None


class LogQuestion(msgspec.Struct, frozen=True):
    """Which log records of a run a command asks for: of a task, of an attempt, of a level and graver ones.

    The first `limit` above LogId `after`, or the last `tail` ones; `wait`: seconds, for the first of them.
    """

    run_id: int
    task_id: str | None = None
    retry: int | None = None
    level: str | None = None
    after: int = 0
    limit: int = PAGE_MAX
    tail: int | None = None
    wait: float = 0.0


class Logs(msgspec.Struct, frozen=True):
    """A page of log records; `after` of the next page is the last log_id. `ended`: nothing more will come."""

    records: list[LogRow]
    ended: bool

    def __bool__(self) -> bool:
        """Whether there is something to tell to who waits for it."""
        return bool(self.records) or self.ended


class Points(msgspec.Struct, frozen=True):
    """What became of schedule points, newest first."""

    points: list[PointView]


class Next(msgspec.Struct, frozen=True):
    """The next points of a dag's schedule, soonest first, and the zone whose clock it goes by."""

    points: list[datetime]
    tz: str = "UTC"


class Sources(msgspec.Struct, frozen=True):
    """Every version of a task's source, newest first."""

    sources: list[SourceView]


class Why(msgspec.Struct, frozen=True):
    """An explanation in words."""

    why: str


class Done(msgspec.Struct, frozen=True):
    """A command was carried out; `run_id` is the run it was about, if any; `note`: what else to know."""

    dag_id: str
    run_id: int | None = None
    exec_ts: datetime | None = None
    note: str | None = None


class Drained(msgspec.Struct, frozen=True):
    """Whether the executor is to be given nothing new, from now on."""

    executor: str
    drained: bool


class BackfillPlan(msgspec.Struct, frozen=True):
    """What a backfill of a range would do: of its `points` so many have a run, the others would get one.

    `first_ts` and `last_ts` are the first and the last of those, `null` when there are none.
    """

    dag_id: str
    from_ts: datetime
    to_ts: datetime
    points: int
    with_run: int
    runs: int
    first_ts: datetime | None
    last_ts: datetime | None


class BackfillWanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body that starts a backfill of [from, to); without `to`: up to now."""

    begin: str = msgspec.field(name="from")
    end: str | None = msgspec.field(name="to", default=None)
    max_active_runs: int = 4
    newest_first: bool = False
    params: dict[str, Any] = {}


class BackfillDone(msgspec.Struct, frozen=True):
    """A command about a backfill was carried out."""

    backfill_id: int
    dag_id: str


class Backfills(msgspec.Struct, frozen=True):
    """A page of backfills, newest first; `next` is what `before` is for the next page."""

    backfills: list[BackfillView]
    next: int | None = None


class TokenView(msgspec.Struct, frozen=True):
    """An access token. Its secret is told once, when it is made, and known to nobody but its holder."""

    token_id: str
    name: str
    role: Role
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None


class TokenMade(msgspec.Struct, frozen=True):
    """A new token with its secret; without it when the same request is repeated: it was told before."""

    token: TokenView
    secret: str | None


class Tokens(msgspec.Struct, frozen=True):
    """Every token ever made, oldest first."""

    tokens: list[TokenView]


class Audit(msgspec.Struct, frozen=True):
    """A page of commands, newest first; `next` is what `before` is for the next page."""

    audit: list[AuditView]
    next: int | None = None


class NewToken(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body that makes a token."""

    name: str
    role: Role
    expires_at: datetime | None = None


class Wanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a trigger."""

    params: dict[str, Any] = {}
    exec_ts: datetime | None = None


class ClaimBody(msgspec.Struct, frozen=True):
    """An executor asks for work. Here and below what is not known is passed over: it may be newer."""

    slots: int
    wait: float = 0.0
    life: str | None = None


class ReportsBody(msgspec.Struct, frozen=True):
    """How attempts ended."""

    reports: list[Report]
    life: str | None = None


class HeartbeatBody(msgspec.Struct, frozen=True):
    """The attempts that an executor holds."""

    tokens: list[str]
    life: str | None = None


class GoodbyeBody(msgspec.Struct, frozen=True):
    """An executor ends; `life` is that of its hello."""

    life: str | None = None


class RecordsBody(msgspec.Struct, frozen=True):
    """What tasks have said. A batch with a number that this life has sent before is not written twice."""

    records: list[LogRecord]
    life: str = ""
    number: int = 0


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of any other command: none, or an empty object."""
