"""Make the first tables.

What stands here is what the tables were, whatever ``schema.py`` says of them by now.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from penstock.stores.sql.types import BYTES, COUNT, FLAG, LONG, TIME, Name, Whole

revision = "0001"
down_revision = None

# Table: its columns, with a "!" where no two rows have the same.
ROWS = {
    "keys": "key_alias! key_name user_id team_id organization_id project_id budget_id expires blocked",
    "teams": "team_alias organization_id blocked",
    "team_members": "team_id user_id role",
    "users": "user_email! user_alias user_role sso_user_id!",
    "organizations": "organization_alias",
    "organization_members": "organization_id user_id user_role",
    "budgets": "",
    "customers": "alias blocked budget_id",
    "tags": "",
    "access_groups": "access_group_name!",
    "credentials": "",
    "models": "model_name",
    "settings": "",
    "invitations": "user_id",
    "projects": "project_alias team_id",
}


def _make(table: str, *columns: sa.Column) -> None:
    op.create_table(
        f"penstock_{table}", *columns,
        mysql_engine="InnoDB", mysql_charset="utf8mb4", mysql_row_format="DYNAMIC",
    )  # fmt: skip


def _index(table: str, *columns: str, unique: bool = False) -> None:
    op.create_index(f"ix_penstock_{table}_{'_'.join(columns)}", f"penstock_{table}", list(columns), unique=unique)


def _must(name: str, kind: sa.types.TypeEngine) -> sa.Column:
    return sa.Column(name, kind, nullable=False)


def _make_rows(table: str, columns: list[str]) -> None:
    names = [name.removesuffix("!") for name in columns]
    _make(
        table,
        sa.Column("id", Name(), primary_key=True),
        *(_must(name, kind) for name, kind in (("version", COUNT), ("revision", COUNT), ("body", LONG))),
        *(sa.Column(name, FLAG if name == "blocked" else Name()) for name in names),
        *(
            _must(f"{verb}_{what}", kind)
            for verb in ("created", "updated")
            for what, kind in (("at", TIME), ("by", LONG))
        ),
    )
    _index(table, "revision")
    for name, told in zip(names, columns, strict=True):
        if name != "blocked":
            _index(table, name, unique=told.endswith("!"))


def _make_spend() -> None:
    names = (
        "kind key team user organization customer model group target target_id provider price_version cache_key error "
        "request_id client path session"
    )
    _make(
        "spend",
        sa.Column("call_id", Name(), primary_key=True),
        _must("at", TIME),
        _must("began", TIME),
        *(_must(name, Name()) for name in names.split()),
        *(_must(name, LONG) for name in "tags address message usage metadata accounts".split()),
        *(_must(name, COUNT) for name in "cost input output cache_read cache_write reasoning status tries".split()),
        *(_must(name, FLAG) for name in "estimated pending cache_hit stream".split()),
        _must("ms", TIME),
        sa.Column("first_ms", TIME),
    )
    for columns in ("at", "key at", "team at", "user at", "organization at", "customer at", "request_id", "session"):
        _index("spend", *columns.split())
    _make(
        "daily",
        sa.Column("id", Name(64), primary_key=True),
        _must("day", Name(10)),
        _must("dimension", Name(40)),
        *(_must(name, Name()) for name in "name key model group provider".split()),
        *(_must(name, COUNT) for name in "requests failed input output cache_read cache_write reasoning".split()),
        *(_must(name, COUNT) for name in "cache_hits estimated".split()),
        _must("cost", Whole()),
    )
    _index("daily", "dimension", "name", "day")
    _index("daily", "dimension", "day")
    _make(
        "totals",
        sa.Column("account", Name(600), primary_key=True),
        sa.Column("period", Name(20), primary_key=True),
        sa.Column("start", TIME, primary_key=True),
        _must("amount", Whole()),
    )
    _make("journal_marks", sa.Column("journal", Name(), primary_key=True), _must("position", COUNT))


def upgrade() -> None:
    for table, columns in ROWS.items():
        _make_rows(table, columns.split())
    _make("revision", sa.Column("id", COUNT, primary_key=True, autoincrement=False), _must("value", COUNT))
    # A whole table, which is looked for in the schema that is asked for.
    numbers = sa.Table("penstock_revision", sa.MetaData(), sa.Column("id", COUNT), sa.Column("value", COUNT))
    op.bulk_insert(numbers, [{"id": 1, "value": 0}])
    _make(
        "gone",
        sa.Column("kind", Name(40), primary_key=True),
        sa.Column("id", Name(), primary_key=True),
        _must("version", COUNT),
        _must("revision", COUNT),
    )
    _index("gone", "revision")
    _make(
        "audit",
        sa.Column("id", Name(64), primary_key=True),
        _must("revision", COUNT),
        _must("number", COUNT),
        _must("at", TIME),
        _must("who", Name()),
        _must("action", Name(40)),
        _must("kind", Name(40)),
        _must("row", Name()),
        _must("before", LONG),
        _must("after", LONG),
    )
    for columns in ("revision number", "kind row", "who"):
        _index("audit", *columns.split())
    _make_spend()
    _make("kept", sa.Column("id", Name(64), primary_key=True), _must("value", BYTES), sa.Column("until", TIME))
    _index("kept", "until")
    _make("about", sa.Column("name", Name(40), primary_key=True), _must("value", Name()))
