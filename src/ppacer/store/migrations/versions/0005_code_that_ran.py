"""The code that an attempt ran, by its hash, and the processor time it took."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.sql import quoted_name

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the columns; of what ran before nobody knows."""
    table = quoted_name("dagruntasks", quote=False)
    for name, kind in (("TaskBodyHash", sa.String(64)), ("CpuSeconds", sa.Float)):
        op.add_column(table, sa.Column(quoted_name(name, quote=False), kind, nullable=True))
