"""Settings that are changed over HTTP: kept, laid over the file's, checked as those are, in effect at once."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from penstock.config import load_without
from penstock.stores.kinds import fields_of
from tests.door import HELLO, until
from tests.served import ServedDoor, open_service
from tests.server.managing import CONFIG

YAML = CONFIG.replace("router_settings: {num_retries: 0}", "router_settings: {num_retries: 0, timeout: 50}")


async def good(door: ServedDoor, path: str, body: Any = None) -> Any:
    status, told = await door.call(path, body)
    assert status == 200, (path, told)
    return told


async def bad(door: ServedDoor, path: str, body: Any = None) -> tuple[int, str, Any]:
    status, told = await door.call(path, body)
    assert status >= 400, (path, told)
    return status, told["error"]["message"], told["error"]["param"]


def router(door: ServedDoor) -> dict[str, Any]:
    return door.gateway.state.config.router.values


async def test_what_is_set_holds_at_once_and_after_a_restart(tmp_path):
    states = tmp_path / "state"
    async with open_service(tmp_path, YAML, state_dir=states) as door:
        body = {
            "router_settings": {"num_retries": 3, "model_group_alias": {"other": "m"}},
            "litellm_settings": {"drop_params": True},
            "general_settings": {"max_request_size_mb": 7},
        }
        assert await good(door, "/config/update", body) == {"message": "Config updated successfully"}
        assert router(door)["num_retries"] == 3 and router(door)["timeout"] == 50
        assert door.gateway.max_body == 7 * 1024 * 1024 and door.gateway.state.config.litellm.drop_params is True
        assert (await door.call("/v1/chat/completions", {**HELLO, "model": "other"}))[0] == 200
    async with open_service(tmp_path, YAML, state_dir=states) as door:
        assert router(door)["num_retries"] == 3 and router(door)["timeout"] == 50
        assert door.gateway.max_body == 7 * 1024 * 1024
        assert (await door.call("/v1/chat/completions", {**HELLO, "model": "other"}))[0] == 200
        # The file may change meanwhile: what is stored stays over it.
        door.path.write_text(door.path.read_text().replace("timeout: 50", "timeout: 40"))
        await door.service.read_again()
        assert router(door)["num_retries"] == 3 and router(door)["timeout"] == 40


async def test_another_process_hears_of_it(tmp_path):
    states = tmp_path / "state"
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    async with (
        open_service(tmp_path / "a", YAML, state_dir=states) as one,
        open_service(tmp_path / "b", YAML, state_dir=states) as other,
    ):
        looking = asyncio.create_task(other.service._look_at_settings())
        await good(one, "/config/field/update", {"field_name": "max_file_size_mb", "field_value": 3})
        await until(lambda: other.gateway.max_upload == 3 * 1024 * 1024)
        await good(one, "/config/field/delete", {"field_name": "max_file_size_mb"})
        await until(lambda: other.gateway.max_upload != 3 * 1024 * 1024)
        looking.cancel()


@pytest.mark.parametrize(
    ("body", "param", "said"),
    [
        ({"router_settings": {"num_retries": "many"}}, "router_settings.num_retries", "expected a whole number"),
        ({"router_settings": {"num_retrys": 1}}, "router_settings.num_retrys", "did you mean 'num_retries'?"),
        ({"router_settings": {"master_key": "x"}}, "router_settings.master_key", "it belongs in general_settings"),
        ({"router_settings": {"fallbacks": [{"m": ["nowhere"]}]}}, "router_settings.fallbacks", "nowhere"),
        ({"general_settings": {"master_key": "sk-mine-0123456789"}}, "general_settings.master_key", "not over HTTP"),
        ({"general_settings": {"no_auth": True}}, "general_settings.no_auth", "not over HTTP"),
        ({"general_settings": {"custom_auth": "os.system"}}, "general_settings.custom_auth", "not over HTTP"),
        ({"general_settings": {"stored_models_may_read": ["*"]}}, "general_settings.stored_models_may_read", "not over HTTP"),
        ({"environment_variables": {"LD_PRELOAD": "/x.so"}}, "environment_variables.LD_PRELOAD", "steers the process"),
        ({"environment_variables": {"PATH": "/x"}}, "environment_variables.PATH", "not over HTTP"),
        ({"environment_variables": {"DATABASE_URL": "sqlite://"}}, "environment_variables.DATABASE_URL", "not over HTTP"),
        ({"environment_variables": {"A": 1}}, "environment_variables.A", "expected text"),
        ({"environment_variables": {"A": "os.environ/HOME"}}, "environment_variables.A", "may not read the gateway's environment"),
        (
            {"general_settings": {"pass_through_endpoints": [{"path": "/x", "target": "http://169.254.169.254/"}]}},
            "general_settings.pass_through_endpoints[0].target",
            "metadata service",
        ),
    ],
)  # fmt: skip
async def test_what_could_not_be_served_is_refused_and_nothing_changes(body, param, said, tmp_path):
    async with open_service(tmp_path, YAML, state_dir=tmp_path / "state") as door:
        before = door.gateway.state
        whole = {**body, "litellm_settings": {"drop_params": True}}
        status, text, at = await bad(door, "/config/update", whole)
        assert status == 400 and at.startswith(param) and said in text, (text, at)
        assert door.gateway.state is before and not door.gateway.settings.stored()
        assert not door.gateway.state.config.litellm.drop_params


async def test_secrets_are_sealed_masked_and_in_no_audit_line(tmp_path):
    secret = "a-value-that-nobody-sees-0x77"
    async with open_service(tmp_path, YAML, state_dir=tmp_path / "state") as door:
        url = f"https://someone:{secret}@hooks.example/x"
        body = {
            "environment_variables": {"LANGFUSE_SECRET_KEY": secret},
            "general_settings": {"alert_to_webhook_url": {"budget_alerts": url}},
            "litellm_settings": {"success_callback": ["langfuse"]},
        }
        await good(door, "/config/update", body)
        assert door.gateway.state.config.environment["LANGFUSE_SECRET_KEY"] == secret
        rows = door.gateway.desk.keyring.rows("setting")
        assert {row.id: "plain" in fields_of(row) for row in rows} == {
            "environment_variables.LANGFUSE_SECRET_KEY": False,
            "general_settings.alert_to_webhook_url": False,
            "litellm_settings.success_callback": True,
        }
        assert not any(secret.encode() in row.body for row in rows)
        paths = (
            "/config/yaml",
            "/config/list?config_type=general_settings",
            "/get/config/callbacks",
            "/audit?page_size=100",
        )
        for path in (*paths, "/config/field/info?field_name=alert_to_webhook_url"):
            assert secret not in json.dumps(await good(door, path)), path
        audits = (await good(door, "/audit?table_name=LiteLLM_Config"))["audit_logs"]
        assert {one["object_id"] for one in audits} == {row.id for row in rows}
        assert [one["updated_values"]["plain"] for one in audits if "callback" in one["object_id"]] == [["langfuse"]]
        # What was shown comes back: it stays as it was.
        told = await good(door, "/config/update", {"environment_variables": {"LANGFUSE_SECRET_KEY": "****"}})
        assert "stays as it is" in told["warnings"][0]
        assert door.gateway.state.config.environment["LANGFUSE_SECRET_KEY"] == secret


async def test_one_setting_is_shown_set_and_taken_away(tmp_path):
    async with open_service(tmp_path, YAML, state_dir=tmp_path / "state") as door:
        assert await good(door, "/config/field/info?field_name=master_key") == {
            "field_name": "master_key",
            "field_value": "****",
            "source": "config",
            "editable": True,
        }
        name = "max_request_size_mb"
        assert await bad(door, f"/config/field/info?field_name={name}") == (
            400,
            f"Field name={name} is not set",
            "field_name",
        )
        assert (await bad(door, "/config/field/info?field_name=nothing"))[1] == "Invalid field=nothing passed in."
        body = {"field_name": name, "field_value": 5, "config_type": "general_settings"}
        assert await good(door, "/config/field/update", body) == {
            "param_name": "general_settings",
            "param_value": {name: 5},
        }
        listed = await good(door, "/config/list?config_type=general_settings")
        row = next(one for one in listed if one["field_name"] == name)
        assert (row["field_value"], row["source"], row["stored_in_db"], row["field_type"]) == (5, "db", True, "Float")
        assert (await door.call("/config/list?config_type=router_settings"))[0] == 422
        assert (await door.call("/config/field/update", {**body, "config_type": "router_settings"}))[0] == 422
        del body["field_value"]
        assert await good(door, "/config/field/delete", body) == {"param_name": "general_settings", "param_value": {}}
        assert "not in config" in (await bad(door, "/config/field/delete", body))[1]
        assert door.gateway.max_body != 5 * 1024 * 1024


async def test_addresses_that_may_call(tmp_path):
    async with open_service(tmp_path, YAML, state_dir=tmp_path / "state") as door:
        assert await good(door, "/get/allowed_ips") == {"data": None}
        told = await good(door, "/add/allowed_ip", {"ip": "127.0.0.1"})
        assert told == {"message": "IP 127.0.0.1 address added successfully", "status": "success"}
        await good(door, "/add/allowed_ip", {"ip": "10.0.0.0/8"})
        assert await good(door, "/get/allowed_ips") == {"data": ["127.0.0.1", "10.0.0.0/8"]}
        assert (await bad(door, "/add/allowed_ip", {"ip": "127.0.0.1"}))[:2] == (400, "IP address already exists")
        assert (await bad(door, "/add/allowed_ip", {"ip": "nowhere"}))[0] == 400
        assert (await bad(door, "/delete/allowed_ip", {"ip": "10.9.9.9"}))[:2] == (404, "IP address not found")
        await good(door, "/delete/allowed_ip", {"ip": "127.0.0.1"})
        assert (await door.call("/get/allowed_ips"))[0] == 403  # so does the gate
        assert (await door.call("/health/liveliness", key=""))[0] == 200
    env = {"PENSTOCK_STORED_SETTINGS": "off"}  # the way back for who locked himself out
    async with open_service(tmp_path, YAML, env, state_dir=tmp_path / "state") as door:
        told = await good(door, "/config/field/delete", {"field_name": "allowed_ips"})
        assert "do not hold" in told["warnings"][0]
    async with open_service(tmp_path, YAML, state_dir=tmp_path / "state") as door:
        assert await good(door, "/get/allowed_ips") == {"data": None}
        told = await good(door, "/add/allowed_ip", {"ip": "10.0.0.1"})
        assert "127.0.0.1, such as this one, are refused" in told["warnings"][0]


async def test_what_does_not_hold_at_once_is_said(tmp_path):
    async with open_service(tmp_path, YAML, state_dir=tmp_path / "state") as door:
        told = await good(door, "/config/update", {"router_settings": {"redis_host": "127.0.0.1"}})
        assert any("router_settings.redis_host changed" in line and "restart" in line for line in told["warnings"]), (
            told
        )


async def test_a_stored_setting_that_does_not_fit_any_more_is_left_out(tmp_path):
    fallback = {"fallbacks": [{"m": ["spare"]}], "num_retries": 2}
    spare = YAML.replace(
        "credential_list:", "  - {model_name: spare, litellm_params: {model: openai/x, api_key: k}}\ncredential_list:"
    )
    async with open_service(tmp_path, spare, state_dir=tmp_path / "state") as door:
        await good(door, "/config/update", {"router_settings": fallback})
        before = door.gateway.state
        door.path.write_text(YAML.replace("{mock}", door.mock.url))
        await door.service.read_again()  # a reload that would break it is not taken, as with the file's own
        assert door.gateway.state is before
    async with open_service(tmp_path, YAML, state_dir=tmp_path / "state") as door:
        assert router(door)["num_retries"] == 2 and (await door.call("/v1/chat/completions", HELLO))[0] == 200
        await good(
            door, "/config/update", {"router_settings": {"num_retries": 1}}
        )  # what was wrong before is no hindrance


async def test_a_setting_sealed_with_another_secret_is_left_out_and_said(tmp_path, caplog):
    async with open_service(tmp_path, YAML, state_dir=tmp_path / "state") as door:
        await good(
            door,
            "/config/update",
            {"environment_variables": {"A_TOKEN": "x-secret-x"}, "router_settings": {"timeout": 9}},
        )
        settings, sealer = door.gateway.settings, type(door.gateway.desk.sealer)
        door.gateway.desk.sealer = sealer(b"another secret")
        assert settings.stored() == {"router_settings": {"timeout": 9}}
        assert settings.stored() and [r.getMessage() for r in caplog.records if "A_TOKEN" in r.getMessage()][1:] == []


async def test_callbacks_are_added_and_taken_out(tmp_path):
    yaml = YAML + "\nlitellm_settings: {success_callback: [s3]}"
    async with open_service(tmp_path, yaml, state_dir=tmp_path / "state") as door:
        await good(door, "/config/update", {"litellm_settings": {"success_callback": ["langfuse"]}})
        told = await good(door, "/get/config/callbacks")
        assert [(one["name"], one["type"]) for one in told["callbacks"]] == [("s3", "success"), ("langfuse", "success")]
        assert told["router_settings"] == {"num_retries": 0, "timeout": 50}
        told = await good(door, "/config/callback/delete", {"callback_name": "S3"})
        assert told["removed_callback"] == "s3" and told["remaining_callbacks"] == ["langfuse"]
        assert (await bad(door, "/config/callback/delete", {"callback_name": "s3"}))[0] == 404


def test_without_a_file_the_settings_hold_as_well():
    env = {"LITELLM_MASTER_KEY": "sk-of-the-environment-1", "DATABASE_URL": "sqlite:///x"}
    loaded = load_without(env, {"router_settings": {"num_retries": 4}, "environment_variables": {"A": "b"}})
    assert loaded.problems == () and loaded.config is not None
    assert loaded.config.router.num_retries == 4 and loaded.config.environment["A"] == "b"
    assert loaded.config.general == load_without(env, {}).config.general


async def test_a_gateway_that_keeps_nothing_says_so(tmp_path):
    async with open_service(tmp_path, YAML) as door:
        for path, body in (
            ("/config/update", {"router_settings": {"timeout": 3}}),
            ("/add/allowed_ip", {"ip": "10.0.0.1"}),
        ):
            assert "Nothing is kept" in (await bad(door, path, body))[1]


async def test_a_setting_may_name_a_stored_model_after_a_restart_too(tmp_path):
    async with open_service(tmp_path, YAML, state_dir=tmp_path / "state") as door:
        params = {"model": "openai/other-model", "api_base": f"{door.mock.url}/v1", "api_key": "sk-x-0123456789"}
        await good(door, "/model/new", {"model_name": "spare", "litellm_params": params})
        await good(door, "/config/update", {"router_settings": {"model_group_alias": {"s": "spare"}}})
        assert (await door.call("/v1/models/s"))[0] == 200
    async with open_service(tmp_path, YAML, state_dir=tmp_path / "state") as door:
        await door.service._find_the_rest()
        assert (await door.call("/v1/models/s"))[0] == 200


def test_names_of_other_sources_may_be_patterns():
    over = {"router_settings": {"model_group_alias": {"fast": "openai/gpt-x"}}}
    assert load_without({}, over, {"openai/*"}).errors == ()
    assert [one.path for one in load_without({}, over, {"azure/*"}).errors] == [
        "router_settings.model_group_alias.fast"
    ]
