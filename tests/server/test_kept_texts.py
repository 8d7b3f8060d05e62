"""`store_prompts_in_spend_logs`: what requests ask and are answered is kept, cut and without secrets, and told again."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.kept_texts import MOST_KEPT, kept_json
from penstock.mock import Script
from tests.server.keyed import MASTER
from tests.server.spending import NOON, SpendDoor, open_spending

SECRET = "sk-upstream-secret-4711"
YAML = f"""
model_list:
  - {{model_name: m, litellm_params: {{model: openai/real, api_base: "{{mock}}/v1", api_key: {SECRET}}}}}
  - {{model_name: claude, litellm_params: {{model: anthropic/real, api_base: "{{mock}}", api_key: other-provider-key-22}}}}
  - {{model_name: v, litellm_params: {{model: openai/text-embedding-3-small, api_base: "{{mock}}/v1", api_key: {SECRET}}}}}
  - {{model_name: tts, litellm_params: {{model: openai/tts-1, api_base: "{{mock}}/v1", api_key: {SECRET}}}}}
router_settings: {{num_retries: 0}}
general_settings: {{store_prompts_in_spend_logs: true}}
"""
SAYS = f"hello, my key is {SECRET} and yours sk-proj-0123456789abcdefghij"
CHATS = [
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": SAYS}], "max_tokens": 40}),
    ("/v1/messages", {"messages": [{"role": "user", "content": SAYS}], "max_tokens": 40}),
    ("/v1/responses", {"input": SAYS, "max_output_tokens": 40}),
    ("/v1/completions", {"prompt": SAYS, "max_tokens": 40}),
]


async def ask(door: SpendDoor, path: str, body: dict[str, Any]) -> int:
    return (await door.post(body, path, authorization=f"Bearer {MASTER}"))[0]


async def told(door: SpendDoor, count: int = 1) -> list[dict[str, Any]]:
    for _ in range(500):
        status, rows = await door.get("/spend/logs")
        assert status == 200
        if len(rows) >= count:
            return rows
        await asyncio.sleep(0.01)
    raise AssertionError(f"{len(rows)} of {count} are stored")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["m", "claude"])
@pytest.mark.parametrize(("path", "body"), CHATS)
async def test_every_chat_is_kept_whole_and_without_secrets(tmp_path, path, body, model, stream):
    async with open_spending(tmp_path, YAML) as door:
        door.mock.script = Script.always(text="the quick brown fox")
        assert await ask(door, path, {"model": model, "stream": stream, **body}) == 200
        [row] = await told(door)
        asked, answered = row["proxy_server_request"], row["response"]
        assert asked["model"] == model and asked.keys() >= body.keys()
        assert row["messages"] == asked[next(name for name in ("messages", "input", "prompt") if name in body)]
        said = json.dumps(row)
        assert "hello, my key is [redacted]" in said and SECRET not in said and "sk-proj-" not in said
        assert "the quick brown fox" in json.dumps(answered), "a stream is put together, in the client's dialect"
        assert (await door.get(f"/spend/logs?request_id={row['request_id']}"))[1][0]["response"] == answered
        assert (await door.get(f"/spend/logs/ui/{row['litellm_call_id']}"))[1]["response"] == answered
        assert (await door.get("/spend/logs/v2"))[1]["data"][0]["messages"] == row["messages"]


async def test_other_calls_and_failures_are_kept_too(tmp_path):
    async with open_spending(tmp_path, YAML) as door:
        assert await ask(door, "/v1/embeddings", {"model": "v", "input": ["a", "b"]}) == 200
        assert await ask(door, "/v1/audio/speech", {"model": "tts", "input": "say it", "voice": "alloy"}) == 200
        door.mock.script = Script.always(status=400)
        assert await ask(door, "/v1/chat/completions", {"model": "m", "messages": [{"role": "user", "content": "x"}]}) == 400
        rows = {row["model_group"]: row for row in await told(door, 3)}
        assert rows["v"]["messages"] == ["a", "b"] and len(rows["v"]["response"]["data"]) == 2
        assert rows["tts"]["messages"] == "say it" and rows["tts"]["response"] == {}
        assert rows["m"]["messages"][0]["content"] == "x" and rows["m"]["response"] == {}


@pytest.mark.parametrize("settings", ["{}", "{store_prompts_in_spend_logs: true, disable_spend_logs: true}"])
async def test_nothing_is_kept_where_nobody_asked_for_it(tmp_path, settings):
    yaml = YAML.replace("{store_prompts_in_spend_logs: true}", settings)
    async with open_spending(tmp_path, yaml) as door:
        assert await ask(door, *_chat()) == 200
        [row] = await told(door)
        assert (row["messages"], row["response"], row["proxy_server_request"]) == ({}, {}, {})
        assert await door.storage.spend.texts([row["litellm_call_id"]]) == {}


async def test_what_is_long_is_cut_and_says_so(tmp_path):
    async with open_spending(tmp_path, YAML) as door:
        await ask(door, *_chat("word " * 10_000))
        await ask(door, *_chat(*("x" * 8000 for _ in range(20))))
        await ask(door, *_chat("y" * 300_000))
        rows = await told(door, 3)
        kept = {len(row["messages"]) and row["messages"][0]["content"][:1]: row for row in rows}
        assert kept["w"]["messages"][0]["content"].endswith("... (41,808 more characters)")
        assert len(kept["x"]["messages"]) == 20 and kept["x"]["messages"][0]["content"].startswith("x" * 1024 + "...")
        assert kept[0]["proxy_server_request"] == {"truncated": True, "bytes": pytest.approx(300_000, rel=0.01)}


async def test_they_go_with_their_rows(tmp_path):
    async with open_spending(tmp_path, YAML) as door:
        await ask(door, *_chat())
        [row] = await told(door)
        store, ids = door.storage.spend, [row["litellm_call_id"]]
        assert len(await store.texts(ids)) == 1
        assert await store.forget(NOON + 10**10) == 1 and await store.texts(ids) == {}


def _chat(*texts: str) -> tuple[str, dict[str, Any]]:
    messages = [{"role": "user", "content": text} for text in texts or ("hello",)]
    return "/v1/chat/completions", {"model": "m", "messages": messages, "max_tokens": 20}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=20) | st.just("s" * 20_000) | st.just("secret"),
    lambda inner: st.lists(inner, max_size=12) | st.dictionaries(st.text(max_size=5), inner, max_size=5),
    max_leaves=60,
)  # fmt: skip


@given(value=JSON)
def test_whatever_is_kept_is_json_of_a_bounded_size_without_secrets(value):
    found = kept_json(msgspec.json.encode(value), lambda text: text.replace("secret", "***"))
    read = msgspec.json.decode(found)
    assert len(found) <= MOST_KEPT and b'"secret' not in found.replace(b'"secret":', b"")
    if b"more characters" not in found and "secret" not in str(value):
        assert read == value


@pytest.mark.parametrize("raw", [b"", b"audio \xff\xfe", b"{", b"[" * 5000])
def test_what_is_no_json_is_not_kept(raw):
    assert kept_json(raw, str) == b""
