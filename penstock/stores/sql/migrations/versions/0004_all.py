"""Add up all requests per day, by model and provider: reports of everybody need not go through the sums of each key."""

from __future__ import annotations

import hashlib

import msgspec
import sqlalchemy as sa
from alembic import op

from penstock.stores.sql.types import COUNT, Name, Whole

revision = "0004"
down_revision = "0003"

NAMES = ("day", "model", "group", "provider")
SUMS = ("requests", "failed", "cost", "input", "output", "cache_read", "cache_write", "reasoning", "cache_hits",
        "estimated")  # fmt: skip
BATCH = 500


def upgrade() -> None:
    connection = op.get_bind()
    texts = ("id", "day", "dimension", "name", "key", "model", "group", "provider")
    columns: list[sa.Column] = [sa.Column(name, Name()) for name in texts]
    columns += [sa.Column(name, Whole() if name == "cost" else COUNT) for name in SUMS]
    table = sa.Table("penstock_daily", sa.MetaData(), *columns)
    names = [table.c[name] for name in NAMES]
    asked = sa.select(*names, *(sa.func.sum(table.c[name]) for name in SUMS)).where(table.c.dimension == "key")
    found = connection.execute(asked.group_by(*names)).all()
    rows = []
    for day, model, group, provider, *sums in found:
        named = (day, "all", "", "", model, group, provider)
        told = dict(zip(texts, (hashlib.sha256(msgspec.json.encode(named)).hexdigest(), *named), strict=True))
        rows.append(told | dict(zip(SUMS, map(int, sums), strict=True)))
    for at in range(0, len(rows), BATCH):
        connection.execute(sa.insert(table), rows[at : at + BATCH])
