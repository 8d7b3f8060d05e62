"""What a request says about its own way, through a gateway: tries, timeouts, fallbacks, and what the answer tells."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from penstock.mock import Script, Step
from penstock.runtime.call import WISH_FIELDS
from tests.door import HELLO, Door, open_door

STREAM = {**HELLO, "stream": True}
CONFIG = """
model_list:
  - model_name: m
    litellm_params: {model: openai/real-m, api_base: "{mock}/v1", api_key: k}
  - model_name: b
    litellm_params: {model: openai/real-b, api_base: "{mock}/v1", api_key: k}
  - model_name: c
    litellm_params: {model: openai/real-c, api_base: "{mock}/v1", api_key: k, stream_timeout: 30}
  - model_name: claude
    litellm_params: {model: anthropic/claude-sonnet-4-5, api_base: "{mock}", api_key: k}
  - model_name: engine
    litellm_params: {model: hosted_vllm/qwen, api_base: "{mock}/v1", api_key: k}
  - model_name: stubborn
    litellm_params: {model: openai/real-m, api_base: "{mock}/v1", api_key: k, num_retries: 3}
router_settings: {num_retries: 1, disable_cooldowns: true ROUTER}
"""
DOWN = Step(status=500)
pytestmark = pytest.mark.usefixtures("no_pauses")


def config(router: str = "") -> str:
    return CONFIG.replace(" ROUTER", f", {router}" if router else "")


def models_of(door: Door) -> list[str]:
    """The models that upstreams were asked for, in their order."""
    return [json.loads(got.body)["model"] for got in door.mock.received]


BODIES: dict[str, Any] = {
    "/v1/chat/completions": HELLO,
    "/v1/messages": {**HELLO, "max_tokens": 9},
    "/v1/responses": {"model": "m", "input": "hello"},
    "/api/chat": HELLO,
    "/v1beta/models/m:generateContent": {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]},
    "/v1/embeddings": {"model": "m", "input": "hello"},
    "/v1/completions": {"model": "m", "prompt": "hello"},
}
EVERY = {
    "num_retries": 0, "timeout": 9, "stream_timeout": 9, "fallbacks": ["b"], "context_window_fallbacks": [{"m": ["b"]}],
    "content_policy_fallbacks": [], "disable_fallbacks": False, "priority": 3, "tags": ["t"],
    "litellm_session_id": "s", "litellm_trace_id": "t", "mock_response": "no",
}  # fmt: skip


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("model", ["m", "claude"])
async def test_what_is_for_the_gateway_never_goes_upstream_and_is_no_loss(path, model, tmp_path):
    if model == "claude" and path == "/v1/embeddings":
        return
    async with open_door(tmp_path, config()) as door:
        body = {**BODIES[path], **EVERY} | ({"model": model} if "model" in BODIES[path] else {})
        status, headers, answer = await door.post(body, path.replace("/m:", f"/{model}:"))
        assert status == 200, answer
        [got] = door.mock.received
        sent = json.loads(got.body)
        assert not (WISH_FIELDS | set(EVERY)) & set(sent), sent
        assert not set(headers.get("x-penstock-dropped", "").split(",")) & {f"extra.{key}" for key in EVERY}


async def test_a_queue_of_the_engine_s_own_gets_the_priority(tmp_path):
    async with open_door(tmp_path, config()) as door:
        await door.post({**HELLO, "model": "engine", "priority": 3})
        assert json.loads(door.mock.received[0].body)["priority"] == 3


@pytest.mark.parametrize("path", BODIES)
async def test_a_wrong_wish_is_a_400_in_the_client_s_dialect_and_nobody_is_asked(path, tmp_path):
    async with open_door(tmp_path, config()) as door:
        for body, headers in (
            ({**BODIES[path], "num_retries": 99}, {}),
            (BODIES[path], {"x_litellm_num_retries": "99"}),
        ):
            status, _, answer = await door.post(body, path, **headers)
            said = b"must be a whole number from 0 to 20, not"
            assert status == 400 and said in answer.replace(b"\\", b""), answer
            told = json.loads(answer)
            if path == "/v1/messages":
                assert told["type"] == "error" and told["error"]["type"] == "invalid_request_error"
            elif path == "/api/chat":
                assert isinstance(told["error"], str)
            elif path.startswith("/v1beta"):
                assert told["error"]["status"] == "INVALID_ARGUMENT"
            else:
                assert told["error"]["code"] == "400"
        assert not door.mock.received


@pytest.mark.parametrize("asked", [HELLO, STREAM], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    ("model", "said", "calls"),
    [
        ("m", {}, 2),
        ("m", {"num_retries": 0}, 1),
        ("m", {"num_retries": 4}, 5),
        ("stubborn", {}, 4),
        ("stubborn", {"num_retries": 1}, 2),
    ],
)
async def test_the_request_s_tries_come_before_the_deployment_s_before_the_router_s(
    asked, model, said, calls, tmp_path
):
    async with open_door(tmp_path, config()) as door:
        door.mock.script = Script(default=DOWN)
        status, headers, _ = await door.post({**asked, **said, "model": model})
        assert status == 500 and len(door.mock.received) == calls
        assert headers["x-litellm-attempted-retries"] == str(calls - 1)
        assert headers.get("x-litellm-max-retries") == (str(calls - 1) if calls > 1 else None)
        assert headers["x-litellm-model-group"] == model and headers["x-litellm-timeout"] == "600.0"
        door.mock.reset()
        door.mock.script = Script()
        door.mock.queue([DOWN] * (calls - 1))
        status, headers, _ = await door.post({**asked, **said, "model": model})
        assert status == 200 and headers["x-litellm-attempted-retries"] == str(calls - 1)
        assert headers.get("x-litellm-max-retries") == (str(calls - 1) if calls > 1 else None)
        assert "x-litellm-timeout" not in headers


@pytest.mark.parametrize("asked", [HELLO, STREAM], ids=["whole", "streamed"])
async def test_fallbacks_of_the_request_stand_for_the_config_s(asked, tmp_path):
    async with open_door(tmp_path, config("fallbacks: [{m: [c]}]")) as door:
        door.mock.queue([DOWN] * 2)
        status, headers, _ = await door.post(asked)
        assert status == 200 and models_of(door) == ["real-m", "real-m", "real-c"]
        assert headers["x-litellm-attempted-fallbacks"] == "1" and headers["x-litellm-model-group"] == "c"
        assert headers["x-litellm-attempted-retries"] == "0", "of the group that answered"
        door.mock.reset()
        door.mock.queue([DOWN] * 3)
        status, headers, body = await door.post({**asked, "fallbacks": ["b"], "num_retries": 1})
        assert status == 200 and models_of(door) == ["real-m", "real-m", "real-b", "real-b"]
        assert headers["x-litellm-attempted-fallbacks"] == "1" and headers["x-litellm-attempted-retries"] == "1"
        assert b'"model":"m"' in body.replace(b": ", b":"), "the name that was asked for"
        door.mock.reset()
        door.mock.script = Script(default=DOWN)
        status, headers, _ = await door.post({**asked, "disable_fallbacks": True, "fallbacks": ["b"]})
        assert status == 500 and models_of(door) == ["real-m", "real-m"]
        assert "x-litellm-attempted-fallbacks" not in headers


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
async def test_a_fallback_may_be_another_request(path, tmp_path):
    """LiteLLM's client-side fallbacks: other messages for another model, or for the same one."""
    async with open_door(tmp_path, config("num_retries: 0").replace("num_retries: 1, ", "")) as door:
        door.mock.queue([DOWN] * 3)
        short = [{"role": "user", "content": "in short"}]
        said = [
            {"model": "m", "messages": short},
            {"model": "m", "temperature": 0},
            {"model": "claude", "max_tokens": 7},
        ]
        status, headers, _ = await door.post({**BODIES[path], "fallbacks": said, "max_tokens": 9}, path)
        assert status == 200 and headers["x-litellm-model-group"] == "claude"
        assert headers["x-litellm-attempted-fallbacks"] == "3"
        sent = [json.loads(got.body) for got in door.mock.received]
        assert [one["model"] for one in sent] == ["real-m", "real-m", "real-m", "claude-sonnet-4-5"]
        assert [one["messages"][-1]["content"] for one in sent[:3]] == ["hello", "in short", "hello"]
        assert [one.get("temperature") for one in sent[:3]] == [None, None, 0]
        assert sent[3]["max_tokens"] == 7 and "in short" not in json.dumps(sent[3])
        assert all("fallbacks" not in one for one in sent)


