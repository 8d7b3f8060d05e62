"""Callbacks that are set over HTTP: those of everybody, which never load code, and those of teams and keys."""

from __future__ import annotations

import json

import pytest

from penstock.config.over import lay_over
from penstock.config.problems import Problems
from penstock.config.sent import node_of
from tests.served import open_service
from tests.server.observed import YAML, Served, serve
from tests.server.test_callbacks import CODE
from tests.sinks.made import environment
from tests.sinks.vendors import PUBLIC, SECRET, LangfuseStandIn, WebhookStandIn, open_vendor


async def test_code_is_never_set_over_http(tmp_path):
    (tmp_path / "mine.py").write_text(CODE)
    (tmp_path / "evil.py").write_text("raise SystemExit('run')")
    state = tmp_path / "state"
    async with serve(tmp_path, "success_callback: [mine.one]", state_dir=state) as served:
        door = served.door
        for key in ("callbacks", "success_callback", "failure_callback", "input_callback", "service_callback", "audit_log_callbacks"):
            for value in (["evil.x"], "evil.x", ["webhook", "evil.x"], ["file"], ["stdout"], [["evil.x"]], ["nothing-known"]):
                status, told = await door.call("/config/update", {"litellm_settings": {key: value}})
                assert status == 400 and "is none of" in told["error"]["message"], (key, value)
        status, _ = await door.call("/config/update", {"litellm_settings": {"success_callback": ["webhook"]}})
        assert status == 200
        assert [one.name for one in served.callbacks.observer.everybody] == ["mine.one", "webhook"]
        assert await served.ask(authorization="Bearer sk-served-master-2f60c1d9") == 200
        await served.told()
        assert len(served.vendor.taken) == 1
        # What came into the database by another way is not loaded, either.
        settings = door.gateway.settings
        assert settings is not None
        over = {"litellm_settings": {"success_callback": ["evil.x", "webhook", "mine.one"], "callbacks": "evil.x"}}
        document = node_of({"litellm_settings": {"success_callback": ["mine.one"]}}, Problems())
        found = lay_over(document, over).value["litellm_settings"].value
        assert [one.value for one in found["success_callback"].value] == ["webhook", "mine.one"] and "callbacks" not in found


@pytest.fixture
async def projects(tmp_path):
    """A gateway with keys, whose teams and keys have projects of their own."""
    pytest.importorskip("cryptography")
    async with open_vendor(LangfuseStandIn()) as own, open_vendor(WebhookStandIn()) as vendor:
        yaml = f"{YAML}\ngeneral_settings: {{master_key: sk-served-master-2f60c1d9}}\nlitellm_settings: {{callbacks: [webhook]}}\n"
        env = environment("webhook", vendor)
        async with open_service(tmp_path, yaml, env, state_dir=tmp_path / "state") as door:
            served = Served(door, vendor)
            yield served, own


VARS = {"langfuse_public_key": PUBLIC, "langfuse_secret_key": SECRET}


async def test_a_team_has_a_project_of_its_own(projects):
    served, own = projects
    door = served.door
    for name in ("one", "two"):
        assert (await door.call("/team/new", {"team_id": name, "team_alias": f"Team {name}"}))[0] == 200
    body = {"callback_name": "langfuse", "callback_type": "success", "callback_vars": {**VARS, "langfuse_host": own.url}}
    status, told = await door.call("/team/one/callback", body)
    assert status == 200 and SECRET not in json.dumps(told) and "warnings" not in told
    keys = {}
    for name in ("one", "two"):
        status, told = await door.call("/key/generate", {"team_id": name})
        keys[name] = told["key"]
    for name, key in keys.items():
        assert await served.ask({"user": name}, authorization=f"Bearer {key}") == 200
        assert await served.ask({"user": name, "model": "nobody"}, authorization=f"Bearer {key}") == 400
    await served.told()
    assert len(served.vendor.taken) == 4 and len(own.taken) == 1 and own.wrong == []
    [generation] = [event["body"] for event in own.asked[0].json["batch"] if event["type"] == "generation-create"]
    assert generation["metadata"]["user_api_key_team_alias"] == "Team one"
    assert (await door.call("/team/one/callback/langfuse", method="DELETE"))[0] == 200
    assert await served.ask(authorization=f"Bearer {keys['one']}") == 200
    await served.told()
    assert len(own.taken) == 1 and len(served.vendor.taken) == 5


