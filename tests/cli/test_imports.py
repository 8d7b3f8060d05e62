"""`penstock import litellm`, from a PostgreSQL with LiteLLM's own tables."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from penstock.cli.group import cli
from penstock.core.admit.periods import window
from penstock.runtime.keyring import Keyring
from penstock.stores.base import Gone
from penstock.stores.litellm.sealed import WrongKey, open_text, opened
from penstock.stores.models_directory import DirectoryModelStore
from penstock.stores.sealing import Sealer
from penstock.stores.sql.address import read_address
from penstock.stores.sql.database import Database
from penstock.stores.sql.directory import SqlDirectory, changes
from penstock.stores.sql.migrate import upgrade
from penstock.stores.sql.spend import SqlSpendStore
from tests.databases import PASSWORD, Running, mariadb, postgres  # noqa: F401

TABLES = (Path(__file__).parent / "data/litellm_tables.sql").read_text()
SALT = "sk-salt-of-litellm-1234"
ALICE, BOB = "sk-alice-0123456789", "sk-bob-0123456789"


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def box(text: str, salt: str = SALT) -> str:
    """As LiteLLM seals: SecretBox of NaCl."""
    from nacl.secret import SecretBox

    return base64.urlsafe_b64encode(SecretBox(hashlib.sha256(salt.encode()).digest()).encrypt(text.encode())).decode()


def gcm(text: str) -> str:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    nonce = os.urandom(12)
    sealed = nonce + AESGCM(hashlib.sha256(SALT.encode()).digest()).encrypt(nonce, text.encode(), None)
    return "v2:gcm:" + base64.urlsafe_b64encode(sealed).decode()


def rows() -> dict[str, list[dict]]:
    """What a LiteLLM has: of everything something, and of what is odd enough."""
    by = {"created_by": "default_user_id", "updated_by": "default_user_id"}
    day = {"date": "2026-11-18", "api_key": sha(ALICE), "model": "gpt-4o", "model_group": "m", "custom_llm_provider": "openai",
           "prompt_tokens": 100, "completion_tokens": 50, "spend": 0.25, "api_requests": 4, "successful_requests": 3,
           "failed_requests": 1, "updated_at": "2026-11-18T12:00:00"}  # fmt: skip
    return {
        "BudgetTable": [{"budget_id": "b1", "max_budget": 5.5, "budget_duration": "30d", "tpm_limit": 2**40, **by},
                        {"budget_id": "b2", "max_budget": 7.0, **by}],
        "OrganizationTable": [{"organization_id": "org", "organization_alias": "Örg", "budget_id": "b1", "models": [], "spend": 2.5, **by}],
        "UserTable": [
            {"user_id": "alice", "user_email": "a@x.test", "user_role": "internal_user", "spend": 1.5, "password": "hash", "models": []},
            {"user_id": "bob", "user_email": "a@x.test", "models": []},
        ],
        "OrganizationMembership": [{"user_id": "alice", "organization_id": "org", "user_role": "org_admin"}],
        "ModelTable": [{"id": 7, "aliases": json.dumps({"fast": "m"}), **by}],
        "TeamTable": [
            {"team_id": "t1", "team_alias": "red", "organization_id": "org", "models": ["m"], "max_budget": 10, "budget_duration": "1d",
             "spend": 3.25, "model_id": 7, "members_with_roles": json.dumps([
                 {"role": "admin", "user_id": "alice"}, {"role": "user", "user_id": "bob", "user_email": None}, {"role": "user"}])},
            {"team_id": "a/b", "models": [], "members_with_roles": json.dumps([{"role": "admin", "user_id": "bob"}])},
            {"team_id": "t2", "models": [], "tpm_limit": 5, "max_budget": 1, "budget_duration": "every day"},
        ],
        "TeamMembership": [{"user_id": "bob", "team_id": "t1", "budget_id": "b2", "spend": 1.0}],
        "ProjectTable": [{"project_id": "p1", "team_id": "t1", "models": [], **by}],
        "EndUserTable": [{"user_id": "end-1", "blocked": True, "budget_id": "b2", "spend": 0.5}],
        "TagTable": [{"tag_name": "x", "description": "d", "models": ["m"]}],
        "AccessGroupTable": [{"access_group_id": "g1", "access_group_name": "fast", "access_model_names": ["m"], "updated_at": "2026-01-01"}],
        "VerificationToken": [
            {"token": sha(ALICE), "key_name": "sk-...6789", "key_alias": "ci", "user_id": "alice", "team_id": "t1", "models": ["m"],
             "max_budget": 4, "budget_duration": "30d", "spend": 1.25, "total_spend": 9.0, "expires": "2099-01-01T00:00:00",
             "metadata": json.dumps({"tags": ["x"]}), "blocked": None, "rpm_limit": 10, "object_permission_id": "o1"},
            {"token": sha(BOB), "key_alias": "ci", "models": [], "spend": 0.5, "budget_id": "b1", "budget_reset_at": "2020-01-01T00:00:00"},
            {"token": sha("sk-odd-0123456789"), "key_alias": "odd", "models": [], "model_max_budget": json.dumps({"m": {"budget_limit": "much"}})},
        ],
        "ProxyModelTable": [
            {"model_id": "id-1", "model_name": "m", **by, "model_info": json.dumps({"mode": "chat"}), "litellm_params": json.dumps(
                {"model": box("openai/gpt-4o"), "api_key": box("sk-upstream-secret"), "api_base": gcm("https://a.test/v1"), "rpm": 5,
                 "extra_headers": {"x": box("y")}, "tags": [box("a"), "plain"], "organization": None})},
            {"model_id": "id-2", "model_name": "n", "blocked": True, **by,
             "litellm_params": json.dumps({"model": box("openai/n"), "api_key": box("sk-x", "another salt")})},
        ],
        "CredentialsTable": [{"credential_id": "c", "credential_name": "cred", **by,
                              "credential_values": json.dumps({"api_key": box("sk-cred")}), "credential_info": json.dumps({"d": 1})}],
        "DailyUserSpend": [
            {"id": "1", "user_id": "alice", "endpoint": "/chat/completions", **day}, {"id": "2", "user_id": "alice", "endpoint": "/embeddings", **day},
            {"id": "3", "user_id": None, **day, "api_key": sha(BOB)},
        ],
        "DailyTeamSpend": [{"id": "1", "team_id": "t1", **day}],
        "DailyTagSpend": [{"id": "1", "tag": "x", **day, "model_group": None}, {"id": "2", "tag": None, **day}],
    }  # fmt: skip


@pytest.fixture
def source(postgres: Running) -> str:  # noqa: F811
    """The address of a database of LiteLLM's."""
    import psycopg

    url = postgres.fresh()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(TABLES)
        for table, found in rows().items():
            for row in found:
                names = ", ".join(f'"{name}"' for name in row)
                marks = ", ".join(["%s"] * len(row))
                connection.execute(f'INSERT INTO "LiteLLM_{table}" ({names}) VALUES ({marks})', list(row.values()))
    return url


