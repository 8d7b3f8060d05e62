"""Tokens for Vertex AI: the assertion that a service account signs, how long a token is used, and what goes wrong."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

pytest.importorskip("google.auth")

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import exceptions, jwt

from penstock.core.errors import GatewayError
from penstock.core.providers.google import PLACES
from penstock.runtime.cloud import tokens as tokens_
from penstock.runtime.cloud import vertex
from penstock.runtime.cloud.vertex import SCOPE, Tokens
from tests.door import Door, open_door
from tests.runtime.made import target_of

GOOGLE = "https://oauth2.googleapis.com/token"  # the audience, wherever the endpoint is
EMAIL = "robot@p-1.iam.gserviceaccount.com"
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PEM = KEY.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
).decode()
PUBLIC = KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


class Issuer:
    """A token endpoint. ``asked``: the forms that came; ``answer``: what it says, with which status."""

    def __init__(self) -> None:
        self.asked: list[dict[str, str]] = []
        self.status = 200
        self.answer: dict[str, Any] = {"access_token": "ya29.first", "expires_in": 3600, "token_type": "Bearer"}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"])).decode()
                outer.asked.append({key: values[0] for key, values in parse_qs(body).items()})
                told = json.dumps(outer.answer).encode()
                self.send_response(outer.status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(told)))
                self.end_headers()
                self.wfile.write(told)

            def log_message(self, *args: Any) -> None:
                return None

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/token"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def account(self) -> dict[str, str]:
        return {
            "type": "service_account",
            "project_id": "p-1",
            "private_key_id": "kid-1",
            "private_key": PEM,
            "client_email": EMAIL,
            "token_uri": self.url,
        }


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    made = Issuer()
    vertex._SHARED.clear()
    yield made
    made.server.shutdown()
    made.server.server_close()
    vertex._SHARED.clear()


def config(model: str, credentials: Any, extra: str = "") -> str:
    given = json.dumps(credentials)
    return f"""
model_list:
  - model_name: m
    litellm_params:
      model: vertex_ai/{model}
      api_base: "{{mock}}"
      vertex_location: europe-west4
      vertex_credentials: {given if isinstance(credentials, dict) else json.dumps(credentials)}
      {extra}
