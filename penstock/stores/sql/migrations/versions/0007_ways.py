"""Note the attempts of a request and its times beside what it cost."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from penstock.stores.sql.types import LONG

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    # What changes a table names it as a text, in which the schema that is asked for is not put in by itself.
    schema = (op.get_bind().get_execution_options().get("schema_translate_map") or {}).get(None)
    op.add_column("penstock_spend", sa.Column("way", LONG), schema=schema)
