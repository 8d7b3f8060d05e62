"""Every row through the gateway: what the vendor's server gets, and what a client hears when the key is missing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from penstock.core.dialects import DIALECTS
from penstock.core.providers import PROVIDERS
from penstock.core.providers.resolve import auth_headers, needs_key
from penstock.core.providers.urls import endpoint
from tests.door import open_door

# Rows whose first dialect is Chat or Messages and whose URL does not hold the model, the account or the region.
PLAIN = [
    name
    for name, provider in PROVIDERS.items()
    if provider.dialects[:1] in (("openai_chat",), ("anthropic",), ("openai_responses",))
    and provider.name not in ("azure", "azure_ai", "watsonx", "mock")  # the first three have tests of their own
]
CHAT = [name for name in PLAIN if PROVIDERS[name].dialects[0] == "openai_chat"]
OWN_BASE = [name for name in CHAT if PROVIDERS[name].base and "{" not in (PROVIDERS[name].base or "")]
WITHOUT_KEY = [name for name in PLAIN if needs_key(PROVIDERS[name], None, {})]


def config(rows: list[str], **params: Any) -> str:
    """One deployment for each row, called like it; the model behind the prefix has a slash and a tag of its own."""
    entries = [
        {"model_name": name, "litellm_params": {"model": f"{name}/org/some-model:tag", **params}} for name in rows
    ]
    return json.dumps({"model_list": entries, "router_settings": {"num_retries": 0}})


@pytest.mark.timeout(120)
async def test_what_each_vendor_gets(tmp_path: Path) -> None:
    """Name without its prefix, path, key and body of each; a server of the user's gets no vendor's own path."""
    ask = {"messages": [{"role": "user", "content": "hi"}], "max_completion_tokens": 7, "brand_new": {"a": [1]}}
    async with open_door(tmp_path, config(PLAIN, api_base="{mock}/v1", api_key="the-key")) as door:
        for name in PLAIN:
            status, _, body = await door.post({"model": name, **ask})
            assert status == 200, (name, body)
            seen = door.mock.received[-1]
            provider = PROVIDERS[name]
            dialect = provider.dialects[0]
            assert seen.json["model"] == "org/some-model:tag", name
            assert seen.path == urlsplit(endpoint(provider, f"{door.mock.url}/v1", {}, dialect)).path, name
            for header, value in auth_headers(provider, "the-key", dialect):
                assert seen.header(header.decode()) == value.decode(), (name, header)
            if dialect == "openai_chat":
                assert seen.json["brand_new"] == {"a": [1]}, name  # subtract, never enumerate
                rename = provider.quirks.of("org/some-model:tag").rename
                assert seen.json[rename.get("max_completion_tokens", "max_completion_tokens")] == 7, name
            assert json.loads(body)["model"] == name


@pytest.mark.parametrize("name", OWN_BASE)
def test_each_base_however_it_is_written(name: str) -> None:
    provider = PROVIDERS[name]
    base = provider.base or ""
    url = endpoint(provider, None, {}, "openai_chat", model="m")
    spelled = {base, base + "/", url, url + "/"}
    if provider.version and base.endswith(provider.version):
        spelled |= {base.removesuffix(provider.version), base.removesuffix(provider.version) + "/"}
    if provider.version == "/v1" and base.endswith("/v1"):
        spelled.add(base + "/v1")
    assert {endpoint(provider, one, {}, "openai_chat", model="m") for one in spelled} == {url}


@pytest.mark.parametrize("name", CHAT)
def test_a_server_of_the_users_however_it_is_written(name: str) -> None:
    provider = PROVIDERS[name]
    if "openai_chat" in provider.paths:
        pytest.skip("the row says where its chat is")
    wanted = f"http://mine.test:9{provider.version}/chat/completions"
    spelled = ["http://mine.test:9", "http://mine.test:9/", f"http://mine.test:9{provider.version}/", wanted]
    assert {endpoint(provider, one, {}, "openai_chat", model="m") for one in spelled} == {wanted}


@pytest.mark.timeout(120)
async def test_a_missing_key_is_a_401_that_names_the_variable(tmp_path: Path) -> None:
    async with open_door(tmp_path, config(WITHOUT_KEY)) as door:
        for name in WITHOUT_KEY:
            status, _, body = await door.post({"model": name, "messages": [{"role": "user", "content": "hi"}]})
            error = json.loads(body)["error"]
            assert status == 401 and error["type"] == "authentication_error", (name, body)
            for variable in PROVIDERS[name].keys:
                assert variable in error["message"], (name, error)
        assert door.mock.received == []


@pytest.mark.timeout(120)
async def test_local_rows_need_no_key(tmp_path: Path) -> None:
    local = [name for name in CHAT if PROVIDERS[name].local]
    async with open_door(tmp_path, config(local, api_base="{mock}/v1")) as door:
        for name in local:
            status, _, body = await door.post({"model": name, "messages": [{"role": "user", "content": "hi"}]})
            assert status == 200, (name, body)
            chats = [seen for seen in door.mock.received if seen.path.endswith("/chat/completions")]
            assert chats[-1].header("authorization") == "Bearer dummy", name


def test_the_rows_are_many() -> None:
    assert len(PLAIN) >= 120 and len(WITHOUT_KEY) >= 100
    assert all(PROVIDERS[name].dialects[0] in DIALECTS for name in PLAIN)
