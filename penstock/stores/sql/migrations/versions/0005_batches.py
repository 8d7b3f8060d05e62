"""Make the tables of files and of batches."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from penstock.stores.sql.types import COUNT, LONG, TIME, Name

revision = "0005"
down_revision = "0004"


def _make(table: str, *columns: sa.Column) -> None:
    op.create_table(
        f"penstock_{table}", *columns,
        mysql_engine="InnoDB", mysql_charset="utf8mb4", mysql_row_format="DYNAMIC",
    )  # fmt: skip


def upgrade() -> None:
    _make(
        "files",
        sa.Column("id", Name(64), primary_key=True),
        sa.Column("owner", Name(), nullable=False),
        sa.Column("created", TIME, nullable=False),
        sa.Column("purpose", Name(40), nullable=False),
        sa.Column("expires", TIME),
        sa.Column("body", LONG, nullable=False),
    )
    op.create_index("ix_penstock_files_owner_created", "penstock_files", ["owner", "created"])
    op.create_index("ix_penstock_files_created", "penstock_files", ["created"])
    op.create_index("ix_penstock_files_expires", "penstock_files", ["expires"])
    _make(
        "batches",
        sa.Column("id", Name(64), primary_key=True),
        sa.Column("owner", Name(), nullable=False),
        sa.Column("form", Name(20), nullable=False),
        sa.Column("created", TIME, nullable=False),
        sa.Column("status", Name(20), nullable=False),
        sa.Column("version", COUNT, nullable=False),
        sa.Column("runner", Name(80), nullable=False),
        sa.Column("until", TIME, nullable=False),
        sa.Column("body", LONG, nullable=False),
    )
    op.create_index("ix_penstock_batches_owner_created", "penstock_batches", ["owner", "created"])
    op.create_index("ix_penstock_batches_created", "penstock_batches", ["created"])
    op.create_index("ix_penstock_batches_status", "penstock_batches", ["status"])
