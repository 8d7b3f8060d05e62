"""Organisations and budgets over HTTP: LiteLLM's bodies and answers, and that no limit is lost on the way."""

from __future__ import annotations

import pytest

from tests.admin.desks import in_each


@pytest.fixture(params=["memory", "sqlite"])
async def gate(request, tmp_path):
    async with in_each(request.param, tmp_path) as made:
        yield made


async def organization(gate, **fields) -> dict:
    return await gate.good("/organization/new", {"organization_id": "o", "organization_alias": "Acme", **fields})


async def test_an_organization_has_a_budget_of_its_own_and_is_told_with_it(gate):
    made = await organization(gate, models=["m"], max_budget=10, budget_duration="1mo", model_rpm_limit={"m": 2})
    assert made["organization_alias"] == "Acme" and made["models"] == ["m"] and made["spend"] == 0.0
    assert made["metadata"] == {"model_rpm_limit": {"m": 2}} and "max_budget" not in made
    assert made["litellm_budget_table"]["max_budget"] == 10 and made["budget_id"] in await gate.rows("budget")
    changed = await gate.good("/organization/update", {"organization_id": "o", "max_budget": 20}, "PATCH")
    assert changed["budget_id"] == made["budget_id"] and changed["litellm_budget_table"]["max_budget"] == 20
    assert changed["litellm_budget_table"]["budget_duration"] == "1mo"
    assert (await gate.good("/v2/organization/o", {"organization_alias": "B"}, "PATCH"))["organization_alias"] == "B"
    assert "organization_alias" in await gate.refused(422, "/organization/new", {})
    assert "max_budget" in await gate.refused(400, "/v2/organization/o", {"max_budget": -1}, "PATCH")
    assert "budget_id" in await gate.refused(400, "/v2/organization/o", {"budget_id": "none"}, "PATCH")
    await gate.refused(404, "/v2/organization/x", {"max_budget": 1}, "PATCH")


async def test_a_team_has_no_more_than_its_organization_whichever_of_them_is_changed(gate):
    await organization(gate, models=["m", "n"], max_budget=10, tpm_limit=100)
    new = {"team_id": "t", "organization_id": "o"}
    for field, value in (("max_budget", 11), ("tpm_limit", 101), ("models", ["other"])):
        text = await gate.refused(400, "/team/new", {**new, field: value})
        assert text.startswith(f"{field}: ") and "organization o" in text
    await gate.good("/team/new", {**new, "max_budget": 10, "models": ["m"]})
    assert "max_budget" in await gate.refused(400, "/team/update", {"team_id": "t", "max_budget": 10.5})
    text = await gate.refused(400, "/v2/organization/o", {"max_budget": 5}, "PATCH")
    assert "'t'" in text and "max_budget" in text
    assert "'t'" in await gate.refused(400, "/v2/organization/o", {"models": ["n"]}, "PATCH")
    assert "no organization" in await gate.refused(400, "/team/new", {"organization_id": "nowhere"})
    await gate.good("/team/new", {"team_id": "lone"})
    await gate.good("/team/member_add", {"team_id": "lone", "member": {"user_id": "ann"}})
    assert "'ann'" in await gate.refused(400, "/team/update", {"team_id": "lone", "organization_id": "o"})
    await gate.good("/organization/member_add", {"organization_id": "o", "member": {"user_id": "ann"}})
    assert (await gate.good("/team/update", {"team_id": "lone", "organization_id": "o"}))["organization_id"] == "o"