def run(source: str, target: str, *words: str, code: int = 0) -> Result:
    done = CliRunner().invoke(
        cli, ["import", "litellm", "--database-url", source, "--url", target, *words],
        env={"DATABASE_URL": None, "LITELLM_MASTER_KEY": None, "LITELLM_SALT_KEY": None},
    )  # fmt: skip
    assert done.exit_code == code, done.output
    assert "Traceback" not in done.output and PASSWORD not in done.output
    return done


def held(target: str) -> tuple[Database, dict[tuple[str, str], dict]]:
    database = Database(read_address(target))
    found = database.read_now(lambda connection: changes(connection, 0))
    return database, {(row.kind, row.id): json.loads(row.body) for row in found.rows}


@pytest.fixture
def target(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/penstock.db"


def test_keys_open_at_once_and_whoever_stands_behind_them_is_there(source: str, target: str):
    out = run(source, target).stdout
    assert "Imported into SQLite" in out and "5 sums per day." in out
    database, kept = held(target)
    ring = Keyring(b"a secret of ours")
    ring.take(database.read_now(lambda connection: changes(connection, 0)))
    caller = ring.find(ALICE.encode())
    assert (caller.key, caller.user, caller.team, caller.organization) == (sha(ALICE), "alice", "t1", "org")
    assert caller.tags == ("x",) and caller.aliases == {"fast": "m"} and caller.expires_at > 4e9
    holders = {holder.kind: holder for holder in caller.holders}
    assert holders["key"].pace.requests == 10 and holders["key"].caps[0].period == "30d"
    assert holders["organization"].caps[0].most == 55 * 10**11 and holders["organization"].pace.tokens == 2**40
    assert ring.old == {sha(ALICE): (sha(ALICE), ring.digest(ALICE.encode()))}, "it is digested anew after its first use"
    assert kept["member", "t1/alice"]["role"] == "admin"
    assert kept["member", "t1/bob"] == {"membership_id": "t1/bob", "team_id": "t1", "user_id": "bob", "role": "user", "budget_id": "b2"}
    assert kept["member", "a/b/bob"] == {"membership_id": "a/b/bob", "team_id": "a/b", "user_id": "bob", "role": "admin"}
    assert kept["organization_member", "org/alice"]["user_role"] == "org_admin"
    assert kept["customer", "end-1"]["blocked"] is True and kept["tag", "x"]["name"] == "x"
    assert kept["access_group", "g1"]["access_model_names"] == ["m"] and kept["project", "p1"]["team_id"] == "t1"
    moot = {"spend", "total_spend", "password", "members_with_roles", "object_permission_id"}
    assert not any(moot & fields.keys() for fields in kept.values())
    database.close()


def test_what_cannot_be_taken_as_it_is_is_told(source: str, target: str):
    told = run(source, target).stderr
    for text in ("the password is not taken over", "object_permission", "a member without a user_id", "the key_alias 'ci'",
                 "the user_email 'a@x.test'", "'much' is no amount", "budget_duration: 'every day' is no duration"):  # fmt: skip
        assert text in told, text
    database, kept = held(target)
    aliases = {fields.get("key_alias") for (kind, _), fields in kept.items() if kind == "key"}
    assert "ci" in aliases and any(alias.startswith("ci (") for alias in aliases if alias) and "odd" in aliases
    emails = [fields.get("user_email") for (kind, _), fields in kept.items() if kind == "user"]
    assert sorted(map(str, emails)) == ["None", "a@x.test"]
    database.close()


def test_budgets_go_on_where_they_were_and_days_are_summed_up(source: str, target: str):
    run(source, target)
    database = Database(read_address(target))
    store = SqlSpendStore(database)
    import time

    def start(period: str) -> float:
        return window(period, time.time()).start

    asked = {
        ("key:" + sha(ALICE), "", 0.0): 9.0, ("key:" + sha(ALICE), "30d", start("30d")): 1.25, ("key:" + sha(BOB), "", 0.0): 0.5,
        ("key:" + sha(BOB), "30d", start("30d")): 0, ("team:t1", "1d", start("1d")): 3.25, ("member:t1/bob", "", 0.0): 1.0,
        ("organization:org", "30d", start("30d")): 2.5, ("user:alice", "", 0.0): 1.5, ("customer:end-1", "", 0.0): 0.5,
    }  # fmt: skip
    found = asyncio.run(store.totals(list(asked)))
    assert [one.amount / 10**12 for one in found] == list(asked.values())
    for _ in range(2):
        days = asyncio.run(store.daily("key", by=("day", "key", "model", "group", "provider")))
        assert {(one.key, one.cost, one.requests, one.failed, one.input) for one in days} == {
            (sha(ALICE), 5 * 10**11, 8, 2, 200), (sha(BOB), 25 * 10**10, 4, 1, 100)}  # fmt: skip
        [user] = asyncio.run(store.daily("user"))
        assert (user.name, user.cost, user.day) == ("alice", 5 * 10**11, "2026-11-18")
        [tag] = asyncio.run(store.daily("tag", by=("name", "group")))
        assert (tag.name, tag.group, tag.cost) == ("x", "gpt-4o", 25 * 10**10)
        run(source, target)  # and once more changes nothing
    assert [one.amount / 10**12 for one in asyncio.run(store.totals(list(asked)))] == list(asked.values())
    database.close()


def test_what_is_here_or_was_deleted_here_stays_as_it_is(source: str, target: str):
    run(source, target)
    database, before = held(target)
    directory = SqlDirectory(database)
    row = asyncio.run(directory.get("team", "t2"))
    asyncio.run(directory.write([Gone("team", "t2", row.version), Gone("key", sha(BOB), 1)]))
    out = run(source, target).stdout
    assert [line.split()[2] for line in out.splitlines() if line[:4] in ("key ", "team")] == ["0", "0"]
    after = held(target)[1]
    assert after == {name: fields for name, fields in before.items() if name not in {("team", "t2"), ("key", sha(BOB))}}
    audits, count = asyncio.run(directory.audits({"action": "imported"}, limit=1000))
    assert count == len(before) and {one.who for one in audits} == {"penstock import litellm"}
    database.close()


def test_a_dry_run_tells_the_same_and_changes_nothing(source: str, target: str, tmp_path: Path):
    dry = run(source, target, "--dry-run", "--models", str(tmp_path / "m.yaml"), "--salt-key", SALT)
    assert "would be new" in dry.stdout and "dry run" in dry.stdout and not list(tmp_path.iterdir())
    real = run(source, target)
    figures = [[line.split() for line in out.splitlines()[1:13]] for out in (dry.stdout, real.stdout)]
    assert figures[0] == figures[1]
    assert set(real.stderr.splitlines()) <= set(dry.stderr.splitlines())
    again = run(source, target, "--dry-run").stdout
    assert all(line.split()[2] == "0" for line in again.splitlines()[1:12]), again


def test_models_and_credentials_become_a_config_file(source: str, target: str, tmp_path: Path):
    file = tmp_path / "models.yaml"
    done = run(source, target, "--models", str(file), "--salt-key", SALT)
    assert "2 of model_list and 1 of credential_list" in done.stdout and file.stat().st_mode & 0o777 == 0o600
    assert "model n: api_key is not opened by this salt key" in done.stderr and "sk-upstream-secret" not in done.output
    config = yaml.safe_load(file.read_text())
    assert config["model_list"][0] == {
        "model_name": "m",
        "litellm_params": {"model": "openai/gpt-4o", "api_key": "sk-upstream-secret", "api_base": "https://a.test/v1", "rpm": 5,
                           "extra_headers": {"x": "y"}, "tags": ["a", "plain"]},
        "model_info": {"id": "id-1", "mode": "chat"},
    }  # fmt: skip
    assert config["model_list"][1]["model_info"]["blocked"] is True and "api_key" not in config["model_list"][1]["litellm_params"]
    assert config["credential_list"] == [{"credential_name": "cred", "credential_values": {"api_key": "sk-cred"}, "credential_info": {"d": 1}}]
    assert "name a new one" in run(source, target, "--models", str(file), "--salt-key", SALT, code=2).output
    checked = CliRunner().invoke(cli, ["check", str(file)])
    assert checked.exit_code == 0, checked.output


def test_models_and_credentials_go_into_the_database_where_the_salt_key_is_given(source: str, target: str, monkeypatch):
    monkeypatch.setenv("PENSTOCK_SECRET_KEY", "a secret of this gateway")
    dry = run(source, target, "--salt-key", SALT, "--dry-run")
    done = run(source, target, "--salt-key", SALT)
    for out in (dry.stdout, done.stdout):
        lines = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line}
        assert (lines["model"], lines["credential"]) == (["2", "2", "0", "0"], ["1", "1", "0", "0"])
    assert "model n: api_key is not opened by this salt key" in done.stderr and "sk-upstream-secret" not in done.output
    database, _ = held(target)
    store = DirectoryModelStore(SqlDirectory(database), Sealer(b"a secret of this gateway"), lambda: "x")
    stored = asyncio.run(store.read_all())
    entries = {model.id: json.loads(model.entry) for model in stored.models}
    assert entries["id-1"]["litellm_params"]["api_key"] == "sk-upstream-secret" and len(entries) == 2
    assert stored.credentials == {"cred": {"api_key": "sk-cred"}}
    assert b"sk-cred" not in Path(target.removeprefix("sqlite:///")).read_bytes()
    asyncio.run(store.delete("id-1", "somebody"))
    database.close()
    again = {line.split()[0]: line.split()[1:] for line in run(source, target, "--salt-key", SALT).stdout.splitlines() if line}
    assert (again["model"], again["credential"]) == (["2", "0", "2", "0"], ["1", "0", "1", "0"]), "what was deleted stays so"
    monkeypatch.setenv("PENSTOCK_SECRET_KEY", "another secret altogether")
    assert "another secret" in run(source, target, "--salt-key", SALT, code=1).output