router_settings: {{num_retries: 0}}
"""


async def test_the_assertion_is_what_google_checks(issuer: Issuer, tmp_path: Path) -> None:
    before = time.time()
    async with open_door(tmp_path, config("gemini-2.5-flash", issuer.account())) as door:
        status, headers, body = await door.post({"model": "m", "messages": [{"role": "user", "content": "hi"}]})
        assert status == 200 and json.loads(body)["choices"][0]["message"]["content"] == "mock/echo: hi"
        await door.post({"model": "m", "messages": [{"role": "user", "content": "again"}]})
        (asked,) = issuer.asked  # one token for both
        assert asked["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
        claims = jwt.decode(asked["assertion"], certs={"kid-1": PUBLIC}, audience=GOOGLE)
        assert (claims["iss"], claims["aud"], claims["scope"]) == (EMAIL, GOOGLE, SCOPE)
        assert claims["exp"] - claims["iat"] == 3600 and abs(claims["iat"] - before) < 60
        first = door.mock.received[0]
        assert first.header("authorization") == "Bearer ya29.first" and first.header("x-goog-api-key") is None
        assert first.path == (
            "/v1/projects/p-1/locations/europe-west4/publishers/google/models/gemini-2.5-flash:generateContent"
        )


async def test_claude_on_vertex_ai(issuer: Issuer, tmp_path: Path) -> None:
    account = tmp_path / "account.json"
    account.write_text(json.dumps(issuer.account()))
    async with open_door(tmp_path, config("claude-sonnet-4-5@20250929", str(account))) as door:
        said = {"model": "m", "max_tokens": 99, "messages": [{"role": "user", "content": "hi"}]}
        status, headers, body = await door.post(said, "/v1/messages")
        assert status == 200, body
        assert json.loads(body)["content"][0]["text"] == "mock/echo: hi" and headers["x-penstock-lane"] == "same"
        sent = door.mock.received[-1]
        assert sent.path.endswith("/publishers/anthropic/models/claude-sonnet-4-5@20250929:rawPredict")
        assert sent.json["anthropic_version"] == "vertex-2023-10-16" and "model" not in sent.json
        await streams_of_claude(door, said)
        status, _, body = await door.post(
            {key: said[key] for key in ("model", "messages")}, "/v1/messages/count_tokens"
        )
        assert status == 200 and json.loads(body)["litellm_count_source"] == "provider"
        sent = door.mock.received[-1]
        assert (
            sent.path.endswith("/models/count-tokens:rawPredict")
            and sent.header("authorization") == "Bearer ya29.first"
        )
        assert sent.json["model"] == "claude-sonnet-4-5@20250929"


async def streams_of_claude(door: Door, said: dict[str, Any]) -> None:
    for body, path in ((said, "/v1/messages"), ({"model": "m", "messages": said["messages"]}, "/v1/chat/completions")):
        status, _, answer = await door.post({**body, "stream": True}, path)
        assert status == 200 and b"hi" in answer
        sent = door.mock.received[-1]
        assert sent.path.endswith(":streamRawPredict") and sent.json["stream"] is True and "model" not in sent.json
        assert sent.json["anthropic_version"] == "vertex-2023-10-16"


async def test_calls_bear_no_ids_there(issuer: Issuer, tmp_path: Path) -> None:
    """Vertex AI answers 400 to them (vercel/ai issue 15664): the mock does, too."""
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "go"},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "done"},
    ]
    async with open_door(tmp_path, config("gemini-2.5-flash", issuer.account())) as door:
        status, _, body = await door.post({"model": "m", "messages": messages})
        assert status == 200 and "tool f said: done" in json.loads(body)["choices"][0]["message"]["content"]


async def test_a_given_key_is_a_token_and_none_is_fetched(issuer: Issuer, tmp_path: Path) -> None:
    yaml = config("gemini-2.5-flash", issuer.account(), "api_key: ya29.mine")
    async with open_door(tmp_path, yaml) as door:
        assert (await door.post({"model": "m", "messages": [{"role": "user", "content": "hi"}]}))[0] == 200
        assert door.mock.received[0].header("authorization") == "Bearer ya29.mine" and issuer.asked == []


async def test_refused_credentials_are_told_without_their_content(issuer: Issuer, tmp_path: Path) -> None:
    issuer.status, issuer.answer = 400, {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}
    async with open_door(tmp_path, config("gemini-2.5-flash", issuer.account())) as door:
        status, _, body = await door.post({"model": "m", "messages": [{"role": "user", "content": "hi"}]})
        assert status == 401 and b"invalid_grant" in body and b"PRIVATE KEY" not in body
        assert door.mock.received == []


@pytest.mark.parametrize(
    ("credentials", "told"),
    [
        ("/nowhere/key.json", "'/nowhere/key.json' cannot be read"),
        ("{nonsense", "no JSON object"),
        ({"type": "x"}, "type"),
    ],
)
async def test_credentials_that_are_none(credentials: Any, told: str, tmp_path: Path) -> None:
    yaml = config("gemini-2.5-flash", credentials, "vertex_project: p-1")
    async with open_door(tmp_path, yaml) as door:
        status, _, body = await door.post({"model": "m", "messages": [{"role": "user", "content": "hi"}]})
        assert status == 401 and told in json.loads(body)["error"]["message"]


async def test_workload_identity(issuer: Issuer, tmp_path: Path) -> None:
    """A token of another issuer (a file, as Kubernetes mounts it) is exchanged for one of Google's."""
    issued = tmp_path / "token"
    issued.write_text("eyJ.of.kubernetes")
    issuer.answer["issued_token_type"] = "urn:ietf:params:oauth:token-type:access_token"
    pool = {
        "type": "external_account",
        "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/k",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": issuer.url,
        "credential_source": {"file": str(issued)},
    }
    yaml = config("gemini-2.5-flash", pool, "vertex_project: p-2")
    async with open_door(tmp_path, yaml) as door:
        assert (await door.post({"model": "m", "messages": [{"role": "user", "content": "hi"}]}))[0] == 200
        assert door.mock.received[0].header("authorization") == "Bearer ya29.first"
        assert "/projects/p-2/" in door.mock.received[0].path
    (asked,) = issuer.asked
    assert asked["subject_token"] == "eyJ.of.kubernetes" and asked["audience"] == pool["audience"]


# How long a token is used ---------------------------------------------------------------------------------------------


class Fake:
    """google-auth's credentials, as far as they are used. ``delay``: of a refresh; ``error``: what it raises."""

    def __init__(self, clock: list[float]) -> None:
        self.clock = clock
        self.refreshed = 0
        self.delay = 0.0
        self.error: Exception | None = None
        self.token = ""
        self.expiry: datetime | None = None

    def refresh(self, request: Any) -> None:
        time.sleep(self.delay)
        if self.error is not None:
            raise self.error
        self.refreshed += 1
        self.token = f"t{self.refreshed}"
        self.expiry = (datetime.fromtimestamp(self.clock[0], UTC) + timedelta(hours=1)).replace(tzinfo=None)


@pytest.fixture
def aged() -> tuple[Fake, Tokens, list[float]]:
    clock = [1_800_000_000.0]
    fake = Fake(clock)
    return fake, Tokens(lambda: fake, lambda: clock[0]), clock


async def lines(tokens: Tokens) -> bytes:
    return await tokens.lines(None, "POST", b"")  # type: ignore[arg-type]


