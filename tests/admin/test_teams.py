"""Teams over HTTP: LiteLLM's bodies and answers, who may, and that what belongs together is changed together."""

from __future__ import annotations

import pytest

from tests.admin.desks import Managed, in_each, managed


@pytest.fixture(params=["memory", "sqlite"])
async def gate(request, tmp_path):
    async with in_each(request.param, tmp_path) as made:
        yield made


async def team(gate: Managed, **fields) -> dict:
    return await gate.good("/team/new", {"team_id": "t", "team_alias": "Blue", **fields})


async def test_a_team_is_made_as_litellm_makes_it_and_told_so_again(gate):
    sent = {"models": ["m"], "max_budget": 5, "budget_duration": "30d", "tpm_limit": 100, "tags": ["a"]}
    made = await team(gate, **sent, metadata={"own": 1}, members_with_roles=[{"role": "admin", "user_id": "ann"}])
    assert made["team_id"] == "t" and made["team_alias"] == "Blue" and made["models"] == ["m"] and made["spend"] == 0.0
    assert made["members_with_roles"] == [{"user_id": "ann", "user_email": None, "role": "admin"}]
    assert made["metadata"] == {"own": 1, "tags": ["a"]} and made["budget_reset_at"].startswith("2026-10-01T00:00:00")
    info = await gate.good("/team/info?team_id=t")
    assert set(info) == {"team_id", "team_info", "keys", "team_memberships"}
    assert info["team_id"] == "t" and info["team_info"]["max_budget"] == 5 and info["keys"] == []
    assert [one["user_id"] for one in info["team_memberships"]] == ["ann"]
    assert (await gate.rows("user"))["ann"]["user_role"] == "internal_user_viewer"  # who was none is one now
    assert (await gate.good("/team/new", {"team_alias": "x"}))["team_id"] != "t"


async def test_an_id_that_is_taken_and_limits_that_are_none_are_refused_with_their_name(gate):
    await team(gate)
    assert "one already" in await gate.refused(400, "/team/new", {"team_id": "t"})
    for field, value in [
        ("max_budget", -1),
        ("tpm_limit", -5),
        ("budget_duration", "30x"),
        ("model_max_budget", {"m": "x"}),
    ]:
        text = await gate.refused(400, "/team/update", {"team_id": "t", field: value})
        assert field in text, text
    assert "max_budget" in await gate.refused(422, "/team/update", {"team_id": "t", "max_budget": "many"})
    warned = await gate.good("/team/update", {"team_id": "t", "max_bugdet": 3})
    assert warned["warnings"] == ["'max_bugdet' is ignored: did you mean 'max_budget'?"]
    assert "t2" in await gate.refused(404, "/team/update", {"team_id": "t2", "max_budget": 1})


async def test_a_change_leaves_what_it_does_not_say_and_null_takes_away(gate):
    await team(gate, max_budget=5, models=["m"], model_rpm_limit={"m": 3}, metadata={"own": 1})
    told = await gate.good("/team/update", {"team_id": "t", "max_budget": None, "team_alias": "Red"})
    assert told["data"]["max_budget"] is None and told["team_alias"] == "Red" and told["models"] == ["m"]
    assert told["metadata"] == {"own": 1, "model_rpm_limit": {"m": 3}}
    assert (await gate.good("/team/t", {"model_rpm_limit": None}, "PATCH"))["metadata"] == {"own": 1}
    assert "path" in await gate.refused(400, "/team/t", {"team_id": "other"}, "PATCH")


async def test_members_come_change_and_go(gate):
    await team(gate)
    body = {"team_id": "t", "member": [{"user_id": "ann", "role": "admin"}, {"user_email": " Bob@X.org"}]}
    told = await gate.good("/team/member_add", {**body, "max_budget_in_team": 2, "budget_duration": "1d"})
    roles = {one["user_email"]: one["role"] for one in told["members_with_roles"]}
    assert roles == {None: "admin", "bob@x.org": "user"} and len(told["updated_users"]) == 2
    table = told["updated_team_memberships"][0]["litellm_budget_table"]
    assert table["max_budget"] == 2 and table["budget_duration"] == "1d"
    assert "already a member" in await gate.refused(
        400, "/team/member_add", {"team_id": "t", "member": {"user_id": "ann"}}
    )
    changed = await gate.good(
        "/team/member_update", {"team_id": "t", "user_email": "bob@x.org", "role": "admin", "rpm_limit": 7}
    )
    assert changed["role"] == "admin" and changed["rpm_limit"] == 7 and changed["max_budget_in_team"] == 2
    bob = changed["user_id"]
    secret = await gate.key("bobs", user_id=bob, team_id="t")
    own = await gate.good("/team/t/members/me", key=secret)
    assert own["user_id"] == bob and own["litellm_budget_table"]["max_budget"] == 2
    left = await gate.good("/team/member_delete", {"team_id": "t", "user_id": bob})
    assert [one["user_id"] for one in left["members_with_roles"]] == ["ann"]
    assert not await gate.rows("key")  # his key of the team went with him
    assert bob in await gate.rows("user")
    assert "no member" in await gate.refused(404, "/team/member_delete", {"team_id": "t", "user_id": bob})