def test_the_source_is_not_changed_and_is_one_of_litellms(source: str, target: str, postgres: Running, tmp_path: Path):  # noqa: F811
    import psycopg

    def snapshot() -> list:
        with psycopg.connect(source) as connection:
            names = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname='public' ORDER BY 1").fetchall()
            return [(name, connection.execute(f'SELECT * FROM "{name}" ORDER BY 1').fetchall()) for (name,) in names]

    before = snapshot()
    run(source, target)
    assert snapshot() == before
    assert "none of LiteLLM's tables" in run(postgres.fresh(), target, code=1).output
    assert "PostgreSQL" in run(target, f"sqlite:///{tmp_path}/other.db", code=1).output
    assert "--salt-key" in run(source, target, "--models", str(tmp_path / "x.yaml"), code=2).output
    away = run("postgresql://u:secret-pw@127.0.0.1:1/x", target, code=1).output
    assert "secret-pw" not in away


def test_it_fills_a_postgresql_with_a_schema_of_its_own(source: str, postgres: Running):  # noqa: F811
    """LiteLLM's tables may stand in another schema; ours may stand beside them."""
    import psycopg

    with psycopg.connect(source, autocommit=True) as connection:
        connection.execute('ALTER SCHEMA public RENAME TO "Lite LLM"')
        connection.execute("CREATE SCHEMA public")
    assert "Imported into PostgreSQL" in run(source + "?schema=Lite%20LLM", source).stdout
    database, kept = held(source)
    assert kept["team", "t1"]["team_alias"] == "red"
    database.close()


