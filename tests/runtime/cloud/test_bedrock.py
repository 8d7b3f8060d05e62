"""Credentials for Bedrock: every source, roles by a token service, how long keys are used, and what goes wrong.

Each request that reaches the mock is signed again by botocore's own signer, with the keys that the source gave."""

from __future__ import annotations

import asyncio
import datetime
import json
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import parse_qs, quote

import pytest

pytest.importorskip("botocore")

from botocore import auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from penstock.config import load
from penstock.core.errors import GatewayError
from penstock.core.providers.resolve import resolve
from penstock.mock.server import Received
from penstock.runtime.cloud import aws
from penstock.runtime.cloud.aws import Fetched, KeyRing, Keys
from tests.door import Door, open_door

HELLO = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
ROLE = "arn:aws:iam::123456789012:role/robot"
MODEL = "amazon.nova-pro-v1:0"


class Issuer:
    """A token service, a metadata service and a container's credentials in one. ``asked``: what came, with headers."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, str], dict[str, str]]] = []
        self.status = 200
        self.life = 3600
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"])).decode()
                form = {key: values[0] for key, values in parse_qs(body).items()}
                outer.asked.append((self.path, form, dict(self.headers)))
                self.tell(outer.answer(form["Action"]).encode(), "text/xml")

            def do_GET(self) -> None:
                outer.asked.append((self.path, {}, dict(self.headers)))
                told: Any = {"Code": "Success", **outer.keys("ASIAMETADATA")}
                if self.path.endswith("/security-credentials/"):
                    self.tell(b"robot", "text/plain")
                else:
                    self.tell(json.dumps(told).encode(), "application/json")

            def do_PUT(self) -> None:
                self.tell(b"imds-token", "text/plain")

            def tell(self, data: bytes, kind: str) -> None:
                self.send_response(outer.status)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args: Any) -> None:
                return None

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def keys(self, name: str) -> dict[str, str]:
        end = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=self.life)
        return {
            "AccessKeyId": f"{name}{len(self.asked)}",
            "SecretAccessKey": f"secret of {name}",
            "Token": "session/token+==",
            "Expiration": end.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }

    def answer(self, action: str) -> str:
        if self.status != 200:
            words = "User AKIDGIVEN0000000001 is not authorized to perform: sts:AssumeRole"
            return f"<ErrorResponse><Error><Code>AccessDenied</Code><Message>{words}</Message></Error></ErrorResponse>"
        told = self.keys("ASIA" + ("WEB" if "Web" in action else "ROLE"))
        told["SessionToken"] = told.pop("Token")
        inner = "".join(f"<{key}>{value}</{key}>" for key, value in told.items())
        return f"<{action}Response><{action}Result><Credentials>{inner}</Credentials></{action}Result></{action}Response>"


@pytest.fixture
def issuer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Issuer]:
    made = Issuer()
    aws._SHARED.clear()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_ROLE_ARN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    yield made
    made.server.shutdown()
    made.server.server_close()
    aws._SHARED.clear()


def config(**params: str) -> str:
    lines = "".join(f"\n      {key}: {json.dumps(value)}" for key, value in params.items())
    return f"""
model_list:
  - model_name: m
    litellm_params:
      model: bedrock/{MODEL}
      api_base: "{{mock}}"
      aws_region_name: eu-west-1{lines}
