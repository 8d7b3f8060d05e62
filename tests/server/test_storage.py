"""A gateway and its database: opened at the start, heard of by every process, kept over restarts, and away."""

from __future__ import annotations

import asyncio
import hashlib
import json
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock.config.models import Config, GeneralSettings
from penstock.config.secret import Secret
from penstock.core.errors import GatewayError
from penstock.server.options import Refused, ServeOptions
from penstock.server.storage import database_address, open_storage
from tests.databases import Running, mariadb, postgres  # noqa: F401
from tests.door import HELLO
from tests.e2e.serving import serving
from tests.relay import Relay
from tests.served import MASTER, ServedDoor, open_service

CONFIG = f"""
model_list:
  - {{model_name: m, litellm_params: {{model: openai/real, api_base: "{{mock}}/v1", api_key: sk-up}}}}
general_settings: {{master_key: {MASTER}}}
"""
KEY = "sk-of-a-team-3b1f9d"


async def add_key(door: ServedDoor, key: str = KEY, **body: Any) -> str:
    """A new key at the desk; its id."""
    id_ = door.gateway.keyring.digest(key.encode())
    await door.gateway.desk.add("key", id_, {"token": id_, "digests": [{"digest": id_}], **body}, "a test")
    return id_


async def status(door: ServedDoor, key: str = KEY) -> int:
    return (await door.call("/v1/chat/completions", {**HELLO, "model": "m"}, key=key))[0]


async def until(true, seconds: float = 3.0) -> None:
    end = time.monotonic() + seconds
    while not await true():
        assert time.monotonic() < end, f"not within {seconds} s"
        await asyncio.sleep(0.02)


async def test_a_key_opens_at_once_and_after_a_restart(tmp_path: Path):
    state = tmp_path / "state"
    async with open_service(tmp_path, CONFIG, state_dir=state) as door:
        assert await status(door) == 401
        await add_key(door)
        assert await status(door) == 200
        assert (await door.call("/health/readiness"))[1]["db"] == "connected"
    async with open_service(tmp_path, CONFIG, state_dir=state) as door:
        assert await status(door) == 200 and await status(door, KEY + "x") == 401


async def test_another_process_hears_of_a_change_within_a_second(tmp_path: Path):
    state = tmp_path / "state"
    async with open_service(tmp_path, CONFIG, state_dir=state) as one:
        async with open_service(tmp_path, CONFIG, state_dir=state) as other:
            id_ = await add_key(one)
            await until(lambda: _is(status(other), 200), 1.0)
            await other.gateway.desk.remove(await other.gateway.desk.row("key", id_), "a test")
            assert await status(other) == 401
            await until(lambda: _is(status(one), 401), 1.0)


async def _is(asked, wanted) -> bool:
    return await asked == wanted


async def test_files_are_their_owners_alone(tmp_path: Path):
    state = tmp_path / "deep" / "state"
    async with open_service(tmp_path, CONFIG, state_dir=state) as door:
        await add_key(door)
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in state.iterdir()}
    assert modes.pop("penstock.db") == 0o600 and modes.pop("secret") == 0o600
    assert all(mode & 0o077 == 0 for mode in modes.values()), modes
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    assert KEY.encode() not in (state / "penstock.db").read_bytes()


async def test_a_key_of_litellm_is_digested_anew_once_it_was_used(tmp_path: Path):
    async with open_service(tmp_path, CONFIG, state_dir=tmp_path / "state") as door:
        plain = hashlib.sha256(KEY.encode()).hexdigest()
        other = {"digest": "0" * 64, "form": "sha256"}
        body = {"token": plain, "digests": [{"digest": plain, "form": "sha256", "until": 4e9}, other]}
        await door.gateway.desk.add("key", plain, body, "a test")
        assert await status(door) == 200
        ours = door.gateway.keyring.digest(KEY.encode())

        async def renewed() -> bool:
            row = await door.gateway.desk.row("key", plain)
            return json.loads(row.body)["digests"] == [{"digest": ours, "until": 4e9}, other]

        await until(renewed)
        assert await status(door) == 200

        async def done() -> bool:
            return door.gateway.keyring.old == {}

        await until(done)


async def test_another_secret_than_that_of_the_keys_is_one_clear_error(tmp_path: Path):
    state = tmp_path / "state"
    async with open_service(tmp_path, CONFIG, state_dir=state):
        pass
    (state / "secret").write_text("another secret, of somebody else\n")
    with pytest.raises(Refused, match="digested with another secret.*PENSTOCK_SECRET_KEY"):
        async with open_service(tmp_path, CONFIG, state_dir=state):
            pass
    for name in ("PENSTOCK_SECRET_KEY", "LITELLM_SALT_KEY"):
        with pytest.raises(Refused, match="another secret"):
            async with open_service(tmp_path, CONFIG, {name: "sk-salt-4711-4711"}, state_dir=state):
                pass


