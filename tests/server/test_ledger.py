"""What calls cost is in the ledger, whatever way they end, and no cap is exceeded."""

from __future__ import annotations

import asyncio
import errno
import gc
import json
import os

import pytest
from msgspec.structs import replace
from websockets.exceptions import ConnectionClosed

from penstock.core.admit.amount import PICO, dollars
from penstock.mock import Rule, Script, Step
from penstock.runtime.attempt import Attempt
from penstock.runtime.call import Call
from penstock.runtime.ledger import Bill
from penstock.server.surfaces import SURFACES
from penstock.stores.spend_memory import MemorySpendStore
from tests.server.books import ENTRY, MASTER, YAML, cost_of, open_books, said
from tests.server.test_sockets import dial, hear


async def test_an_answer_is_charged_to_all_whom_its_key_belongs_to(tmp_path):
    async with open_books(tmp_path) as door:
        await door.desk.add("team", "t", {"team_id": "t", "organization_id": "o"}, "test")
        await door.desk.add("user", "u", {"user_id": "u"}, "test")
        await door.desk.add("organization", "o", {"organization_id": "o"}, "test")
        key = await door.key("a", team_id="t", user_id="u")
        status, answer = await door.chat(key)
        assert status == 200
        [entry] = await door.stored()
        usage = said(answer)["usage"]
        assert entry.cost == usage["prompt_tokens"] * 10**6 + usage["completion_tokens"] * 10**7 > 0
        assert (entry.input, entry.output) == (usage["prompt_tokens"], usage["completion_tokens"])
        assert entry.accounts == (door.account(key), "team:t", "organization:o", "user:u", "member:t/u")
        assert (entry.team, entry.user, entry.organization, entry.model) == ("t", "u", "o", "m")
        assert entry.request_id == said(answer)["id"] and entry.provider == "openai" and entry.status == 200
        assert entry.kind == "acompletion" and not entry.pending and entry.target == "real-model"
        for account in entry.accounts:
            assert door.books.ledger.spent(account) == entry.cost
            assert await door.books.ledger.spent_of(account) == entry.cost


@pytest.mark.parametrize("stream", [False, True])
async def test_a_cap_is_never_exceeded_by_any_number_at_once(tmp_path, stream):
    async with open_books(tmp_path) as door:
        door.mock.script = Script.always(length=20, latency_ms=30)
        key = await door.key("a", max_budget=0.005)
        told = await asyncio.gather(*(door.chat(key, stream=stream) for _ in range(40)))
        good = [answer for status, answer in told if status == 200]
        bad = [said(answer)["error"] for status, answer in told if status == 422]
        assert good and bad and len(good) + len(bad) == 40
        spent = await door.books.ledger.spent_of(door.account(key))
        assert 0 < spent <= pico_of(0.005)
        assert all(error["type"] == "budget_exceeded" and error["code"] == "422" for error in bad)
        assert any("set aside for requests under way" in error["message"] for error in bad)
        entries = await door.stored(40)
        assert cost_of(entries) == dollars(spent) and len({entry.call_id for entry in entries}) == 40
        cell = door.books.ledger.book.cell(door.account(key))
        assert cell.reserved == 0


def pico_of(amount: float) -> int:
    return round(amount * PICO)


async def test_who_is_over_is_told_in_litellms_words(tmp_path):
    async with open_books(tmp_path) as door:
        door.mock.script = Script.always(length=20)
        await door.desk.add("team", "t", {"team_id": "t", "max_budget": 0.0006}, "test")
        key = await door.key("a", team_id="t", key_alias="alpha")
        statuses = [(await door.chat(key))[0] for _ in range(4)]
        assert statuses == [200, 200, 422, 422]
        error = said((await door.chat(key))[1])["error"]
        assert error["message"].startswith("Budget has been exceeded! Team=t Current cost: 0.00")
        assert "Max budget: 0.0006" in error["message"]
        status, _, _ = await door.ask("GET", "/v1/models", headers={"authorization": f"Bearer {key}"})
        assert status == 200, "who is over budget may still look"
        assert (await door.chat(MASTER))[0] == 200