async def test_members_that_cannot_be_are_refused_and_nobody_is_added(gate):
    await team(gate)
    assert "role" in await gate.refused(
        422, "/team/member_add", {"team_id": "t", "member": {"user_id": "a", "role": "king"}}
    )
    bad = {"team_id": "t", "member": [{"user_id": "a"}, {"role": "user"}]}
    assert "user_id or a user_email" in await gate.refused(422, "/team/member_add", bad)
    assert "max_budget" in await gate.refused(
        400, "/team/member_add", {**bad, "member": {"user_id": "a"}, "max_budget_in_team": -1}
    )
    assert await gate.rows("member") == {} and await gate.rows("user") == {}
    told = await gate.good(
        "/team/bulk_member_add", {"team_id": "t", "members": [{"user_id": "a"}, {"user_id": "b", "role": "x"}]}
    )
    assert (told["total_requested"], told["successful_additions"], told["failed_additions"]) == (2, 1, 1)
    assert told["results"][1]["success"] is False and "role" in told["results"][1]["error"]


async def test_a_budget_for_each_member_is_one_that_all_share(gate):
    await team(gate, members=["old"])
    await gate.good("/team/update", {"team_id": "t", "team_member_budget": 3, "team_member_budget_duration": "1d"})
    await gate.good("/team/member_add", {"team_id": "t", "member": {"user_id": "new"}})
    info = await gate.good("/team/info?team_id=t")
    assert {one["user_id"]: one["litellm_budget_table"]["max_budget"] for one in info["team_memberships"]} == {
        "old": 3,
        "new": 3,
    }
    assert info["team_info"]["team_member_budget_table"]["budget_duration"] == "1d"
    await gate.good("/team/update", {"team_id": "t", "team_member_budget": 4, "metadata": {"fresh": True}})
    info = await gate.good("/team/info?team_id=t")
    assert {one["litellm_budget_table"]["max_budget"] for one in info["team_memberships"]} == {4}
    await gate.key("olds", user_id="old", team_id="t")
    (key,) = await gate.rows("key")
    held = {holder.kind: holder for holder in gate.desk.keyring.caller(key).holders}
    assert held["member"].caps[0].most == 4 * 10**12


async def test_a_team_that_goes_takes_its_keys_and_memberships_along_in_one_step(gate):
    await team(gate, members=["ann"], team_member_budget=1)
    secret = await gate.key("k", team_id="t")
    other = await gate.key("o")
    assert (await gate.ask("/v1/models", key=secret))[0] == 200
    before = await gate.desk.store.revision()
    assert "nothing" in await gate.refused(404, "/team/delete", {"team_ids": ["t", "nothing"]})
    assert "t" in await gate.rows("team")
    await gate.good("/team/delete", {"team_ids": ["t"]})
    assert await gate.desk.store.revision() == before + 1
    for kind in ("team", "member", "budget"):
        assert await gate.rows(kind) == {}
    assert (await gate.ask("/v1/models", key=secret))[0] == 401
    assert (await gate.ask("/v1/models", key=other))[0] == 200
    audits, total = await gate.desk.store.audits({"action": "deleted"})
    assert {one.kind for one in audits} == {"team", "member", "key", "budget"} and total == 4


async def test_a_blocked_team_stops_its_keys_until_it_is_let_go(gate):
    await team(gate)
    secret = await gate.key("k", team_id="t")
    assert (await gate.good("/team/block", {"team_id": "t"}))["blocked"] is True
    assert (await gate.ask("/v1/models", key=secret))[0] == 401
    assert (await gate.good("/team/unblock", {"team_id": "t"}))["blocked"] is False
    assert (await gate.ask("/v1/models", key=secret))[0] == 200