router_settings: {{num_retries: 0}}
"""


def is_signed(sent: Received, door: Door, access: str, secret: str, token: str = "") -> bool:
    """Whether botocore's signer makes the same of the request that came."""
    when = datetime.datetime.strptime(sent.header("x-amz-date") or "", "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.UTC)
    assert abs(when.timestamp() - time.time()) < 60 and (sent.header("x-amz-security-token") or "") == token
    url = f"{door.mock.url}/model/{quote(MODEL, safe='')}/converse"
    request = AWSRequest("POST", url, {"content-type": "application/json"}, sent.body)
    signer = auth.SigV4Auth(Credentials(access, secret, token or None), "bedrock", "eu-west-1")
    with mock.patch.object(auth, "get_current_datetime", lambda: when.replace(tzinfo=None)):
        signer.add_auth(request)
    return bool(request.headers["Authorization"] == sent.header("authorization"))


async def test_keys_of_the_deployment(issuer: Issuer, tmp_path: Path) -> None:
    yaml = config(aws_access_key_id="AKIDGIVEN", aws_secret_access_key="s/+", aws_session_token="t=")
    async with open_door(tmp_path, yaml) as door:
        status, _, body = await door.post(HELLO)
        assert status == 200 and json.loads(body)["choices"][0]["message"]["content"] == "mock/echo: hi"
        assert is_signed(door.mock.received[0], door, "AKIDGIVEN", "s/+", "t=")


async def test_half_a_pair_of_keys(issuer: Issuer, tmp_path: Path) -> None:
    async with open_door(tmp_path, config(aws_access_key_id="AKIDGIVEN")) as door:
        status, _, body = await door.post(HELLO)
        assert status == 401 and b"aws_secret_access_key" in body and b"AKIDGIVEN" not in body


async def test_a_profile_of_the_shared_files(issuer: Issuer, tmp_path: Path) -> None:
    (tmp_path / "credentials").write_text("[mine]\naws_access_key_id = AKIDPROFILE\naws_secret_access_key = of-file\n")
    async with open_door(tmp_path, config(aws_profile_name="mine")) as door:
        assert (await door.post(HELLO))[0] == 200
        assert is_signed(door.mock.received[0], door, "AKIDPROFILE", "of-file")
    async with open_door(tmp_path, config(aws_profile_name="nobody")) as door:
        status, _, body = await door.post(HELLO)
        assert status == 401 and b"nobody" in body


async def test_a_profiles_region(issuer: Issuer, tmp_path: Path) -> None:
    (tmp_path / "config").write_text("[profile mine]\nregion = eu-west-1\n")
    (tmp_path / "credentials").write_text("[mine]\naws_access_key_id = AKIDPROFILE\naws_secret_access_key = of-file\n")
    yaml = config(aws_profile_name="mine").replace("      aws_region_name: eu-west-1\n", "")
    async with open_door(tmp_path, yaml) as door:
        assert (await door.post(HELLO))[0] == 200
        assert is_signed(door.mock.received[0], door, "AKIDPROFILE", "of-file")


async def test_an_assumed_role(issuer: Issuer, tmp_path: Path) -> None:
    yaml = config(
        aws_access_key_id="AKIDGIVEN",
        aws_secret_access_key="s",
        aws_role_name=ROLE,
        aws_session_name="night-shift",
        aws_external_id="ext-1",
        aws_sts_endpoint=issuer.url,
    )
    async with open_door(tmp_path, yaml) as door:
        for _ in range(3):
            assert (await door.post(HELLO))[0] == 200
        ((_, form, headers),) = issuer.asked  # once for all
        assert form["Action"] == "AssumeRole" and form["RoleArn"] == ROLE
        assert (form["RoleSessionName"], form["ExternalId"]) == ("night-shift", "ext-1")
        assert "Credential=AKIDGIVEN/" in headers["Authorization"] and "/eu-west-1/sts/" in headers["Authorization"]
        for sent in door.mock.received:
            assert is_signed(sent, door, "ASIAROLE1", "secret of ASIAROLE", "session/token+==")


async def test_a_web_identity(issuer: Issuer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    issued = tmp_path / "token"
    issued.write_text("eyJ.of.kubernetes\n")
    monkeypatch.setenv("MY_TOKEN", "eyJ.of.env")
    monkeypatch.setenv("MY_TOKEN_FILE", str(issued))
    for source, token in (
        (str(issued), "eyJ.of.kubernetes"),
        (f"oidc/file/{issued}", "eyJ.of.kubernetes"),
        ("oidc/env/MY_TOKEN", "eyJ.of.env"),
        ("oidc/env_path/MY_TOKEN_FILE", "eyJ.of.kubernetes"),
        ("eyJ.of.config", "eyJ.of.config"),
    ):
        issuer.asked.clear()
        yaml = config(aws_role_name=ROLE, aws_web_identity_token=source, aws_sts_endpoint=issuer.url)
        async with open_door(tmp_path, yaml) as door:
            status, _, body = await door.post(HELLO)
            assert status == 200, body
            ((_, form, headers),) = issuer.asked
            assert form["Action"] == "AssumeRoleWithWebIdentity" and form["WebIdentityToken"] == token
            assert form["RoleSessionName"] == aws.SESSION_NAME and "Authorization" not in headers
            assert is_signed(door.mock.received[0], door, "ASIAWEB1", "secret of ASIAWEB", "session/token+==")


@pytest.mark.parametrize(
    ("source", "told"),
    [("oidc/github/x", "oidc/github"), ("oidc/env/NOWHERE", "'NOWHERE'"), ("/nowhere/token", "'/nowhere/token'")],
)
async def test_a_web_identity_that_is_none(issuer: Issuer, tmp_path: Path, source: str, told: str) -> None:
    yaml = config(aws_role_name=ROLE, aws_web_identity_token=source, aws_sts_endpoint=issuer.url)
    async with open_door(tmp_path, yaml) as door:
        status, _, body = await door.post(HELLO)
        assert status == 401 and told in json.loads(body)["error"]["message"] and door.mock.received == []


async def test_the_pods_own_identity(issuer: Issuer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """EKS sets the role and the token's file: nothing of it stands in the configuration, or the same role."""
    issued = tmp_path / "token"
    issued.write_text("eyJ.of.pod")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(issued))
    monkeypatch.setenv("AWS_ROLE_ARN", ROLE)
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", issuer.url)
    for params in ({}, {"aws_role_name": ROLE}):
        aws._SHARED.clear()
        issuer.asked.clear()
        async with open_door(tmp_path, config(**params)) as door:
            status, _, body = await door.post(HELLO)
            assert status == 200, body
            ((_, form, _),) = issuer.asked
            assert form["Action"] == "AssumeRoleWithWebIdentity" and form["WebIdentityToken"] == "eyJ.of.pod"
            assert is_signed(door.mock.received[0], door, "ASIAWEB1", "secret of ASIAWEB", "session/token+==")


async def test_a_containers_credentials(issuer: Issuer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{issuer.url}/v2/creds")
    monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "Basic x")
    async with open_door(tmp_path, config()) as door:
        assert (await door.post(HELLO))[0] == 200
        assert issuer.asked[0][0] == "/v2/creds" and issuer.asked[0][2]["Authorization"] == "Basic x"
        assert is_signed(door.mock.received[0], door, "ASIAMETADATA1", "secret of ASIAMETADATA", "session/token+==")


async def test_the_machines_own(issuer: Issuer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", issuer.url)
    async with open_door(tmp_path, config()) as door:
        status, _, body = await door.post(HELLO)
        assert status == 200, body
        assert (door.mock.received[0].header("authorization") or "").startswith("AWS4-HMAC-SHA256 Credential=ASIAMETADATA")


async def test_nothing_to_be_found(issuer: Issuer, tmp_path: Path) -> None:
    async with open_door(tmp_path, config()) as door:
        status, _, body = await door.post(HELLO)
        assert status == 401 and b"aws_access_key_id" in body and b"AWS_BEARER_TOKEN_BEDROCK" in body
        assert door.records[-1].error == "not_configured"


async def test_a_refusal_is_told_without_the_key(issuer: Issuer, tmp_path: Path) -> None:
    issuer.status = 403
    yaml = config(
        aws_access_key_id="AKIDGIVEN0000000001",
        aws_secret_access_key="very/secret",
        aws_role_name=ROLE,
        aws_sts_endpoint=issuer.url,
    )
    async with open_door(tmp_path, yaml) as door:
        status, _, body = await door.post(HELLO)
        assert status == 401 and b"AccessDenied" in body and b"very/secret" not in body
        assert door.mock.received == []


async def test_a_token_service_that_is_not_there(issuer: Issuer, tmp_path: Path) -> None:
    yaml = config(
        aws_access_key_id="AKID", aws_secret_access_key="s", aws_role_name=ROLE, aws_sts_endpoint="http://127.0.0.1:9"
    )
    async with open_door(tmp_path, yaml) as door:
        status, _, _ = await door.post(HELLO)
        assert status == 500 and door.records[-1].error == "connect"


async def test_a_key_is_sent_as_it_is(issuer: Issuer, tmp_path: Path) -> None:
    async with open_door(tmp_path, config(api_key="bedrock-api-key-x")) as door:
        assert (await door.post(HELLO))[0] == 200
        sent = door.mock.received[0]
        assert sent.header("authorization") == "Bearer bedrock-api-key-x" and sent.header("x-amz-date") is None


def test_the_environments_keys_and_the_deployments() -> None:
    """A deployment that names its account uses no key of the environment's."""
    from penstock.config import Deployment
    from penstock.runtime.cloud.bedrock import environment

    env = {"AWS_BEARER_TOKEN_BEDROCK": "b", "AWS_ACCESS_KEY_ID": "AKIDENV", "AWS_REGION": "r"}
    env["AWS_SECRET_ACCESS_KEY"] = "hidden"

    def deployment(**params: str) -> Deployment:
        return Deployment(
            id="1", model_name="m", model="bedrock/x", provider="bedrock", upstream_model="x", api_base=None, params=params
        )

    assert environment(deployment(), env)["AWS_BEARER_TOKEN_BEDROCK"] == "b"
    own = deployment(aws_role_name=ROLE, aws_region_name="here", aws_bedrock_runtime_endpoint="https://vpce")
    made = environment(own, env)
    assert "AWS_BEARER_TOKEN_BEDROCK" not in made
    assert (made["AWS_REGION_NAME"], made["AWS_BEDROCK_RUNTIME_ENDPOINT"]) == ("here", "https://vpce")
    assert aws.settings_of(own, env, "r").access == "AKIDENV"  # who assumes the role
    assert aws.settings_of(deployment(aws_profile_name="p"), env, "r").access == ""
    assert "hidden" not in repr(aws.settings_of(own, env, "r")) and "AKIDENV" not in repr(own)


def test_every_setting_is_acted_on(tmp_path: Path) -> None:
    settings = "access_key_id secret_access_key session_token region_name profile_name role_name session_name external_id"
    lines = [f"aws_{name}: x" for name in (settings + " web_identity_token").split()]
    lines += [f"aws_{name}: https://x.example" for name in ("bedrock_runtime_endpoint", "sts_endpoint")]
    path = tmp_path / "config.yaml"
    params = "".join(f"\n      {line}" for line in [*lines, "model_id: 'arn:aws:bedrock:us-east-1:1:x/y'"])
    path.write_text(f"model_list:\n  - model_name: m\n    litellm_params:\n      model: bedrock/{MODEL}{params}\n")
    loaded = load(path, {}, resolve=resolve)
    assert loaded.config is not None and [str(problem) for problem in loaded.problems] == []


async def test_without_botocore(issuer: Issuer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing can be signed; the message says what to install. An API key needs it not."""
    monkeypatch.delitem(sys.modules, "penstock.runtime.cloud.sigv4", raising=False)
    monkeypatch.setitem(sys.modules, "botocore.auth", None)
    for account in ({"aws_access_key_id": "AKIDGIVEN", "aws_secret_access_key": "s"}, {"aws_profile_name": "mine"}):
        async with open_door(tmp_path, config(**account)) as door:
            status, _, body = await door.post(HELLO)
            assert status == 501 and b"pip install 'penstock[bedrock]'" in body
    async with open_door(tmp_path, config(api_key="bedrock-api-key")) as door:
        assert (await door.post(HELLO))[0] == 200


# How long keys are used -----------------------------------------------------------------------------------------------


class Source:
    """Where keys come from. ``delay``: of a fetch; ``error``: what it raises."""

    def __init__(self, clock: list[float]) -> None:
        self.clock = clock
        self.fetched = 0
        self.delay = 0.0
        self.error: Exception | None = None
        self.life: float | None = 3600.0

    def __call__(self) -> Fetched:
        time.sleep(self.delay)
        if self.error is not None:
            raise self.error
        self.fetched += 1
        return Fetched(Keys(f"k{self.fetched}", "s"), None if self.life is None else self.clock[0] + self.life)


@pytest.fixture
def aged() -> tuple[Source, KeyRing, list[float]]:
    clock = [1_800_000_000.0]
    source = Source(clock)
    return source, KeyRing(source, lambda: clock[0]), clock


async def test_many_requests_wait_for_one_fetch(aged: Any) -> None:
    source, account, _ = aged
    source.delay = 0.05
    told = await asyncio.gather(*(account.keys() for _ in range(20)))
    assert {keys.access for keys in told} == {"k1"} and source.fetched == 1


async def test_keys_are_renewed_early_and_nobody_waits(aged: Any) -> None:
    source, account, clock = aged
    await account.keys()
    clock[0] += 3600 - aws.EARLY - 1
    assert (await account.keys()).access == "k1" and source.fetched == 1
    clock[0] += 2
    source.delay = 0.05
    began = time.perf_counter()
    assert (await account.keys()).access == "k1"  # the old ones, at once
    assert time.perf_counter() - began < 0.04
    await account._task
    assert (await account.keys()).access == "k2" and source.fetched == 2


async def test_a_renewal_that_fails_is_tried_again(aged: Any) -> None:
    source, account, clock = aged
    await account.keys()
    source.error = GatewayError("connect", "no route")
    clock[0] += 3600 - aws.EARLY + 1
    assert (await account.keys()).access == "k1"
    with pytest.raises(GatewayError):
        await account._task
    source.error = None
    assert (await account.keys()).access == "k1" and source.fetched == 1  # not at once again
    clock[0] += aws.AGAIN + 1
    await account.keys()
    await account._task
    assert (await account.keys()).access == "k2"


async def test_keys_that_ended_are_waited_for(aged: Any) -> None:
    source, account, clock = aged
    await account.keys()
    clock[0] += 3600
    assert (await account.keys()).access == "k2"
    clock[0] += 3600
    source.error = GatewayError("connect", "no route")
    with pytest.raises(GatewayError, match="no route"):
        await account.keys()


async def test_keys_without_an_end_are_looked_up_again(aged: Any) -> None:
    """Files are written anew by whoever rotates keys; meanwhile the old ones serve."""
    source, account, clock = aged
    source.life = None
    await account.keys()
    clock[0] += aws.LOOK + 1
    assert (await account.keys()).access == "k1"
    await account._task
    assert (await account.keys()).access == "k2"


async def test_given_keys_are_never_fetched() -> None:
    account = KeyRing(lambda: pytest.fail("fetched"), first=Keys("a", "b"))
    assert (await account.keys()).access == "a" and account._task is None
