"""``/spend/summary`` and ``/spend/reconcile``: sums by whatever one asks, and a bill beside the ledger."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from penstock.admin.spend_bills import MOST_BYTES, Unreadable, read_text
from tests.server.spending import SpendDoor, fill, open_spending, spent

DATES = "start_date=2026-11-18&end_date=2026-11-20"
IN_TEAMS = 3 * (0.5 + 1.0 + 1.5)  # of alice, bob and carol
HEAD = "usage_date_utc,model,cost_usd"


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[SpendDoor]:
    async with open_spending(tmp_path) as made:
        await fill(made)
        yield made


async def test_sums_by_each_group_are_the_same_in_all(door: SpendDoor) -> None:
    for group in ("day", "model", "model_group", "provider", "key"):
        status, told = await door.get(f"/spend/summary?{DATES}&group_by={group}")
        assert status == 200 and told["total"]["spend"] == IN_TEAMS + 4.0, group
        assert sum(one["spend"] for one in told["results"]) == told["total"]["spend"]
        assert [one["date"] for one in told["days"]] == ["2026-11-18", "2026-11-19", "2026-11-20"]
        assert told["total"]["requests"] == 11 and told["total"]["failed_requests"] == 1
    for group, first in (("team", {"t1", "t2"}), ("user", {"alice", "bob", "carol"}), ("tag", {"x", "alice", "bob", "carol"}),
                         ("organization", {"org"}), ("customer", {"end-1"})):  # fmt: skip
        _, told = await door.get(f"/spend/summary?{DATES}&group_by={group}")
        assert {one["name"] for one in told["results"]} == first
    _, told = await door.get(f"/spend/summary?{DATES}&group_by=team")
    assert [(one["alias"], one["spend"]) for one in told["results"]] == [("red", 6.0), ("blue", 3.0)]
    assert told["series"][0] == {"name": "t1", "alias": "red", "spend": [1.0, 2.0, 3.0]}


async def test_sums_are_narrowed_down_and_ordered(door: SpendDoor) -> None:
    _, told = await door.get(f"/spend/summary?{DATES}&group_by=key&limit=2")
    assert [one["spend"] for one in told["results"]] == [4.0, 3.0] and told["results"][0]["alias"] == "lone"
    for query, spend in (("provider=anthropic", 4.0), ("model=gpt-4o", IN_TEAMS), ("team_id=t1", 6.0), ("tag=alice", 3.0),
                         ("user_id=bob", 3.0), (f"api_key={door.ids['lone']}", 4.0), ("model_group=c", 4.0)):  # fmt: skip
        _, told = await door.get(f"/spend/summary?{DATES}&{query}")
        assert told["total"]["spend"] == spend, query
        assert sum(one["spend"] for one in told["results"]) == spend, query
    for query, wrong in (("group_by=moon", "group_by"), ("group_by=team&tag=x", "tag"), ("limit=0", "limit"),
                         ("group_by=user&team_id=t1", "leave one of them out"), ("format=csv&group_by=moon", "group_by")):  # fmt: skip
        status, told = await door.get(f"/spend/summary?{DATES}&{query}")
        assert status in (400, 422) and wrong in json.dumps(told), query
    status, told = await door.get("/spend/summary?start_date=2020-01-01&end_date=2026-11-20")
    assert status == 400 and "400 days" in told["error"]["message"]


async def test_nobody_sees_what_another_spent(door: SpendDoor) -> None:
    _, told = await door.get(f"/spend/summary?{DATES}", "bob")
    assert told["total"]["spend"] == 3.0
    for query in ("user_id=alice", "team_id=t2", f"api_key={door.ids['lone']}"):
        status, told = await door.get(f"/spend/summary?{DATES}&{query}", "bob")
        assert status == 403, query
    _, told = await door.get(f"/spend/summary?{DATES}&team_id=t1&group_by=key", "alice")  # who runs it
    assert told["total"]["spend"] == 6.0


async def test_a_table_holds_no_formula(door: SpendDoor) -> None:
    await door.storage.spend.append([spent("f", door.ids["lone"], dollars=0.25, target="=1+1")], {}, {})
    _, _, answer = await door.ask(
        "GET", f"/spend/summary?{DATES}&format=csv", b"", {"authorization": "Bearer " + door.keys["vera"]}
    )
    rows = list(csv.DictReader(io.StringIO(answer.decode())))
    assert {row["model"] for row in rows} == {"gpt-4o", "claude", "'=1+1"}
    assert sum(float(row["spend"]) for row in rows) == IN_TEAMS + 4.25


async def test_a_bill_is_compared(door: SpendDoor) -> None:
    bill = f"{HEAD}\n2026-11-18,Claude,4.5\n2026-11-19,Claude,1\n"
    for who, wanted in (("master", 200), ("vera", 200), ("bob", 403)):
        status, told = await door.get("/spend/reconcile", who, "POST", json.dumps({"bill": bill}).encode())
        assert status == wanted, (who, told)
    _, told = await door.get("/spend/reconcile", "master", "POST", json.dumps({"bill": bill}).encode())
    assert told["bill"] == "Anthropic's costs" and told["providers"] == ["anthropic"]
    assert told["total"] == {"billed": 5.5, "ledger": 4.0, "difference": -1.5}
    assert [(one["date"], one["billed"], one["ledger"], one["difference"]) for one in told["results"]] == [
        ("2026-11-18", 4.5, 4.0, -0.5), ("2026-11-19", 1.0, 0.0, -1.0)]  # fmt: skip
    body = {"bill": bill, "provider": ["openai"]}
    _, told = await door.get("/spend/reconcile", "master", "POST", json.dumps(body).encode())
    assert told["total"]["ledger"] == 1.5 + 3.0


@pytest.mark.parametrize("text", ["", "a,b\n1,2", "{", '{"data": 1}', "[" * 100_000, f"{HEAD}\n2026-11-18,m,many\n",
                                  HEAD + "\n" + '"' + "x" * 200_000])  # fmt: skip
async def test_what_is_no_bill_is_told(door: SpendDoor, text: str) -> None:
    status, told = await door.get("/spend/reconcile", "master", "POST", json.dumps({"bill": text}).encode())
    assert status == 400 and told["error"]["message"].startswith("bill: "), told
    with pytest.raises(Unreadable):
        read_text(text)


async def test_a_bill_is_not_larger_than_one_reads_at_once(door: SpendDoor) -> None:
    body = b'{"bill": "' + b"x" * (MOST_BYTES + 1) + b'"}'
    status, told = await door.get("/spend/reconcile", "master", "POST", body)
    assert status == 413, told
    status, told = await door.get("/spend/reconcile", "master", "POST", b"{}")
    assert status == 422 and "bill" in told["error"]["message"]
