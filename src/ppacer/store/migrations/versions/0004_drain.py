"""That an executor shall take nothing new, because somebody has asked for it."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.sql import quoted_name

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

INSTANT = sa.String(27).with_variant(sa.TIMESTAMP(timezone=True), "postgresql")


def upgrade() -> None:
    """Adds the column, which is empty for everybody."""
    column = sa.Column(quoted_name("DrainAskedAt", quote=False), INSTANT, nullable=True)
    op.add_column(quoted_name("executors", quote=False), column)
