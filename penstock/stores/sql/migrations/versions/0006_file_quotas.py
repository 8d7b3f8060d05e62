"""Note how long files are and whose team they belong to, in columns: quotas add them up."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa
from alembic import op

from penstock.stores.sql.types import COUNT, LONG, Name

revision = "0006"
down_revision = "0005"

BATCH = 500


class _File(msgspec.Struct):
    """What a body says of a file's length."""

    bytes: int = 0
    provider: str = ""


def upgrade() -> None:
    connection = op.get_bind()
    # What changes a table names it as a text, in which the schema that is asked for is not put in by itself.
    schema = (connection.get_execution_options().get("schema_translate_map") or {}).get(None)
    op.add_column("penstock_files", sa.Column("team", Name()), schema=schema)
    op.add_column("penstock_files", sa.Column("bytes", COUNT), schema=schema)
    op.create_index("ix_penstock_files_team", "penstock_files", ["team"])
    columns: list[sa.Column] = [sa.Column("id", Name(64)), sa.Column("bytes", COUNT), sa.Column("body", LONG)]
    table = sa.Table("penstock_files", sa.MetaData(), *columns)
    decode, after = msgspec.json.Decoder(_File).decode, ""
    while True:  # in parts: a body has what a provider told of its file
        asked = sa.select(table.c.id, table.c.body).where(table.c.id > after).order_by(table.c.id).limit(BATCH)
        found = connection.execute(asked).all()
        for name, body in found:
            after = name
            try:
                file = decode(body)
            except msgspec.DecodeError:
                continue  # nobody can read what is known of it, nor count it
            if not file.provider:
                connection.execute(sa.update(table).where(table.c.id == name).values(bytes=file.bytes))
        if len(found) < BATCH:
            return
