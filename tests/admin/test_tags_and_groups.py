"""Tags, projects and access groups over HTTP: what is said of them holds for requests."""

from __future__ import annotations

import pytest

from tests.admin.desks import in_each
from tests.door import HELLO
from tests.server.managing import entry


@pytest.fixture(params=["memory", "sqlite"])
async def gate(request, tmp_path):
    async with in_each(request.param, tmp_path) as made:
        yield made


async def test_a_tag_is_made_changed_shown_and_deleted(gate):
    made = await gate.good("/tag/new", {"name": "blue", "description": "the blue ones", "models": ["of-the-file"], "max_budget": 3})
    assert made["message"] == "Tag blue created successfully"
    assert made["tag"]["models"] == ["m"] and made["tag"]["model_info"] == {"of-the-file": "m"}
    assert made["tag"]["litellm_budget_table"]["max_budget"] == 3 and made["tag"]["spend"] == 0.0
    assert gate.desk.keyring.holder("tag", "blue").caps[0].most == 3 * 10**12
    assert "nowhere" in await gate.refused(400, "/tag/update", {"name": "blue", "models": ["nowhere"]})
    assert "rpm_limit" in await gate.refused(400, "/tag/update", {"name": "blue", "rpm_limit": -1})
    changed = await gate.good("/tag/update", {"name": "blue", "max_budget": None, "description": "x"})
    assert changed["tag"]["description"] == "x" and gate.desk.keyring.holder("tag", "blue").caps == ()
    assert "one already" in await gate.refused(400, "/tag/new", {"name": "blue"})
    assert list(await gate.good("/tag/info", {"names": ["blue"]})) == ["blue"]
    assert [one["name"] for one in await gate.good("/tag/list")] == ["blue"]
    await gate.good("/tag/delete", {"name": "blue"})
    for path, body in (("/tag/delete", {"name": "blue"}), ("/tag/update", {"name": "blue"}), ("/tag/info", {"names": ["blue"]})):
        await gate.refused(404, path, body)


async def test_a_projects_limits_hold_for_its_keys_and_are_within_its_teams(gate):
    await gate.good("/team/new", {"team_id": "t", "max_budget": 5})
    assert "max_budget" in await gate.refused(400, "/project/new", {"team_id": "t", "max_budget": 6})
    made = await gate.good("/project/new", {"team_id": "t", "project_id": "p", "models": ["m"], "max_budget": 2, "tags": ["x"]})
    assert made["project_id"] == "p" and made["metadata"] == {"tags": ["x"]}
    secret = await gate.key("k", team_id="t", project_id="p")
    holders = {one.kind: one for one in gate.desk.keyring.find(secret.encode()).holders}
    assert holders["project"].models == ("m",) and holders["project"].caps[0].most == 2 * 10**12
    assert (await gate.ask("/v1/models", key=secret))[0] == 200
    await gate.good("/project/update", {"project_id": "p", "blocked": True})
    assert "project" in await gate.refused(401, "/v1/models", key=secret)
    await gate.good("/project/update", {"project_id": "p", "blocked": False})
    ann, eve = await gate.user("ann"), await gate.user("eve")
    await gate.good("/team/member_add", {"team_id": "t", "member": {"user_id": "ann"}})
    assert (await gate.good("/project/info?project_id=p", key=ann))["max_budget"] == 2
    await gate.refused(403, "/project/update", {"project_id": "p", "max_budget": 1}, key=ann)
    assert [await gate.good("/project/list", key=key) for key in (eve,)] == [[]]
    assert len(await gate.good("/project/list", key=ann)) == 1
    for path, body, method in [
        ("/project/info?project_id=p", None, "GET"),
        ("/project/update", {"project_id": "p"}, "POST"),
        ("/project/delete", {"project_ids": ["p"]}, "DELETE"),
    ]:
        await gate.refused(404, path, body, method, key=eve)
    assert "keys" in await gate.refused(400, "/project/delete", {"project_ids": ["p"]}, "DELETE")
    (key,) = (await gate.desk.find("key", {"project_id": "p"})).rows
    await gate.desk.remove(key, "a test")
    assert (await gate.good("/project/delete", {"project_ids": ["p"]}, "DELETE"))[0]["project_id"] == "p"