async def test_an_admin_of_an_organization_has_what_is_in_it_and_not_what_it_may(gate):
    await organization(gate, max_budget=10)
    await organization(gate, organization_id="p")
    ann = await gate.user("ann")
    add = {"organization_id": "o", "member": {"user_id": "ann", "role": "org_admin"}}
    told = await gate.good("/organization/member_add", add)
    assert told["updated_organization_memberships"][0]["user_role"] == "org_admin"
    assert "already" in await gate.refused(400, "/organization/member_add", add)
    await gate.good("/team/new", {"team_id": "t", "organization_id": "o"}, key=ann)
    await gate.refused(403, "/team/new", {"team_id": "u"}, key=ann)
    await gate.refused(403, "/team/new", {"team_id": "u", "organization_id": "p"}, key=ann)
    assert (await gate.good("/team/update", {"team_id": "t", "max_budget": 3}, key=ann))["max_budget"] == 3
    await gate.refused(403, "/team/update", {"team_id": "t", "organization_id": "p"}, key=ann)
    await gate.refused(403, "/team/update", {"team_id": "t", "organization_id": None}, key=ann)
    assert "slash" in await gate.refused(400, "/team/new", {"team_id": "t/x", "organization_id": "o"}, key=ann)
    await gate.refused(403, "/organization/update", {"organization_id": "o", "max_budget": 99}, "PATCH", key=ann)
    bob = {"organization_id": "o", "member": {"user_email": "bob@x.org", "role": "internal_user"}}
    await gate.good("/organization/member_add", bob, key=ann)
    changed = {"organization_id": "o", "user_email": "bob@x.org", "role": "org_admin"}
    assert (await gate.good("/organization/member_update", changed, "PATCH", key=ann))["user_role"] == "org_admin"
    assert "king" in await gate.refused(422, "/organization/member_update", {**changed, "role": "king"}, "PATCH")
    info = await gate.good("/organization/info?organization_id=o", key=ann)
    assert len(info["members"]) == 2 and [one["team_id"] for one in info["teams"]] == ["t"]
    assert [one["organization_id"] for one in await gate.good("/organization/list", key=ann)] == ["o"]
    assert len(await gate.good("/organization/list")) == 2
    await gate.refused(404, "/organization/info?organization_id=p", key=ann)
    await gate.refused(404, "/organization/member_add", {**bob, "organization_id": "p"}, key=ann)
    await gate.good("/organization/member_delete", {"organization_id": "o", "user_id": "ann"}, "DELETE")
    await gate.refused(404, "/organization/info?organization_id=o", key=ann)
    (told,) = await gate.good("/organization/info", {"organizations": ["o"]})
    assert [one["user_email"] for one in told["members"]] == ["bob@x.org"]


async def test_an_organization_that_goes_takes_all_of_its_own_along(gate):
    await organization(gate)
    await gate.good("/team/new", {"team_id": "t", "organization_id": "o", "members": ["ann"]})
    await gate.good("/organization/member_add", {"organization_id": "o", "member": {"user_id": "ann"}})
    await gate.key("a", team_id="t")
    await gate.key("b", organization_id="o")
    await gate.key("c")
    before = await gate.desk.store.revision()
    assert (await gate.good("/organization/delete", {"organization_ids": ["o"]}, "DELETE"))[0]["organization_id"] == "o"
    assert await gate.desk.store.revision() == before + 1
    assert [key["key_name"] for key in (await gate.rows("key")).values()] == ["sk-...c"]
    for kind in ("organization", "team", "member", "organization_member"):
        assert await gate.rows(kind) == {}
    await gate.refused(404, "/organization/delete", {"organization_ids": ["o"]}, "DELETE")


async def test_a_budget_is_made_changed_shown_and_deleted_when_nobody_has_it(gate):
    made = await gate.good("/budget/new", {"budget_id": "b", "max_budget": 1, "budget_duration": "1d", "rpm_limit": 3})
    assert made["budget_id"] == "b" and made["budget_reset_at"] > "2026" and made["tpm_limit"] is None
    assert "one already" in await gate.refused(400, "/budget/new", {"budget_id": "b"})
    assert "soft_budget" in await gate.refused(400, "/budget/new", {"soft_budget": -2})
    secret = await gate.key("k", budget_id="b")
    changed = await gate.good("/budget/update", {"budget_id": "b", "max_budget": 2, "rpm_limit": None})
    assert (changed["max_budget"], changed["rpm_limit"], changed["budget_duration"]) == (2, None, "1d")
    held = gate.desk.keyring.find(secret.encode()).holders[0]
    assert held.caps[0].most == 2 * 10**12 and held.pace.requests is None
    assert [one["budget_id"] for one in await gate.good("/budget/list")] == ["b"]
    assert [one["max_budget"] for one in await gate.good("/budget/info", {"budgets": ["b", "x"]})] == [2]
    shown = {one["field_name"]: one["field_value"] for one in await gate.good("/budget/settings?budget_id=b")}
    assert shown["max_budget"] == 2 and shown["tpm_limit"] is None
    assert "key" in await gate.refused(400, "/budget/delete", {"id": "b"})
    (key,) = (await gate.desk.find("key")).rows
    await gate.desk.remove(key, "a test")
    await organization(gate, budget_id="b")
    assert "organization" in await gate.refused(400, "/budget/delete", {"id": "b"})
    await gate.good("/organization/delete", {"organization_ids": ["o"]}, "DELETE")
    assert (await gate.good("/budget/delete", {"id": "b"}))["budget_id"] == "b"
    await gate.refused(404, "/budget/delete", {"id": "b"})
