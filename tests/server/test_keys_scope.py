"""Who may do what with whose key: the rules behind the routes that everybody with a key may call."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.server.managed import YAML, Managed, open_managed, populate


async def body(managed: Managed, name: str) -> dict[str, Any]:
    return msgspec.json.decode((await managed.desk.row("key", managed.id(name))).body)


async def test_a_user_makes_keys_for_himself_alone(tmp_path):
    async with open_managed(tmp_path) as managed:
        await populate(managed)
        made = await managed.good("/key/generate", {"key_alias": "own"}, "internal")
        assert made["user_id"] == made["created_by"] == "internal"
        for fields, param in (({"user_id": "member"}, "user_id"), ({"user_id": "proxy_admin"}, "user_id")):
            status, text, named = await managed.bad("/key/generate", fields, "internal")
            assert (status, named) == (403, param) and text.startswith("User can only create keys for themselves.")
        for fields, param in (
            ({"allowed_routes": ["/v1/models"]}, "allowed_routes"),
            ({"key_type": "management"}, "key_type"),
            ({"permissions": {"get_spend_routes": True}}, "permissions"),
            ({"spend": 1}, "spend"),
            ({"metadata": {"temp_budget_increase": 10}}, "temp_budget_increase"),
            ({"metadata": {"disable_global_guardrails": True}}, "disable_global_guardrails"),
        ):
            status, _, named = await managed.bad("/key/generate", fields, "internal")
            assert (status, named) == (403, param)
        made = await managed.good("/key/generate", {"key_type": "read_only"}, "internal")
        assert made["allowed_routes"] == ["info_routes"]
        for who in ("viewer", "internal_viewer", "alone"):
            assert (await managed.bad("/key/generate", {}, who))[0] == 403


async def test_nobody_gives_away_more_than_he_has(tmp_path):
    async with open_managed(tmp_path) as managed:
        await populate(managed)
        await managed.key("poor", user_id="internal", max_budget=5)
        await managed.good("/key/generate", {"max_budget": 5}, "poor")
        for fields in ({"max_budget": 6}, {"budget_limits": [{"budget_duration": "1d", "max_budget": 6}]}):
            status, text, param = await managed.bad("/key/generate", fields, "poor")
            assert (status, param) == (400, next(iter(fields))) and "own max_budget" in text


async def test_a_teams_members_do_what_the_team_lets_them(tmp_path):
    async with open_managed(tmp_path) as managed:
        await populate(managed)
        unseen = (await managed.bad("/key/generate", {"team_id": "none"}, "member"))[:2]
        assert unseen[0] == 403
        for who in ("foreign", "internal", "alone"):
            status, text, _ = await managed.bad("/key/generate", {"team_id": "t"}, who)
            assert status == 403 and text.replace("'t'", "").startswith("Unable to find team object")
        assert (await managed.bad("/key/generate", {"team_id": "t"}, "member"))[0] == 403
        for who in ("team_admin", "org_admin"):
            assert (await managed.good("/key/generate", {"team_id": "t"}, who))["user_id"] == who
        row = await managed.desk.row("team", "t")
        permissions = {"team_member_permissions": ["/key/generate"]}
        await managed.desk.change(row, {**msgspec.json.decode(row.body), **permissions}, "a test")
        assert (await managed.good("/key/generate", {"team_id": "t"}, "member"))["team_id"] == "t"
        robot = {"team_id": "t", "key_alias": "robot"}
        made = await managed.good("/key/service-account/generate", robot, "team_admin")
        assert made["user_id"] is None
        assert (await managed.good(f"/key/info?key={made['token']}", key="member"))["info"]["key_alias"] == "robot"


async def test_what_the_config_says_of_who_makes_keys(tmp_path):
    rules = """
litellm_settings:
  key_generation_settings:
    team_key_generation: {allowed_team_member_roles: [admin], required_params: [tags]}
    personal_key_generation: {allowed_user_roles: [proxy_admin]}
