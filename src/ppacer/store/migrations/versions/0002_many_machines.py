"""Executors on other machines, access tokens, the audit trail, idempotency keys, and who leads."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.sql import quoted_name

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

INSTANT = sa.String(27).with_variant(sa.TIMESTAMP(timezone=True), "postgresql")


def _name(name: str) -> quoted_name:
    return quoted_name(name, quote=False)


def _column(name: str, type: Any, *, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(_name(name), type, nullable=nullable)


def upgrade() -> None:
    """Creates the tables."""
    _create_executors()
    _create_tokens()
    _create_audit()
    _create_requests()
    _create_leader()


def _create_executors() -> None:
    op.create_table(
        _name("executors"),
        _column("Name", sa.String(200)),
        _column("StartedAt", INSTANT),
        _column("Host", sa.Text),
        _column("Pid", sa.Integer),
        _column("Version", sa.Text),
        _column("Protocol", sa.Integer),
        _column("Slots", sa.Integer),
        _column("Labels", sa.Text),
        _column("Runners", sa.Text),
        _column("DagVersions", sa.Text),
        _column("HeartbeatAt", INSTANT),
        _column("DrainingAt", INSTANT, nullable=True),
        _column("GoneAt", INSTANT, nullable=True),
        _column("GoneReason", sa.Text, nullable=True),
        _column("Identity", sa.String(40)),
        sa.PrimaryKeyConstraint("Name", name="pk_executors"),
    )


def _create_tokens() -> None:
    op.create_table(
        _name("tokens"),
        _column("TokenId", sa.String(20)),
        _column("Name", sa.String(200)),
        _column("Role", sa.String(20)),
        _column("TokenHash", sa.String(64)),
        _column("CreatedAt", INSTANT),
        _column("CreatedBy", sa.Text),
        _column("ExpiresAt", INSTANT, nullable=True),
        _column("RevokedAt", INSTANT, nullable=True),
        sa.PrimaryKeyConstraint("TokenId", name="pk_tokens"),
        sa.UniqueConstraint("TokenHash", name="uq_tokens_tokenhash"),
        sa.CheckConstraint("Role IN ('viewer', 'operator', 'admin', 'executor')", name="ck_tokens_role"),
    )
    live = sa.text("(CASE WHEN RevokedAt IS NULL THEN Name END)")
    op.create_index("uq_tokens_name", _name("tokens"), [live], unique=True)


def _create_audit() -> None:
    op.create_table(
        _name("audit"),
        _column("AuditId", sa.Integer),
        _column("At", INSTANT),
        _column("Actor", sa.Text),
        _column("Address", sa.Text, nullable=True),
        _column("Command", sa.String(40)),
        _column("DagId", sa.Text, nullable=True),
        _column("RunId", sa.Integer, nullable=True),
        _column("Details", sa.Text, nullable=True),
        _column("Outcome", sa.String(40)),
        _column("Error", sa.Text, nullable=True),
        sa.PrimaryKeyConstraint("AuditId", name="pk_audit"),
    )
    op.create_index("ix_audit_dagid_auditid", _name("audit"), [_name("DagId"), _name("AuditId")])
    op.create_index("ix_audit_runid", _name("audit"), [_name("RunId")])


def _create_requests() -> None:
    op.create_table(
        _name("requests"),
        _column("Actor", sa.String(200)),
        _column("IdempotencyKey", sa.String(200)),
        _column("InsertTs", INSTANT),
        _column("Fingerprint", sa.Text),
        _column("Reply", sa.Text),
        sa.PrimaryKeyConstraint("Actor", "IdempotencyKey", name="pk_requests"),
    )
    op.create_index("ix_requests_insertts", _name("requests"), [_name("InsertTs")])


def _create_leader() -> None:
    op.create_table(
        _name("leader"),
        _column("Id", sa.Integer),
        _column("Term", sa.Integer),
        _column("Holder", sa.Text),
        _column("Url", sa.Text, nullable=True),
        _column("RenewedAt", INSTANT),
        _column("LeaseSeconds", sa.Float),
        sa.PrimaryKeyConstraint("Id", name="pk_leader"),
        sa.CheckConstraint("Id = 1", name="ck_leader_one"),
    )