def config(master: bool = True, env: dict[str, str] | None = None, **general: Any) -> Config:
    key = Secret(MASTER) if master else None
    return Config(general=GeneralSettings(master_key=key, **general), environment=env or {})


def test_which_database_there_is(tmp_path: Path):
    env = {"HOME": "/home/me"}
    where = {
        "nothing asks for one": (config(False, env), ServeOptions(), None),
        "a master key": (config(env=env), ServeOptions(), "/home/me/.local/state/penstock/penstock.db"),
        "the system's place": (
            config(env={**env, "XDG_STATE_HOME": "/var/x"}),
            ServeOptions(),
            "/var/x/penstock/penstock.db",
        ),
        "the variable": (config(env={**env, "PENSTOCK_STATE_DIR": "/data"}), ServeOptions(), "/data/penstock.db"),
        "the option": (config(False, env), ServeOptions(state_dir=tmp_path), f"{tmp_path}/penstock.db"),
        "an address": (config(False, env, database_url="postgres://u:pw@h:6/n"), ServeOptions(), "PostgreSQL, h:6/n"),
        "a null": (
            config(env=env, database_url_is_null=True),
            ServeOptions(),
            "/home/me/.local/state/penstock/penstock.db",
        ),
    }
    for name, (given, options, wanted) in where.items():
        address, _ = database_address(given, options)
        assert (address and address.where.removeprefix("SQLite, ")) == wanted, name
    with pytest.raises(Refused, match="database_url .*names no database") as told:
        database_address(config(database_url="mysql://u:secret@h"), ServeOptions())
    assert "secret" not in str(told.value)


def test_a_folder_that_cannot_be_written_is_refused_only_where_somebody_named_it(tmp_path: Path, caplog):
    taken = tmp_path / "a file"
    taken.write_text("")
    with pytest.raises(Refused, match="a file"):
        open_storage(config(), ServeOptions(state_dir=taken / "state"))
    with pytest.raises(Refused, match="a file"):
        open_storage(config(env={"PENSTOCK_STATE_DIR": str(taken / "state")}), ServeOptions())
    assert open_storage(config(env={"HOME": str(taken)}), ServeOptions()) is None
    assert "--state-dir" in caplog.text and "nothing is kept" in caplog.text


def test_the_start_line_names_the_database_and_workers_share_it(tmp_path: Path):
    yaml = CONFIG.replace("{mock}", "http://127.0.0.1:9")
    with serving(tmp_path, yaml, "--workers", "2", PENSTOCK_STATE_DIR=str(tmp_path / "state")) as served:
        log = served.log.read_text()
    assert f"Database: SQLite, {tmp_path}/state/penstock.db (made)" in log
    with serving(tmp_path, yaml, "--state-dir", str(tmp_path / "state")) as served:
        log = served.log.read_text()
    assert f"Database: SQLite, {tmp_path}/state/penstock.db\n" in log


def test_a_driver_that_is_missing_is_one_line_that_names_the_extra(tmp_path: Path, monkeypatch):
    for module, extra, url in (("psycopg", "postgres", "postgresql://h/n"), ("pymysql", "mysql", "mysql://h/n")):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(Refused, match=rf"not installed: pip install 'penstock\[{extra}\]'\.$"):
            open_storage(config(database_url=url), ServeOptions(state_dir=tmp_path))


def test_nothing_of_sqlalchemy_is_loaded_where_there_is_no_database():
    code = "import penstock.server.run, penstock.server.service, sys; print([n for n in sys.modules if n in ('sqlalchemy', 'alembic')])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


# Away. ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def relayed(postgres: Running) -> Iterator[tuple[Relay, str]]:  # noqa: F811
    """A relay before an empty PostgreSQL, and the lines of a config for it."""
    relay = Relay(postgres.port)
    url = postgres.fresh().replace(f":{postgres.port}/", f":{relay.port}/") + "?connect_timeout=2&socket_timeout=5"
    yield relay, f"database_url: '{url}', master_key: {MASTER}"
    relay.close()


def served(relayed: tuple[Relay, str], tmp_path: Path, more: str = ""):
    general = f"{relayed[1]}{more}"
    yaml = CONFIG.replace(f"{{master_key: {MASTER}}}", f"{{{general}}}")
    return open_service(tmp_path, yaml, state_dir=tmp_path / "state")


async def ready(door: ServedDoor) -> tuple[int, str]:
    code, told = await door.call("/health/readiness")
    return code, told["db"]


