"""Make the tables of what requests asked and were answered, and of what processes tell each other."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from penstock.stores.sql.types import COUNT, LONG, TIME, Name

revision = "0003"
down_revision = "0002"


def _make(table: str, *columns: sa.Column) -> None:
    op.create_table(
        f"penstock_{table}", *columns,
        mysql_engine="InnoDB", mysql_charset="utf8mb4", mysql_row_format="DYNAMIC",
    )  # fmt: skip


def upgrade() -> None:
    _make(
        "texts",
        sa.Column("call_id", Name(), primary_key=True),
        sa.Column("request", LONG, nullable=False),
        sa.Column("response", LONG, nullable=False),
    )
    _make(
        "notes",
        sa.Column("id", Name(), primary_key=True),
        sa.Column("version", COUNT, nullable=False),
        sa.Column("revision", COUNT, nullable=False),
        sa.Column("body", LONG, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("created_by", LONG, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.Column("updated_by", LONG, nullable=False),
    )
    op.create_index("ix_penstock_notes_revision", "penstock_notes", ["revision"])