async def test_without_reservations_the_call_that_crosses_it_passes(tmp_path):
    yaml = YAML + "general_settings: {disable_budget_reservation: true}\n"
    yaml += "litellm_settings: {budget_exceeded_status_code: 429}\n"
    async with open_books(tmp_path, yaml) as door:
        key = await door.key("a", max_budget=0.0000001)
        assert [(await door.chat(key))[0] for _ in range(3)] == [200, 429, 429]


async def test_caps_of_models_and_of_everybody(tmp_path):
    other = ENTRY.replace("model_name: m", "model_name: other")
    yaml = YAML.replace(ENTRY, ENTRY + other) + "litellm_settings: {max_budget: 0.001, budget_duration: 30d}\n"
    async with open_books(tmp_path, yaml) as door:
        door.mock.script = Script.always(length=20)
        key = await door.key("a", model_max_budget={"m": {"budget_limit": 0.0003, "time_period": "1d"}})
        assert [(await door.chat(key))[0] for _ in range(2)] == [200, 422]
        assert [(await door.chat(key, model="other"))[0] for _ in range(4)] == [200, 200, 200, 422]
        assert said((await door.chat(MASTER))[1])["error"]["message"].startswith("Budget has been exceeded! Current")
        entries = await door.stored(4)
        assert f"{door.account(key)}/model:m" in entries[0].accounts and "global" in entries[0].accounts
        assert not any("/model:" in account for entry in entries[2:5] for account in entry.accounts)


async def test_models_that_cost_nothing_pass_a_budget_that_is_spent(tmp_path):
    free = """
  - model_name: free
    litellm_params: {model: openai/own, api_base: "{mock}/v1", api_key: sk-x}
    model_info: {input_cost_per_token: 0, output_cost_per_token: 0}
  - model_name: unknown
    litellm_params: {model: openai/nobody-knows-it, api_base: "{mock}/v1", api_key: sk-x}
"""
    async with open_books(tmp_path, YAML.replace(ENTRY, ENTRY + free)) as door:
        key = await door.key("a", max_budget=0)
        assert [(await door.chat(key, model=model))[0] for model in ("m", "free", "unknown")] == [422, 200, 422]
        rich = await door.key("b", max_budget=1)
        assert (await door.chat(rich, model="unknown"))[0] == 200
        yaml = YAML.replace(ENTRY, ENTRY + free) + "litellm_settings: {block_requests_for_models_without_pricing: true}"
    async with open_books(tmp_path, yaml) as door:
        status, answer = await door.chat(MASTER, model="unknown")
        assert status == 400 and "block_requests_for_models_without_pricing" in said(answer)["error"]["message"]
        assert (await door.chat(MASTER))[0] == 200


async def left_after(door, key: str, wait: float, **fields) -> None:
    body = json.dumps({"model": "m", "max_tokens": 500, "messages": [{"role": "user", "content": "hello"}], **fields})
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nauthorization: Bearer {key}\r\n"
    writer.write(f"{head}content-length: {len(body)}\r\n\r\n{body}".encode())
    await asyncio.sleep(wait)
    writer.close()


async def test_a_stream_that_is_left_costs_what_was_generated(tmp_path):
    async with open_books(tmp_path) as door:
        door.mock.script = Script.always(length=400, tokens_per_second=100)
        key = await door.key("a", max_budget=1)
        await left_after(door, key, 0.4, stream=True)
        [entry] = await door.stored()
        assert entry.estimated and 10 < entry.output < 100 and entry.error == "client_gone"
        assert entry.cost >= entry.output * 10**7 and door.books.ledger.book.cell(door.account(key)).reserved == 0


async def test_a_whole_answer_that_is_left_costs_its_prompt(tmp_path):
    async with open_books(tmp_path) as door:
        door.mock.script = Script.always(latency_ms=2000)
        await left_after(door, await door.key("a"), 0.2)
        [entry] = await door.stored()
        assert entry.estimated and entry.input and not entry.output and entry.cost == entry.input * 10**6


