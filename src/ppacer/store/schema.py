"""The tables of the scheduler's database, described once for SQLite and PostgreSQL.

    dags ──< dagtasks            what is defined now, and every version of each task with its source
      │ └──< dagversions         the graph of every version that a run may have pinned
      ├────< schedules           what became of every schedule point
      └────< dagruns ──< dagruntasks ──< dagrunresults     runs, attempts, what attempts returned
                  ├────< dagrunrestarts                    restarts by hand
                  └────< outbox                            alerts to be delivered
    dags ──< backfills ──< backfillpoints                  points of the past that shall get their runs
                │
                └────< dagruns
    executors  tokens  audit  requests  leader             who works, may, did and asked what, and leads

The first columns of the six tables of the original have its names and order, so that its queries work. Ours
come last. Names are never quoted: `SELECT DagId FROM dags` works on both engines. Times are UTC, on SQLite
as text of fixed width. What must never happen is a constraint, not a hope.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql import quoted_name

from ppacer.choices import Role
from ppacer.clock import from_text, to_text
from ppacer.engine import RUN_FINAL, RunStatus, ScheduleEvent, TaskStatus
from ppacer.engine.changes import AlertKind

REVISION = "0005"  # the newest migration; a fresh database is stamped with it

metadata = sa.MetaData()


class Instant(sa.types.TypeDecorator[datetime]):
    """An aware datetime in UTC: text of fixed width on SQLite, timestamptz on PostgreSQL."""

    impl = sa.String
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> Any:
        """The column type of the database at hand."""
        if dialect.name == "sqlite":
            return dialect.type_descriptor(sa.String(27))
        return dialect.type_descriptor(sa.TIMESTAMP(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> Any:
        """To the database."""
        return to_text(value) if value is not None and dialect.name == "sqlite" else value

    def result_processor(self, dialect: sa.Dialect, coltype: Any) -> Callable[[Any], datetime | None]:
        """From the database; straight, because pages read thousands of them."""
        return _from_text if dialect.name == "sqlite" else _from_session


def _from_text(value: str | None) -> datetime | None:
    return None if value is None else from_text(value)


def _from_session(value: datetime | None) -> datetime | None:
    """PostgreSQL answers in the time zone of the session."""
    return None if value is None else value.astimezone(UTC)


def _table(name: str, *parts: Any, **options: Any) -> sa.Table:
    return sa.Table(quoted_name(name, quote=False), metadata, *parts, **options)


def _column(name: str, type: Any, *parts: Any, nullable: bool = False, **options: Any) -> sa.Column[Any]:
    return sa.Column(quoted_name(name, quote=False), type, *parts, nullable=nullable, **options)


def _id(name: str = "DagId") -> sa.Column[Any]:
    return _column(name, sa.String(200))


def _one_of(column: str, words: Any, name: str) -> sa.CheckConstraint:
    return sa.CheckConstraint(f"{column} IN ({', '.join(repr(str(word)) for word in words)})", name=name)


def _by_status(rules: dict[Any, str], name: str) -> sa.CheckConstraint:
    """What must hold of a row with this status; any other status is refused.

    One CASE, the frequent words first: several constraints with IN cost a third of all writing.
    """
    cases = " ".join(f"WHEN '{status}' THEN {rule}" for status, rule in rules.items())
    return sa.CheckConstraint(f"CASE Status {cases} ELSE FALSE END", name=name)


ATTEMPT_WAITING = (TaskStatus.SCHEDULED, TaskStatus.RUNNING)  # every other status of a row has an end time
OPEN, ENDED = "EndedAt IS NULL", "EndedAt IS NOT NULL"
RUN_RULES = {status: ENDED if status in RUN_FINAL else OPEN for status in RunStatus}
ATTEMPT_RULES = {
    TaskStatus.SUCCESS: ENDED,
    TaskStatus.RUNNING: f"{OPEN} AND Executor IS NOT NULL AND Token IS NOT NULL AND LeaseEndAt IS NOT NULL",
    TaskStatus.SCHEDULED: OPEN,
    TaskStatus.FAILED: ENDED,
    TaskStatus.FAILED_PENDING_RETRY: ENDED,
    TaskStatus.UPSTREAM_FAILED: ENDED,
    TaskStatus.CANCELLED: ENDED,
    TaskStatus.SKIPPED: ENDED,
}

dags = _table(
    "dags",
    _id(),
    _column("StartTs", sa.Text, nullable=True),
    _column("Schedule", sa.Text, nullable=True),
    _column("CreateTs", Instant),
    _column("LatestUpdateTs", Instant, nullable=True),
    _column("CreateVersion", sa.Text),
    _column("LatestUpdateVersion", sa.Text, nullable=True),
    _column("HashDagMeta", sa.Text),
    _column("HashTasks", sa.Text),
    _column("Attributes", sa.Text),
    _column("DagVersion", sa.Text),
    _column("ScheduleSinceAt", Instant),
    _column("LastScheduleAt", Instant, nullable=True),
    _column("NextScheduleAt", Instant, nullable=True),
    _column("PausedAt", Instant, nullable=True),
    _column("DisabledAt", Instant, nullable=True),
    _column("DisabledReason", sa.Text, nullable=True),
    _column("RemovedAt", Instant, nullable=True),
    sa.PrimaryKeyConstraint("DagId", name="pk_dags"),
)

dagtasks = _table(
    "dagtasks",
    _id(),
    _id("TaskId"),
    _column("IsCurrent", sa.Integer),
    _column("InsertTs", Instant),
    _column("PosDepth", sa.Integer),
    _column("PosWidth", sa.Integer),
    _column("Version", sa.Text),
    _column("TaskTypeName", sa.Text),
    _column("TaskConfig", sa.Text),
    _column("TaskBodyHash", sa.Text),
    _column("TaskBodySource", sa.Text),
    _column("Parents", sa.Text),
    _column("DagVersion", sa.Text),
    _column("Revision", sa.Integer),
    sa.PrimaryKeyConstraint("DagId", "TaskId", "Revision", name="pk_dagtasks"),
    sa.Index("ix_dagtasks_current", "DagId", "IsCurrent"),
)

dagversions = _table(
    "dagversions",
    _id(),
    _column("DagVersion", sa.Text),
    _column("InsertTs", Instant),
    _column("Graph", sa.Text),
    sa.PrimaryKeyConstraint("DagId", "DagVersion", name="pk_dagversions"),
)

dagruns = _table(
    "dagruns",
    _column("RunId", sa.Integer),
    _id(),
    _column("ExecTs", Instant),
    _column("InsertTs", Instant),
    _column("Status", sa.String(20)),
    _column("StatusUpdateTs", Instant),
    _column("Version", sa.Text),
    _column("DagVersion", sa.Text),
    _column("TriggeredBy", sa.String(20)),
    _column("Params", sa.Text, nullable=True),
    _column("Restarts", sa.Integer),
    _column("StartedAt", Instant, nullable=True),
    _column("EndedAt", Instant, nullable=True),
    _column("CancelRequestedAt", Instant, nullable=True),
    _column("BackfillId", sa.Integer, nullable=True),
    sa.PrimaryKeyConstraint("RunId", name="pk_dagruns"),
    sa.UniqueConstraint("DagId", "ExecTs", name="uq_dagruns_dagid_exects"),
    _by_status(RUN_RULES, "ck_dagruns_status"),
    sa.Index("ix_dagruns_dagid_runid", "DagId", "RunId"),
    sa.Index("ix_dagruns_status_runid", "Status", "RunId"),
)

dagruntasks = _table(
    "dagruntasks",
    _id(),
    _column("ExecTs", Instant),
    _id("TaskId"),
    _column("Retry", sa.Integer),
    _column("InsertTs", Instant),
    _column("Status", sa.String(20)),
    _column("StatusUpdateTs", Instant),
    _column("Version", sa.Text),
    _column("Restart", sa.Integer),
    _column("Reason", sa.String(20), nullable=True),
    _column("Error", sa.Text, nullable=True),
    _column("Executor", sa.Text, nullable=True),
    _column("Token", sa.Text, nullable=True),
    _column("StartedAt", Instant, nullable=True),
    _column("EndedAt", Instant, nullable=True),
    _column("LeaseEndAt", Instant, nullable=True),
    _column("LostAt", Instant, nullable=True),
    _column("RetryAt", Instant, nullable=True),
    _column("ResultBytes", sa.Integer, nullable=True),
    _column("PeakMemory", sa.BigInteger, nullable=True),
    _column("TaskBodyHash", sa.String(64), nullable=True),  # of the code that ran, as in dagtasks
    _column("CpuSeconds", sa.Float, nullable=True),
    sa.PrimaryKeyConstraint("DagId", "ExecTs", "TaskId", "Retry", name="pk_dagruntasks"),
    _by_status(ATTEMPT_RULES, "ck_dagruntasks_status"),
)

dagrunresults = _table(
    "dagrunresults",
    _id(),
    _column("ExecTs", Instant),
    _id("TaskId"),
    _column("Retry", sa.Integer),
    _column("Result", sa.Text),
    sa.PrimaryKeyConstraint("DagId", "ExecTs", "TaskId", "Retry", name="pk_dagrunresults"),
)

schedules = _table(
    "schedules",
    _id(),
    _column("InsertTs", Instant),
    _column("Event", sa.String(20)),
    _column("ScheduleTs", Instant),
    _column("NextScheduleTs", Instant, nullable=True),
    _one_of("Event", ScheduleEvent, "ck_schedules_event"),
    sa.Index("ix_schedules_dagid_schedulets", "DagId", "ScheduleTs"),
)

dagrunrestarts = _table(
    "dagrunrestarts",
    _id(),
    _column("ExecTs", Instant),
    _column("Restart", sa.Integer),
    _column("InsertTs", Instant),
    sa.PrimaryKeyConstraint("DagId", "ExecTs", "Restart", name="pk_dagrunrestarts"),
)

outbox = _table(
    "outbox",
    _column("AlertId", sa.Integer),
    _id(),
    _column("ExecTs", Instant),
    _id("TaskId"),
    _column("Retry", sa.Integer),
    _column("Kind", sa.String(20)),
    _column("Error", sa.Text, nullable=True),
    _column("InsertTs", Instant),
    _column("Tries", sa.Integer),
    _column("LastError", sa.Text, nullable=True),
    _column("NextTryAt", Instant, nullable=True),
    _column("SentAt", Instant, nullable=True),
    _column("GivenUpAt", Instant, nullable=True),
    sa.PrimaryKeyConstraint("AlertId", name="pk_outbox"),
    sa.UniqueConstraint("DagId", "ExecTs", "TaskId", "Retry", "Kind", name="uq_outbox_condition"),
    _one_of("Kind", AlertKind, "ck_outbox_kind"),
    sa.Index("ix_outbox_nexttryat", "NextTryAt"),
)

backfills = _table(
    "backfills",
    _column("BackfillId", sa.Integer),
    _id(),
    _column("FromTs", Instant),
    _column("ToTs", Instant),
    _column("NewestFirst", sa.Integer),
    _column("MaxActiveRuns", sa.Integer),
    _column("Params", sa.Text, nullable=True),
    _column("PointCount", sa.Integer),
    _column("Position", sa.Integer),  # of the first point that is not dealt with
    _column("Passed", sa.Integer),  # points that had a run when their turn came
    _column("CreatedAt", Instant),
    _column("CreatedBy", sa.Text),
    _column("PausedAt", Instant, nullable=True),
    _column("PauseReason", sa.Text, nullable=True),  # NULL: somebody has paused it
    _column("CancelRequestedAt", Instant, nullable=True),
    _column("EndedAt", Instant, nullable=True),
    sa.PrimaryKeyConstraint("BackfillId", name="pk_backfills"),
    sa.CheckConstraint("Position BETWEEN 0 AND PointCount", name="ck_backfills_position"),
    sa.Index("ix_backfills_dagid_backfillid", "DagId", "BackfillId"),
)

backfillpoints = _table(
    "backfillpoints",
    _column("BackfillId", sa.Integer),
    _column("Position", sa.Integer),
    _column("ExecTs", Instant),
    sa.PrimaryKeyConstraint("BackfillId", "Position", name="pk_backfillpoints"),
)

executors = _table(
    "executors",
    _id("Name"),
    _column("StartedAt", Instant),
    _column("Host", sa.Text),
    _column("Pid", sa.Integer),
    _column("Version", sa.Text),
    _column("Protocol", sa.Integer),
    _column("Slots", sa.Integer),
    _column("Labels", sa.Text),  # JSON: a list of words
    _column("Runners", sa.Text),  # JSON: a list of words
    _column("DagVersions", sa.Text),  # JSON: what it has loaded, version by dag
    _column("HeartbeatAt", Instant),
    _column("DrainingAt", Instant, nullable=True),
    _column("GoneAt", Instant, nullable=True),
    _column("GoneReason", sa.Text, nullable=True),
    _column("Identity", sa.String(40)),  # of its folder: who comes back with it is the same executor
    _column("DrainAskedAt", Instant, nullable=True),  # by a command; it stays when the executor comes back
    sa.PrimaryKeyConstraint("Name", name="pk_executors"),
)

tokens = _table(
    "tokens",
    _column("TokenId", sa.String(20)),
    _column("Name", sa.String(200)),
    _column("Role", sa.String(20)),
    _column("TokenHash", sa.String(64)),
    _column("CreatedAt", Instant),
    _column("CreatedBy", sa.Text),
    _column("ExpiresAt", Instant, nullable=True),
    _column("RevokedAt", Instant, nullable=True),
    sa.PrimaryKeyConstraint("TokenId", name="pk_tokens"),
    sa.UniqueConstraint("TokenHash", name="uq_tokens_tokenhash"),
    # A name means one token. The name of a revoked one may be given again. (A condition of the index in
    # words of PostgreSQL would cost each start the import of its dialect.)
    sa.Index("uq_tokens_name", sa.text("(CASE WHEN RevokedAt IS NULL THEN Name END)"), unique=True),
    _one_of("Role", Role, "ck_tokens_role"),
)

audit = _table(
    "audit",
    _column("AuditId", sa.Integer),
    _column("At", Instant),
    _column("Actor", sa.Text),
    _column("Address", sa.Text, nullable=True),
    _column("Command", sa.String(40)),
    _column("DagId", sa.Text, nullable=True),
    _column("RunId", sa.Integer, nullable=True),
    _column("Details", sa.Text, nullable=True),  # JSON: the parameters of the command
    _column("Outcome", sa.String(40)),  # done, or the code of the refusal
    _column("Error", sa.Text, nullable=True),
    sa.PrimaryKeyConstraint("AuditId", name="pk_audit"),
    sa.Index("ix_audit_dagid_auditid", "DagId", "AuditId"),
    sa.Index("ix_audit_runid", "RunId"),
)

requests = _table(
    "requests",
    _column("Actor", sa.String(200)),
    _column("IdempotencyKey", sa.String(200)),
    _column("InsertTs", Instant),
    _column("Fingerprint", sa.Text),  # of the command: the same key for another one is refused
    _column("Reply", sa.Text),
    sa.PrimaryKeyConstraint("Actor", "IdempotencyKey", name="pk_requests"),
    sa.Index("ix_requests_insertts", "InsertTs"),
)

leader = _table(
    "leader",
    _column("Id", sa.Integer),  # always 1: one row, one leader
    _column("Term", sa.Integer),
    _column("Holder", sa.Text),
    _column("Url", sa.Text, nullable=True),
    _column("RenewedAt", Instant),
    _column("LeaseSeconds", sa.Float),
    sa.PrimaryKeyConstraint("Id", name="pk_leader"),
    sa.CheckConstraint("Id = 1", name="ck_leader_one"),
)
