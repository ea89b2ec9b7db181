"""Backfills: runs of the past that were asked for together."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.sql import quoted_name

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

INSTANT = sa.String(27).with_variant(sa.TIMESTAMP(timezone=True), "postgresql")


def _name(name: str) -> quoted_name:
    return quoted_name(name, quote=False)


def _column(name: str, type: Any, *, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(_name(name), type, nullable=nullable)


def upgrade() -> None:
    """Creates the tables, and the column that says to which backfill a run belongs."""
    op.add_column(_name("dagruns"), _column("BackfillId", sa.Integer, nullable=True))
    op.create_table(
        _name("backfills"),
        _column("BackfillId", sa.Integer),
        _column("DagId", sa.String(200)),
        _column("FromTs", INSTANT),
        _column("ToTs", INSTANT),
        _column("NewestFirst", sa.Integer),
        _column("MaxActiveRuns", sa.Integer),
        _column("Params", sa.Text, nullable=True),
        _column("PointCount", sa.Integer),
        _column("Position", sa.Integer),
        _column("Passed", sa.Integer),
        _column("CreatedAt", INSTANT),
        _column("CreatedBy", sa.Text),
        _column("PausedAt", INSTANT, nullable=True),
        _column("PauseReason", sa.Text, nullable=True),
        _column("CancelRequestedAt", INSTANT, nullable=True),
        _column("EndedAt", INSTANT, nullable=True),
        sa.PrimaryKeyConstraint("BackfillId", name="pk_backfills"),
        sa.CheckConstraint("Position BETWEEN 0 AND PointCount", name="ck_backfills_position"),
    )
    columns = [_name("DagId"), _name("BackfillId")]
    op.create_index("ix_backfills_dagid_backfillid", _name("backfills"), columns)
    op.create_table(
        _name("backfillpoints"),
        _column("BackfillId", sa.Integer),
        _column("Position", sa.Integer),
        _column("ExecTs", INSTANT),
        sa.PrimaryKeyConstraint("BackfillId", "Position", name="pk_backfillpoints"),
    )
