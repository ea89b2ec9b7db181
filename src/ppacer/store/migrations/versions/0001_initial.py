"""The tables of the first version, frozen: later changes of `schema.py` are migrations of their own."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.sql import quoted_name

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

INSTANT = sa.String(27).with_variant(sa.TIMESTAMP(timezone=True), "postgresql")
RUN_RULES = (
    "CASE Status WHEN 'SCHEDULED' THEN EndedAt IS NULL WHEN 'RUNNING' THEN EndedAt IS NULL "
    "WHEN 'SUCCESS' THEN EndedAt IS NOT NULL WHEN 'FAILED' THEN EndedAt IS NOT NULL "
    "WHEN 'CANCELLED' THEN EndedAt IS NOT NULL ELSE FALSE END"
)
ATTEMPT_RULES = (
    "CASE Status WHEN 'SUCCESS' THEN EndedAt IS NOT NULL "
    "WHEN 'RUNNING' THEN EndedAt IS NULL "
    "AND Executor IS NOT NULL AND Token IS NOT NULL AND LeaseEndAt IS NOT NULL "
    "WHEN 'SCHEDULED' THEN EndedAt IS NULL WHEN 'FAILED' THEN EndedAt IS NOT NULL "
    "WHEN 'FAILED_PENDING_RETRY' THEN EndedAt IS NOT NULL WHEN 'UPSTREAM_FAILED' THEN EndedAt IS NOT NULL "
    "WHEN 'CANCELLED' THEN EndedAt IS NOT NULL WHEN 'SKIPPED' THEN EndedAt IS NOT NULL ELSE FALSE END"
)


def _name(name: str) -> quoted_name:
    return quoted_name(name, quote=False)


def _column(name: str, type: Any, *, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(_name(name), type, nullable=nullable)


def _id(name: str) -> sa.Column[Any]:
    return _column(name, sa.String(200))


def _word(name: str, *, nullable: bool = False) -> sa.Column[Any]:
    return _column(name, sa.String(20), nullable=nullable)


def _text(name: str, *, nullable: bool = False) -> sa.Column[Any]:
    return _column(name, sa.Text, nullable=nullable)


def _instant(name: str, *, nullable: bool = False) -> sa.Column[Any]:
    return _column(name, INSTANT, nullable=nullable)


def _integer(name: str, *, nullable: bool = False) -> sa.Column[Any]:
    return _column(name, sa.Integer, nullable=nullable)


def upgrade() -> None:
    """Creates all tables."""
    _create_definitions()
    _create_runs()
    _create_attempts()
    _create_records()


def downgrade() -> None:
    """There is nothing before this; the backup made by `ppacer db upgrade` is the way back."""
    raise NotImplementedError


def _create_definitions() -> None:
    op.create_table(
        _name("dags"),
        _id("DagId"),
        _text("StartTs", nullable=True),
        _text("Schedule", nullable=True),
        _instant("CreateTs"),
        _instant("LatestUpdateTs", nullable=True),
        _text("CreateVersion"),
        _text("LatestUpdateVersion", nullable=True),
        _text("HashDagMeta"),
        _text("HashTasks"),
        _text("Attributes"),
        _text("DagVersion"),
        _instant("ScheduleSinceAt"),
        _instant("LastScheduleAt", nullable=True),
        _instant("NextScheduleAt", nullable=True),
        _instant("PausedAt", nullable=True),
        _instant("DisabledAt", nullable=True),
        _text("DisabledReason", nullable=True),
        _instant("RemovedAt", nullable=True),
        sa.PrimaryKeyConstraint("DagId", name="pk_dags"),
    )
    op.create_table(
        _name("dagtasks"),
        _id("DagId"),
        _id("TaskId"),
        _integer("IsCurrent"),
        _instant("InsertTs"),
        _integer("PosDepth"),
        _integer("PosWidth"),
        _text("Version"),
        _text("TaskTypeName"),
        _text("TaskConfig"),
        _text("TaskBodyHash"),
        _text("TaskBodySource"),
        _text("Parents"),
        _text("DagVersion"),
        _integer("Revision"),
        sa.PrimaryKeyConstraint("DagId", "TaskId", "Revision", name="pk_dagtasks"),
    )
    op.create_index("ix_dagtasks_current", _name("dagtasks"), [_name("DagId"), _name("IsCurrent")])
    op.create_table(
        _name("dagversions"),
        _id("DagId"),
        _text("DagVersion"),
        _instant("InsertTs"),
        _text("Graph"),
        sa.PrimaryKeyConstraint("DagId", "DagVersion", name="pk_dagversions"),
    )


def _create_runs() -> None:
    op.create_table(
        _name("dagruns"),
        _integer("RunId"),
        _id("DagId"),
        _instant("ExecTs"),
        _instant("InsertTs"),
        _word("Status"),
        _instant("StatusUpdateTs"),
        _text("Version"),
        _text("DagVersion"),
        _word("TriggeredBy"),
        _text("Params", nullable=True),
        _integer("Restarts"),
        _instant("StartedAt", nullable=True),
        _instant("EndedAt", nullable=True),
        _instant("CancelRequestedAt", nullable=True),
        sa.PrimaryKeyConstraint("RunId", name="pk_dagruns"),
        sa.UniqueConstraint("DagId", "ExecTs", name="uq_dagruns_dagid_exects"),
        sa.CheckConstraint(RUN_RULES, name="ck_dagruns_status"),
    )
    op.create_index("ix_dagruns_dagid_runid", _name("dagruns"), [_name("DagId"), _name("RunId")])
    op.create_index("ix_dagruns_status_runid", _name("dagruns"), [_name("Status"), _name("RunId")])


def _create_attempts() -> None:
    op.create_table(
        _name("dagruntasks"),
        _id("DagId"),
        _instant("ExecTs"),
        _id("TaskId"),
        _integer("Retry"),
        _instant("InsertTs"),
        _word("Status"),
        _instant("StatusUpdateTs"),
        _text("Version"),
        _integer("Restart"),
        _word("Reason", nullable=True),
        _text("Error", nullable=True),
        _text("Executor", nullable=True),
        _text("Token", nullable=True),
        _instant("StartedAt", nullable=True),
        _instant("EndedAt", nullable=True),
        _instant("LeaseEndAt", nullable=True),
        _instant("LostAt", nullable=True),
        _instant("RetryAt", nullable=True),
        _integer("ResultBytes", nullable=True),
        _column("PeakMemory", sa.BigInteger, nullable=True),
        sa.PrimaryKeyConstraint("DagId", "ExecTs", "TaskId", "Retry", name="pk_dagruntasks"),
        sa.CheckConstraint(ATTEMPT_RULES, name="ck_dagruntasks_status"),
    )
    op.create_table(
        _name("dagrunresults"),
        _id("DagId"),
        _instant("ExecTs"),
        _id("TaskId"),
        _integer("Retry"),
        _text("Result"),
        sa.PrimaryKeyConstraint("DagId", "ExecTs", "TaskId", "Retry", name="pk_dagrunresults"),
    )


def _create_records() -> None:
    op.create_table(
        _name("schedules"),
        _id("DagId"),
        _instant("InsertTs"),
        _word("Event"),
        _instant("ScheduleTs"),
        _instant("NextScheduleTs", nullable=True),
        sa.CheckConstraint(
            "Event IN ('REGULAR', 'CAUGHT_UP', 'SKIPPED', 'OUT_OF_BAND', 'MANUALLY_TRIGGERED')",
            name="ck_schedules_event",
        ),
    )
    op.create_index(
        "ix_schedules_dagid_schedulets", _name("schedules"), [_name("DagId"), _name("ScheduleTs")]
    )
    op.create_table(
        _name("dagrunrestarts"),
        _id("DagId"),
        _instant("ExecTs"),
        _integer("Restart"),
        _instant("InsertTs"),
        sa.PrimaryKeyConstraint("DagId", "ExecTs", "Restart", name="pk_dagrunrestarts"),
    )
    op.create_table(
        _name("outbox"),
        _integer("AlertId"),
        _id("DagId"),
        _instant("ExecTs"),
        _id("TaskId"),
        _integer("Retry"),
        _word("Kind"),
        _text("Error", nullable=True),
        _instant("InsertTs"),
        _integer("Tries"),
        _text("LastError", nullable=True),
        _instant("NextTryAt", nullable=True),
        _instant("SentAt", nullable=True),
        _instant("GivenUpAt", nullable=True),
        sa.PrimaryKeyConstraint("AlertId", name="pk_outbox"),
        sa.UniqueConstraint("DagId", "ExecTs", "TaskId", "Retry", "Kind", name="uq_outbox_condition"),
        sa.CheckConstraint("Kind IN ('FAILURE', 'RETRY')", name="ck_outbox_kind"),
    )
    op.create_index("ix_outbox_nexttryat", _name("outbox"), [_name("NextTryAt")])
