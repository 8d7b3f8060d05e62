"""Models that are sent and cannot be served, or may not do what they ask for: each is a 400 that says why."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from penstock.config import keys, load
from penstock.config.addresses import is_metadata
from penstock.core.providers.resolve import resolve
from penstock.runtime import state as states
from tests.door import open_door
from tests.served import MASTER, ServedDoor, open_service
from tests.server.managing import CONFIG, SECRET, chat, entry, names, sent_key

# What is refused ------------------------------------------------------------------------------------------------------


async def refused(door: ServedDoor, body: Any, param: str | None, says: str = "", path: str = "/model/new") -> str:
    status, told = await door.call(path, body)
    assert status == 400, told
    error = told["error"]
    assert error["param"] == param, error
    assert says in error["message"], error
    assert SECRET not in json.dumps(told) and SECRET not in "".join(door.lines)
    assert await names(door) == ["m"]
    return str(error["message"])


@pytest.mark.parametrize("key", [None, "sk-wrong-key-000000"])
@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/model/new"), ("POST", "/model/update"), ("POST", "/model/delete"), ("PATCH", "/model/of-the-file/update")],
)
async def test_nobody_changes_a_model_without_the_master_key(tmp_path, method, path, key):
    async with open_service(tmp_path, CONFIG) as door:
        status, _ = await door.call(path, entry(door), method, key=key or "")
        assert status == 401 and await names(door) == ["m"]


async def test_a_page_of_another_site_changes_nothing_where_no_key_is_needed(tmp_path):
    async with open_service(tmp_path, CONFIG.replace(f"master_key: {MASTER}", "json_logs: false")) as door:
        for path in ("/model/new", "/model/update", "/model/delete", "/model/i1/update"):
            method = "PATCH" if path.startswith("/model/i1") else "POST"
            headers = {"content-type": "application/json", "sec-fetch-site": "cross-site"}
            status, _, told = await door.ask(method, path, json.dumps(entry(door)).encode(), headers)
            assert status == 403 and b"other web pages" in told, path
        status, told = await door.call("/model/new", entry(door), key="")
        assert status == 200 and told["created_by"] == "a caller without a key"


def wrong_values() -> list[tuple[str, str, Any]]:
    """(block, key, a value of another type) for each key of an entry that is acted on and has a type."""
    tables = (("litellm_params", keys.params), ("model_info", keys.info))
    found = []
    for block, table in tables:
        for row in table.rows.values():
            kind = row.spec.partition(":")[0]
            if row.status == "acted" and kind not in ("any", "flag", "usually") and "*" not in row.name:
                found.append((block, row.name, 5 if kind in ("mapping", "list", "texts", "headers", "waits", "policy") else {"a": 1}))
    return found


def file_says(tmp_path: Path, one: dict[str, Any]) -> list[str]:
    """What the config file's reader says of an entry."""
    path = tmp_path / "as_file.yaml"
    path.write_text(yaml.safe_dump({"model_list": [one]}))
    errors = load(path, {}, resolve=resolve).errors
    return [f"{error.path.removeprefix('model_list[0].')}: {error.message}" for error in errors]


async def test_a_wrong_value_is_told_as_the_file_is_told_and_the_key_is_named(tmp_path):
    wrong = wrong_values()
    assert len(wrong) > 60
    async with open_service(tmp_path, CONFIG) as door:
        for block, key, value in wrong:
            one = entry(door)
            one[block] = {**one.get(block, {}), key: value}
            said = file_says(tmp_path, one)
            assert said, (block, key)
            message = await refused(door, one, f"{block}.{key}")
            assert message == "; ".join(said)


@pytest.mark.parametrize(
    ("change", "param", "says"),
    [
        ({"litellm_params": {}}, "litellm_params.model", "is missing; write provider/model"),
        ({"litellm_params": None}, "litellm_params.model", "is missing"),
        ({"litellm_params": " "}, "litellm_params.model", "is missing"),
        ({"litellm_params": 5}, "litellm_params", "expected a mapping, got 5"),
        ({"model_name": None}, "model_name", "is missing"),
        ({"model_info": ["x"]}, "model_info", "expected a mapping, got a list"),
        ({"litellm_params": {"model": "opanai/gpt-4o"}}, "litellm_params.model", "openai"),
        ({"model_info": {"id": "of-the-file"}}, "model_info.id", "is taken by the model of "),
        ({"model_info": {"id": "a\nb"}}, "model_info.id", "line break"),
        ({"litellm_params": {"model": "openai/x", "api_bse": "http://x"}}, "litellm_params.api_bse", "mean 'api_base'?"),
        ({"litellm_parms": {}}, "litellm_parms", "did you mean 'litellm_params'?"),
        ({"litellm_params": {"model": "openai/x", "model_name": "y"}}, "litellm_params.model_name", "it belongs in"),
        ({"blocked": True}, "blocked", "not paused here"),
        ({"litellm_params": {"model": "openai/x", "api_base": "nowhere"}}, "litellm_params.api_base", "a URL such as"),
        (
            {"litellm_params": {"model": "openai/x", "litellm_credential_name": "share"}},
            "litellm_params.litellm_credential_name",
            "did you mean 'shared'?",
        ),
        ({"x": json.loads("[" * 80 + "]" * 80)}, None, "deeper than 60 levels"),
        ({"x": [0] * 20_000}, None, "more than 10,000 values"),
    ],
)
async def test_an_entry_that_cannot_be_served_is_a_400_that_names_the_key(tmp_path, change, param, says):
    async with open_service(tmp_path, CONFIG) as door:
        await refused(door, entry(door) | change, param, says)