async def test_what_nobody_could_be_asked_for_costs_nothing(tmp_path):
    yaml = YAML.replace("{mock}", "http://127.0.0.1:1")
    async with open_books(tmp_path, yaml) as door:
        key = await door.key("a", max_budget=1)
        assert (await door.chat(key))[0] == 500
        [entry] = await door.stored()
        assert entry.cost == 0 and entry.error == "connect" and entry.status == 500
        assert door.books.ledger.spent(door.account(key)) == 0


async def test_a_try_behind_one_that_failed_sets_nothing_more_aside(tmp_path):
    second = ENTRY.replace("real-model", "b")
    yaml = YAML.replace(ENTRY, ENTRY + second).replace("num_retries: 0", "num_retries: 2")
    async with open_books(tmp_path, yaml) as door:
        broken = Step(status=500)
        door.mock.script = Script(rules=(Rule(step=broken, model="real-model"), Rule(step=Step(length=5), model="b")))
        key = await door.key("a", max_budget=1)
        for _ in range(4):
            assert (await door.chat(key))[0] == 200
        entries = await door.stored(4)
        assert all(entry.output == 5 for entry in entries) and {entry.tries for entry in entries} <= {1, 2}
        assert door.books.ledger.book.cell(door.account(key)).reserved == 0


@pytest.mark.parametrize("stream", [False, True])
async def test_the_loser_of_a_race_is_charged_with_the_winner(tmp_path, stream):
    second = ENTRY.replace("real-model", "b").replace("api_key: sk-upstream-secret", "api_key: sk-x, order: 2")
    first = ENTRY.replace("api_key: sk-upstream-secret", "api_key: sk-x, order: 1")
    yaml = YAML.replace(ENTRY, first + second).replace("num_retries: 0", "num_retries: 2, hedge_after: 80ms")
    async with open_books(tmp_path, yaml) as door:
        door.mock.script = Script(
            rules=(Rule(step=Step(latency_ms=1500), model="real-model"), Rule(step=Step(length=5), model="b"))
        )
        key = await door.key("a", max_budget=1)
        assert (await door.chat(key, stream=stream))[0] == 200
        [entry] = await door.stored()
        assert entry.target == "b" and entry.tries == 2 and entry.output == 5
        winner = 5 * 10**7
        assert entry.cost > winner + 5 * 10**6, "its own prompt, and that of the one that was let go"


async def test_what_was_kept_costs_nothing_and_is_recorded(tmp_path):
    yaml = YAML + "litellm_settings: {cache: true, cache_params: {type: local}}\n"
    async with open_books(tmp_path, yaml) as door:
        key = await door.key("a", max_budget=1)
        for stream in (False, False, True):
            assert (await door.chat(key, stream=stream))[0] == 200
        entries = await door.stored(3)
        assert [entry.cache_hit for entry in entries] == [False, True, True]
        assert [bool(entry.cost) for entry in entries] == [True, False, False] and entries[1].output


async def test_what_is_passed_through_is_charged(tmp_path):
    async with open_books(tmp_path) as door:
        key = await door.key("a", max_budget=1)
        for stream in (False, True):
            status, _ = await door.chat(key, "/openai/v1/chat/completions", model="real-model", stream=stream)
            assert status == 200
        entries = await door.stored(2)
        assert all(entry.cost > 0 and entry.kind == "pass_through_endpoint" and entry.output for entry in entries)
        poor = await door.key("b", max_budget=0.0000001)
        status, answer = await door.chat(poor, "/openai/v1/chat/completions", model="real-model")
        assert status == 422 and "set aside" in said(answer)["error"]["message"]
        assert door.books.ledger.book.cell(door.account(key)).reserved == 0


