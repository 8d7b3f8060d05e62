"""Users over HTTP, as LiteLLM's clients make, change, look at and delete them."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from penstock.admin import passwords, userforms
from tests.door import HELLO
from tests.server.managed import YAML, open_managed, populate


async def test_a_user_is_made_with_a_key_and_shown(tmp_path):
    async with open_managed(tmp_path) as managed:
        await managed.put("team", "t", team_id="t", team_alias="Red")
        fields = {
            "user_id": "u",
            "user_email": "U@Example.com",
            "max_budget": 5,
            "budget_duration": "30d",
            "models": ["m"],
        }
        more = {"tpm_limit": 10, "metadata": {"a": 1}, "teams": ["t"], "key_alias": "first", "duration": "1d"}
        made = await managed.good("/user/new", {**fields, **more})
        assert made["key"].startswith("sk-") and made["expires"] and made["teams"] == ["t"]
        assert made["user_email"] == "u@example.com" and made["user_role"] == "internal_user"
        assert (await managed.ask("/v1/chat/completions", HELLO, made["key"]))[0] == 200
        told = await managed.good("/user/info?user_id=u")
        assert told["user_id"] == "u" and [key["key_alias"] for key in told["keys"]] == ["first"]
        assert told["user_info"]["max_budget"] == 5 and told["user_info"]["spend"] == 0
        assert [team["team_alias"] for team in told["teams"]] == ["Red"]
        # The budget is the user's, and not the key's as well; limits are both's.
        assert told["keys"][0]["max_budget"] is None and told["keys"][0]["tpm_limit"] == 10
        assert made["key"] not in json.dumps(told)
        own = await managed.good("/user/info", key=made["key"])
        assert own["user_info"] == told["user_info"]
        alone = await managed.good("/v2/user/info?user_id=u")
        assert alone == told["user_info"]


async def test_a_user_without_a_key(tmp_path):
    async with open_managed(tmp_path) as managed:
        made = await managed.good("/user/new", {"auto_create_key": False})
        assert made["key"] == "" and made["user_id"] and (await managed.desk.find("key")).total == 0


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"user_id": "there"}, 409, "user_id"),
        ({"user_email": "There@example.com"}, 409, "user_email"),
        ({"user_role": "king"}, 422, "user_role"),
        ({"max_budget": -1}, 400, "max_budget"),
        ({"budget_duration": "often", "max_budget": 1}, 400, "budget_duration"),
        ({"teams": ["none"]}, 400, "team_id"),
        ({"teams": [{"team_id": "t", "user_role": "king"}]}, 400, "teams"),
        ({"team_id": "none"}, 400, "team_id"),
        ({"organizations": ["none"]}, 400, "organizations"),
        ({"password": "short"}, 400, "password"),
        ({"password": 12345678}, 422, "password"),
        ({"user_id": "a\nb"}, 400, "user_id"),
        ({"user_id": "x" * 300}, 400, "user_id"),
        ({"duration": "often"}, 400, "duration"),
        ({"budget_id": "none"}, 400, "budget_id"),
    ],
)
async def test_what_cannot_be_is_told_and_nothing_is_made(tmp_path, body, status, param):
    async with open_managed(tmp_path) as managed:
        await managed.put("team", "t", team_id="t")
        await managed.put("user", "there", user_id="there", user_email="there@example.com")
        got, text, named = await managed.bad("/user/new", body)
        assert (got, named) == (status, param) and "12345678" not in text
        assert [(await managed.desk.find(kind)).total for kind in ("user", "key", "member")] == [1, 0, 0]


async def test_a_password_is_kept_derived_and_shown_nowhere(tmp_path):
    async with open_managed(tmp_path) as managed:
        made = await managed.good("/user/new", {"user_id": "u", "password": "correct horse"})
        told = await managed.good("/user/update", {"user_id": "u", "user_alias": "U"})
        everything = [made, told, await managed.good("/user/info?user_id=u"), await managed.good("/user/list")]
        assert "scrypt" not in json.dumps(everything) and "correct" not in json.dumps(everything)
        kept = msgspec.json.decode((await managed.desk.row("user", "u")).body)["password"]
        assert kept.startswith("scrypt$") and await passwords.matches("correct horse", kept)
        assert not await passwords.matches("correct horsf", kept) and not await passwords.matches("x", "clear")
        await managed.good("/user/update", {"user_id": "u", "password": "another one"})
        kept = msgspec.json.decode((await managed.desk.row("user", "u")).body)["password"]
        assert await passwords.matches("another one", kept)
        audits, _ = await managed.desk.store.audits()
        assert all(b"scrypt" not in one.before + one.after for one in audits)


async def test_a_user_is_changed(tmp_path):
    async with open_managed(tmp_path) as managed:
        await managed.good("/user/new", {"user_id": "u", "user_email": "u@x.y", "max_budget": 1, "models": ["m"]})
        told = await managed.good("/user/update", {"user_id": "u", "max_budget": 2, "max_budgets": 3})
        assert told["user_id"] == "u" and told["data"]["max_budget"] == 2 and told["data"]["models"] == ["m"]
        assert told["warnings"] == ["'max_budgets' is ignored: did you mean 'max_budget'?"]
        told = await managed.good(
            "/user/update", {"user_email": "U@x.y", "user_role": "proxy_admin_viewer", "spend": 3}
        )
        assert told["data"]["user_role"] == "proxy_admin_viewer" and told["data"]["spend"] == 3
        assert (await managed.good("/user/update", {"user_id": "u", "max_budget": None}))["data"]["max_budget"] is None
        assert (await managed.bad("/user/update", {"user_id": "none"}))[0] == 404
        assert (await managed.bad("/user/update", {}))[2] == "user_id"
        await managed.good("/user/new", {"user_id": "v", "user_email": "v@x.y"})
        assert (await managed.bad("/user/update", {"user_id": "v", "user_email": "u@x.y"}))[2] == "user_email"


async def test_a_change_of_role_holds_at_once(tmp_path):
    async with open_managed(tmp_path) as managed:
        await populate(managed)
        assert (await managed.bad("/key/bulk_update", {"keys": [{}]}, "internal"))[0] == 403
        await managed.good("/user/update", {"user_id": "internal", "user_role": "proxy_admin"})
        assert (await managed.ask("/key/bulk_update", {"keys": [{}]}, "internal"))[0] == 200


async def test_several_users_at_once(tmp_path):
    async with open_managed(tmp_path) as managed:
        await managed.put("user", "a", user_id="a")
        await managed.put("user", "b", user_id="b")
        told = await managed.good(
            "/user/bulk_update", {"users": [{"user_id": "a", "max_budget": 1}, {"user_id": "none"}]}
        )
        assert (told["total_requested"], told["successful_updates"], told["failed_updates"]) == (2, 1, 1)
        assert told["results"][0]["updated_user"]["max_budget"] == 1 and "not found" in told["results"][1]["error"]
        told = await managed.good("/user/bulk_update", {"all_users": True, "user_updates": {"rpm_limit": 4}})
        assert told["successful_updates"] == 2
        assert {row["rpm_limit"] for row in (await managed.good("/user/list"))["users"]} == {4}
        for body in ({}, {"all_users": True, "user_updates": {"password": "for everybody"}}, {"users": [{}] * 501}):
            assert (await managed.bad("/user/bulk_update", body))[0] == 400


async def test_with_a_user_go_its_keys_and_places(tmp_path):
    async with open_managed(tmp_path) as managed:
        await populate(managed)
        await managed.key("red", user_id="member", team_id="t")
        assert (await managed.bad("/user/delete", {"user_ids": ["member", "none"]}))[0] == 404
        assert (await managed.bad("/user/delete", {"user_ids": []}))[0] == 400
        assert await managed.good("/user/delete", {"user_ids": ["member", "org_admin", "member"]}) == 2
        for name in ("member", "red", "org_admin"):
            assert (await managed.ask("/v1/models", key=name))[0] == 401
        assert (await managed.desk.row("member", "t/member")) is None
        assert (await managed.desk.row("organization_member", "o/org_admin")) is None
        assert (await managed.bad("/user/info?user_id=member"))[0] == 404


async def test_lists_are_found_sorted_and_paged(tmp_path):
    async with open_managed(tmp_path) as managed:
        await populate(managed)
        await managed.good("/user/update", {"user_id": "member", "user_email": "member@red.example"})

        async def seen(query: str, who: str = "master") -> list[str]:
            return [row["user_id"] for row in (await managed.good(f"/user/list?{query}", key=who))["users"]]

        told = await managed.good("/user/list?page=2&page_size=3&sort_by=user_id&sort_order=asc")
        assert (told["total"], told["page"], told["page_size"], told["total_pages"]) == (8, 2, 3, 3)
        assert [row["user_id"] for row in told["users"]] == ["member", "org_admin", "proxy_admin"]
        assert told["users"][0]["key_count"] == 1 and told["users"][0]["teams"] == ["t"]
        assert await seen("role=proxy_admin") == ["proxy_admin"]
        assert await seen("user_email=RED") == ["member"] == await seen("search=red.ex")
        assert set(await seen("team=t")) == {"member", "team_admin"}
        assert set(await seen("user_ids=member,viewer")) == {"member", "viewer"}
        assert await seen("organization_ids=o") == ["org_admin"] == await seen("", "org_admin")
        assert await seen("team=t", "org_admin") == []
        for who in ("team_admin", "member", "internal_viewer", "alone"):
            assert (await managed.bad("/user/list", key=who))[0] == 403
        assert (await managed.bad("/user/list?organization_ids=o2", key="org_admin"))[0] == 403
        for query in ("sort_by=password", "sort_order=up", "page_size=101"):
            assert (await managed.bad(f"/user/list?{query}"))[0] == 422


async def test_who_sees_and_changes_whom(tmp_path):
    async with open_managed(tmp_path) as managed:
        await populate(managed)
        for path in ("/user/info?user_id={}", "/v2/user/info?user_id={}"):
            told = [await managed.bad(path.format(id_), key="foreign") for id_ in ("member", "nobody")]
            assert told[0][0] == 404 and told[0][1].replace("member", "") == told[1][1].replace("nobody", "")
        assert (await managed.good("/v2/user/info?user_id=member", key="team_admin"))["user_id"] == "member"
        assert (await managed.bad("/user/update", {"user_id": "member", "user_alias": "x"}, "foreign"))[0] == 404
        assert (await managed.bad("/user/update", {"user_id": "member", "user_alias": "x"}, "viewer"))[0] == 403
        told = await managed.good(
            "/user/update", {"user_id": "member", "user_alias": "x", "metadata": {"a": 1}}, "member"
        )
        assert told["data"]["user_alias"] == "x"
        own = {
            "user_role": "proxy_admin",
            "max_budget": 9,
            "models": [],
            "spend": 0,
            "rpm_limit": None,
            "user_email": "a@b.c",
        }
        for name, value in own.items():
            status, _, param = await managed.bad("/user/update", {"user_id": "member", name: value}, "member")
            assert (status, param) == (403, name)
        loose = {"user_id": "member", "metadata": {"model_rpm_limit": {"m": 9}}}
        assert (await managed.bad("/user/update", loose, "member"))[0] == 403
        everything = await managed.good("/user/info", key="viewer")
        assert len(everything["keys"]) == 9 and len(everything["teams"]) == 2 and everything["user_id"] == "viewer"


async def test_an_organisations_admin_makes_and_deletes_its_users(tmp_path):
    async with open_managed(tmp_path) as managed:
        await populate(managed)
        made = await managed.good("/user/new", {"user_id": "new", "organizations": ["o"], "team_id": "t"}, "org_admin")
        assert made["teams"] == ["t"] and made["team_id"] == "t"
        for more in ({}, {"organizations": ["o2"]}, {"organizations": ["o"], "user_role": "proxy_admin"}):
            assert (await managed.bad("/user/new", {"user_id": "other", **more}, "org_admin"))[0] == 403
        assert (await managed.bad("/user/new", {"organizations": ["o"], "teams": ["t2"]}, "org_admin"))[0] == 403
        for who in ("team_admin", "member", "viewer", "alone"):
            assert (await managed.bad("/user/new", {"organizations": ["o"]}, who))[0] == 403
        assert await managed.good("/user/delete", {"user_ids": ["new"]}, "org_admin") == 1
        for id_, status in (("member", 404), ("foreign", 404), ("org_admin", 200)):
            assert (await managed.ask("/user/delete", {"user_ids": [id_]}, "org_admin"))[0] == status


async def test_what_the_config_says_of_new_users(tmp_path):
    rules = """