async def test_what_an_organization_grants_a_member_is_a_cap_of_his_keys_of_it(gate):
    await gate.good("/organization/new", {"organization_id": "o", "organization_alias": "x"})
    add = {"organization_id": "o", "member": {"user_id": "ann"}, "max_budget_in_organization": 4}
    await gate.good("/organization/member_add", add)
    secret = await gate.key("k", organization_id="o", user_id="ann")
    holders = {one.kind: one for one in gate.desk.keyring.find(secret.encode()).holders}
    assert holders["organization_member"].caps[0].most == 4 * 10**12 and holders["organization_member"].id == "o/ann"


@pytest.mark.parametrize("path", ["/v1/access_group", "/v1/unified_access_group"])
async def test_an_access_group_is_given_to_teams_and_keys_and_taken_from_them(gate, path):
    await gate.good("/team/new", {"team_id": "t", "models": ["other"]})
    secret = await gate.key("k", models=["other"])
    sent = {"access_group_name": "good", "access_model_names": ["m"], "assigned_team_ids": ["t"], "assigned_key_ids": [secret]}
    status, made = await gate.ask(path, sent)
    assert status == 201 and made["access_group_name"] == "good" and made["access_agent_ids"] == []
    id_ = made["access_group_id"]
    assert made["assigned_key_ids"] == [gate.desk.keyring.id_of(secret)]
    assert (await gate.rows("team"))["t"]["access_group_ids"] == [id_]
    assert (await gate.ask("/v1/chat/completions", {**HELLO, "model": "m"}, key=secret))[0] == 200
    assert "access_group_name" in await gate.refused(400, path, sent)  # two of one name
    assert "nobody" in await gate.refused(404, f"{path}/{id_}", {"assigned_team_ids": ["nobody"]}, "PUT")
    changed = await gate.good(f"{path}/{id_}", {"description": "d", "assigned_key_ids": []}, "PUT")
    assert changed["description"] == "d" and changed["access_model_names"] == ["m"]
    assert (await gate.ask("/v1/chat/completions", {**HELLO, "model": "m"}, key=secret))[0] == 403
    assert [one["access_group_id"] for one in await gate.good(path)] == [id_]
    assert (await gate.good(f"{path}/{id_}"))["assigned_team_ids"] == ["t"]
    status, _, body = await gate.door.ask("DELETE", f"{path}/{id_}", b"", {"authorization": "Bearer sk-served-master-2f60c1d9"})
    assert (status, body) == (204, b"")
    assert (await gate.rows("team"))["t"]["access_group_ids"] == []
    await gate.refused(404, f"{path}/{id_}")


async def test_an_access_group_of_models_stands_in_their_entries(gate):
    await gate.good("/model/new", entry(gate.door, name="n", id="i1"))
    made = await gate.good("/access_group/new", {"access_group": "fast", "model_names": ["n"]})
    assert made == {"access_group": "fast", "model_names": ["n"], "models_updated": 1}
    assert (await gate.good("/access_group/list"))["access_groups"] == [
        {"access_group": "fast", "model_names": ["n"], "deployment_count": 1}
    ]
    secret = await gate.key("k", models=["fast"])
    assert (await gate.ask("/v1/chat/completions", {**HELLO, "model": "n"}, key=secret))[0] == 200
    assert (await gate.ask("/v1/chat/completions", {**HELLO, "model": "m"}, key=secret))[0] == 403
    assert "already" in await gate.refused(409, "/access_group/new", {"access_group": "fast", "model_names": ["n"]})
    assert "stands in the config" in await gate.refused(400, "/access_group/fast/update", {"model_names": ["m"]}, "PUT")
    assert "nope" in await gate.refused(400, "/access_group/fast/update", {"model_ids": ["nope"]}, "PUT")
    assert (await gate.good("/access_group/fast/info"))["deployment_count"] == 1
    assert (await gate.good("/access_group/fast/delete", method="DELETE"))["models_updated"] == 1
    await gate.refused(404, "/access_group/fast/info")
    await gate.refused(404, "/access_group/fast/delete", None, "DELETE")
