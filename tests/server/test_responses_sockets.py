"""Responses over a WebSocket: passed through to targets that have it, served over HTTP for all others."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from penstock.mock import Rule, Script, Step
from tests.door import open_door
from tests.server.test_sockets import DOORS, KEY, SECRET, dial, each_door, recorded

YAML = """
model_list:
  - model_name: gpt
    litellm_params: {model: openai/gpt-5.2, api_base: "{mock}/v1", api_key: sk-upstream-secret}
  - model_name: claude
    litellm_params: {model: anthropic/claude-sonnet-4-5, api_base: "{mock}", api_key: sk-upstream-secret}
router_settings: {num_retries: 0}
"""
LAST = ("response.completed", "response.incomplete", "response.failed", "error")


async def ask(client: Any, **fields: Any) -> list[dict[str, Any]]:
    """The events of one response."""
    await client.send(json.dumps({"type": "response.create", **fields}))
    told: list[dict[str, Any]] = []
    while not told or told[-1]["type"] not in LAST:
        told.append(json.loads(await asyncio.wait_for(client.recv(), 5)))
    return told


def text_of(told: list[dict[str, Any]]) -> str:
    return "".join(event["delta"] for event in told if event["type"] == "response.output_text.delta")


@each_door
@pytest.mark.parametrize("sockets", [True, False])
@pytest.mark.parametrize("model", ["gpt", "claude"])
async def test_a_conversation_goes_on_by_the_id_of_the_response_before(tmp_path, opened, sockets, model):
    script = Script(sockets=sockets)
    async with opened(tmp_path, YAML, master_key=KEY, script=script) as door:
        async with dial(door, "/v1/responses") as client:
            previous: dict[str, Any] = {}
            for number in range(3):
                told = await ask(client, model=model, store=False, input=f"turn {number}", **previous)
                assert [told[0]["type"], told[-1]["type"]] == ["response.created", "response.completed"], told[-1]
                response = told[-1]["response"]
                assert response["model"] == model and text_of(told)
                previous = {"previous_response_id": response["id"]}
            records = await recorded(door, 3)
            assert [(r.status, r.model, r.path) for r in records] == [(200, model, "/v1/responses")] * 3
            assert all(r.usage.output and r.usage.fresh for r in records), "each is billed"
            assert records[2].usage.input > records[0].usage.input, "the turns before were there"
        opened_sockets = [r for r in door.mock.received if r.status == 101]
        assert bool(opened_sockets) == (sockets and model == "gpt")
        if opened_sockets:
            [received] = opened_sockets
            assert [m["model"] for m in received.messages] == ["gpt-5.2"] * 3
            assert [m.get("previous_response_id") is not None for m in received.messages] == [False, True, True]
            assert all("stream" not in m and len(m["input"]) for m in received.messages)
            assert received.header("authorization") == f"Bearer {SECRET}" and KEY not in str(received.headers)
            assert (await door.mock.wait_for(1, complete=True))[0].closed == 1000
        await door.settle()


async def test_what_a_connection_keeps_is_counted_and_given_back(tmp_path):
    async with open_door(tmp_path, YAML, master_key=KEY) as door:
        async with dial(door, "/v1/responses") as client:
            held = []
            for size in (100_000, 10, 50_000):
                told = await ask(client, model="claude", store=False, input="x " * size)
                await asyncio.sleep(0.05)
                held.append(door.gateway.held.size)
            assert held[0] > 200_000 and held[1] < 10_000 and 100_000 < held[2] < 200_000
            door.gateway.held.limit = 300_000
            told = await ask(client, model="claude", store=False, input="x " * 75_000)
            previous = told[-1]["response"]["id"]
            [error] = await ask(client, model="claude", input="go on", previous_response_id=previous + "x")
            assert error["status"] == 400 and "not found" in error["error"]["message"]
        await door.settle()
        assert door.gateway.held.size == 0


async def test_what_says_that_a_response_was_read_is_no_request(tmp_path):
    async with open_door(tmp_path, YAML, master_key=KEY) as door, dial(door, "/v1/responses") as client:
        await client.send(json.dumps({"type": "response.processed", "response_id": "resp_1"}))
        assert (await ask(client, model="gpt", input="hello"))[-1]["type"] == "response.completed"


async def test_a_conversation_may_change_its_model_on_the_way(tmp_path):
    async with open_door(tmp_path, YAML, master_key=KEY) as door, dial(door, "/v1/responses") as client:
        told = await ask(client, model="claude", store=False, input="the word is heron")
        for model in ("gpt", "claude", "gpt"):
            previous = told[-1]["response"]["id"]
            told = await ask(client, model=model, store=False, input="go on", previous_response_id=previous)
            assert told[-1]["type"] == "response.completed" and told[-1]["response"]["model"] == model, told[-1]
        seen = [m for r in door.mock.received for m in [*r.messages, r.json] if m]
        assert all("heron" in json.dumps(m) or "previous_response_id" in m for m in seen)
        assert len(json.dumps(seen[-1])) > len(json.dumps(seen[0]))


@pytest.mark.parametrize("model", ["gpt", "claude"])
async def test_a_request_that_only_warms_up_is_kept_and_asks_nobody(tmp_path, model):
    async with open_door(tmp_path, YAML, master_key=KEY) as door, dial(door, "/v1/responses") as client:
        told = await ask(client, model=model, store=False, input="the word is heron", generate=False)
        assert [event["type"] for event in told] == ["response.created", "response.completed"]
        assert not door.mock.received and told[-1]["response"]["output"] == []
        previous = told[-1]["response"]["id"]
        told = await ask(client, model=model, store=False, input="say it", previous_response_id=previous)
        assert told[-1]["type"] == "response.completed"
        [received] = door.mock.received
        sent = received.messages[0] if received.messages else received.json
        assert "heron" in json.dumps(sent) and "generate" not in sent and "previous_response_id" not in sent


BAD = {
    "no JSON": ("{", "bad_request"),
    "no create": ('{"type": "response.cancel"}', "type"),
    "several at once": ('{"type": "response.create", "model": "gpt", "input": "x", "stream_id": "a"}', "stream_id"),
    "an unknown model": ('{"type": "response.create", "model": "nobody", "input": "x"}', "nobody"),
    "no input": ('{"type": "response.create", "model": "gpt"}', "input"),
    "a key": ('{"type": "response.create", "model": "gpt", "input": "x", "api_key": "sk-1"}', "api_key"),
    "an unknown response": (
        '{"type": "response.create", "model": "claude", "input": "x", "previous_response_id": "resp_x"}',
        "resp_x",
    ),
}


@pytest.mark.parametrize(("sent", "named"), BAD.values(), ids=BAD)
async def test_what_is_wrong_is_an_error_event_and_the_connection_goes_on(tmp_path, sent, named):
    async with open_door(tmp_path, YAML, master_key=KEY) as door, dial(door, "/v1/responses") as client:
        await client.send(sent)
        error = json.loads(await asyncio.wait_for(client.recv(), 5))
        assert error["type"] == "error" and error["status"] == 400, error
        assert named == "bad_request" or named in error["error"]["message"], error
        assert (await ask(client, model="gpt", input="hello"))[-1]["type"] == "response.completed"


@each_door
@pytest.mark.parametrize("model", ["gpt", "claude"])
async def test_an_upstream_s_refusal_is_an_error_event_with_its_status(tmp_path, opened, model):
    rules = (Rule(step=Step(status=429, error=f"slow down, {SECRET}")),)
    async with opened(tmp_path, YAML, master_key=KEY, script=Script(rules=rules)) as door:
        async with dial(door, "/v1/responses") as client:
            [error] = await ask(client, model=model, input="hello")
            assert (error["type"], error["status"]) == ("error", 429) and "slow down" in error["error"]["message"]
            assert SECRET not in json.dumps(error)
        [record] = await recorded(door)
        assert record.error == "upstream_rate_limit"
        await door.settle()


@pytest.mark.parametrize("model", ["gpt", "claude"])
async def test_who_leaves_in_the_middle_ends_the_response_and_is_recorded(tmp_path, model):
    step = Step(length=4000, tokens_per_second=100)
    async with open_door(tmp_path, YAML, master_key=KEY, script=Script(default=step, sockets=False)) as door:
        client = await dial(door, "/v1/responses")
        await client.send(json.dumps({"type": "response.create", "model": model, "input": "hello"}))
        await asyncio.wait_for(client.recv(), 5)
        client.transport.abort()
        [record] = await recorded(door)
        assert record.error == "client_gone"
        await door.settle()


async def test_an_upstream_that_closes_in_the_middle_is_an_error_and_the_next_response_gets_a_new_socket(tmp_path):
    async with open_door(tmp_path, YAML, master_key=KEY) as door, dial(door, "/v1/responses") as client:
        assert (await ask(client, model="gpt", input="hello"))[-1]["type"] == "response.completed"
        for connection in list(door.mock.sockets):
            connection.transport.abort()
        await asyncio.sleep(0.05)
        assert (await ask(client, model="gpt", input="hello"))[-1]["type"] == "response.completed"
        assert [r.status for r in door.mock.received] == [101, 101]


async def test_a_shutdown_lets_the_response_finish_and_closes_with_1001(tmp_path):
    step = Step(length=30, tokens_per_second=100)
    async with open_door(tmp_path, YAML, master_key=KEY, script=Script(default=step, sockets=False)) as door:
        async with dial(door, "/v1/responses") as client:
            await client.send(json.dumps({"type": "response.create", "model": "claude", "input": "hello"}))
            await asyncio.wait_for(client.recv(), 5)
            door.gateway.draining = True
            door.gateway.wind_down()
            told = []
            with pytest.raises(ConnectionClosed):
                while True:
                    told.append(json.loads(await asyncio.wait_for(client.recv(), 5))["type"])
            assert told[-1] == "response.completed" and client.close_code == 1001
        await door.settle()


async def test_a_connection_ends_when_it_has_lasted_as_long_as_one_may(tmp_path):
    yaml = YAML + "general_settings: {responses_websocket_session_limit_seconds: 1}\n"
    async with open_door(tmp_path, yaml, master_key=KEY) as door, dial(door, "/v1/responses") as client:
        error = json.loads(await asyncio.wait_for(client.recv(), 5))
        assert error["error"]["code"] == "websocket_connection_limit_reached"
        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(client.recv(), 5)
    assert set(DOORS) == {"quick", "asgi"}
