"""Requests that are priced anew: at the price that charged them they cost the same, at another one what a call would."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from penstock.cli.spend_recompute import recompute
from penstock.core.admit.amount import dollars
from penstock.mock import Rule, Script, Step
from penstock.runtime.prices import MAP
from penstock.runtime.repricing import ELSEWHERE, GONE, MIXED, NO_PRICE, NO_USAGE, PENDING, FileMap, Repricer
from penstock.stores.base import CORRECTION, Spent
from tests.server.keyed import MASTER
from tests.server.spending import NOON, SpendDoor, open_spending

YAML = """
model_list:
  - model_name: gpt
    litellm_params: {model: openai/gpt-5, api_base: "{mock}/v1", api_key: k}
  - model_name: claude
    litellm_params: {model: anthropic/claude-sonnet-4-5, api_base: "{mock}", api_key: k}
  - model_name: own
    litellm_params: {model: openai/own, api_base: "{mock}/v1", api_key: k}
    model_info: {input_cost_per_token: 0.000001, output_cost_per_token: 0.00001, max_output_tokens: 100}
  - model_name: unknown
    litellm_params: {model: openai/nobody-knows, api_base: "{mock}/v1", api_key: k}
  - model_name: image
    litellm_params: {model: openai/dall-e-3, api_base: "{mock}/v1", api_key: k}
    model_info: {output_cost_per_image: 0.04}
  - model_name: voice
    litellm_params: {model: openai/tts-1, api_base: "{mock}/v1", api_key: k}
  - model_name: ranks
    litellm_params: {model: cohere/rerank-v3.5, api_base: "{mock}", api_key: k}
  - model_name: vectors
    litellm_params: {model: openai/text-embedding-3-small, api_base: "{mock}/v1", api_key: k}
router_settings: {num_retries: 0}
litellm_settings: {cost_margin_config: {anthropic: 0.1}}
"""
HELLO = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 30}
CALLS: Sequence[tuple[str, dict[str, Any]]] = [
    ("/v1/chat/completions", {"model": "gpt", **HELLO}),
    ("/v1/chat/completions", {"model": "gpt", "service_tier": "priority", **HELLO}),
    ("/v1/chat/completions", {"model": "gpt", "stream": True, **HELLO}),
    ("/v1/chat/completions", {"model": "claude", **HELLO}),
    ("/v1/messages", {"model": "own", **HELLO}),
    ("/v1/chat/completions", {"model": "unknown", **HELLO}),
    ("/v1/images/generations", {"model": "image", "prompt": "a cat", "size": "1024x1024", "n": 1}),
    ("/v1/audio/speech", {"model": "voice", "input": "hello there", "voice": "alloy"}),
    ("/v1/rerank", {"model": "ranks", "query": "x", "documents": ["a", "b"]}),
    ("/v1/embeddings", {"model": "vectors", "input": ["a", "b"]}),
    ("/openai/v1/chat/completions", {"model": "gpt-5", **HELLO}),
]


async def stored(door: SpendDoor, count: int) -> list[Spent]:
    for _ in range(500):
        found = (await door.storage.spend.rows(limit=1000)).rows
        if len(found) >= count:
            return list(found)
        await asyncio.sleep(0.01)
    raise AssertionError(f"{len(found)} of {count} are stored")


async def test_what_a_call_cost_is_what_it_costs_again(tmp_path):
    async with open_spending(tmp_path, YAML) as door:
        for path, body in CALLS:
            status, _, answer = await door.post(body, path, authorization=f"Bearer {MASTER}")
            assert status == 200, answer
        entries = await stored(door, len(CALLS))
        repricer = Repricer(door.gateway.state.config, MAP)
        for entry in entries:
            found = repricer.price(entry)
            assert (found.cost, found.version) == (entry.cost, entry.price_version), entry
            assert found.why == (NO_PRICE if entry.group == "unknown" else "")
        assert sum(entry.cost > 0 for entry in entries) == len(CALLS) - 1
        # Who knows no config leaves what a config priced: by its own prices, and by its margins.
        bare = {entry.group: Repricer(None, MAP).price(entry).why for entry in entries}
        assert {group for group, why in bare.items() if why == ELSEWHERE} == {"own", "claude", "image"}


async def test_another_price_is_what_it_would_have_cost(tmp_path):
    file = {"gpt-5": {"litellm_provider": "openai", "input_cost_per_token": 1e-3, "output_cost_per_token": 2e-3},
            "openai/nobody-knows": {"input_cost_per_token": "0.5", "output_cost_per_token": 0}}  # fmt: skip
    book = FileMap(msgspec.json.encode(file))
    async with open_spending(tmp_path, YAML) as door:
        for path, body in CALLS[:1] + CALLS[4:6]:
            await door.post(body, path, authorization=f"Bearer {MASTER}")
        entries = {entry.group: entry for entry in await stored(door, 3)}
        config = door.gateway.state.config
        gpt, unknown = (Repricer(config, book).price(entries[name]) for name in ("gpt", "unknown"))
        assert dollars(gpt.cost) == pytest.approx(entries["gpt"].input * 1e-3 + entries["gpt"].output * 2e-3)
        assert dollars(unknown.cost) == entries["unknown"].input / 2 and not unknown.why
        assert gpt.version == book.version != MAP.version
        assert Repricer(config, book).price(entries["own"]).cost == entries["own"].cost, "its own price is before the file"
    dearer = YAML.replace("output_cost_per_token: 0.00001", "output_cost_per_token: 0.0001")
    async with open_spending(tmp_path, dearer) as door:  # another id, as the entry is another one
        now = Repricer(door.gateway.state.config, MAP).price(entries["own"])
        assert now.cost == entries["own"].input * 10**6 + entries["own"].output * 10**8


async def test_a_sum_of_several_tries_stays(tmp_path):
    raced = """