"""
    async with open_managed(tmp_path, YAML + rules) as managed:
        await populate(managed)
        status, text, _ = await managed.bad("/key/generate", {}, "internal")
        assert status == 400 and text.startswith("Personal key creation has been restricted by admin.")
        assert (await managed.bad("/key/generate", {"team_id": "t"}, "team_admin"))[2] == "tags"
        await managed.good("/key/generate", {"team_id": "t", "tags": ["x"]}, "team_admin")


@pytest.mark.parametrize(
    "fields",
    [
        {"max_budget": 9},
        {"max_budget": None},
        {"budget_limits": []},
        {"soft_budget": 9},
        {"temp_budget_increase": 9},
        {"metadata": {"temp_budget_increase": 9}},
        {"metadata": {}},
        {"blocked": False},
        {"blocked": None},
        {"spend": 0},
        {"user_id": "member"},
        {"user_id": None},
        {"guardrails": []},
        {"allowed_ips": []},
        {"allowed_routes": []},
        {"key_type": "default"},
        {"organization_id": "o2"},
        {"team_id": "t2"},
    ],
)
async def test_an_owner_does_not_move_the_bounds_of_a_key(tmp_path, fields):
    async with open_managed(tmp_path) as managed:
        await populate(managed)
        made = await managed.good("/key/generate", {"key_alias": "bounded"}, "internal")
        bounds = {
            "max_budget": 1,
            "budget_limits": [{"budget_duration": "1d", "max_budget": 1}],
            "guardrails": ["g"],
            "blocked": True,
            "allowed_ips": ["127.0.0.1"],
            "allowed_routes": ["llm_api_routes"],
        }
        await managed.good("/key/update", {"key": made["key"], **bounds})
        managed.keys["bounded"] = made["key"]
        before = await body(managed, "bounded")
        for path in ("/key/update", "/key/regenerate"):
            assert (await managed.bad(path, {"key": made["key"], **fields}, "internal"))[0] in (400, 403)
        assert await body(managed, "bounded") == before
        # What is none of that is the owner's; but of a key that he made himself.
        assert (await managed.good("/key/update", {"key": made["key"], "models": ["m"]}, "internal"))["models"] == ["m"]
        assert (await managed.bad("/key/update", {"key": managed.keys["internal"], "models": ["m"]}, "internal"))[
            0
        ] == 403


async def test_who_may_not_see_a_key_is_told_that_there_is_none(tmp_path):
    async with open_managed(tmp_path) as managed:
        await populate(managed)
        secret = managed.keys["member"]
        calls: list[tuple[str, Any]] = [
            ("/key/info?key={}", None),
            ("/key/update", {"key": "{}"}),
            ("/key/delete", {"keys": ["{}"]}),
            ("/key/block", {"key": "{}"}),
            ("/key/unblock", {"key": "{}"}),
            ("/key/regenerate", {"key": "{}"}),
            ("/key/{}/regenerate", {}),
            ("/key/{}/reset_spend", {"reset_to": 0}),
        ]
        for named in (secret, managed.id("member")):
            for path, sent in calls:
                told = []
                for key in (named, "sk-0123456789abcdef"):
                    filled = msgspec.json.decode(msgspec.json.encode(sent).replace(b'"{}"', f'"{key}"'.encode()))
                    told.append(await managed.bad(path.format(key), filled, "foreign"))
                assert told[0] == told[1] and told[0][0] == 404
        shown = await managed.good("/v2/key/info", {"keys": [secret]}, "foreign")
        assert shown["info"] == []
        assert (await managed.bad("/key/update", {"key_alias": "member"}, "foreign"))[0] == 404
        for query in ("user_id=member", "team_id=t", "organization_id=o"):
            assert (await managed.bad(f"/key/list?{query}", key="foreign"))[0] == 403


async def test_lists_show_what_is_the_callers(tmp_path):
    async with open_managed(tmp_path) as managed:
        await populate(managed)
        await managed.key("red", team_id="t", user_id="member")
        await managed.key("robot", team_id="t")
        await managed.key("theirs", team_id="t2")

        async def seen(who: str, query: str = "") -> set[str]:
            found = await managed.good(f"/key/list?return_full_object=true&size=100&{query}", key=who)
            return {row["key_alias"] for row in found["keys"]}

        for who in ("master", "proxy_admin", "viewer"):
            assert len(await seen(who)) == 12
        assert await seen("member") == {"member", "red"}
        assert await seen("member", "include_team_keys=true") == {"member", "red", "robot"}
        assert await seen("team_admin", "include_team_keys=true") == {"team_admin", "red", "robot"}
        assert await seen("team_admin", "team_id=t") == {"red", "robot"}
        assert await seen("foreign", "include_team_keys=true") == {"foreign", "theirs"}
        assert (await managed.bad("/key/list", key="alone"))[0] == 403
        aliases = (await managed.good("/key/aliases", key="team_admin"))["aliases"]
        assert aliases == ["red", "robot", "team_admin"]
        assert len((await managed.good("/key/aliases", key="viewer"))["aliases"]) == 12


async def test_a_teams_admin_gets_no_key_of_somebody_greater(tmp_path):
    async with open_managed(tmp_path) as managed:
        await populate(managed)
        await managed.key("boss", team_id="t", user_id="proxy_admin")
        await managed.key("red", team_id="t", user_id="member")
        await managed.good("/key/regenerate", {"key": managed.keys["red"]}, "team_admin")
        assert (await managed.bad("/key/regenerate", {"key": managed.keys["boss"]}, "team_admin"))[0] == 403
        assert (await managed.good("/key/block", {"key": managed.keys["boss"]}, "team_admin"))["blocked"] is True


async def test_an_owner_rotates_and_deletes_a_key_and_does_not_block_it(tmp_path):
    async with open_managed(tmp_path) as managed:
        await populate(managed)
        for path in ("/key/block", "/key/unblock"):
            assert (await managed.bad(path, {"key": managed.keys["internal"]}, "internal"))[0] == 403
        path = f"/key/{managed.id('internal')}/reset_spend"
        assert (await managed.bad(path, {"reset_to": 0}, "internal"))[0] == 403
        managed.keys["internal"] = (
            await managed.good("/key/regenerate", {"key": managed.keys["internal"]}, "internal")
        )["key"]
        await managed.good("/key/delete", {"keys": [managed.keys["internal"]]}, "internal")
        for who in ("viewer", "internal_viewer"):
            assert (await managed.bad("/key/delete", {"keys": [managed.keys[who]]}, who))[0] == 403
