"""Make the table of caps that several processes share."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from penstock.stores.sql.types import COUNT, TIME, Name

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "penstock_shares",
        sa.Column("account", Name(600), primary_key=True),
        sa.Column("period", Name(20), primary_key=True),
        sa.Column("start", TIME, primary_key=True),
        sa.Column("process", Name(80), primary_key=True),
        sa.Column("granted", COUNT, nullable=False),
        sa.Column("spent", COUNT, nullable=False),
        sa.Column("mark", Name(), nullable=False),
        sa.Column("until", TIME, nullable=False),
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
        mysql_row_format="DYNAMIC",
    )
    for column in ("process", "until"):
        op.create_index(f"ix_penstock_shares_{column}", "penstock_shares", [column])
