"""Azure with Entra ID: which account is used, what the token endpoint is asked, and what goes upstream."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.door import Door, open_door
from tests.runtime.cloud.issuer import Issuer, issuing

HELLO = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
SECRET = "app-secret-0123456789"
ACCOUNT = {"tenant_id": "t-1", "client_id": "c-1", "client_secret": SECRET}
VARIABLES = {"AZURE_TENANT_ID": "t-env", "AZURE_CLIENT_ID": "c-env", "AZURE_CLIENT_SECRET": "s-env"}


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with issuing() as made:
        yield made


def config(settings: str = "", model: str = "azure/gpt-4o", more: str = "", **params: str) -> str:
    params = {"model": model, "api_base": "{mock}", "api_version": "2024-10-21", **params}
    lines = "\n".join(f"      {key}: {json.dumps(value)}" for key, value in params.items())
    return f"""
model_list:
  - model_name: m
    litellm_params:
{lines}
{more}
router_settings: {{num_retries: 0}}
{settings}
"""


async def ask(door: Door) -> tuple[int, dict[str, Any]]:
    status, _, body = await door.post(HELLO)
    return status, json.loads(body)


async def test_a_service_principal(issuer: Issuer, tmp_path: Path) -> None:
    env = {"AZURE_AUTHORITY_HOST": issuer.url, "AZURE_API_KEY": "a-key-of-another-resource"}
    async with open_door(tmp_path, config(**ACCOUNT), env=env) as door:
        for _ in range(3):
            status, body = await ask(door)
            assert status == 200, body
        (asked,) = issuer.asked  # one token for all
        assert (asked.method, asked.path) == ("POST", "/t-1/oauth2/v2.0/token")
        assert asked.form == {
            "grant_type": "client_credentials",
            "client_id": "c-1",
            "client_secret": SECRET,
            "scope": "https://cognitiveservices.azure.com/.default",
        }
        sent = door.mock.received[-1]
        assert sent.path == "/openai/deployments/gpt-4o/chat/completions" and sent.query == "api-version=2024-10-21"
        assert sent.header("authorization") == "Bearer tok-1" and sent.header("api-key") is None
        assert sent.json["messages"] == HELLO["messages"] and not set(sent.json) & set(ACCOUNT)


async def test_every_operation_bears_the_token(issuer: Issuer, tmp_path: Path) -> None:
    env = {"AZURE_AUTHORITY_HOST": issuer.url}
    async with open_door(tmp_path, config(**ACCOUNT), env=env) as door:
        asked: list[tuple[str, dict[str, Any]]] = [
            ("/v1/embeddings", {"model": "m", "input": "hi"}),
            ("/v1/responses", {"model": "m", "input": "hi"}),
            ("/v1/messages", {"model": "m", "max_tokens": 9, "messages": HELLO["messages"]}),
            ("/v1/chat/completions", {**HELLO, "stream": True}),
            ("/v1/images/generations", {"model": "m", "prompt": "hi"}),
        ]
        for path, body in asked:
            status, _, told = await door.post(body, path)
            assert status == 200, (path, told)
            assert door.mock.received[-1].header("authorization") == "Bearer tok-1", path
        assert len(issuer.asked) == 1


@pytest.mark.parametrize(
    ("params", "env", "bearer", "api_key"),
    [
        # what the deployment says goes before what the environment says
        ({"api_key": "own"}, {**VARIABLES, "AZURE_AD_TOKEN": "ad-env"}, None, "own"),
        ({"api_key": "own", **ACCOUNT}, {}, None, "own"),
        ({"api_key": "eyJ0.eyJ1.sig"}, {}, "eyJ0.eyJ1.sig", None),
        ({"azure_ad_token": "opaque-token"}, {"AZURE_API_KEY": "k"}, "opaque-token", None),
        ({"azure_ad_token": "opaque-token", **ACCOUNT}, {}, "opaque-token", None),
        (ACCOUNT, {"AZURE_API_KEY": "k", "AZURE_AD_TOKEN": "ad-env"}, "tok-1", None),
        ({}, {**VARIABLES, "AZURE_API_KEY": "k"}, None, "k"),
        ({}, {**VARIABLES, "AZURE_OPENAI_API_KEY": "k"}, None, "k"),
        ({}, {**VARIABLES, "AZURE_AD_TOKEN": "ad-env"}, "ad-env", None),
        ({}, VARIABLES, "tok-1", None),
        ({"client_secret": "s"}, {"AZURE_TENANT_ID": "t", "AZURE_CLIENT_ID": "c", "AZURE_API_KEY": "k"}, "tok-1", None),
    ],
)
async def test_which_credential_is_used(
    issuer: Issuer, tmp_path: Path, params: dict[str, str], env: dict[str, str], bearer: str | None, api_key: str | None
) -> None:
    env = {**env, "AZURE_AUTHORITY_HOST": issuer.url}
    async with open_door(tmp_path, config(**params), env=env) as door:
        status, body = await ask(door)
        assert status == 200, body
        sent = door.mock.received[-1]
        assert sent.header("authorization") == (None if bearer is None else f"Bearer {bearer}")
        assert sent.header("api-key") == api_key
        assert len(issuer.asked) == (1 if bearer == "tok-1" else 0)


@pytest.mark.parametrize(
    ("params", "env", "named"),
    [
        ({"tenant_id": "t"}, {}, ["client_id (or AZURE_CLIENT_ID)", "client_secret (or AZURE_CLIENT_SECRET)"]),
        ({"client_id": "c", "client_secret": SECRET}, {}, ["tenant_id (or AZURE_TENANT_ID)"]),
        ({"azure_username": "u"}, {}, ["client_id", "azure_password (or AZURE_PASSWORD)"]),
        ({**ACCOUNT, "tenant_id": "t/../../x?y="}, {}, ["tenant_id 't/../../x?y='"]),
        ({}, {}, ["AZURE_API_KEY", "AZURE_AD_TOKEN"]),
        ({"azure_ad_token": "oidc/magic/x", "tenant_id": "t", "client_id": "c"}, {}, ["oidc/magic", "oidc/file/PATH"]),
        ({"azure_ad_token": "oidc/file/nowhere/t", "tenant_id": "t", "client_id": "c"}, {}, ["'nowhere/t' cannot be read"]),
        ({"azure_ad_token": "oidc/env/NONE", "tenant_id": "t", "client_id": "c"}, {}, ["'NONE' is empty"]),
        ({"azure_ad_token": "oidc/env/X"}, {"X": "jwt"}, ["tenant_id", "client_id"]),
        (ACCOUNT, {"AZURE_AUTHORITY_HOST": "http://login.example"}, ["http://login.example", "https://"]),
    ],
)
async def test_what_is_missing_is_named(
    issuer: Issuer, tmp_path: Path, params: dict[str, str], env: dict[str, str], named: list[str]
) -> None:
    async with open_door(tmp_path, config(api_base="https://r.openai.azure.com", **params), env=env) as door:
        status, body = await ask(door)
        message = body["error"]["message"]
        assert status == 401 and all(word in message for word in named), message
        assert SECRET not in json.dumps(body) and issuer.asked == []


async def test_a_refused_account_is_told_in_the_vendors_words(issuer: Issuer, tmp_path: Path) -> None:
    issuer.status = 401
    issuer.answer = {"error": "invalid_client", "error_description": f"AADSTS7000215: Invalid client_secret={SECRET} provided"}
    async with open_door(tmp_path, config(**ACCOUNT), env={"AZURE_AUTHORITY_HOST": issuer.url}) as door:
        status, body = await ask(door)
        assert status == 401 and "AADSTS7000215" in body["error"]["message"]
        assert SECRET not in json.dumps(body) and door.mock.received == []
        await asyncio.gather(*(ask(door) for _ in range(20)))
        assert len(issuer.asked) == 1  # a wrong secret is not tried anew for every request


async def test_an_endpoint_that_is_down_is_the_upstreams_fault(issuer: Issuer, tmp_path: Path) -> None:
    env = {"AZURE_AUTHORITY_HOST": "http://127.0.0.1:9"}
    async with open_door(tmp_path, config(**ACCOUNT), env=env) as door:
        status, body = await ask(door)
        assert status == 500 and "No token of Microsoft Entra ID" in body["error"]["message"]


async def test_workload_identity_reads_its_file_anew(issuer: Issuer, tmp_path: Path) -> None:
    """AKS mounts a token that Kubernetes renews: https://azure.github.io/azure-workload-identity"""
    from penstock.runtime.cloud import tokens

    mounted = tmp_path / "federated"
    mounted.write_text("jwt-1\n")
    env = {
        "AZURE_AUTHORITY_HOST": issuer.url + "/",
        "AZURE_TENANT_ID": "t",
        "AZURE_CLIENT_ID": "c",
        "AZURE_FEDERATED_TOKEN_FILE": str(mounted),
    }
    issuer.answer["expires_in"] = 1e-3
    async with open_door(tmp_path, config(), env=env) as door:
        assert (await ask(door))[0] == 200
        mounted.write_text("jwt-2")
        assert (await ask(door))[0] == 200
        assert len(tokens._SHARED) == 1
    first, second = issuer.asked
    assert first.path == "/t/oauth2/v2.0/token"
    assert first.form == {
        "grant_type": "client_credentials",
        "client_id": "c",
        "scope": "https://cognitiveservices.azure.com/.default",
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": "jwt-1",
    }
    assert second.form["client_assertion"] == "jwt-2"