async def test_a_fallback_of_the_request_that_is_none(tmp_path):
    async with open_door(tmp_path, config()) as door:
        status, _, body = await door.post({**HELLO, "fallbacks": ["b", "claud"]})
        assert (
            status == 400
            and b"fallbacks[1] names the model 'claud', which does not exist. Nearest names here: claude" in body
        )
        status, _, body = await door.post({**HELLO, "fallbacks": [{"model": "b", "messages": "hi"}]})
        assert status == 400 and b"'messages' must be a list" in body
        assert not door.mock.received


async def test_a_fallback_s_own_fallbacks_are_tried_before_its_neighbours(tmp_path):
    router = "fallbacks: [{m: [b, claude]}, {b: [c]}]"
    async with open_door(tmp_path, config(router)) as door:
        door.mock.script = Script(default=DOWN)
        status, headers, _ = await door.post({**HELLO, "num_retries": 0})
        assert status == 500 and models_of(door) == ["real-m", "real-b", "real-c", "claude-sonnet-4-5"]
        assert headers["x-litellm-attempted-fallbacks"] == "3"
    async with open_door(tmp_path, config(f"{router}, max_fallbacks: 1")) as door:
        door.mock.script = Script(default=DOWN)
        await door.post({**HELLO, "num_retries": 0})
        assert models_of(door) == ["real-m", "real-b", "claude-sonnet-4-5"]


