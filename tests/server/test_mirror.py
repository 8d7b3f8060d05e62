"""Copies for a silent model: asked beside the request, thrown away, paid for, and nobody notices."""

from __future__ import annotations

import asyncio
import json

import pytest

from penstock.mock import Script, Step
from penstock.runtime import mirror
from tests.door import HELLO, open_door
from tests.server.books import open_books
from tests.server.test_routing import asked, says

ROW = """
  - model_name: NAME
    litellm_params: {model: openai/NAME, api_base: "{mock}/v1", api_key: sk-upstream-secret, silent_model: OTHER}
    model_info: {input_cost_per_token: 0.001}"""
ROWS = "".join(ROW.replace("NAME", name).replace("OTHER", other) for name, other in (("m", "s"), ("s", "m")))
YAML = f"model_list:{ROWS}\n"
BODIES = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 9, "user": "someone"},
    "/v1/messages": {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 9},
    "/v1/responses": {"input": "hello"},
    "/v1/embeddings": {"input": "hello"},
}


async def copies_done(door) -> None:
    beside = door.gateway.engine.means.beside
    while beside:
        await asyncio.wait(set(beside), timeout=5)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", BODIES)
async def test_a_silent_model_is_asked_the_same(tmp_path, path, stream):
    if stream and path == "/v1/embeddings":
        return
    async with open_door(tmp_path, YAML) as door:
        status, _, body = await door.post(
            {"model": "m", **BODIES[path], "stream": stream} if stream else {"model": "m", **BODIES[path]}, path
        )
        assert status == 200 and b'"s"' not in body
        await copies_done(door)
        sent = {one["model"]: one for one in (json.loads(seen.body) for seen in door.mock.received)}
        assert set(sent) == {"m", "s"} and len(door.mock.received) == 2, "and no copy is made of a copy"
        assert not sent["s"].get("stream") and "litellm_metadata" not in sent["s"]
        left_out = ("model", "stream", "stream_options")
        assert {k: v for k, v in sent["m"].items() if k not in left_out} == {
            k: v for k, v in sent["s"].items() if k not in left_out
        }


async def test_nobody_waits_for_a_copy_nor_hears_that_it_failed(tmp_path):
    async with open_door(tmp_path, YAML) as door:
        door.mock.script = says(s=Step(latency_ms=600))
        began = asyncio.get_running_loop().time()
        assert (await door.post(HELLO | {"model": "m"}))[0] == 200
        assert asyncio.get_running_loop().time() - began < 0.5
        await copies_done(door)
        door.mock.script = says(s=Step(status=500))
        for _ in range(3):
            assert (await door.post(HELLO | {"model": "m"}))[0] == 200
        await copies_done(door)
        door.mock.script = Script()
        assert set(asked(door)) == {"m", "s"}


async def test_only_so_many_copies_are_under_way(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(mirror, "MOST", 3)
    async with open_door(tmp_path, YAML) as door:
        door.mock.script = says(s=Step(latency_ms=400))
        answers = await asyncio.gather(*(door.post(HELLO | {"model": "m"}) for _ in range(10)))
        assert {status for status, _, _ in answers} == {200}
        await copies_done(door)
        assert asked(door) == {"m": 10, "s": 3}
        assert (await door.post(HELLO | {"model": "m"}))[0] == 200
        await copies_done(door)
        assert asked(door) == {"m": 1, "s": 1}, "there is room again"
    assert caplog.text.count("no more are made until one is over") == 1


async def test_a_model_that_there_is_not_is_said_once(tmp_path, caplog):
    async with open_door(tmp_path, YAML.replace("silent_model: s", "silent_model: nowhere")) as door:
        for _ in range(3):
            assert (await door.post(HELLO | {"model": "m"}))[0] == 200
        await copies_done(door)
        assert asked(door) == {"m": 3}
    assert caplog.text.count("The silent model 'nowhere' of") == 1


async def test_what_a_copy_costs_is_charged_to_the_key_which_need_not_be_allowed_the_model(tmp_path):
    async with open_books(tmp_path, YAML) as door:
        key = await door.key("k", models=["m"], rpm_limit=2)
        assert (await door.chat(key, model="s"))[0] == 403
        for _ in range(2):
            assert (await door.chat(key))[0] == 200
        await copies_done(door)
        assert (await door.chat(key))[0] == 429, "a copy takes none of the key's limits"
        entries = [entry for entry in await door.stored(4) if entry.status == 200]
        of = {entry.model: entry for entry in entries}
        assert sorted(entry.model for entry in entries) == ["m", "m", "s", "s"]
        assert of["s"].cost == of["m"].cost > 0 and of["s"].key == of["m"].key
        assert json.loads(of["s"].metadata) == {"is_silent_experiment": True} and not of["m"].metadata


async def test_a_copy_is_not_made_where_the_budget_is_used_up(tmp_path):
    async with open_books(tmp_path, YAML) as door:
        key = await door.key("k", max_budget=0.0000001)
        statuses = [(await door.chat(key))[0] for _ in range(3)]
        await copies_done(door)
        assert 200 not in statuses and door.mock.received == []
        for step in range(40):  # the first budget that is enough for one at a time is not enough for two
            rich = await door.key(f"rich{step}", max_budget=0.01 * 1.5**step)
            if (await door.chat(rich))[0] == 200:
                break
        await copies_done(door)
        assert [json.loads(seen.body)["model"] for seen in door.mock.received] == ["m"]