async def test_what_a_place_of_its_own_does_not_hear_goes_where_everybodys_goes(tmp_path):
    pytest.importorskip("cryptography")
    async with open_vendor(LangfuseStandIn()) as own, open_vendor(LangfuseStandIn()) as vendor:
        yaml = f"{YAML}\ngeneral_settings: {{master_key: sk-served-master-2f60c1d9}}\nlitellm_settings: {{callbacks: [langfuse]}}\n"
        async with open_service(tmp_path, yaml, environment("langfuse", vendor), state_dir=tmp_path / "state") as door:
            served = Served(door, vendor)
            variables = {**VARS, "langfuse_host": own.url, "turn_off_message_logging": True}
            one = {"callback_name": "langfuse", "callback_type": "success", "callback_vars": variables}
            _, made = await door.call("/key/generate", {"metadata": {"logging": [one]}})
            assert await served.ask(authorization=f"Bearer {made['key']}") == 200
            assert await served.ask({"model": "nobody"}, authorization=f"Bearer {made['key']}") == 400
            await served.told()
            assert len(own.taken) == len(vendor.taken) == 1
            assert b"what is up" not in own.asked[0].body and b"redacted-by-litellm" in own.asked[0].body
            assert b"what is up" in vendor.asked[0].body and b'"ERROR"' in vendor.asked[0].body


async def test_a_key_has_a_project_of_its_own_and_keeps_its_secrets(projects):
    served, own = projects
    door = served.door
    logging = [{"callback_name": "langfuse", "callback_type": "success_and_failure", "callback_vars": {**VARS, "langfuse_host": own.url}}]
    status, made = await door.call("/key/generate", {"key_alias": "mine", "metadata": {"logging": logging, "a": 1}})
    assert status == 200 and SECRET not in json.dumps(made)
    key = made["key"]
    assert await served.ask(authorization=f"Bearer {key}") == 200
    await served.told()
    assert len(own.taken) == 1
    _, told = await door.call("/key/health", {}, key=key)
    assert told["key"] == "healthy" and told["logging_callbacks"]["callbacks"] == ["langfuse"]
    _, told = await door.call(f"/key/info?key={key}")
    shown = told["info"]["metadata"]["logging"]
    assert shown[0]["callback_vars"] == dict.fromkeys(logging[0]["callback_vars"], "****")
    # What was shown comes back, and means what it was.
    status, _ = await door.call("/key/update", {"key": key, "metadata": {"logging": shown, "a": 2}})
    assert status == 200
    assert await served.ask(authorization=f"Bearer {key}") == 200
    await served.told()
    assert len(own.taken) == 2
    row = await door.gateway.desk.row("key", made["token_id"])
    assert SECRET.encode() not in row.body and b"sealed1:" in row.body
    _, audit = await door.call("/audit")
    assert SECRET not in json.dumps(audit) and "sealed1:" not in json.dumps(audit) and "langfuse_host" in json.dumps(audit)
    own.mood = 401
    assert await served.ask(authorization=f"Bearer {key}") == 200
    await served.told()
    assert door.gateway.callbacks.told()["teams and keys"]["unsent"] == 1