ASKED = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "x"}]},
    "/v1/messages": {"messages": [{"role": "user", "content": "x"}]},
    "/v1/responses": {"input": "x"},
    "/v1/completions": {"prompt": "x"},
    "/v1/embeddings": {"input": "x", "max_tokens": None, "stream": None, "messages": None},
    "/v1/rerank": {"query": "x", "documents": ["a"]},
    "/v1/moderations": {"input": "x"},
    "/v1/images/generations": {"prompt": "x"},
    "/v1/audio/speech": {"input": "x", "voice": "alloy"},
    "/api/chat": {"messages": [{"role": "user", "content": "x"}]},
}


@pytest.mark.parametrize("path", ASKED)
@pytest.mark.parametrize("stream", [False, True])
async def test_every_surface_keeps_books(tmp_path, path, stream):
    assert path in SURFACES
    async with open_books(tmp_path) as door:
        key = await door.key("a", max_budget=1)
        status, _ = await door.chat(key, path, **{"stream": stream, **ASKED[path]})
        [entry] = await door.stored()
        assert entry.status == status and entry.path == path and entry.accounts == (door.account(key),)
        assert door.books.ledger.book.cell(door.account(key)).reserved == 0
        over = await door.key("b", max_budget=0)
        assert (await door.chat(over, path, **{"stream": stream, **ASKED[path]}))[0] == 422


async def test_a_soft_budget_is_told_once(tmp_path, caplog):
    async with open_books(tmp_path) as door:
        key = await door.key("a", soft_budget=0.0000001, key_alias="alpha")
        for _ in range(3):
            assert (await door.chat(key))[0] == 200
        told = [line for line in caplog.messages if "Soft budget" in line]
        assert len(told) == 1 and "Key=alpha" in told[0]


async def test_what_was_spent_before_counts(tmp_path):
    store = MemorySpendStore()
    async with open_books(tmp_path, store=store) as door:
        door.mock.script = Script.always(length=20)
        key = await door.key("a", max_budget=0.0006)
        assert (await door.chat(key))[0] == 200
        await door.stored(1)
    async with open_books(tmp_path, store=store) as door:
        door.mock.script = Script.always(length=20)
        key = await door.key("a", max_budget=0.0006)
        before = store.sums[door.account(key), "", 0.0]
        assert await door.books.ledger.spent_of(door.account(key)) == before > 0
        assert [(await door.chat(key))[0] for _ in range(3)] == [200, 422, 422]
        assert os.listdir(tmp_path / "state" / "journal") != []
    assert os.listdir(tmp_path / "state" / "journal") == [], "all of it is stored"


async def test_a_database_that_is_away_loses_nothing_and_delays_nobody(tmp_path):
    store = MemorySpendStore()
    async with open_books(tmp_path, store=store) as door:
        store.away = True
        key = await door.key("a", max_budget=1)
        for _ in range(5):
            assert (await door.chat(key))[0] == 200
        await asyncio.sleep(0.3)
        assert not store.entries and door.books.told()["store"]
    assert len(os.listdir(tmp_path / "state" / "journal")) == 1
    async with open_books(tmp_path, store=store) as door:  # still away
        account = door.account(await door.key("a", max_budget=1))
        at_once = door.books.ledger.spent(account)
        assert at_once > 0, "what the journal has counts, also before it is stored"
        store.away = False
        entries = await door.stored(5)
        assert sum(entry.cost for entry in entries) == at_once == await door.books.ledger.spent_of(account)


class SlowStore(MemorySpendStore):
    async def append(self, *given):
        await asyncio.sleep(2)
        await super().append(*given)

    async def totals(self, asked):
        await asyncio.sleep(2)
        return await super().totals(asked)