async def test_models_of_a_team_come_and_go_and_the_last_one_stays(gate):
    await team(gate, models=["m"])
    assert (await gate.good("/team/model/add", {"team_id": "t", "models": ["n", "m"]}))["models"] == ["m", "n"]
    assert (await gate.good("/team/model/delete", {"team_id": "t", "models": ["m"]}))["models"] == ["n"]
    assert "all models" in await gate.refused(400, "/team/model/delete", {"team_id": "t", "models": ["n"]})


async def test_an_admin_of_a_team_changes_its_members_and_not_what_it_may(gate):
    await team(gate, max_budget=5)
    ann = await gate.user("ann")
    await gate.good("/team/member_add", {"team_id": "t", "member": {"user_id": "ann", "role": "admin"}})
    await gate.good("/team/member_add", {"team_id": "t", "member": {"user_id": "bob"}}, key=ann)
    assert (await gate.good("/team/update", {"team_id": "t", "team_alias": "Mine"}, key=ann))["team_alias"] == "Mine"
    for sent in ({"max_budget": 500}, {"models": []}, {"blocked": False}, {"metadata": {}}, {"organization_id": "o"}):
        assert next(iter(sent)) in await gate.refused(403, "/team/update", {"team_id": "t", **sent}, key=ann)
    await gate.refused(403, "/team/block", {"team_id": "t"}, key=ann)
    await gate.refused(403, "/team/delete", {"team_ids": ["t"]}, key=ann)
    await gate.refused(403, "/team/new", {"team_id": "u"}, key=ann)
    told = await gate.good(
        "/team/permissions_update", {"team_id": "t", "team_member_permissions": ["/key/generate"]}, key=ann
    )
    assert told["team_member_permissions"] == ["/key/generate"]
    assert (
        "/key/generate" in (await gate.good("/team/permissions_list?team_id=t", key=ann))["all_available_permissions"]
    )
    assert "/nope" in await gate.refused(
        400, "/team/permissions_update", {"team_id": "t", "team_member_permissions": ["/nope"]}
    )


async def test_another_teams_id_is_told_like_one_that_is_none(gate):
    await team(gate)
    eve = await gate.user("eve")
    for path, body, method in [
        ("/team/info?team_id={}", None, "GET"),
        ("/team/permissions_list?team_id={}", None, "GET"),
        ("/team/{}/members/me", None, "GET"),
        ("/team/update", {"team_id": "{}", "team_alias": "x"}, "POST"),
        ("/team/{}", {"team_alias": "x"}, "PATCH"),
        ("/team/delete", {"team_ids": ["{}"]}, "POST"),
        ("/team/block", {"team_id": "{}"}, "POST"),
        ("/team/unblock", {"team_id": "{}"}, "POST"),
        ("/team/member_add", {"team_id": "{}", "member": {"user_id": "eve"}}, "POST"),
        ("/team/bulk_member_add", {"team_id": "{}", "members": [{"user_id": "eve"}]}, "POST"),
        ("/team/member_update", {"team_id": "{}", "user_id": "eve"}, "POST"),
        ("/team/member_delete", {"team_id": "{}", "user_id": "eve"}, "POST"),
        ("/team/model/add", {"team_id": "{}", "models": ["m"]}, "POST"),
        ("/team/model/delete", {"team_id": "{}", "models": ["m"]}, "POST"),
        ("/team/permissions_update", {"team_id": "{}", "team_member_permissions": []}, "POST"),
    ]:
        texts = []
        for name in ("t", "nowhere"):
            sent = (
                None
                if body is None
                else {k: name if v == "{}" else [name] if v == ["{}"] else v for k, v in body.items()}
            )
            texts.append((await gate.refused(404, path.format(name), sent, method, key=eve)).replace(repr(name), "X"))
        assert texts[0] == texts[1], path