def test_an_old_version_lacks_columns_and_tables(source: str, target: str):
    import psycopg

    with psycopg.connect(source, autocommit=True) as connection:
        for table in ("AccessGroupTable", "TagTable", "ProjectTable", "DailyTagSpend", "ModelTable"):
            connection.execute(f'DROP TABLE "LiteLLM_{table}"')
        connection.execute('ALTER TABLE "LiteLLM_VerificationToken" DROP COLUMN total_spend, DROP COLUMN tpd_limit')
        connection.execute('ALTER TABLE "LiteLLM_DailyUserSpend" DROP COLUMN failed_requests, DROP COLUMN cache_read_input_tokens')
    run(source, target)
    database, kept = held(target)
    assert ("key", sha(ALICE)) in kept and ("tag", "x") not in kept
    database.close()


def test_many_rows_are_read_a_part_at_a_time(source: str, target: str):
    import psycopg

    with psycopg.connect(source, autocommit=True) as connection:
        connection.execute(
            'INSERT INTO "LiteLLM_VerificationToken" (token, key_alias, models) '
            "SELECT 'hash-' || n, 'same', '{}' FROM generate_series(1, 1234) n"
        )
    run(source, target)
    database, kept = held(target)
    keys = [fields["key_alias"] for (kind, _), fields in kept.items() if kind == "key" and "same" in fields["key_alias"]]
    assert len(keys) == len(set(keys)) == 1234
    database.close()


@pytest.mark.parametrize("text", ["", "gpt-4o", "https://a.test/v1", "sk-ant-api03-" + "A" * 95, "a" * 36, "ä" * 60])
def test_a_text_comes_out_of_its_seal_and_plain_ones_stay(text: str):
    assert open_text(box(text), SALT) == text and open_text(gcm(text), SALT) == text
    assert opened({"a": [box(text), 5, None]}, SALT) == {"a": [text, 5, None]}
    for sealed in (box(text, "another"), gcm(text)[:-8] + "AAAAAAA="):
        with pytest.raises(WrongKey):
            open_text(sealed, SALT)
    assert open_text("openai/gpt-4o", SALT) == "openai/gpt-4o" and open_text("https://a.test", SALT) == "https://a.test"


def test_a_key_whose_limits_cannot_be_read_opens_nothing(source: str, target: str):
    run(source, target)
    database, _ = held(target)
    ring = Keyring(b"x")
    ring.take(database.read_now(lambda connection: changes(connection, 0)))
    from penstock.core.errors import GatewayError

    with pytest.raises(GatewayError, match="cannot be used"):
        ring.find(b"sk-odd-0123456789")
    assert upgrade(database) == ""
    database.close()
