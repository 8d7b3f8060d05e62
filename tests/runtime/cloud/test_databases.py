"""Databricks, Snowflake and Cloudflare: accounts, tokens and addresses."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock.core.providers import PROVIDERS
from penstock.core.providers.resolve import auth_headers
from penstock.core.providers.urls import MissingBase, endpoint
from penstock.mock.script import Rule, Script, Step
from tests.door import open_door
from tests.runtime.cloud.issuer import Issuer, issuing

HELLO = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with issuing() as made:
        yield made


def config(model: str, **params: Any) -> str:
    lines = "\n".join(f"      {key}: {json.dumps(value)}" for key, value in {"model": model, **params}.items())
    return f"model_list:\n  - model_name: m\n    litellm_params:\n{lines}\nrouter_settings: {{num_retries: 0}}\n"


# Databricks -----------------------------------------------------------------------------------------------------------

PRINCIPAL = {"client_id": "sp-1", "client_secret": "dose-secret-1"}
DBRX = "databricks/databricks-claude-sonnet-4"


async def test_a_service_principal(issuer: Issuer, tmp_path: Path) -> None:
    """Workspace and token endpoint share a host: here the token endpoint refuses the chat, and was asked first."""
    issuer.answers["/serving-endpoints/chat/completions"] = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "yes"}, "finish_reason": "stop"}]}
    async with open_door(tmp_path, config(DBRX, api_base=issuer.url, **PRINCIPAL)) as door:
        for _ in range(2):
            status, _, body = await door.post(HELLO)
            assert status == 200 and json.loads(body)["choices"][0]["message"]["content"] == "yes", body
    token, first, second = issuer.asked
    assert (token.method, token.path) == ("POST", "/oidc/v1/token")
    assert token.form == {"grant_type": "client_credentials", "scope": "all-apis"}
    assert token.headers["authorization"] == "Basic " + base64.b64encode(b"sp-1:dose-secret-1").decode()
    assert first.headers["authorization"] == second.headers["authorization"] == "Bearer tok-1"
    assert first.json["model"] == "databricks-claude-sonnet-4" and "client_id" not in first.json


@pytest.mark.parametrize(
    ("params", "env", "bearer"),
    [
        ({"api_key": "dapi-own", **PRINCIPAL}, {}, "dapi-own"),
        (PRINCIPAL, {"DATABRICKS_API_KEY": "dapi-env"}, "tok-1"),
        ({}, {"DATABRICKS_TOKEN": "dapi-env", "DATABRICKS_CLIENT_ID": "c", "DATABRICKS_CLIENT_SECRET": "s"}, "dapi-env"),
        ({}, {"DATABRICKS_CLIENT_ID": "c", "DATABRICKS_CLIENT_SECRET": "s"}, "tok-1"),
        ({"client_id": "c"}, {"DATABRICKS_CLIENT_SECRET": "s"}, "tok-1"),
    ],
)
async def test_which_databricks_credential_is_used(
    issuer: Issuer, tmp_path: Path, params: dict[str, str], env: dict[str, str], bearer: str
) -> None:
    issuer.answers["/serving-endpoints/chat/completions"] = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "yes"}, "finish_reason": "stop"}]}
    async with open_door(tmp_path, config(DBRX, **params), env={"DATABRICKS_HOST": issuer.url, **env}) as door:
        assert (await door.post(HELLO))[0] == 200
    assert issuer.asked[-1].headers["authorization"] == f"Bearer {bearer}"


@pytest.mark.parametrize(
    ("params", "env", "named"),
    [
        ({"client_id": "c", "api_base": "https://x.cloud.databricks.com"}, {}, "client_secret (or DATABRICKS_CLIENT_SECRET)"),
        ({"client_secret": "s", "api_base": "https://x.cloud.databricks.com"}, {}, "client_id (or DATABRICKS_CLIENT_ID)"),
        ({**PRINCIPAL, "api_base": "http://x.example"}, {}, "must begin with https://"),
        ({"api_base": "https://x.cloud.databricks.com"}, {}, "DATABRICKS_API_KEY"),
        ({"api_key": "k"}, {}, "DATABRICKS_API_BASE or DATABRICKS_HOST"),
        (PRINCIPAL, {}, "DATABRICKS_API_BASE or DATABRICKS_HOST"),
    ],
)
async def test_what_is_missing_at_databricks(tmp_path: Path, params: dict[str, str], env: dict[str, str], named: str) -> None:
    async with open_door(tmp_path, config(DBRX, **params), env=env) as door:
        status, _, body = await door.post(HELLO)
        assert status == 401 and named in json.loads(body)["error"]["message"], body


@pytest.mark.parametrize(
    ("base", "expected"),
    [
        ("https://x.azuredatabricks.net", "https://x.azuredatabricks.net/serving-endpoints/chat/completions"),
        ("https://x.azuredatabricks.net/serving-endpoints", "https://x.azuredatabricks.net/serving-endpoints/chat/completions"),
        (
            "https://x.azuredatabricks.net/serving-endpoints/mine/invocations",
            "https://x.azuredatabricks.net/serving-endpoints/mine/invocations",
        ),
        ("https://1.ai-gateway.cloud.databricks.com/mlflow/v1", "https://1.ai-gateway.cloud.databricks.com/mlflow/v1/chat/completions"),
    ],
)
def test_databricks_addresses(base: str, expected: str) -> None:
    assert endpoint(PROVIDERS["databricks"], base, {}, "openai_chat", model="m") == expected


def test_a_host_without_its_scheme() -> None:
    from penstock.config import Deployment
    from penstock.runtime.building import build_target

    deployment = Deployment(id="1", model_name="m", model="databricks/d", provider="databricks", upstream_model="d")
    env = {"DATABRICKS_HOST": "adb-1.azuredatabricks.net", "DATABRICKS_TOKEN": "dapi"}
    assert build_target(deployment, {}, env).endpoint("openai_chat").url == "https://adb-1.azuredatabricks.net/serving-endpoints/chat/completions"


# Snowflake ------------------------------------------------------------------------------------------------------------

CORTEX = "https://org-acct.snowflakecomputing.com/api/v2/cortex"
PEOPLE = {"account_id": "org-acct", "snowflake_user": "robot"}


def jwt(claims: dict[str, str]) -> str:
    part = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    return f"eyJhbGciOiJSUzI1NiJ9.{part}.c2ln"


@pytest.mark.parametrize(
    ("key", "sent", "kind"),
    [
        ("pat/secret-token", "secret-token", b"PROGRAMMATIC_ACCESS_TOKEN"),
        (jwt({"iss": "ACCT.USER.SHA256:abc="}), None, b"KEYPAIR_JWT"),
        (jwt({"iss": "https://idp.example"}), None, None),  # OAuth, or a programmatic token: Snowflake looks itself
        ("opaque", None, None),
        ("a.!!.c", None, None),
    ],
)
@pytest.mark.parametrize("dialect", ["openai_chat", "anthropic"])
def test_the_kind_of_a_snowflake_token(key: str, sent: str | None, kind: bytes | None, dialect: str) -> None:
    found = dict(auth_headers(PROVIDERS["snowflake"], key, dialect))
    assert found[b"authorization"] == b"Bearer " + (sent or key).encode()
    assert found.get(b"x-snowflake-authorization-token-type") == kind
    assert b"x-api-key" not in found


@pytest.mark.parametrize(
    ("base", "op", "expected"),
    [
        (None, "openai_chat", f"{CORTEX}/v1/chat/completions"),
        (None, "anthropic", f"{CORTEX}/v1/messages"),
        (None, "embeddings", f"{CORTEX}/inference:embed"),
        ("https://org-acct.snowflakecomputing.com", "openai_chat", f"{CORTEX}/v1/chat/completions"),
        ("https://other.snowflakecomputing.com/", "openai_chat", "https://other.snowflakecomputing.com/api/v2/cortex/v1/chat/completions"),
        (f"{CORTEX}/inference:complete", "openai_chat", f"{CORTEX}/v1/chat/completions"),
        (f"{CORTEX}/inference:complete", "embeddings", f"{CORTEX}/inference:embed"),
        (f"{CORTEX}/v1", "embeddings", f"{CORTEX}/inference:embed"),
        (f"{CORTEX}/v1/chat/completions", "openai_chat", f"{CORTEX}/v1/chat/completions"),
        ("http://127.0.0.1:9/v1", "openai_chat", "http://127.0.0.1:9/v1/chat/completions"),
    ],
)
def test_snowflake_addresses(base: str | None, op: str, expected: str) -> None:
    assert endpoint(PROVIDERS["snowflake"], base, {"SNOWFLAKE_ACCOUNT_ID": "org-acct"}, op, model="m") == expected


async def test_snowflake_from_client_to_wire(tmp_path: Path) -> None:
    yaml = config("snowflake/llama3.1-8b", api_base="{mock}/api/v2/cortex/inference:complete", api_key="pat/tok")
    async with open_door(tmp_path, yaml) as door:
        status, headers, body = await door.post({"model": "m", "max_tokens": 9, "messages": HELLO["messages"]}, "/v1/messages")
        assert status == 200 and headers["x-penstock-lane"] == "cross", body  # Messages is for Claude only
        sent = door.mock.received[-1]
        assert sent.path == "/api/v2/cortex/v1/chat/completions"
        assert sent.header("authorization") == "Bearer tok"
        assert sent.header("x-snowflake-authorization-token-type") == "PROGRAMMATIC_ACCESS_TOKEN"
        status, _, body = await door.post({"model": "m", "input": ["a", "b c"], "encoding_format": "float"}, "/v1/embeddings")
        told = json.loads(body)
        assert status == 200 and len(told["data"]) == 2 and isinstance(told["data"][0]["embedding"][0], float), body
        assert told["usage"] == {"prompt_tokens": 3, "total_tokens": 3}
        assert door.mock.received[-1].json == {"text": ["a", "b c"], "model": "llama3.1-8b"}


def test_claude_on_snowflake_speaks_messages_and_nobody_else() -> None:
    from penstock.config import Deployment
    from penstock.runtime.building import build_target

    for model, dialects in (("claude-4-sonnet", ("openai_chat", "anthropic")), ("llama3.1-8b", ("openai_chat",))):
        deployment = Deployment(id="1", model_name="m", model=f"snowflake/{model}", provider="snowflake", upstream_model=model)
        assert build_target(deployment, {}, {"SNOWFLAKE_ACCOUNT_ID": "a"}).dialects == dialects


@pytest.mark.parametrize("how", ["text", "one line", "file", "encrypted"])
async def test_a_key_pair_signs_its_tokens(tmp_path: Path, how: str) -> None:
    pytest.importorskip("cryptography")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import padding, rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    locked = serialization.BestAvailableEncryption(b"pass") if how == "encrypted" else serialization.NoEncryption()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked).decode()
    params: dict[str, str] = {"private_key": pem.replace("\n", "\\n") if how == "one line" else pem}
    if how == "file":
        (tmp_path / "key.p8").write_text(pem)
        params = {"private_key_path": str(tmp_path / "key.p8")}
    if how == "encrypted":
        params["private_key_passphrase"] = "pass"
    yaml = config("snowflake/m", api_base="{mock}/api/v2/cortex/v1", **PEOPLE, **params)
    before = int(time.time())
    async with open_door(tmp_path, yaml, env={"SNOWFLAKE_JWT": "an-old-one"}) as door:
        for _ in range(2):
            status, _, body = await door.post(HELLO)
            assert status == 200, body
        first, second = (one.header("authorization") for one in door.mock.received)
        assert first == second and door.mock.received[0].header("x-snowflake-authorization-token-type") == "KEYPAIR_JWT"
    head, claims, mark = (first or "").removeprefix("Bearer ").split(".")
    public = key.public_key()
    public.verify(_bytes(mark), f"{head}.{claims}".encode(), padding.PKCS1v15(), hashes.SHA256())
    told = json.loads(_bytes(claims))
    der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    fingerprint = base64.b64encode(hashlib.sha256(der).digest()).decode()
    assert told["iss"] == f"ORG-ACCT.ROBOT.SHA256:{fingerprint}" and told["sub"] == "ORG-ACCT.ROBOT"
    assert told["exp"] - told["iat"] <= 3600 and 0 <= told["iat"] - before < 60
    assert json.loads(_bytes(head)) == {"alg": "RS256", "typ": "JWT"}


def _bytes(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


@pytest.mark.parametrize(
    ("params", "named"),
    [
        ({"private_key": "x", "account_id": "a"}, "snowflake_user (or SNOWFLAKE_USER)"),
        ({"private_key": "x", "snowflake_user": "u"}, "account_id (or SNOWFLAKE_ACCOUNT_ID)"),
        ({"private_key": "-----BEGIN hunter2", **PEOPLE}, "no PEM (PKCS#8) key"),
        ({"private_key_path": "/nowhere/k.p8", **PEOPLE}, "'/nowhere/k.p8' for Snowflake cannot be read"),
        ({"account_id": "a"}, "SNOWFLAKE_JWT"),
    ],
)
async def test_what_is_missing_at_snowflake(tmp_path: Path, params: dict[str, str], named: str) -> None:
    yaml = config("snowflake/m", api_base="https://a.snowflakecomputing.com", **params)
    async with open_door(tmp_path, yaml) as door:
        status, _, body = await door.post(HELLO)
        assert status == 401 and named in json.loads(body)["error"]["message"] and b"hunter2" not in body, body


# Cloudflare -----------------------------------------------------------------------------------------------------------

ACCOUNT = "https://api.cloudflare.com/client/v4/accounts/acct"


@pytest.mark.parametrize(
    ("base", "expected"),
    [
        (None, f"{ACCOUNT}/ai/v1/chat/completions"),
        (ACCOUNT + "/ai/v1", f"{ACCOUNT}/ai/v1/chat/completions"),
        (ACCOUNT + "/ai/v1/", f"{ACCOUNT}/ai/v1/chat/completions"),
        (ACCOUNT + "/ai", f"{ACCOUNT}/ai/v1/chat/completions"),
        (ACCOUNT + "/ai/run/", f"{ACCOUNT}/ai/v1/chat/completions"),
        (ACCOUNT + "/ai/run/@cf/meta/llama-3-8b", f"{ACCOUNT}/ai/v1/chat/completions"),
        (ACCOUNT + "/ai/v1/chat/completions", f"{ACCOUNT}/ai/v1/chat/completions"),
        ("https://gateway.ai.cloudflare.com/v1/a/gw/workers-ai", "https://gateway.ai.cloudflare.com/v1/a/gw/workers-ai/v1/chat/completions"),
        ("https://gateway.ai.cloudflare.com/v1/a/gw/workers-ai/v1", "https://gateway.ai.cloudflare.com/v1/a/gw/workers-ai/v1/chat/completions"),
        ("https://gateway.ai.cloudflare.com/v1/a/gw/compat", "https://gateway.ai.cloudflare.com/v1/a/gw/compat/chat/completions"),
    ],
)
def test_cloudflare_addresses(base: str | None, expected: str) -> None:
    assert endpoint(PROVIDERS["cloudflare"], base, {"CLOUDFLARE_ACCOUNT_ID": "acct"}, "openai_chat", model="m") == expected


def test_cloudflare_without_an_account() -> None:
    with pytest.raises(MissingBase, match="CLOUDFLARE_ACCOUNT_ID"):
        endpoint(PROVIDERS["cloudflare"], None, {}, "openai_chat", model="m")


def test_the_account_of_a_deployment_goes_before_the_environments() -> None:
    from penstock.config import Deployment
    from penstock.config.secret import Secret
    from penstock.runtime.building import build_target

    for provider, variable in (("cloudflare", "CLOUDFLARE_ACCOUNT_ID"), ("snowflake", "SNOWFLAKE_ACCOUNT_ID")):
        deployment = Deployment(
            id="1", model_name="m", model=f"{provider}/m", provider=provider, upstream_model="m",
            api_key=Secret("k"), params={"account_id": "mine", "api_key": Secret("k")},
        )  # fmt: skip
        assert "mine" in build_target(deployment, {}, {variable: "theirs"}).endpoint("openai_chat").url


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
async def test_cloudflares_errors_keep_their_words(tmp_path: Path, path: str) -> None:
    """https://developers.cloudflare.com/fundamentals/api/reference/deprecations : the envelope of every answer of v4."""
    told = {"success": False, "errors": [{"code": 7000, "message": "No route for that URI"}], "messages": [], "result": None}
    script = Script(rules=[Rule(step=Step(status=400, body=told))])
    yaml = config("cloudflare/@cf/meta/llama-3.1-8b-instruct", api_base="{mock}/client/v4/accounts/a/ai", api_key="k")
    async with open_door(tmp_path, yaml, script=script) as door:
        status, _, body = await door.post({**HELLO, "max_tokens": 9}, path)
        message = json.loads(body)["error"]["message"]
        assert status == 400 and "No route for that URI" in message and "success" not in message
        assert door.mock.received[-1].path == "/client/v4/accounts/a/ai/v1/chat/completions"
        assert door.mock.received[-1].json["model"] == "@cf/meta/llama-3.1-8b-instruct"