litellm_settings:
  default_internal_user_params: {user_role: internal_user, models: [m], max_budget: 2, teams: [t]}
  internal_user_budget_duration: 7d
"""
    async with open_managed(tmp_path, YAML + rules) as managed:
        await managed.put("team", "t", team_id="t", models=["m"])
        made = await managed.good("/user/new", {})
        assert (made["models"], made["max_budget"], made["budget_duration"], made["teams"]) == (["m"], 2, "7d", ["t"])
        made = await managed.good("/user/new", {"user_role": "proxy_admin"})
        assert (made["models"], made["max_budget"], made["teams"]) == ([], None, [])


async def test_roles_and_counts(tmp_path):
    async with open_managed(tmp_path) as managed:
        await populate(managed)
        roles = await managed.good("/user/available_roles", key="alone")
        allowed: Any = msgspec.inspect.type_info(userforms.Role)
        assert set(roles) == set(allowed.values) and all(
            told["ui_label"] and told["description"] for told in roles.values()
        )
        counts = await managed.good("/user/available_users")
        assert counts["total_users_used"] == 8 and counts["total_users_remaining"] is None


async def test_members_are_the_same_whichever_way_they_come(tmp_path):
    """By the team's calls and by /user/new, as an id or as an object: what a team gives to new members, all get."""
    async with open_managed(tmp_path) as managed:
        team = {"team_id": "b", "team_member_budget": 3, "team_member_budget_duration": "1d",
                "models": ["m"], "default_team_member_models": ["m"], "members_with_roles": [{"role": "user", "user_id": "made"}]}  # fmt: skip
        await managed.good("/team/new", team)
        await managed.good("/team/member_add", {"team_id": "b", "member": {"role": "user", "user_id": "added"}})
        await managed.good("/user/new", {"user_id": "named", "teams": ["b"]})
        await managed.good("/user/new", {"user_id": "object", "teams": [{"team_id": "b"}]})
        await managed.good("/user/new", {"user_id": "own", "teams": [{"team_id": "b", "max_budget_in_team": 9, "user_role": "admin"}]})
        keyring = managed.desk.keyring
        rows = {name: dict(keyring.body("member", f"b/{name}") or {}) for name in ("made", "added", "named", "object", "own")}
        for name, row in rows.items():
            assert row.pop("user_id") == name and row.pop("membership_id") == f"b/{name}"
        assert rows["made"] == rows["added"] == rows["named"] == rows["object"]
        assert rows["made"]["budget_id"] and rows["made"]["allowed_models"] == ["m"]
        assert rows["own"] == rows["made"] | {"role": "admin", "max_budget": 9.0}