async def test_lists_show_what_one_may_see(gate):
    for name in ("a", "b", "c"):
        await gate.good("/team/new", {"team_id": name, "team_alias": f"Team {name}"})
    ann, view = await gate.user("ann"), await gate.user("viewer", "proxy_admin_viewer")
    await gate.good("/team/member_add", {"team_id": "b", "member": {"user_id": "ann"}})
    await gate.key("kb", team_id="b", user_id="ann")
    assert [one["team_id"] for one in await gate.good("/team/list")] == ["a", "b", "c"]
    assert [one["team_id"] for one in await gate.good("/team/list", key=view)] == ["a", "b", "c"]
    (own,) = await gate.good("/team/list", key=ann)
    assert own["team_id"] == "b" and len(own["keys"]) == 1 and "digests" not in own["keys"][0]
    assert [one["team_id"] for one in await gate.good("/team/list?user_id=ann")] == ["b"]
    await gate.refused(403, "/team/list?user_id=viewer", key=ann)
    told = await gate.good("/v2/team/list?page=2&page_size=2&sort_by=team_alias&sort_order=desc")
    assert [one["team_id"] for one in told["teams"]] == ["a"]
    assert (told["total"], told["page"], told["page_size"], told["total_pages"]) == (3, 2, 2, 2)
    assert [one["team_id"] for one in (await gate.good("/v2/team/list?team_alias=TEAM%20C"))["teams"]] == ["c"]
    assert "sort_by" in await gate.refused(400, "/v2/team/list?sort_by=secret")


async def test_nothing_is_kept_without_a_desk_and_the_error_says_what_to_set(gate):
    gate.door.gateway.desk = None
    assert "general_settings.master_key" in await gate.refused(400, "/team/new", {"team_alias": "x"})


OPEN = """
litellm_settings: {default_internal_user_params: {available_teams: [open], user_role: internal_user}, default_team_params: {max_budget: 9}}
"""


async def test_a_user_joins_an_open_team_by_himself_and_no_other_way(tmp_path):
    from tests.admin.desks import CONFIG

    async with managed(tmp_path, CONFIG + OPEN) as gate:
        made = await gate.good("/team/new", {"team_id": "open"})
        assert made["max_budget"] == 9  # the config's, where a call says none
        await gate.good("/team/new", {"team_id": "closed", "max_budget": 1})
        eve = await gate.user("eve")
        assert [one["team_id"] for one in await gate.good("/team/available", key=eve)] == ["open"]
        add = "/team/member_add"
        await gate.refused(403, add, {"team_id": "open", "member": {"user_id": "bob"}}, key=eve)
        await gate.refused(403, add, {"team_id": "open", "member": {"user_id": "eve", "role": "admin"}}, key=eve)
        await gate.refused(
            403, add, {"team_id": "open", "member": {"user_id": "eve"}, "max_budget_in_team": 9}, key=eve
        )
        await gate.refused(404, add, {"team_id": "closed", "member": {"user_id": "eve"}}, key=eve)
        await gate.good(add, {"team_id": "open", "member": {"user_id": "eve", "role": "user"}}, key=eve)
        assert await gate.good("/team/available", key=eve) == []


async def test_callbacks_of_a_team_are_kept_sealed_and_told_masked(gate):
    await team(gate, metadata={"own": 1})
    secret = "sk-lf-of-the-team-4711"
    sent = {"callback_name": "langfuse", "callback_type": "success", "callback_vars": {"langfuse_secret_key": secret}}
    told = await gate.good("/team/t/callback", sent)
    assert "warnings" not in told and told["data"]["metadata"]["own"] == 1
    assert told["data"]["metadata"]["logging"][0]["callback_vars"] == {"langfuse_secret_key": "****"}
    assert secret not in str(await gate.rows("team")) and secret not in str(await gate.good("/audit"))
    assert "sealed1:" not in str([told, await gate.good("/team/info?team_id=t"), await gate.good("/audit")])
    shown = (await gate.good("/team/t/callback"))["data"]
    assert (shown["success_callbacks"], shown["failure_callbacks"]) == (["langfuse"], [])
    assert "callback_type" in await gate.refused(400, "/team/t/callback", {"callback_name": "langfuse", "callback_type": "y"})
    assert "callback_name" in await gate.refused(400, "/team/t/callback", {"callback_name": "x"})
    assert "callback" in await gate.refused(400, "/team/update", {"team_id": "t", "metadata": {"logging": [sent]}})
    await gate.good("/team/update", {"team_id": "t", "metadata": {"own": 2}})
    assert (await gate.good("/team/t/callback/langfuse", None, "DELETE"))["data"]["success_callbacks"] == []
    await gate.refused(404, "/team/t/callback/langfuse", None, "DELETE")
    await gate.good("/team/t/callback", sent)
    assert "disabled" in (await gate.good("/team/t/disable_logging", {}))["message"]
    assert "logging" not in (await gate.good("/team/info?team_id=t"))["team_info"]["metadata"]