async def test_bodies_that_are_no_entry(tmp_path):
    async with open_service(tmp_path, CONFIG) as door:
        for body in (b"", b"[]", b'"x"', b"{", b"null", b"\xff", b"[" * 5000):
            for path in ("/model/new", "/model/update", "/model/delete"):
                assert (await door.call(path, body))[0] == 400, (path, body[:20])
        assert (await door.call("/model/new", entry(door) | {"x": "y" * 300_000}))[0] == 413
        await refused(door, {"model_name": "x"}, "model_info.id", "is missing", "/model/update")
        await refused(door, {}, "id", "is missing", "/model/delete")
        await refused(door, {"id": 5}, "id", "is missing", "/model/delete")


async def test_what_stands_in_the_file_is_changed_there(tmp_path):
    async with open_service(tmp_path, CONFIG) as door:
        says = f"stands in {door.path}:3: change it there, and reload (SIGHUP)"
        await refused(door, {"id": "of-the-file"}, "id", says, "/model/delete")
        patch = {"litellm_params": {"rpm": 1}, "model_info": {"id": "of-the-file"}}
        await refused(door, patch, "id", says, "/model/update")
        status, told = await door.call("/model/of-the-file/update", {"litellm_params": {"rpm": 1}}, "PATCH")
        assert status == 400 and says in told["error"]["message"]


async def test_an_id_that_nobody_has(tmp_path):
    async with open_service(tmp_path, CONFIG) as door:
        await refused(door, {"id": "nobody"}, "id", "Model with id=nobody not found in db", "/model/delete")
        assert (await door.call("/model/nobody/update", {"model_name": "x"}, "PATCH"))[0] == 404
        assert (await door.call("/model/a/b%2Fc/update", {"model_name": "x"}, "PATCH"))[0] == 404
        patch = {"model_info": {"id": "other"}}
        assert (await door.call("/model/nobody/update", patch, "PATCH"))[1]["error"]["param"] == "model_info.id"


async def test_a_change_that_cannot_be_served_changes_nothing(tmp_path):
    async with open_service(tmp_path, CONFIG) as door:
        await door.call("/model/new", entry(door))
        before = door.gateway.state
        status, told = await door.call("/model/i1/update", {"litellm_params": {"rpm": "many", "tpm": 1}}, "PATCH")
        assert status == 400 and told["error"]["param"] == "litellm_params.rpm"
        assert door.gateway.state is before and await chat(door, "new") == 200


async def test_a_gateway_without_a_registry_says_so(tmp_path):
    async with open_door(tmp_path) as door:
        status, _, told = await door.post(entry(), "/model/new")
        assert status == 501 and b"cannot be changed while it runs" in told


# What an entry may not have the gateway read --------------------------------------------------------------------------

GOOGLE = {"type": "external_account", "token_url": "https://evil.example/t", "credential_source": {"file": "/etc/passwd"}}
READS: dict[str, tuple[str, Any]] = {
    "a variable": ("api_key", "os.environ/DATABASE_URL"),
    "a variable within a text": ("api_base", "http://h/${DATABASE_URL}"),
    "with a default": ("organization", "${DATABASE_URL:-x}"),
    "deep": ("extra_headers", {"X-A": "os.environ/DATABASE_URL"}),
    "in a list": ("tags", ["os.environ/DATABASE_URL"]),
    "in a body": ("extra_body", {"a": [{"b": "os.environ/DATABASE_URL"}]}),
    "a federated token of a variable": ("azure_ad_token", "oidc/env/DATABASE_URL"),
    "a federated token of a file": ("azure_ad_token", "oidc/file/etc/passwd"),
    "the path in a variable": ("aws_web_identity_token", "oidc/env_path/DATABASE_URL"),
    "a file": ("aws_web_identity_token", "/etc/passwd"),
    "a file below": ("aws_web_identity_token", "./.env"),
    "a file at home": ("aws_web_identity_token", "~/.ssh/id_rsa"),
    "Google's account in a file": ("vertex_credentials", "/etc/service-account.json"),
    "the same, relative": ("vertex_ai_credentials", "keys/a.json"),
    "a private key in a file": ("private_key_path", "/root/key.p8"),
    "authorities in a file": ("ssl_verify", "/etc/ssl/mine.pem"),
    "a source of Google's": ("vertex_credentials", json.dumps(GOOGLE)),
    "the same spelled otherwise": ("vertex_credentials", json.dumps(GOOGLE).replace("credential_s", "credential\\u005fs")),
    "the same within": ("vertex_ai_credentials", json.dumps({"type": "impersonated_service_account", "source_credentials": GOOGLE})),
}  # fmt: skip


