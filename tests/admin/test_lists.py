"""Long lists: what is kept of them says at any time what a list says that is made anew."""

from __future__ import annotations

import json
import random

import pytest

from penstock.admin.rows import Spend, write
from penstock.admin.shelf import Shelf, Written
from penstock.runtime.keyring import Keyring
from penstock.stores.base import Changes, Row
from tests.admin.desks import NOW, in_each

TEAMS = 230  # more than are asked for one by one


@pytest.fixture(params=["memory", "sqlite"])
async def gate(request, tmp_path):
    async with in_each(request.param, tmp_path) as made:
        yield made


async def _many(gate) -> None:
    for budget in ("b0", "b1"):
        await gate.keep("budget", budget, budget_id=budget, max_budget=3, budget_duration="1d")
    for number in range(TEAMS):
        team = {"team_id": f"t{number:03d}", "team_alias": f"Team {number}", "metadata": {}}
        await gate.keep(
            "team", team["team_id"], **team, **({"budget_duration": "1d", "max_budget": 1} if number % 3 else {})
        )
    for number in range(40):
        await _join(gate, number)
        await gate.key(f"k{number}", team_id=f"t{number:03d}", key_alias=f"k{number}", max_budget=1)


async def _join(gate, number: int) -> None:
    user, team = f"u{number}", f"t{number:03d}"
    await gate.keep("user", user, user_id=user, user_email=f"{user}@example.org")
    budget = {"budget_id": "b0"} if number % 2 else {}
    name = f"{team}/{user}"
    await gate.keep("member", name, membership_id=name, team_id=team, user_id=user, role="user", **budget)


async def test_a_list_says_what_one_says_that_is_made_anew_whatever_has_changed_since(gate):
    await _many(gate)
    by_chance, desk = random.Random(10), gate.desk
    clock = [NOW]
    desk.clock = lambda: clock[0]
    first = await gate.good("/team/list")
    assert len(first) == TEAMS and [one["team_id"] for one in first] == sorted(one["team_id"] for one in first)
    told = [json.dumps(first)]
    for step in range(40):
        kind = by_chance.choice(["team", "member", "user", "budget", "key", "gone", "new", "time"])
        if kind == "time":
            clock[0] += 86_400
        elif kind == "new":
            await gate.key(f"n{step}", team_id=f"t{by_chance.randrange(TEAMS):03d}", key_alias=f"n{step}")
        else:
            rows = (await desk.find("member" if kind == "gone" else kind)).rows
            row = by_chance.choice(rows)
            body = json.loads(row.body) | {"metadata": {"step": step}, "role": "admin", "user_email": f"{step}@x.y"}
            body |= {"max_budget": step + 1} if kind == "budget" else {}
            if kind == "gone":
                await desk.remove(row, "a test")
            else:
                await desk.change(row, body, "a test")
        kept = await gate.good("/team/list")
        pages = [await gate.good(f"/v2/team/list?page_size=100&page={page}") for page in (1, 2, 3)]
        desk.shelf = Shelf(desk.keyring)
        assert kept == await gate.good("/team/list"), (step, kind)
        paged = [team for page in pages for team in page["teams"]]
        for one, team in zip(kept, paged, strict=True):
            counts = {"members_count": len(one["members"]), "keys_count": len(one["keys"])}
            assert team == {name: one[name] for name in one if name not in ("keys", "team_memberships")} | counts
        told.append(json.dumps(kept))
    assert len(set(told)) > 30, "most changes show"


async def test_what_another_process_has_changed_is_in_the_list(gate):
    await _many(gate)
    assert len(await gate.good("/team/list")) == TEAMS
    body = {"team_id": "elsewhere", "metadata": {}}
    row = Row("team", "elsewhere", json.dumps(body).encode(), 1, NOW, "x", NOW, "x")
    await gate.desk.store.write([row])
    assert "elsewhere" in [one["team_id"] for one in await gate.good("/team/list")]


async def test_a_list_of_many_shows_no_secret_and_each_what_he_may_see(gate):
    await _many(gate)
    ann = await gate.user("ann")
    for number in range(210):
        name = f"t{number:03d}/ann"
        await gate.keep("member", name, membership_id=name, team_id=f"t{number:03d}", user_id="ann", role="user")
    await gate.key("hers", team_id="t001", user_id="ann", key_alias="hers")
    await gate.key("anothers", team_id="t001", user_id="bob", key_alias="anothers")
    every, own = await gate.good("/team/list"), await gate.good("/team/list", key=ann)
    assert "digests" not in json.dumps(every) and len(own) == 210
    aliases = [{key["key_alias"] for key in teams[1]["keys"]} for teams in (every, own)]
    assert aliases == [{"k1", "hers", "anothers"}, {"k1", "hers"}]


def test_what_is_written_has_a_gap_for_each_amount_and_no_text_can_make_one():
    texts = {"a": "\0", "b": ["\u0000\\0", Spend("key", "k")], "c": {"d": Spend("team", "t"), "e": Spend("key", "k")}}
    written = write(texts)
    assert written.accounts == ("key:k", "team:t", "key:k") and len(written.pieces) == 4
    filled = json.loads(written.fill({"key:k": b"0.25", "team:t": b"1e-12"}))
    assert filled == {"a": "\0", "b": ["\u0000\\0", 0.25], "c": {"d": 1e-12, "e": 0.25}}
    assert write({"a": 1}).fill({}) == b'{"a":1}'


def test_what_is_kept_has_a_bound_of_bytes():
    shelf = Shelf(Keyring(b"secret"), most=100)
    for number in range(50):
        shelf.keep(f"t{number}", (number,), Written((b"x" * 30,), ()))
        assert sum(len(kept[2].pieces[0]) for kept in shelf._kept.values()) == shelf._size <= 100
        shelf.keep(f"t{number}", (number, 1), Written((b"x" * 20,), ()))
    assert shelf.find("t49", (49, 1), 0.0) is not None and shelf.find("t49", (49,), 0.0) is None
    shelf.keep("u", (), Written((b"y",), ()), until=5.0)
    assert shelf.find("u", (), 4.9) is not None and shelf.find("u", (), 5.0) is None


async def test_rows_are_found_by_a_field_and_anew_after_a_change():
    keyring = Keyring(b"secret")
    rows = tuple(
        Row("key", f"k{n}", json.dumps({"token": f"k{n}", "team_id": [None, "a", "b"][n % 3]}).encode())
        for n in range(9)
    )
    keyring.take(Changes(1, rows))
    shelf = Shelf(keyring)
    found = await shelf.rows_by("key", "team_id")
    assert {name: [row.id for row in rows] for name, rows in found.items()} == {
        "a": ["k1", "k4", "k7"],
        "b": ["k2", "k5", "k8"],
    }
    assert await shelf.rows_by("key", "team_id") is found
    keyring.take(Changes(2, (Row("key", "k1", b'{"token": "k1", "team_id": "b"}', 2),)))
    assert [row.id for row in (await shelf.rows_by("key", "team_id"))["b"]] == ["k1", "k2", "k5", "k8"]
