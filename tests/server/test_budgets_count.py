"""What a record charges is what counts against the provider's budget, however the request ended."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from penstock.core.money import to_nano
from penstock.mock import Rule, Script, Step
from tests.door import HELLO, Door, busy, open_door

PRICES = "input_cost_per_token: 0.001, output_cost_per_token: 0.002"
ENTRY = '  - {{model_name: m, litellm_params: {{model: {model}, api_base: "{{mock}}/v1", api_key: sk-u, {prices}}}}}\n'
BUDGETS = "{openai: {budget_limit: 100000, time_period: 1d}, groq: {budget_limit: 100000, time_period: 1d}}"
SLOW: dict[str, Any] = {"length": 60, "tokens_per_second": 300}
MESSAGES = {"model": "m", "max_tokens": 90, "messages": [{"role": "user", "content": "hi"}]}


def config(*models: str, settings: str = "") -> str:
    rows = "".join(ENTRY.format(model=model, prices=PRICES) for model in models)
    return f"model_list:\n{rows}router_settings: {{num_retries: 2, provider_budget_config: {BUDGETS}, {settings}}}\n"


def counted(door: Door) -> int:
    """What counts against all budgets, in nano-dollars."""
    told = door.gateway.engine.means.lives.spent.take("p", door.gateway.clock(), False)
    return sum(amount for one in told for amount in one.by.values())


def charged(door: Door) -> int:
    return sum(to_nano(record.cost) for record in door.records if record.cost is not None)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"], ids=["same", "cross"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    "step",
    [
        Step(),
        Step(cut_after_events=6, cut="rst", **SLOW),
        Step(error_event_after=6, error="overloaded", **SLOW),
        Step(status=500, error="no"),
        Step(hangup="before_answer"),
    ],
    ids=["well", "cut", "error event", "500", "hangup"],
)
async def test_every_ending_counts_what_it_charges(tmp_path, path, stream, step):
    async with open_door(tmp_path, config("openai/a", "groq/b", settings="disable_cooldowns: true")) as door:
        door.mock.script = Script(rules=[Rule(model="a", step=step)])
        for _ in range(6):
            body = HELLO if path.endswith("completions") else MESSAGES
            await door.post({**body, "stream": stream}, path)
        await door.settle()
        assert len(door.records) == 6 and counted(door) == charged(door) > 0


async def test_who_leaves_in_the_middle_counts(tmp_path):
    async with open_door(tmp_path, config("openai/a", "groq/b"), script=Script(default=Step(**SLOW))) as door:
        for _ in range(3):
            reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
            data = json.dumps({**HELLO, "stream": True}).encode()
            head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(data)}\r\n\r\n"
            writer.write(head.encode() + data)
            await reader.readuntil(b"data: ")
            writer.close()
            while busy(door.pool):
                await asyncio.sleep(0.005)
        await door.settle()
        assert [record.error for record in door.records] == ["client_gone"] * 3
        assert counted(door) == charged(door) > 0


async def test_who_leaves_before_the_next_try_pays_for_none_that_failed(tmp_path):
    """Each try is refused by a dead upstream, and the client leaves while the gateway waits for the next one."""
    entry = ENTRY.replace("{{mock}}/v1", "http://127.0.0.1:9/v1").format(model="openai/dead", prices=PRICES)
    yaml = f"model_list:\n{entry}router_settings: {{num_retries: 5, retry_after: 1}}\n"
    async with open_door(tmp_path, yaml) as door:
        body = json.dumps(HELLO | {"model": "m"}).encode()
        head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        _, writer = await asyncio.open_connection("127.0.0.1", door.port)
        writer.write(head + b"content-length: %d\r\n\r\n" % len(body) + body)
        while not (door.gateway.active and next(iter(door.gateway.active)).call.tries):
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)  # the try is over in a millisecond, and the pause takes a second
        writer.close()
        await door.settle()
        [record] = door.records
        assert record.error == "client_gone" and record.tries >= 1
        assert not record.cost and record.usage is None


async def test_both_of_a_race_count(tmp_path):
    async with open_door(tmp_path, config("openai/a", "groq/b", settings="hedge_after: 30ms")) as door:
        door.mock.script = Script(default=Step(latency_ms=60))
        for _ in range(6):
            assert (await door.post(HELLO))[0] == 200
        await door.settle()
        assert counted(door) == charged(door) > 0


async def test_who_has_no_budget_counts_nowhere(tmp_path):
    async with open_door(tmp_path, config("openai/a", "groq/b").replace("groq: {", "cohere: {")) as door:
        door.mock.script = Script(rules=[Rule(model="a", step=Step(status=500))])
        for _ in range(6):
            assert (await door.post(HELLO))[0] == 200
        await door.settle()
        assert charged(door) > 0 and counted(door) == 0