@pytest.mark.parametrize("case", READS)
async def test_an_entry_that_is_sent_reads_nothing_of_the_gateways_own(tmp_path, case):
    key, value = READS[case]
    async with open_service(tmp_path, CONFIG, {"DATABASE_URL": "postgres://u:sk-of-the-database@h/d"}) as door:
        status, told = await door.call("/model/new", entry(door, **{key: value}))
        error = told["error"]
        assert status == 400 and error["param"].startswith(f"litellm_params.{key}"), told
        assert "general_settings.stored_models_may_read" in error["message"]
        assert "sk-of-the-database" not in json.dumps(told) + "".join(door.lines)
        assert await names(door) == ["m"] and door.mock.received == []


async def test_the_operator_may_allow_it_by_name_or_all_of_it(tmp_path):
    env = {"UP": "sk-of-the-variable", "OTHER": "sk-of-another"}
    for allowed, good, bad in (("[UP]", ["os.environ/UP", "${UP}"], ["os.environ/OTHER"]), ("'*'", ["${UP}", "${OTHER}"], [])):
        may = CONFIG.replace("general_settings: {", f"general_settings: {{stored_models_may_read: {allowed}, ")
        async with open_service(tmp_path, may, env) as door:
            for number, value in enumerate(good):
                assert (await door.call("/model/new", entry(door, f"n{number}", f"i{number}", api_key=value)))[0] == 200
                assert await chat(door, f"n{number}") == 200
                assert sent_key(door) in env.values()
            for value in bad:
                assert (await door.call("/model/new", entry(door, "x", "x", api_key=value)))[0] == 400


async def test_credentials_that_stand_in_the_entry_are_taken(tmp_path):
    account = {"type": "service_account", "project_id": "p", "private_key": "-----BEGIN", "token_uri": "https://t.example"}
    google: tuple[Any, ...] = (json.dumps(account), account)
    good = [{"vertex_credentials": one, "model": "vertex_ai/gemini-2.5-pro"} for one in google]
    good += [{"ssl_verify": value} for value in (False, True, "false", "True")]
    good += [{"aws_web_identity_token": "eyJh.eyJz.c2ln"}, {"azure_ad_token": "eyJh.eyJz.c2ln"}]
    async with open_service(tmp_path, CONFIG) as door:
        for number, params in enumerate(good):
            status, told = await door.call("/model/new", entry(door, f"n{number}", f"i{number}", **params))
            assert status == 200, told


async def test_what_the_gateway_found_by_itself_is_changed_nowhere(tmp_path):
    async with open_service(tmp_path, CONFIG) as door:
        [deployment] = door.gateway.state.config.deployments
        found = replace(door.gateway.state.config, deployments=(replace(deployment, file="", line=0),))
        door.gateway.state = states.State(found, found.environment)
        status, told = await door.call("/model/delete", {"id": "of-the-file"})
        assert status == 400 and "found by the gateway itself" in told["error"]["message"]


async def test_a_credential_of_the_config_is_lent_by_its_name(tmp_path):
    async with open_service(tmp_path, CONFIG) as door:
        sent = entry(door, litellm_credential_name="shared")
        del sent["litellm_params"]["api_key"]
        assert (await door.call("/model/new", sent))[0] == 200 and await chat(door, "new") == 200
        assert sent_key(door) == "sk-of-the-list-22"


METADATA = """169.254.169.254 169.254.170.2 0xa9fea9fe 2852039166 169.254.43518 0251.0376.0251.0376 169.254.169.254.
    [::ffff:169.254.169.254] [::ffff:a9fe:a9fe] [fe80::1] [fd00:ec2::254] [64:ff9b::a9fe:a9fe] [2002:a9fe:a9fe::]
    metadata.google.internal METADATA.Google.Internal. metadata 100.100.100.200 168.63.129.16 １６９.254.169.254
    169。254。169。254""".split()
ELSEWHERE = """127.0.0.1 localhost 10.0.0.1 192.168.1.1 [::1] api.openai.com metadata.example.com 169.253.0.1 169.255.0.1
    llama.local 12345.example.com [fd12::1] [2001:db8::1] 8.8.8.8""".split()


def test_metadata_services_are_known_in_every_spelling():
    assert [host for host in METADATA if not is_metadata(host)] == []
    assert [host for host in ELSEWHERE if is_metadata(host)] == []


@pytest.mark.parametrize("key", ["api_base", "base_url", "aws_sts_endpoint", "aws_bedrock_runtime_endpoint", "unheard_of_url"])
async def test_an_address_of_a_metadata_service_is_refused(tmp_path, key):
    async with open_service(tmp_path, CONFIG) as door:
        for host in METADATA:
            for url in (f"http://{host}/latest", f"http://u:p@{host}:80"):
                await refused(door, entry(door, **{key: url}), f"litellm_params.{key}", "metadata service")
        # What is only said is no address.
        sent = entry(door, extra_body={"note": "http://169.254.169.254"})
        assert (await door.call("/model/new", sent))[0] == 200