async def test_many_requests_wait_for_one_token(aged: Any) -> None:
    fake, tokens, _ = aged
    fake.delay = 0.05
    told = await asyncio.gather(*(lines(tokens) for _ in range(20)))
    assert set(told) == {b"authorization: Bearer t1\r\n"} and fake.refreshed == 1


async def test_a_token_is_renewed_early_and_nobody_waits_for_it(aged: Any) -> None:
    fake, tokens, clock = aged
    await lines(tokens)
    clock[0] += 3600 * tokens_.SHARE - 1
    assert await lines(tokens) == b"authorization: Bearer t1\r\n" and fake.refreshed == 1
    clock[0] += 2
    fake.delay = 0.05
    began = time.perf_counter()
    assert await lines(tokens) == b"authorization: Bearer t1\r\n"  # the old one, at once
    assert time.perf_counter() - began < 0.04
    await tokens._task
    assert await lines(tokens) == b"authorization: Bearer t2\r\n" and fake.refreshed == 2


async def test_a_renewal_that_fails_is_tried_again_and_the_old_token_used_meanwhile(aged: Any) -> None:
    fake, tokens, clock = aged
    await lines(tokens)
    fake.error = exceptions.TransportError("no route")
    clock[0] += 3600 * tokens_.SHARE + 1
    assert await lines(tokens) == b"authorization: Bearer t1\r\n"
    with pytest.raises(GatewayError):
        await tokens._task
    fake.error = None
    assert await lines(tokens) == b"authorization: Bearer t1\r\n" and fake.refreshed == 1  # not at once again
    clock[0] += tokens_.AGAIN + 1
    await lines(tokens)
    await tokens._task
    assert await lines(tokens) == b"authorization: Bearer t2\r\n"


async def test_a_token_that_ended_is_waited_for(aged: Any) -> None:
    fake, tokens, clock = aged
    await lines(tokens)
    clock[0] += 3600
    assert await lines(tokens) == b"authorization: Bearer t2\r\n"
    clock[0] += 3600
    fake.error = exceptions.TransportError("no route")
    with pytest.raises(GatewayError) as caught:
        await lines(tokens)
    assert caught.value.kind == "connect" and "no route" in caught.value.message


# Pass-through ---------------------------------------------------------------------------------------------------------

RAW = "/vertex_ai/v1/projects/theirs/locations/us-east5/publishers/google/models/gemini-2.5-flash:generateContent"
CONTENTS = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}


async def test_a_passed_request_bears_the_accounts_token(issuer: Issuer, tmp_path: Path) -> None:
    async with open_door(tmp_path, config("gemini-2.5-flash", issuer.account()), master_key="sk-gw-12345678") as door:
        auth = {"authorization": "Bearer sk-gw-12345678"}
        for path, project in ((RAW, "theirs"), (RAW.replace("v1/projects/theirs/locations/us-east5/", ""), "p-1")):
            status, _, body = await door.post(CONTENTS, path, **auth)
            assert status == 200 and json.loads(body)["candidates"][0]["content"]["parts"][0]["text"] == "mock/echo: hi"
            sent = door.mock.received[-1]
            assert sent.header("authorization") == "Bearer ya29.first" and f"/projects/{project}/locations/" in sent.path
        assert len(issuer.asked) == 1
        assert [(record.model, bool(record.cost)) for record in door.records] == [("gemini-2.5-flash", True)] * 2


async def test_the_default_account_of_the_config(issuer: Issuer, tmp_path: Path) -> None:
    account = json.dumps({"vertex_project": "dp", "vertex_location": "eu", "vertex_credentials": issuer.account()})
    async with open_door(tmp_path, f"model_list: []\ndefault_vertex_config: {account}\n") as door:
        door.gateway.state.env = {"VERTEXAI_API_BASE": door.mock.url}
        status, _, body = await door.post(CONTENTS, "/vertex-ai/publishers/google/models/gemini-2.5-flash:generateContent")
        assert status == 200, body
        [sent] = door.mock.received
        assert sent.header("authorization") == "Bearer ya29.first"
        assert sent.path == "/v1/projects/dp/locations/eu/publishers/google/models/gemini-2.5-flash:generateContent"


async def test_without_an_account_the_refusal_is_googles(tmp_path: Path) -> None:
    async with open_door(tmp_path, "model_list: []\n") as door:
        status, _, body = await door.post(CONTENTS, "/vertex_ai/publishers/google/models/x:generateContent")
        assert status == 401 and json.loads(body)["error"]["status"] == "UNAUTHENTICATED"
        assert "VERTEXAI_PROJECT" in body.decode()


def test_region_name_is_the_place_where_no_other_is_named(tmp_path: Path) -> None:
    def place(**params: str) -> str:
        target = target_of(tmp_path, model="vertex_ai/gemini-2.5-flash", vertex_project="p", **params)
        return next(target.env[name] for name in PLACES if name in target.env)

    assert place(region_name="eu") == "eu" and place(region_name="eu", vertex_location="us") == "us"
    assert place(vertex_ai_location="asia") == "asia"