async def test_a_token_of_another_issuer_that_the_config_names(issuer: Issuer, tmp_path: Path) -> None:
    env = {"AZURE_AUTHORITY_HOST": issuer.url, "THEIRS": "jwt-3", "AZURE_TENANT_ID": "t", "AZURE_CLIENT_SECRET": "s"}
    async with open_door(tmp_path, config(azure_ad_token="oidc/env/THEIRS", client_id="c"), env=env) as door:
        assert (await ask(door))[0] == 200
    assert issuer.asked[0].form["client_assertion"] == "jwt-3" and "client_secret" not in issuer.asked[0].form


async def test_user_name_and_password(issuer: Issuer, tmp_path: Path) -> None:
    params = {"client_id": "c", "azure_username": "u@x", "azure_password": "p&w", "azure_scope": "api://x/.default"}
    async with open_door(tmp_path, config(**params), env={"AZURE_AUTHORITY_HOST": issuer.url}) as door:
        assert (await ask(door))[0] == 200
    (asked,) = issuer.asked
    assert asked.path == "/organizations/oauth2/v2.0/token"
    assert asked.form == {
        "grant_type": "password", "client_id": "c", "username": "u@x", "password": "p&w", "scope": "api://x/.default",
    }  # fmt: skip


async def test_the_identity_of_an_app_service(issuer: Issuer, tmp_path: Path) -> None:
    issuer.answer = {"access_token": "msi-1", "expires_on": "4000000000", "resource": "x", "token_type": "Bearer"}
    env = {"IDENTITY_ENDPOINT": f"{issuer.url}/msi/token", "IDENTITY_HEADER": "guid", "AZURE_CLIENT_ID": "c-user"}
    async with open_door(tmp_path, config(), env=env) as door:
        assert (await ask(door))[0] == 200 and (await ask(door))[0] == 200
        assert door.mock.received[-1].header("authorization") == "Bearer msi-1"
    (asked,) = issuer.asked
    assert (asked.method, asked.path, asked.headers["x-identity-header"]) == ("GET", "/msi/token", "guid")
    assert asked.query == {
        "api-version": "2019-08-01", "resource": "https://cognitiveservices.azure.com", "client_id": "c-user",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "variables"),
    [
        ("litellm_settings: {enable_azure_ad_token_refresh: true}", {}),
        ("", {"AZURE_CREDENTIAL": "ManagedIdentityCredential"}),
    ],
)
async def test_the_identity_of_a_virtual_machine(
    issuer: Issuer, tmp_path: Path, settings: str, variables: dict[str, str]
) -> None:
    issuer.answer = {"access_token": "vm-1", "expires_in": "86399", "expires_on": "4000000000", "token_type": "Bearer"}
    env = {"AZURE_POD_IDENTITY_AUTHORITY_HOST": issuer.url, "https_proxy": "http://127.0.0.1:9", **variables}
    async with open_door(tmp_path, config(settings), env=env) as door:
        status, body = await ask(door)
        assert status == 200, body
        assert door.mock.received[-1].header("authorization") == "Bearer vm-1"
    (asked,) = issuer.asked
    assert (asked.path, asked.headers["metadata"]) == ("/metadata/identity/oauth2/token", "true")
    assert asked.query == {"api-version": "2018-02-01", "resource": "https://cognitiveservices.azure.com"}


