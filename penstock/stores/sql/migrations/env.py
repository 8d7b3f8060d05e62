"""Carries out migrations in a connection that somebody has open: Alembic loads this file by its path."""

from __future__ import annotations

from alembic import context

from penstock.stores.sql.migrate import VERSION_TABLE
from penstock.stores.sql.schema import METADATA

connection = context.config.attributes["connection"]
names = connection.get_execution_options().get("schema_translate_map") or {}
context.configure(
    connection=connection,
    target_metadata=METADATA,
    version_table=VERSION_TABLE,
    version_table_schema=names.get(None),
)
with context.begin_transaction():
    context.run_migrations()