async def test_a_slow_database_delays_no_request(tmp_path):
    async with open_books(tmp_path, store=SlowStore()) as door:
        key, loop = await door.key("a", max_budget=1), asyncio.get_running_loop()
        times = []
        for _ in range(60):
            began = loop.time()
            assert (await door.chat(key))[0] == 200
            times.append(loop.time() - began)
        assert max(times) < 0.5


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("choice", ["stop", "pass"])
async def test_a_full_disk_stops_paid_calls_or_lets_them_pass(tmp_path, monkeypatch, caplog, choice, stream):
    yaml = YAML + f"general_settings: {{on_ledger_failure: {choice}}}\n"
    async with open_books(tmp_path, yaml) as door:
        key = await door.key("a", max_budget=1)
        assert (await door.chat(key))[0] == 200
        write, full = os.pwrite, True

        def pwrite(fd: int, data: bytes, at: int) -> int:
            if not full:
                return write(fd, data, at)
            if len(data) > 10:
                return write(fd, data[:10], at)  # the last block takes a little
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "pwrite", pwrite)
        assert (await door.chat(key, stream=stream))[0] == 200, "it is found out with the first, which waits"
        told = [await door.chat(key, stream=stream) for _ in range(3)]
        assert [status for status, _ in told] == [503 if choice == "stop" else 200] * 3
        assert "journal" in door.books.told()
        if choice == "stop":
            assert len(door.mock.received) == 2 and "on_ledger_failure" in said(told[0][1])["error"]["message"]
        assert sum("let pass" in line for line in caplog.messages) == (choice == "pass")
        full = False
        assert (await door.chat(key))[0] == 200 and not door.books.told()
        entries = await door.stored(6)
        good = [entry for entry in entries if entry.status == 200]
        assert len(good) == (3 if choice == "stop" else 6) and len(entries) == 6
        assert door.books.ledger.spent(door.account(key)) == sum(entry.cost for entry in entries)


async def test_a_call_that_is_charged_leaves_no_circle(tmp_path):
    async with open_books(tmp_path) as door:
        door.mock.script = Script.always(length=20)
        key, over = await door.key("a", max_budget=1), await door.key("b", max_budget=0)
        await door.chat(key)
        await door.settle()
        gc.collect()
        gc.disable()
        try:
            for fields in ({}, {"stream": True}, {"model": "nobody"}):
                await door.chat(key, **fields)
            await door.chat(over)
            await left_after(door, key, 0.05, stream=True)
            await door.stored(6)
            await asyncio.sleep(0.05)
            kept = [one for one in gc.get_objects() if type(one) in (Call, Attempt, Bill)]
        finally:
            gc.enable()
        assert kept == []


async def test_a_session_ends_where_its_budget_does(tmp_path):
    facts = "{input_cost_per_token: 0.000001, output_cost_per_token: 0.00001, max_input_tokens: 100, max_output_tokens: 20}"
    voice = ENTRY.replace("model_name: m", "model_name: voice").replace("real-model", "gpt-realtime")
    voice = voice[: voice.index("model_info")] + f"model_info: {facts}\n"
    async with open_books(tmp_path, YAML.replace(ENTRY, ENTRY + voice)) as door:
        cap = 0.0006  # a response costs 0.000115 here, and 0.0003 at most
        key = await door.key("a", max_budget=cap)
        responses = 0
        async with dial(door, key=key) as client:
            await hear(client, "session.created")
            with pytest.raises((ConnectionClosed, AssertionError)):
                while responses < 20:
                    await client.send(json.dumps({"type": "response.create"}))
                    await hear(client, "response.done")
                    responses += 1
        [entry] = await door.stored()
        assert 1 < responses < 20 and entry.error == "over_budget" and entry.kind == "acompletion"
        assert entry.cost == entry.input * 10**6 + entry.output * 10**7 <= pico_of(cap)
        assert door.books.ledger.book.cell(door.account(key)).reserved == 0