@pytest.mark.parametrize(
    ("base", "login", "scope"),
    [
        ("https://r.openai.azure.com", "https://login.microsoftonline.com", "https://cognitiveservices.azure.com/.default"),
        ("https://r.openai.azure.us", "https://login.microsoftonline.us", "https://cognitiveservices.azure.us/.default"),
        ("https://r.openai.azure.cn", "https://login.chinacloudapi.cn", "https://cognitiveservices.azure.cn/.default"),
        ("http://127.0.0.1:9", "https://login.microsoftonline.com", "https://cognitiveservices.azure.com/.default"),
    ],
)
def test_sovereign_clouds(base: str, login: str, scope: str) -> None:
    from penstock.config import Deployment
    from penstock.runtime.building import build_target
    from penstock.runtime.cloud.entra import _asking, _words

    deployment = Deployment(id="1", model_name="m", model="azure/d", provider="azure", upstream_model="d", api_base=base, params=ACCOUNT)
    target = build_target(deployment, {}, {})
    asking = _asking(target.account, _words(target.account), None)
    assert asking is not None and asking.url == f"{login}/t-1/oauth2/v2.0/token"
    assert dict(asking.form or ())["scope"] == scope
    assert SECRET not in repr(target.endpoint("openai_chat")) and SECRET not in repr(asking)