@pytest.mark.parametrize(
    ("body", "headers", "told"),
    [
        ({"timeout": 0.3}, {}, "0.3"),
        ({}, {"x_litellm_timeout": "0.3"}, "0.3"),
        ({"timeout": 0.3}, {"x_litellm_timeout": "60"}, "0.3"),
        ({}, {"x_stainless_read_timeout": "0.3"}, "0.3"),
        ({}, {"x_stainless_timeout": "0.3"}, "0.3"),
        ({"stream": True, "stream_timeout": 0.3}, {}, "0.3"),
        ({"stream": True}, {"x_litellm_stream_timeout": "0.3", "x_litellm_timeout": "60"}, "0.3"),
        ({"stream": True, "timeout": 0.3}, {}, "0.3"),
        ({"stream": True, "timeout": 0.3, "model": "c"}, {}, "0.3"),
    ],
)
async def test_nobody_is_waited_for_longer_than_the_request_says(body, headers, told, tmp_path):
    async with open_door(tmp_path, config()) as door:
        door.mock.script = Script(default=Step(latency_ms=60_000))
        began = time.monotonic()
        status, said, answer = await door.post({**HELLO, "num_retries": 0, **body}, **headers)
        assert status == 408 and 0.25 < time.monotonic() - began < 2.5
        assert said["x-litellm-timeout"] == told and b'"code":"408"' in answer
        [record] = door.records
        assert record.error == "timeout" and record.status == 408
        await door.settle()


async def test_a_timeout_is_that_of_each_try(tmp_path):
    async with open_door(tmp_path, config()) as door:
        door.mock.queue([Step(latency_ms=60_000), Step(text="late, but there")])
        status, _, answer = await door.post({**HELLO, "timeout": 0.3})
        assert status == 200 and b"late, but there" in answer and len(door.mock.received) == 2


@pytest.mark.parametrize("body", [{"stream_timeout": 0.3}, {"timeout": 0.3}])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
async def test_a_stream_that_stalls_ends_with_an_error(body, path, tmp_path):
    async with open_door(tmp_path, config()) as door:
        door.mock.script = Script(default=Step(text="one two three four", stall_after_events=4))
        status, _, answer = await door.post({**BODIES[path], "stream": True, **body}, path)
        assert status == 200 and b"timeout" in answer and b"[DONE]" not in answer and b"message_stop" not in answer
        [record] = door.records
        assert record.error == "timeout" and len(door.mock.received) == 1


async def test_a_client_that_is_kept_waiting_in_a_stream_is_not_given_up(tmp_path):
    """Its library's clock begins anew with each sign of life, which comes before its time is over."""
    alive = config() + "litellm_settings: {sse_keepalive_ping_interval_seconds: 0.1}\n"
    async with open_door(tmp_path, alive) as door:
        door.mock.script = Script(default=Step(latency_ms=500))
        status, _, _ = await door.post({**STREAM, "num_retries": 0}, x_stainless_read_timeout="0.3")
        assert status == 200


async def test_tags_in_metadata_are_kept_here(tmp_path):
    async with open_door(tmp_path, config()) as door:
        await door.post({**HELLO, "store": True, "metadata": {"tags": ["a"], "run": "7"}})
        assert json.loads(door.mock.received[0].body)["metadata"] == {"run": "7"}