@pytest.mark.parametrize(
    ("name", "variables", "what"),
    [
        ("s3", {}, "is none that a team or a key may have"),
        ("mine.instance", {}, "is none that a team or a key may have"),
        ("file", {"path": "/tmp/x"}, "is none that a team or a key may have"),
        ("langfuse", {"langfuse_host": "http://169.254.169.254/"}, "metadata service"),
        ("langfuse", {"langfuse_host": "file:///etc/passwd"}, "must be an address"),
        ("langfuse", {"langfuse_secret_key": "os.environ/LITELLM_MASTER_KEY"}, "LITELLM_MASTER_KEY"),
        ("langfuse", {"langfuse_public_key": "${OPENAI_API_KEY}"}, "OPENAI_API_KEY"),
        ("langfuse", {"helicone_api_key": "x"}, "there is none of that name for langfuse"),
    ],
)
async def test_what_a_team_or_a_key_may_not_set(projects, name, variables, what):
    served, _ = projects
    door = served.door
    await door.call("/team/new", {"team_id": "one"})
    one = {"callback_name": name, "callback_vars": variables}
    for path, body in (("/team/one/callback", one), ("/key/generate", {"metadata": {"logging": [one]}})):
        status, told = await door.call(path, body)
        assert status == 400 and what in told["error"]["message"], told


async def test_only_admins_send_to_addresses_that_only_this_machine_sees(projects):
    served, own = projects
    door = served.door
    _, user = await door.call("/user/new", {"user_id": "u", "user_role": "internal_user"})
    for host, status in ((own.url, 403), ("http://10.0.0.1", 403), ("https://cloud.langfuse.com", 200)):
        body = {"metadata": {"logging": [{"callback_name": "langfuse", "callback_vars": {**VARS, "langfuse_host": host}}]}}
        found, told = await door.call("/key/generate", body, key=user["key"])
        assert found == status, told


async def test_an_address_of_its_own_gets_nothing_of_the_gateways_environment(tmp_path):
    pytest.importorskip("cryptography")
    async with open_vendor(LangfuseStandIn()) as own, open_vendor(LangfuseStandIn()) as vendor:
        yaml = f"{YAML}\ngeneral_settings: {{master_key: sk-served-master-2f60c1d9}}\n"
        async with open_service(tmp_path, yaml, environment("langfuse", vendor), state_dir=tmp_path / "state") as door:
            served = Served(door, vendor)
            logging = [{"callback_name": "langfuse", "callback_vars": {"langfuse_public_key": PUBLIC, "langfuse_host": own.url}}]
            _, made = await door.call("/key/generate", {"metadata": {"logging": logging}})
            _, other = await door.call("/key/generate", {"metadata": {"logging": [{"callback_name": "langfuse", "callback_vars": {}}]}})
            assert await served.ask(authorization=f"Bearer {made['key']}") == 200
            assert await served.ask(authorization=f"Bearer {other['key']}") == 200
            await served.told()
            assert own.asked == [] and len(vendor.taken) == 1
            _, told = await door.call("/key/health", {}, key=made["key"])
            assert told["key"] == "unhealthy"


async def test_default_team_settings_name_a_teams_project(tmp_path):
    async with open_vendor(LangfuseStandIn()) as own:
        settings = f"""default_team_settings: [{{team_id: one, success_callback: [langfuse], langfuse_public_key: {PUBLIC},
            langfuse_secret_key: os.environ/OWN_SECRET, langfuse_host: "{own.url}"}}]"""
        yaml = f"{YAML}\ngeneral_settings: {{master_key: sk-served-master-2f60c1d9}}\nlitellm_settings: {{{settings}}}\n"
        async with open_service(tmp_path, yaml, {"OWN_SECRET": SECRET}, state_dir=tmp_path / "state") as door:
            served = Served(door, own)
            await door.call("/team/new", {"team_id": "one"})
            _, made = await door.call("/key/generate", {"team_id": "one"})
            _, other = await door.call("/key/generate", {})
            for key in (made["key"], other["key"]):
                assert await served.ask(authorization=f"Bearer {key}") == 200
            await served.told()
            assert len(own.taken) == 1
