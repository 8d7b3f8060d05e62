"""Clients' headers that go on to upstreams, where the config wants that: never what opens the gateway."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from penstock.core.forwarding import STAYS, forwarded, forwards_for
from tests.door import Door, open_door

MASTER = "sk-master-of-headers-1"
CONFIG = """
model_list:
  - {model_name: m, litellm_params: {model: openai/real-model, api_base: "{mock}/v1", api_key: sk-upstream-secret}}
  - {model_name: claude, litellm_params: {model: anthropic/claude-sonnet-4-5, api_base: "{mock}", api_key: sk-upstream-secret}}
  - {model_name: "any/*", litellm_params: {model: "openai/*", api_base: "{mock}/v1", api_key: sk-upstream-secret}}
  - model_name: grouped
    litellm_params: {model: openai/real-model, api_base: "{mock}/v1", api_key: sk-upstream-secret}
    model_info: {access_groups: [few]}
router_settings: {num_retries: 0}
"""
SENT = {
    "x-trace": "t-1",
    "x-team": "blue",
    "x-stainless-lang": "python",
    "x-amz-date": "never",
    # Of users who logged in at a proxy before the gateway.
    "x-amzn-oidc-data": "a token",
    "x-forwarded-access-token": "a token",
    "x-auth-request-access-token": "a token",
    "x-goog-iap-jwt-assertion": "a token",
    "x-ms-token-aad-id-token": "a token",
    "x-real-ip": "192.0.2.1",
    "x-gateway-key": MASTER,
    "x-api-key": "sk-mine",
    "x-litellm-api-key": f"Bearer {MASTER}",
    "anthropic-beta": "some-2026-01-01",
    "cookie": "session=1",
    "user-agent": "a client",
}
SAYS = [{"role": "user", "content": "hello"}]
ASKS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": SAYS},
    "/v1/messages": {"messages": SAYS, "max_tokens": 20},
    "/v1/responses": {"input": "hello"},
    "/v1/embeddings": {"input": "hello"},
}


async def sent(door: Door, path: str, model: str, stream: bool = False) -> dict[str, str]:
    """Ask once, and return the headers that the upstream got."""
    body = {"model": model, **ASKS[path], **({"stream": True} if stream else {})}
    status, _, answer = await door.post(body, path, authorization=f"Bearer {MASTER}", **SENT)
    assert status == 200, answer
    found: list[tuple[str, str]] = [(name.lower(), value) for name, value in pairs(door.mock.received[-1].headers)]
    assert len({name for name, _ in found}) == len(found), "no header twice"
    assert not any(MASTER in value or value == "sk-mine" for _, value in found)
    return dict(found)


def pairs(headers: Any) -> list[tuple[str, str]]:
    items = headers.items() if hasattr(headers, "items") else headers
    return [tuple(one.decode() if isinstance(one, bytes) else one for one in pair) for pair in items]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("path", ASKS)
@pytest.mark.parametrize("model", ["m", "claude"])
async def test_where_headers_go_on(tmp_path, path: str, model: str, stream: bool) -> None:
    if path == "/v1/embeddings" and (stream or model == "claude"):
        pytest.skip("embeddings are whole, and Claude makes none")
    general = "general_settings: {litellm_key_header_name: X-Gateway-Key, forward_client_headers_to_llm_api: true}\n"
    async with open_door(tmp_path, CONFIG + general, master_key=MASTER) as door:
        found = await sent(door, path, model, stream)
        assert (found["x-trace"], found["x-team"]) == ("t-1", "blue")
        assert found["anthropic-beta"] == "some-2026-01-01"
        assert not (SENT.keys() - {"x-trace", "x-team", "anthropic-beta", "x-api-key", "user-agent"}) & found.keys()
        assert found.get("user-agent") != "a client"
        key = found.get("x-api-key") or found["authorization"]
        assert key.endswith("sk-upstream-secret"), "the deployment's own credential"
    async with open_door(tmp_path, CONFIG, master_key=MASTER) as door:
        assert not {"x-trace", "x-team"} & (await sent(door, path, model, stream)).keys()


@pytest.mark.parametrize(
    ("names", "models"),
    [
        ("[m]", {"m"}),
        ("[claude, few]", {"claude", "grouped"}),
        ("['any/*']", {"any/gpt-4o"}),
        ("[any/gpt-4o]", {"any/gpt-4o"}),
        ("[all-proxy-models]", {"m", "claude", "grouped", "any/gpt-4o"}),
        ("[]", set()),
    ],
)
async def test_for_which_models_headers_go_on(tmp_path, names: str, models: set[str]) -> None:
    settings = "general_settings: {litellm_key_header_name: X-Gateway-Key}\n"
    settings += f"litellm_settings: {{model_group_settings: {{forward_client_headers_to_llm_api: {names}}}}}\n"
    async with open_door(tmp_path, CONFIG + settings, master_key=MASTER) as door:
        went = {
            model
            for model in ("m", "claude", "grouped", "any/gpt-4o")
            if "x-trace" in await sent(door, "/v1/chat/completions", model)
        }
        assert went == models


NAMES = st.sampled_from([*(name.encode() for name in SENT), *STAYS, b"x-own", b"host", b"authorization"])
HEAD = b"POST / HTTP/1.1\r\nHost: a\r\nX-Own: 1\r\n"


@given(st.dictionaries(NAMES, st.binary(max_size=5)), st.sampled_from([b"", b"x-gateway-key", b"x-trace"]))
@example({b"x-gateway-key": b"1"}, b"x-gateway-key")
def test_what_opens_the_gateway_stays(headers: dict[bytes, bytes], own: bytes) -> None:
    found = forwarded(headers, STAYS | {own}, HEAD)
    assert not found.keys() & (STAYS | {own, b"x-own", b"host", b"authorization", b"cookie", b"user-agent"})
    assert all(headers[name] == value for name, value in found.items())
    wanted = {b"x-trace", b"x-team", b"anthropic-beta", b"x-gateway-key"} & headers.keys() - {own}
    assert wanted <= found.keys()


def test_names_of_models_patterns_and_groups() -> None:
    assert forwards_for(["openai/*"], "openai/gpt", ()) and not forwards_for(["openai/*"], "azure/gpt", ())
    assert forwards_for(["g"], "m", ["g"]) and not forwards_for(["g"], "m", []) and not forwards_for([], "m", ["g"])
