"""Keys with `auto_rotate` get a new secret in time: once, by one process, with an overlap, and their users come by it."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import pytest

from penstock.admin.rotation import LONGEST_OVERLAP
from penstock.core.admit.periods import time_of
from penstock.server.rotation import USUAL, Rotation
from penstock.stores.sealing import Sealer
from tests.server.managed import SECRET, Managed, open_managed, populate
from tests.server.test_keys import chat

DAY = 86400.0
ON = {"LITELLM_KEY_ROTATION_ENABLED": "true"}


def at(managed: Managed, seconds: float) -> None:
    managed.desk.clock = lambda: time.time() + seconds


async def body(managed: Managed, id_: str) -> dict[str, Any]:
    row = await managed.desk.row("key", id_)
    assert row is not None
    return msgspec.json.decode(row.body)


async def test_a_key_is_rotated_in_time_and_its_user_comes_by_the_new_secret(tmp_path):
    async with open_managed(tmp_path, env=ON) as managed:
        managed.desk.sealer = Sealer(SECRET)
        made = await managed.good("/key/generate", {"auto_rotate": True, "rotation_interval": "30d", "max_budget": 5})
        assert "warnings" not in made
        old, id_ = made["key"], made["token_id"]
        rotation = Rotation(managed.desk, lambda: managed.door.gateway.state)
        assert await rotation.round() == 0
        at(managed, 31 * DAY)
        assert await rotation.round() == 1 and await rotation.round() == 0
        kept = await body(managed, id_)
        assert kept["rotation_count"] == 1 and time_of(kept["key_rotation_at"]) > managed.desk.clock() + 29 * DAY
        assert kept["digests"][1]["until"] == pytest.approx(managed.desk.clock() + LONGEST_OVERLAP, abs=5)
        assert await chat(managed, old) == 200, "both open"
        info = (await managed.good("/key/info", key=old))["info"]
        new = info["rotated_key"]
        assert await chat(managed, new) == 200 and info["key_name"].endswith(new[-4:]) and info["max_budget"] == 5
        assert "rotated" not in info and new not in str(kept)
        audits, _ = await managed.desk.store.audits({"action": "rotated"})
        assert [(one.who, one.row) for one in audits] == [("penstock", id_)]
        assert new.encode() not in audits[0].after and b"secret" not in audits[0].after
        # By hand it gets another one, and what was told before is no more.
        await managed.good("/key/regenerate", {"key": id_})
        assert "rotated_key" not in (await managed.good(f"/key/info?key={id_}"))["info"]


async def test_what_was_told_is_gone_with_the_old_secret(tmp_path):
    async with open_managed(tmp_path, env=ON | {"LITELLM_KEY_ROTATION_GRACE_PERIOD": "1h"}) as managed:
        managed.desk.sealer = Sealer(SECRET)
        made = await managed.good("/key/generate", {"auto_rotate": True, "rotation_interval": "1d"})
        id_ = made["token_id"]
        at(managed, 2 * DAY)
        rotation = Rotation(managed.desk, lambda: managed.door.gateway.state)
        assert await rotation.round() == 1
        assert (await body(managed, id_))["digests"][1]["until"] == pytest.approx(managed.desk.clock() + 3600, abs=5)
        assert "rotated_key" in (await managed.good(f"/key/info?key={id_}"))["info"]
        at(managed, 2 * DAY + 3700)
        assert "rotated_key" not in (await managed.good(f"/key/info?key={id_}"))["info"]
        assert await rotation.round() == 0 and "rotated" not in await body(managed, id_)


async def test_the_new_secret_is_told_to_those_who_might_rotate_the_key(tmp_path):
    async with open_managed(tmp_path, env=ON) as managed:
        managed.desk.sealer = Sealer(SECRET)
        await populate(managed)
        fields = {"auto_rotate": True, "rotation_interval": "1d"}
        keys = {
            "of the team": {"team_id": "t", **fields},
            "of a member": {"user_id": "member", "team_id": "t", **fields},
            "of a user": {"user_id": "internal", **fields},
        }
        ids = {name: (await managed.good("/key/generate", one))["token_id"] for name, one in keys.items()}
        at(managed, 2 * DAY)
        assert await Rotation(managed.desk, lambda: managed.door.gateway.state).round() == 3
        knows = {name: {who for who in managed.keys if await _told(managed, who, id_)} for name, id_ in ids.items()}
        assert knows["of the team"] == knows["of a member"] == {"master", "proxy_admin", "org_admin", "team_admin"}
        assert knows["of a user"] == {"master", "proxy_admin", "internal"}


async def _told(managed: Managed, who: str, id_: str) -> bool:
    status, told = await managed.ask(f"/key/info?key={id_}", key=who)
    return status == 200 and "rotated_key" in told["info"]


async def test_keys_that_open_nothing_and_gateways_that_are_not_asked_rotate_none(tmp_path, caplog):
    async with open_managed(tmp_path) as managed:
        managed.desk.sealer = Sealer(SECRET)
        fields = {"auto_rotate": True, "rotation_interval": "1d"}
        made = await managed.good("/key/generate", {**fields, "duration": "1d"})
        assert "LITELLM_KEY_ROTATION_ENABLED" in made["warnings"][0]
        blocked = await managed.good("/key/generate", fields)
        await managed.good("/key/block", {"key": blocked["key"]})
        await managed.good("/key/generate", {"rotation_interval": "1d", "auto_rotate": False})
        at(managed, 3 * DAY)
        rotation = Rotation(managed.desk, lambda: managed.door.gateway.state)
        assert await rotation.round() == 0
        env = managed.door.gateway.state.env
        managed.door.gateway.state.env = {**env, "LITELLM_KEY_ROTATION_CHECK_INTERVAL_SECONDS": "soon"}
        assert rotation.pause() == rotation.pause() == USUAL and caplog.text.count("'soon' is no number of seconds") == 1
        managed.door.gateway.state.env = {**env, "LITELLM_KEY_ROTATION_CHECK_INTERVAL_SECONDS": "5"}
        assert rotation.pause() == 5