model_list:
  - {model_name: m, litellm_params: {model: openai/gpt-5, api_base: "{mock}/v1", api_key: k, order: 1}}
  - {model_name: m, litellm_params: {model: openai/gpt-5-mini, api_base: "{mock}/v1", api_key: k, order: 2}}
router_settings: {num_retries: 2, hedge_after: 80ms}
"""
    async with open_spending(tmp_path, raced) as door:
        slow = Rule(step=Step(latency_ms=1500), model="gpt-5")
        door.mock.script = Script(rules=(slow, Rule(step=Step(length=5), model="gpt-5-mini")))
        status, _, _ = await door.post({"model": "m", **HELLO}, authorization=f"Bearer {MASTER}")
        [entry] = await stored(door, 1)
        found = Repricer(door.gateway.state.config, MAP).price(entry)
        assert (status, entry.tries, found.cost, found.why) == (200, 2, entry.cost, MIXED)


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ({"usage": b'{"fresh":1,"mixed":true}'}, MIXED), ({"usage": b""}, NO_USAGE), ({"usage": b"{broken"}, NO_USAGE),
        ({"usage": b'{"fresh":1}', "pending": True}, PENDING), ({"usage": b'{"fresh":1}', "target": "nobody-knows"}, NO_PRICE),
        ({"usage": b'{"fresh":1}', "price_version": "config", "target_id": "gone"}, GONE),
        ({"usage": b'{"fresh":1}', "cache_hit": True}, ""), ({"kind": CORRECTION}, ""),
        ({"cost": 0, "input": 0, "output": 0, "error": "timeout"}, ""),
    ],
)  # fmt: skip
async def test_what_cannot_be_priced_stays_and_says_why(tmp_path, entry, why):
    from penstock.config import Config

    told = {"call_id": "c", "at": NOON, "began": NOON, "kind": "acompletion", "cost": 5, "input": 1, "output": 1,
            "target": "gpt-5", "provider": "openai", "price_version": "v"} | entry  # fmt: skip
    found = Repricer(Config(), MAP).price(Spent(**told))
    assert (found.cost, found.version, found.why) == (told["cost"], told["price_version"], why)


async def test_a_gateway_that_serves_hears_of_it(tmp_path):
    """Rows, sums, the key's spend as the gateway tells it, the budget that it refuses by, and the audit log."""
    dear = FileMap(json.dumps({"openai/nobody-knows": {"input_cost_per_token": 1, "output_cost_per_token": 0}}).encode())
    async with open_spending(tmp_path, YAML) as door:
        storage, ledger = door.storage, door.gateway.books.ledger
        storage.on_recomputed = ledger.ask_anew
        watch = asyncio.get_running_loop().create_task(storage.watch())
        id_ = await door.key("a", max_budget=4)
        call = {"model": "unknown", **HELLO}
        assert (await door.post(call, authorization=f"Bearer {door.keys['a']}"))[0] == 200
        [before] = await stored(door, 1)
        assert before.cost == 0
        config = door.gateway.state.config
        for run in range(2):
            sums = await recompute(storage.database, Repricer(config, dear), 0, before.at + 9, False)
            assert sums.requests.total() == (1 if run == 0 else 0), "twice is once"
        [after] = (await storage.spend.rows()).rows
        assert after.cost == after.input * 10**12 >= 4 * 10**12
        for _ in range(200):
            if ledger.spent(f"key:{id_}") == after.cost:
                break
            await asyncio.sleep(0.01)
        assert ledger.spent(f"key:{id_}") == after.cost
        assert (await door.post(call, authorization=f"Bearer {door.keys['a']}"))[0] == 422
        audits, total = await storage.directory.audits({"action": "recomputed"})
        assert total == 1 and json.loads(audits[0].after)["new_spend"] == after.input
        status, listed = await door.get("/audit?action=recomputed")
        assert status == 200 and listed["total"] == 1
        watch.cancel()


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"m": 1}', b'{"m": {"input_cost_per_token": "dear"}}',
                                  b'{"m": {"input_cost_per_token": -1}}'])  # fmt: skip
def test_a_file_that_has_no_prices_is_refused(data):
    from penstock.runtime.repricing import Unreadable

    with pytest.raises(Unreadable):
        FileMap(data)
