"""Make the table of what requests asked and were answered."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from penstock.stores.sql.types import LONG, Name

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "penstock_texts",
        sa.Column("call_id", Name(), primary_key=True),
        sa.Column("request", LONG, nullable=False),
        sa.Column("response", LONG, nullable=False),
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
        mysql_row_format="DYNAMIC",
    )
