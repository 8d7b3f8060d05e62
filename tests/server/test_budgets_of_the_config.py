"""Budgets that the config gives: to tags, to end users, to new keys and users."""

from __future__ import annotations

import json
import time

import pytest

from penstock.config.admission import read_admission
from penstock.config.load import load
from penstock.core.admit.amount import PICO
from penstock.stores.base import Spent
from penstock.stores.spend_memory import MemorySpendStore
from tests.server.books import ENTRY, MASTER, YAML, cost_of, open_books
from tests.server.managed import YAML as MANAGED
from tests.server.managed import open_managed
from tests.server.observed import serve

TAGS = (
    YAML
    + "litellm_settings: {tag_budget_config: {chat: {max_budget: 0.001, budget_duration: 1d}, new: {budget_limit: 1}}}\n"
)


async def test_a_tag_spends_its_budget_and_no_more_whoever_asks(tmp_path) -> None:
    async with open_books(tmp_path, TAGS) as door:
        keys = [await door.key(name) for name in ("a", "b")]
        found = []
        for count in range(20):
            found.append(await door.chat(keys[count % 2], tags=["chat", "other"], max_tokens=50))
        statuses = [status for status, _ in found]
        good = statuses.count(200)
        assert 2 <= good < 20 and statuses == [200] * good + [422] * (20 - good)
        message = json.loads(found[-1][1])["error"]["message"]
        assert message.startswith("Budget has been exceeded! Tag=chat Current cost: ")
        assert "Max budget: 0.001" in message
        assert (await door.chat(keys[0], tags=["other"]))[0] == 200
        assert (await door.chat(MASTER, tags=["chat"], max_tokens=500))[0] == 422, "the master key's, too"
        await door.settle()
        spent = cost_of([entry for entry in await door.stored(good + 1) if "chat" in entry.tags])
        assert 0 < spent <= 0.001


async def test_a_tags_budget_holds_beside_its_own_and_after_a_restart(tmp_path) -> None:
    async with open_books(tmp_path, TAGS) as door:
        key = await door.key("a")
        await door.desk.add("tag", "new", {"max_budget": 0.0007, "budget_duration": "30d"}, "test")
        assert (await door.chat(key, tags=["new"], max_tokens=40))[0] == 200
        status, answer = await door.chat(key, tags=["new"], max_tokens=100)
        assert status == 422 and b"Max budget: 0.0007" in answer, "the tighter of both"
        await door.stored(1)
        assert set(door.books.ledger.accounts.periods("tag:new")) == {"", "30d"}
        assert set(door.books.ledger.accounts.periods("tag:chat")) == {"", "1d"}, (
            "also of one that nobody asked for yet"
        )
        store, spent = door.store, 0
        while (await door.chat(key, tags=["chat"], max_tokens=50))[0] == 200:
            spent += 1
        assert spent >= 2
    async with open_books(tmp_path, TAGS, store) as door:
        key = await door.key("a")
        left = 0
        while (await door.chat(key, tags=["chat"], max_tokens=50))[0] == 200:
            left += 1
            await door.books.ledger.keeper.answered()
        assert left <= 1, "what was spent before counts as soon as the store has said it"


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
async def test_end_users_whose_cost_is_not_tracked_have_no_spend_and_keep_their_pace(tmp_path, path) -> None:
    settings = "litellm_settings: {disable_end_user_cost_tracking: true, max_user_budget: 0.0000001}\n"
    async with open_books(tmp_path, YAML + settings) as door:
        key = await door.key("a")
        await door.desk.add("customer", "e", {"max_budget": 0, "rpm_limit": 2}, "test")
        body = {"user": "e"} if path.endswith("completions") else {"metadata": {"user_id": "e"}}
        assert [(await door.chat(key, path, **body))[0] for _ in range(3)] == [200, 200, 429]
        entries = await door.stored(2)
        assert {entry.customer for entry in entries} == {""}
        assert not any(account.startswith("customer:") for entry in entries for account in entry.accounts)
    async with open_books(tmp_path, YAML + settings.replace("true", "false")) as door:
        key = await door.key("a")
        assert (await door.chat(key, path, **body))[0] == 422
        assert (await door.stored(1))[0].customer == "e"


async def test_callbacks_are_not_told_of_end_users_whose_cost_is_not_tracked(tmp_path) -> None:
    for settings, name in (
        ("callbacks: [webhook], disable_end_user_cost_tracking: true", ""),
        ("callbacks: [webhook]", "e"),
    ):
        async with serve(tmp_path, settings) as served:
            assert await served.ask({"user": "e"}) == 200
            assert [one["end_user"] or "" for one in await served.payloads()] == [name]


def test_the_older_name_of_the_budget_of_end_users(tmp_path) -> None:
    for said, most in (
        ("max_user_budget: 2", 2),
        ("max_user_budget: 2, max_end_user_budget: 3", 3),
        ("cache: false", None),
    ):
        path = tmp_path / "config.yaml"
        path.write_text(f"model_list:{ENTRY}litellm_settings: {{{said}}}\n".replace("{mock}", "http://localhost:1"))
        settings, problems = read_admission(load(path, {}).config)
        assert problems == [] and settings.end_user_most == (None if most is None else most * PICO)


async def test_new_keys_and_users_get_what_the_config_says(tmp_path) -> None:
    yaml = MANAGED + "litellm_settings: {default_soft_budget: 7, default_max_internal_user_budget: 3}\n"
    async with open_managed(tmp_path, yaml) as managed:
        assert (await managed.good("/key/generate", {}))["soft_budget"] == 7
        assert (await managed.good("/key/generate", {"soft_budget": 2}))["soft_budget"] == 2
        await managed.put("budget", "own", soft_budget=1)
        assert (await managed.good("/key/generate", {"budget_id": "own"}))["soft_budget"] is None
        assert (await managed.good("/user/new", {"user_id": "u"}))["max_budget"] == 3
    yaml = yaml.replace("{default_soft", "{max_internal_user_budget: 4, default_soft")
    async with open_managed(tmp_path, yaml) as managed:
        assert (await managed.good("/user/new", {"user_id": "u"}))["max_budget"] == 4


@pytest.mark.parametrize(("says", "over"), [("true", 9.0), ("true", 4.0), ("false", 9.0)])
async def test_what_exceeded_a_budget_counts_in_the_next_window_if_the_config_says_so(tmp_path, says, over) -> None:
    settings = f"litellm_settings: {{budget_rollover: {says}}}\n"
    store, yesterday = MemorySpendStore(), time.time() - 86_400
    async with open_books(tmp_path, YAML + settings, store) as door:
        key = await door.key("a", max_budget=5, budget_duration="1d")
        entry = Spent("old", yesterday, yesterday, "acompletion", cost=int(over * PICO), accounts=(door.account(key),))
        await store.append([entry], {door.account(key): ["", "1d"]}, {})
        await door.chat(key)  # with this the window is asked about
        assert door.books.ledger.keeper is not None
        await door.books.ledger.keeper.answered()
        status, answer = await door.chat(key, max_tokens=150_000)
        refused = says == "true" and over == 9.0
        assert status == (422 if refused else 200)
        if refused:  # of the five dollars four are spent, and this may cost one and a half
            assert b"Max budget: 5" in answer and b"Current cost: 4.0" in answer
            spent = await door.books.ledger.spent_of(door.account(key), "1d")
            assert 4 * PICO <= spent < 4.01 * PICO
            await door.books.ledger.put_right(door.account(key), PICO, "test")
            assert (await door.chat(key, max_tokens=150_000))[0] == 200, "whoever sets what is spent sets it"