async def test_a_key_and_its_team_say_how_long_answers_are_thought_to_be(tmp_path):
    """The key before its team, a model before all others, and a request's own limit before each."""
    other = ENTRY.replace("model_name: m", "model_name: other")
    async with open_books(tmp_path, YAML.replace(ENTRY, ENTRY + other)) as door:
        team = {"metadata": {"default_estimated_output_tokens": 40}, "default_estimated_output_tokens_per_model": {"m": 30}}
        await door.desk.add("team", "t", {"team_id": "t", **team}, "a test")
        own = {"default_estimated_output_tokens_per_model": {"m": 10}}
        keys = {"plain": {}, "of the team": {"team_id": "t"}, "own": {"team_id": "t", "metadata": own}}
        found = {}
        for name, body in keys.items():
            key = await door.key(name.replace(" ", "-"), max_budget=1, **body)
            for model in ("m", "other"):
                door.mock.script = Script.always(latency_ms=150, length=5)
                asking = asyncio.create_task(door.chat(key, model=model, max_tokens=None))
                await asyncio.sleep(0.1)
                reserved = door.books.ledger.book.cell(door.account(key)).reserved
                assert (await asking)[0] == 200
                found[name, model] = round(reserved / 10**7 - 0.1 * _size(model), 3)
        assert found == {("plain", "m"): 1000, ("plain", "other"): 1000, ("of the team", "m"): 30, ("of the team", "other"): 40,
                         ("own", "m"): 10, ("own", "other"): 40}  # fmt: skip


def _size(model: str) -> int:
    """Bytes of the request, of which each may be a token of input, at a tenth of the price."""
    return len(json.dumps({"model": model, "messages": [{"role": "user", "content": "hello"}]}))


@pytest.mark.parametrize("resets", [True, False])
@pytest.mark.parametrize("whose", ["key", "gateway"])
async def test_a_budget_begins_anew_with_its_window_unless_the_operator_says_never(tmp_path, resets, whose):
    yaml = YAML + f"general_settings: {{disable_reset_budget: {str(not resets).lower()}}}\n"
    own = {"max_budget": 0.0006, "budget_duration": "1d"}
    if whose == "gateway":
        yaml += "litellm_settings: {max_budget: 0.0006, budget_duration: 1d}\n"
    async with open_books(tmp_path, yaml) as door:
        door.mock.script = Script.always(length=20)
        ledger = door.books.ledger
        key = await door.key("a", **(own if whose == "key" else {}))
        assert [(await door.chat(key))[0] for _ in range(4)] == [200, 200, 422, 422]
        now = ledger._now
        ledger._now = lambda: now() + 3 * 86_400
        assert (await door.chat(key))[0] == (200 if resets else 422)
        ledger._now = now
        if whose == "key":
            assert ledger.accounts.main_period(door.account(key)) == ("1d" if resets else "")


async def test_windows_hold_for_good_from_the_reload_on_that_says_so(tmp_path):
    async with open_books(tmp_path) as door:
        door.mock.script = Script.always(length=20)
        ledger = door.books.ledger
        key = await door.key("a", max_budget=0.0006, budget_duration="1d")
        assert [(await door.chat(key))[0] for _ in range(3)] == [200, 200, 422]
        now = ledger._now
        ledger._now = lambda: now() + 3 * 86_400
        ledger.go_by(replace(ledger.rules, for_good=True))
        assert (await door.chat(key))[0] == 422
        ledger.go_by(replace(ledger.rules, for_good=False))
        assert (await door.chat(key))[0] == 200
        ledger._now = now


async def test_where_spend_is_not_written_down_nothing_is_and_no_budget_is_used_up(tmp_path):
    yaml = YAML + "general_settings: {disable_spend_updates: true}\n"
    async with open_books(tmp_path, yaml) as door:
        door.mock.script = Script.always(length=20)
        key = await door.key("a", max_budget=0.0006, soft_budget=0.0001)
        assert [(await door.chat(key, stream=stream))[0] for stream in (False, True) * 3] == [200] * 6
        assert (await door.chat(key, model="none"))[0] in (400, 404)
        await door.settle()
        assert door.books.ledger.spent(door.account(key)) == await door.books.ledger.spent_of(door.account(key)) == 0
        assert await door.stored(0) == [] and door.books.ledger.book.cell(door.account(key)).reserved == 0
        door.books.ledger.go_by(replace(door.books.ledger.rules, counts=True))
        assert (await door.chat(key))[0] == 200
        [entry] = await door.stored()
        assert entry.cost > 0
