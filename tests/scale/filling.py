"""Fills a database as a large company's gateway would have it after two years: keys, teams, users, requests, sums.

What the ledger would have written with millions of calls is made by a few statements here, with the same sums: the test
of the small form compares them."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from penstock.core.admit.periods import window
from penstock.runtime.keyring import Keyring
from penstock.stores.kinds import columns_of
from penstock.stores.sql.database import Database
from penstock.stores.sql.entries import FIELDS
from penstock.stores.sql.migrate import upgrade
from penstock.stores.sql.schema import DAILY, REVISION, ROWS, SPEND, TOTALS

SECRET = "a secret of the gateway that is measured"
DAY = 86_400
MODELS = ("gpt-4o", "gpt-4o-mini", "o4-mini", "claude-sonnet-4", "claude-haiku-4", "claude-opus-4", "gemini-2.5-pro",
          "gemini-2.5-flash", "mistral-large", "llama-3.3-70b", "command-r", "text-embedding-3-small")  # fmt: skip
PROVIDERS = ("openai", "openai", "openai", "anthropic", "anthropic", "anthropic", "gemini", "gemini", "mistral", "vllm",
             "cohere", "openai")  # fmt: skip
KEYS_OF = 4  # of each team
USERS_OF = 2  # of each team
TAGS, CUSTOMERS, ORGANIZATIONS = 50, 5000, 100
_BATCH = 2000
Told = Callable[[str], None]


class Size(NamedTuple):
    """How much there is. ``active``: keys that ask something on a day; ``days``: until today."""

    requests: int = 10_000_000
    teams: int = 10_000
    days: int = 730
    active: int = 1500

    @property
    def keys(self) -> int:
        return self.teams * KEYS_OF

    @property
    def begin(self) -> int:
        """The midnight with which it begins; today is the last day."""
        return (int(time.time()) // DAY - self.days + 1) * DAY


def secret_of(number: int) -> str:
    return f"sk-scale-{number:08d}"


def id_of(number: int) -> str:
    """The id of a key."""
    return Keyring(SECRET.encode()).digest(secret_of(number).encode())


def fill(database: Database, size: Size, told: Told) -> None:
    """Make the tables and fill them. Raises for a database that has rows."""
    upgrade(database)
    if database.address.kind == "sqlite":
        database.read_now(
            lambda connection: _run(connection, "PRAGMA cache_size=-2000000")
        )  # else it waits for its index of ids
    for name, step in (("keys, teams, users", _managed), ("requests", _requests), ("sums", _sums)):
        began = time.monotonic()
        database.write_now(lambda connection, step=step: step(connection, size))
        told(f"{name}: {time.monotonic() - began:.0f} s")
    began = time.monotonic()
    if database.address.kind == "postgresql":  # its autovacuum does it, within minutes
        with database._connect(True, False) as connection:
            _run(connection, "ANALYZE")
            connection.commit()
    told(f"statistics: {time.monotonic() - began:.0f} s")


# What is managed. -----------------------------------------------------------------------------------------------------


def _managed(connection: sa.Connection, size: Size) -> None:
    for kind, bodies in _bodies(size).items():
        table = ROWS[kind]
        batch: list[dict[str, Any]] = []
        for number, (id_, body) in enumerate(bodies):
            at = float(size.begin + number)
            columns = {name: value for name, value in columns_of(kind, body).items() if name != "id"}
            batch.append(
                {"id": id_, "version": 1, "revision": 1, "body": json.dumps(body), **columns, "created_at": at,
                 "created_by": "scale", "updated_at": at, "updated_by": "scale"}
            )  # fmt: skip
            if len(batch) == _BATCH:
                connection.execute(sa.insert(table), batch)
                batch = []
        if batch:
            connection.execute(sa.insert(table), batch)
    connection.execute(sa.update(REVISION).values(value=1))


def _bodies(size: Size) -> dict[str, Iterator[tuple[str, dict[str, Any]]]]:
    keyring = Keyring(SECRET.encode())

    def keys() -> Iterator[tuple[str, dict[str, Any]]]:
        for number in range(size.keys):
            clear, team = secret_of(number), number // KEYS_OF
            id_ = keyring.digest(clear.encode())
            yield id_, {
                "token": id_, "key_name": f"sk-...{clear[-4:]}", "key_alias": f"service-{number:05d}", "digests": [{"digest": id_}],
                "team_id": f"team-{team:05d}", "user_id": _user(team, number % USERS_OF),
                "organization_id": f"org-{team % ORGANIZATIONS:03d}", "models": list(MODELS[:6]), "max_budget": 1000.0,
                "budget_duration": "30d", "rpm_limit": 600, "tpm_limit": 1_000_000,
                "metadata": {"purpose": f"service {number} of team {team}", "environment": "production"},
            }  # fmt: skip

    def teams() -> Iterator[tuple[str, dict[str, Any]]]:
        for number in range(size.teams):
            id_ = f"team-{number:05d}"
            yield id_, {"team_id": id_, "team_alias": f"Team {number:05d}", "organization_id": f"org-{number % ORGANIZATIONS:03d}",
                        "max_budget": 10_000.0, "budget_duration": "30d", "models": [], "metadata": {}}  # fmt: skip

    def users() -> Iterator[tuple[str, dict[str, Any]]]:
        for team in range(size.teams):
            for place in range(USERS_OF):
                id_ = _user(team, place)
                yield (
                    id_,
                    {"user_id": id_, "user_email": f"{id_}@example.com", "user_role": "internal_user", "models": []},
                )

    def members() -> Iterator[tuple[str, dict[str, Any]]]:
        for number in range(size.teams):
            for place in range(USERS_OF):
                team, user = f"team-{number:05d}", _user(number, place)
                yield f"{team}/{user}", {"membership_id": f"{team}/{user}", "team_id": team, "user_id": user,
                                         "role": "user" if place else "admin"}  # fmt: skip

    def organizations() -> Iterator[tuple[str, dict[str, Any]]]:
        for number in range(ORGANIZATIONS):
            id_ = f"org-{number:03d}"
            yield id_, {"organization_id": id_, "organization_alias": f"Organization {number}", "models": []}

    return {"organization": organizations(), "team": teams(), "user": users(), "member": members(), "key": keys()}


def _user(team: int, place: int) -> str:
    return f"user-{team:05d}-{place}"


# What was spent. ------------------------------------------------------------------------------------------------------


def _numbers(connection: sa.Connection, size: Size) -> str:
    """Return a query of requests: number, day, when it ended, key, model, cost. A third of a day's keys are those that
    ask every day."""
    if connection.dialect.name == "postgresql":
        numbers = f"SELECT n::bigint AS n FROM generate_series(0, {size.requests - 1}) AS g(n)"
    else:
        numbers = f"WITH RECURSIVE c(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM c WHERE n < {size.requests - 1}) SELECT n FROM c"
    hashed = f"SELECT n, n * {size.days} / {size.requests} AS d, n * 2654435761 % 4294967296 AS h FROM ({numbers}) AS x"
    always, step = size.active // 3, max(1, size.keys // size.active)
    which = f"SELECT n, d, h, h / 256 % {size.active} AS r FROM ({hashed}) AS y"
    key = f"CASE WHEN r < {always} THEN r * {step} ELSE (r * 31 + d * 977) % {size.keys} END"
    chosen = f"SELECT n, d, h, {key} AS k FROM ({which}) AS z"
    return (
        f"SELECT n AS number, d, {size.begin} + d * {DAY} + n * 7919 % {DAY} AS at, k, (k + h % 4 / 3) % {len(MODELS)} AS m, h, "
        f"1000000000 + h % 1000000000 AS cost FROM ({chosen}) AS w"
    )


def _requests(connection: sa.Connection, size: Size) -> None:
    _make_names(connection, size)
    postgres = connection.dialect.name == "postgresql"
    hexed = "lpad(to_hex({}), 16, '0')" if postgres else "printf('%016x', {})"
    yes, no = ("TRUE", "FALSE") if postgres else ("1", "0")
    customer = f"CASE WHEN k % 4 = 0 THEN 'customer-' || (k % {CUSTOMERS}) ELSE '' END"
    tags = f"CASE WHEN k % 2 = 0 THEN '[\"tag-' || (k % {TAGS}) || '\"]' ELSE '[]' END"
    failed = "h % 100 = 7"
    values = {
        "call_id": f"{hexed.format('number')} || {hexed.format('h')}", "at": "CAST(at AS double precision)",
        "began": "at - 1.5", "kind": "'acompletion'", "key": "keys.id", "team": "keys.team", "user": "keys.person",
        "organization": "keys.org", "customer": customer, "tags": tags, "model": "models.name", "group": "models.name",
        "target": "models.name", "target_id": "'t' || m", "provider": "models.provider",
        "address": "'api.' || models.provider || '.com:443'",
        "cost": f"CASE WHEN {failed} THEN 0 ELSE cost END", "price_version": "'2026-11-30'", "input": "200 + h % 1000",
        "output": "50 + h % 400", "cache_read": "h % 3 * 64", "cache_write": "0", "reasoning": "h % 2 * 32",
        "estimated": no, "pending": no, "cache_hit": no, "cache_key": "''", "stream": yes,
        "status": f"CASE WHEN {failed} THEN 429 ELSE 200 END", "error": f"CASE WHEN {failed} THEN 'rate_limited' ELSE '' END",
        "message": "''", "tries": "1", "ms": "1500.0", "first_ms": "420.0",
        "request_id": f"'chatcmpl-' || {hexed.format('number * 48271 % 2147483647 * 65536 + number % 65536')}", "client": "'10.1.2.3'",
        "path": "'/v1/chat/completions'", "session": "CASE WHEN k % 3 = 0 THEN 'session-' || (number / 8) ELSE '' END",
        "usage": "'{\"input\":' || (200 + h % 1000) || ',\"output\":' || (50 + h % 400) || ',\"cache_read\":0,\"estimated\":false}'",
        "way": "'{\"upstream\":1200.0}'",
        "metadata": "'{\"trace\":\"' || number || '\"}'",
        "accounts": "'[\"key:' || keys.id || '\",\"team:' || keys.team || '\",\"user:' || keys.person || '\",\"member:' || keys.team || '/' || keys.person || '\",\"organization:' || keys.org || '\"]'",
    }  # fmt: skip
    assert set(values) == set(FIELDS), "every field of an entry"
    columns = ", ".join(f'"{name}"' for name in values)
    with _without_indexes(connection, SPEND):
        _run(
            connection,
            f"INSERT INTO {SPEND.name} ({columns}) SELECT {', '.join(values.values())} FROM ({_numbers(connection, size)}) AS asked "
            "JOIN scale_keys AS keys ON keys.n = k JOIN scale_models AS models ON models.n = m",
        )


def _make_names(connection: sa.Connection, size: Size) -> None:
    keyring = Keyring(SECRET.encode())
    names = sa.Table(
        "scale_keys", sa.MetaData(), sa.Column("n", sa.BigInteger, primary_key=True), *(sa.Column(name, sa.Text) for name in
        ("id", "team", "person", "org")), prefixes=["TEMPORARY"],
    )  # fmt: skip
    models = sa.Table("scale_models", sa.MetaData(), sa.Column("n", sa.BigInteger, primary_key=True),
                      sa.Column("name", sa.Text), sa.Column("provider", sa.Text), prefixes=["TEMPORARY"])  # fmt: skip
    names.create(connection)
    models.create(connection)
    rows = [
        {"n": n, "id": keyring.digest(secret_of(n).encode()), "team": f"team-{n // KEYS_OF:05d}",
         "person": _user(n // KEYS_OF, n % USERS_OF), "org": f"org-{n // KEYS_OF % ORGANIZATIONS:03d}"}
        for n in range(size.keys)
    ]  # fmt: skip
    for at in range(0, len(rows), _BATCH):
        connection.execute(sa.insert(names), rows[at : at + _BATCH])
    connection.execute(
        sa.insert(models), [{"n": n, "name": name, "provider": PROVIDERS[n]} for n, name in enumerate(MODELS)]
    )


def _run(connection: sa.Connection, statement: str) -> None:
    connection.execution_options(no_parameters=True).exec_driver_sql(statement)  # a % is a remainder, and no parameter


class _without_indexes:
    """Drops the indexes of a table for a while: to make them at the end takes a tenth of the time."""

    def __init__(self, connection: sa.Connection, table: sa.Table) -> None:
        self._connection, self._indexes = connection, list(table.indexes)

    def __enter__(self) -> None:
        for index in self._indexes:
            index.drop(self._connection)

    def __exit__(self, *error: object) -> None:
        for index in self._indexes if error[0] is None else ():
            index.create(self._connection)


def _sums(connection: sa.Connection, size: Size) -> None:
    """Add requests up per day and in all, as ``stores/sql/daily.py`` does."""
    postgres = connection.dialect.name == "postgresql"
    if not postgres:
        driver: Any = connection.connection.driver_connection
        driver.create_function(
            "sha256_hex", 1, lambda text: hashlib.sha256(text.encode()).hexdigest(), deterministic=True
        )
        driver.create_function(
            "day_of", 1, lambda at: datetime.fromtimestamp(at, UTC).date().isoformat(), deterministic=True
        )
    digest = "encode(sha256(convert_to({}, 'UTF8')), 'hex')" if postgres else "sha256_hex({})"
    day = (
        f"to_char(to_timestamp({size.begin} + d * {DAY}) AT TIME ZONE 'UTC', 'YYYY-MM-DD')"
        if postgres
        else f"day_of({size.begin} + d * {DAY})"
    )
    failed = "CASE WHEN h % 100 = 7 THEN 1 ELSE 0 END"
    _run(
        connection,
        f"CREATE TEMPORARY TABLE scale_days AS SELECT {day} AS day, k, m, requests, failed, cost, input, output, cache_read, reasoning "
        f"FROM (SELECT d, k, m, COUNT(*) AS requests, SUM({failed}) AS failed, SUM(cost * (1 - {failed})) AS cost, SUM(200 + h % 1000) AS input, "
        "SUM(50 + h % 400) AS output, SUM(h % 3 * 64) AS cache_read, SUM(h % 2 * 32) AS reasoning "
        f"FROM ({_numbers(connection, size)}) AS asked GROUP BY d, k, m) AS summed",
    )
    whose = {
        "key": ("keys.id", ""), "team": ("keys.team", ""), "user": ("keys.person", ""), "organization": ("keys.org", ""),
        "customer": (f"'customer-' || (k % {CUSTOMERS})", "WHERE k % 4 = 0"), "tag": (f"'tag-' || (k % {TAGS})", "WHERE k % 2 = 0"),
    }  # fmt: skip
    with _without_indexes(connection, DAILY):
        for dimension, (name, where) in whose.items():
            told = f"'[\"' || day || '\",\"{dimension}\",\"' || {name} || '\",\"' || keys.id || '\",\"' || models.name || '\",\"' || models.name || '\",\"' || models.provider || '\"]'"
            _run(
                connection,
                f'INSERT INTO {DAILY.name} (id, day, dimension, name, key, model, "group", provider, requests, failed, cost, input, '
                f"output, cache_read, cache_write, reasoning, cache_hits, estimated) SELECT {digest.format(told)}, day, '{dimension}', {name}, "
                "keys.id, models.name, models.name, models.provider, requests, failed, cost, input, output, cache_read, 0, reasoning, 0, 0 "
                f"FROM scale_days JOIN scale_keys AS keys ON keys.n = k JOIN scale_models AS models ON models.n = m {where}",
            )
        told = '\'["\' || day || \'","all","","","\' || models.name || \'","\' || models.name || \'","\' || models.provider || \'"]\''
        _run(
            connection,
            f'INSERT INTO {DAILY.name} (id, day, dimension, name, key, model, "group", provider, requests, failed, cost, input, output, '
            f"cache_read, cache_write, reasoning, cache_hits, estimated) SELECT {digest.format(told)}, day, 'all', '', '', models.name, "
            "models.name, models.provider, requests, failed, cost, input, output, cache_read, 0, reasoning, 0, 0 FROM (SELECT day, m, "
            "SUM(requests) AS requests, SUM(failed) AS failed, SUM(cost) AS cost, SUM(input) AS input, SUM(output) AS output, SUM(cache_read) "
            "AS cache_read, SUM(reasoning) AS reasoning FROM scale_days GROUP BY day, m) AS d JOIN scale_models AS models ON models.n = m",
        )
    month = window("30d", time.time()).start
    since = datetime.fromtimestamp(month, UTC).date().isoformat()
    for kind, name in (
        ("key", "keys.id"),
        ("team", "keys.team"),
        ("user", "keys.person"),
        ("organization", "keys.org"),
        ("member", "keys.team || '/' || keys.person"),
    ):
        for period, start, where in (("", 0.0, ""), ("30d", month, f"WHERE day >= '{since}'")):
            _run(
                connection,
                f"INSERT INTO {TOTALS.name} (account, period, start, amount) SELECT '{kind}:' || ({name}), '{period}', {start}, SUM(cost) "
                f"FROM scale_days JOIN scale_keys AS keys ON keys.n = k {where} GROUP BY ({name})",
            )
