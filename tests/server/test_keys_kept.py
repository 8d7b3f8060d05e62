"""Keys of a whole service with its own database: what they spent, and what is there after a restart."""

from __future__ import annotations

from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from msgspec import structs

from penstock.server.books import Books
from penstock.stores.base import CORRECTION, Spent
from penstock.stores.sql.daily import count_all, sums_of
from penstock.stores.sql.spend import SqlSpendStore
from tests.door import HELLO
from tests.served import MASTER, open_service

CONFIG = f"""
model_list:
  - model_name: m
    litellm_params:
      model: openai/real-model
      api_base: "{{mock}}/v1"
      api_key: sk-of-the-file-11
      input_cost_per_token: 0.001
      output_cost_per_token: 0.002
      max_tokens: 20
router_settings: {{num_retries: 0}}
general_settings: {{master_key: {MASTER}}}
"""


@asynccontextmanager
async def open_kept(tmp_path: Path, states: Path):
    async with open_service(tmp_path, CONFIG, state_dir=states) as door:
        assert door.service.storage is not None
        books = await Books.open(door.gateway, SqlSpendStore(door.service.storage.database), states)
        try:
            yield door
        finally:
            await door.settle()
            await books.close()


async def test_s0_25_two_keys_spend_apart_and_a_restart_forgets_nothing(tmp_path):
    states = tmp_path / "state"
    async with open_kept(tmp_path, states) as door:
        _, one = await door.call("/key/generate", {"key_alias": "one", "user_id": "u"})
        _, two = await door.call("/key/generate", {"key_alias": "two", "max_budget": 0.000001})
        for _ in range(2):
            assert (await door.call("/v1/chat/completions", HELLO, key=one["key"]))[0] == 200
        status, told = await door.call("/v1/chat/completions", HELLO, key=two["key"])
        assert status == 422 and told["error"]["type"] == "budget_exceeded"
        spent = [(await door.call(f"/key/info?key={key['token']}"))[1]["info"]["spend"] for key in (one, two)]
        assert spent[0] > 0 and spent[1] == 0
        assert (await door.call("/key/info", key=two["key"]))[1]["info"]["max_budget"] == 0.000001
        assert (await door.call("/user/new", {"user_id": "u", "auto_create_key": False}))[0] == 200
        reset = {"max_budget": spent[0], "key": one["token"]}
        assert (await door.call("/key/update", reset))[0] == 200
        assert (await door.call("/v1/chat/completions", HELLO, key=one["key"]))[0] == 422
        status, told = await door.call(f"/key/{one['token']}/reset_spend", {"reset_to": 0})
        assert (status, told["spend"], told["previous_spend"]) == (200, 0, spent[0])
        await door.call("/key/update", {"key": one["token"], "max_budget": 100})
        assert (await door.call("/v1/chat/completions", HELLO, key=one["key"]))[0] == 200
        spent[0] = (await door.call("/key/info", key=one["key"]))[1]["info"]["spend"]
        assert spent[0] > 0
        # What the user spent is what it spent: only the key's account was set.
        user = (await door.call("/user/info?user_id=u"))[1]["user_info"]["spend"]
        assert user == pytest.approx(3 * spent[0])
    async with open_kept(tmp_path, states) as door:
        status, info = await door.call("/key/info", key=one["key"])
        assert status == 200 and info["info"]["spend"] == spent[0] and info["info"]["key_alias"] == "one"
        assert (await door.call("/v1/chat/completions", HELLO, key=one["key"]))[0] == 200
        _, listed = await door.call("/key/list?return_full_object=true&sort_by=key_alias&sort_order=asc")
        assert [row["key_alias"] for row in listed["keys"]] == ["one", "two"] and listed["keys"][0]["spend"] > spent[0]
        _, user = await door.call("/user/info?user_id=u")
        assert [key["key_alias"] for key in user["keys"]] == ["one"]
        assert (await door.call("/key/delete", {"key_aliases": ["one"]}))[0] == 200
        assert (await door.call("/v1/chat/completions", HELLO, key=one["key"]))[0] == 401


async def test_what_clients_of_olla_ask(tmp_path):
    async with open_service(tmp_path, CONFIG, state_dir=tmp_path / "state") as door:
        status, made = await door.call("/olla/litellm/key/generate", {"models": ["m"]})
        assert status == 200 and made["key"].startswith("sk-")
        status, info = await door.call(f"/olla/litellm/key/info?key={made['key']}")
        assert status == 200 and set(info) == {"key", "info"}
        await door.call("/olla/litellm/user/new", {"user_id": "u"})
        status, user = await door.call("/olla/litellm/user/info?user_id=u")
        assert status == 200 and set(user) == {"user_id", "user_info", "keys", "teams"}


def test_days_do_not_count_what_was_set_by_hand():
    entry = Spent("1", 1.0, 1.0, CORRECTION, cost=-5, accounts=("key:k",))
    assert sums_of(count_all([entry])) == []
    counted = sums_of(count_all([structs.replace(entry, kind="acompletion")]))
    assert {row["dimension"] for row in counted} == {"all", "key"}