async def test_known_keys_open_while_the_database_is_away_and_changes_wait(tmp_path: Path, relayed):
    relay, _ = relayed
    async with served(relayed, tmp_path) as door:
        id_ = await add_key(door)
        assert await status(door) == 200 and await ready(door) == (200, "connected")
        relay.away = True
        relay.cut()
        await until(lambda: _is(ready(door), (503, "Not connected")))
        assert await status(door) == 200, "what is in memory holds"
        with pytest.raises(GatewayError) as told:
            await add_key(door, "sk-another-one-22")
        assert told.value.kind == "no_database" and "127.0.0.1" not in told.value.message
        relay.away = False
        await until(lambda: _is(ready(door), (200, "connected")), 5.0)
        await door.gateway.desk.remove(await door.gateway.desk.row("key", id_), "a test")
        assert await status(door) == 401
        lines = "".join(door.lines)
        assert lines.count("cannot be reached") == 1 and lines.count("is there") == 1, "each is said once"
        assert "pw-of-the-tests" not in lines


async def test_without_a_snapshot_a_start_without_the_database_lets_nobody_in(tmp_path: Path, relayed):
    relay, _ = relayed
    async with served(relayed, tmp_path) as door:
        await add_key(door)
    relay.away = True
    async with served(relayed, tmp_path) as door:
        assert await ready(door) == (503, "Not connected") and await status(door) == 503
        assert await status(door, MASTER) == 200, "the master key needs no database"
        assert await status(door, "no key at all") == 401
        relay.away = False
        await until(lambda: _is(ready(door), (200, "connected")), 5.0)
        assert await status(door) == 200 and await status(door, KEY + "x") == 401


async def test_with_a_snapshot_it_is_served_without_the_database(tmp_path: Path, relayed):
    relay, _ = relayed
    allow, snapshot = ", allow_requests_on_db_unavailable: true", tmp_path / "state" / "snapshot"
    async with served(relayed, tmp_path, allow) as door:
        id_ = await add_key(door, models=["m"])
        secret = {"credential_name": "c", "credential_values": {"api_key": "sk-in-no-snapshot"}}
        await door.gateway.desk.add("credential", "c", secret, "a test")
        await until(lambda: _is(_holds(snapshot, id_), True), 8.0)
    assert stat.S_IMODE(snapshot.stat().st_mode) == 0o600 and b"sk-in-no-snapshot" not in snapshot.read_bytes()
    relay.away = True
    async with served(relayed, tmp_path, allow) as door:
        assert await ready(door) == (200, "Not connected")
        assert await status(door) == 200 and await status(door, KEY + "x") == 401
        relay.away = False
        await until(lambda: _is(ready(door), (200, "connected")), 5.0)
        assert door.gateway.keyring.body("credential", "c") is not None, "what no snapshot has is read then"
    snapshot.write_bytes(b"something else")
    relay.away = True
    async with served(relayed, tmp_path, allow) as door:
        assert await status(door) == 503


async def _holds(path: Path, text: str) -> bool:
    return await asyncio.to_thread(path.exists) and text.encode() in await asyncio.to_thread(path.read_bytes)


async def test_a_slow_database_slows_no_request(tmp_path: Path, relayed):
    relay, _ = relayed
    async with served(relayed, tmp_path) as door:
        await add_key(door)
        await status(door)
        relay.slow = 2.0
        await asyncio.sleep(0.3)  # a look is under way
        took = []
        for _ in range(30):
            began = time.perf_counter()
            assert await status(door) == 200
            took.append(time.perf_counter() - began)
        assert sorted(took)[-2] < 0.5, took
        relay.slow = 0.0


async def test_a_kept_response_outlives_the_gateway_and_is_its_keys_own(tmp_path: Path):
    state = tmp_path / "state"
    asked = {"model": "m", "input": "hello"}
    async with open_service(tmp_path, CONFIG, state_dir=state) as door:
        await add_key(door)
        await add_key(door, "sk-of-another-team-77")
        code, told = await door.call("/v1/responses", asked, key=KEY)
        assert code == 200
    async with open_service(tmp_path, CONFIG, state_dir=state) as door:
        path = f"/v1/responses/{told['id']}"
        assert (await door.call(path, key=KEY))[1]["id"] == told["id"]
        assert (await door.call(path, key="sk-of-another-team-77"))[0] == 404
        code, said = await door.call("/v1/responses", {**asked, "previous_response_id": told["id"]}, key=KEY)
        assert code == 200, (said, door.lines)
        assert (await door.call(path, method="DELETE", key=KEY))[0] == 200 and (await door.call(path, key=KEY))[0] == 404