async def test_two_deployments_of_one_account_share_a_token(issuer: Issuer, tmp_path: Path) -> None:
    other = config(model="azure/other", **{**ACCOUNT, "client_secret": "another"}).partition("model_list:\n")[2]
    same = config(model="azure/same", **ACCOUNT).partition("model_list:\n")[2].partition("router_settings")[0]
    yaml = config(**ACCOUNT).partition("router_settings")[0] + same.replace("model_name: m", "model_name: n")
    yaml += other.replace("model_name: m", "model_name: o")
    async with open_door(tmp_path, yaml, env={"AZURE_AUTHORITY_HOST": issuer.url}) as door:
        for name in ("m", "n", "m"):
            assert (await door.post({**HELLO, "model": name}))[0] == 200
        assert len(issuer.asked) == 1
        assert (await door.post({**HELLO, "model": "o"}))[0] == 200
        assert len(issuer.asked) == 2 and issuer.asked[1].form["client_secret"] == "another"


@pytest.mark.parametrize(
    ("params", "info", "path", "body"),
    [
        ({"model": "azure/gpt5_series/prod"}, "", "/openai/deployments/prod/chat/completions", {"max_completion_tokens": 9}),
        ({"model": "azure/o_series/prod"}, "", "/openai/deployments/prod/chat/completions", {"max_completion_tokens": 9}),
        ({"model": "azure/prod"}, "base_model: azure/gpt-5-mini", "/openai/deployments/prod/chat/completions", {"max_completion_tokens": 9}),
        ({"model": "azure/prod"}, "", "/openai/deployments/prod/chat/completions", {"max_tokens": 9}),
        ({"model": "azure/responses/prod"}, "", "/openai/v1/responses", {"max_output_tokens": 16}),
    ],
)
async def test_a_name_that_says_nothing_of_its_model(
    tmp_path: Path, params: dict[str, str], info: str, path: str, body: dict[str, int]
) -> None:
    yaml = config(**params, api_key="k", more=f"    model_info: {{{info}}}" if info else "")
    async with open_door(tmp_path, yaml) as door:
        status, _, told = await door.post({**HELLO, "max_tokens": 16 if "responses" in path else 9})
        assert status == 200, told
        sent = door.mock.received[-1]
        assert sent.path == path and sent.json["model"] == "prod"
        assert {key: sent.json[key] for key in body} == body
