"""The contract of ``stores.base.SpendStore``, in memory and for each kind of database, and what reports ask of those."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import msgspec
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.core.admit.periods import window
from penstock.stores.base import SpendStore, Spent, Total, Want
from penstock.stores.spend_memory import MemorySpendStore
from penstock.stores.sql.address import read_address
from penstock.stores.sql.daily import Day, even_out
from penstock.stores.sql.database import Database
from penstock.stores.sql.pot import SqlPot
from penstock.stores.sql.schema import SPEND
from penstock.stores.sql.spend import SqlSpendStore
from penstock.stores.sql.totals import WINDOWS
from tests.databases import KINDS

NOON = datetime(2026, 11, 18, 12, tzinfo=UTC).timestamp()  # a Wednesday
DAY = 86400.0
PERIODS = {"key:k": ("", "30d"), "team:t": ("",)}


@pytest.fixture(params=KINDS)
async def store(request: pytest.FixtureRequest) -> AsyncIterator[SqlSpendStore]:
    database = Database(read_address(request.getfixturevalue(f"empty_{request.param}")))
    yield SqlSpendStore(database)
    database.close()


@pytest.fixture(params=["memory", *KINDS])
async def any_store(request: pytest.FixtureRequest) -> AsyncIterator[SpendStore]:
    if request.param == "memory":
        yield MemorySpendStore()
        return
    database = Database(read_address(request.getfixturevalue(f"empty_{request.param}")))
    yield SqlSpendStore(database)
    database.close()


def spent(call_id: str = "c1", cost: int = 5, at: float = NOON, **more: object) -> Spent:
    told: dict = {"key": "k", "team": "t", "accounts": ("key:k", "team:t"), "target": "gpt", "provider": "openai"} | more
    return Spent(call_id, at, at - 1, "acompletion", cost=cost, **told)


async def amount(store: SpendStore, account: str = "key:k", period: str = "", at: float = NOON) -> int:
    [total] = await store.totals([(account, period, window(period, at).start)])
    assert total[:3] == (account, period, window(period, at).start)
    return total.amount


async def test_an_entry_is_kept_as_it_was_given(store):
    entry = spent(
        tags=("a", "ä"), usage=b'{"n":1,"t":"\xc3\xa4"}', metadata=b'{"x":null}', first_ms=1.25, ms=7.5, status=200, tries=2,
        input=3, output=4, cache_read=1, cache_write=2, reasoning=1, estimated=True, cache_hit=True, stream=True, user="u",
        organization="o", customer="c", model="m", group="g", target_id="i", address="http://x", price_version="v", cache_key="ck",
        error="timeout", message="it took too long", request_id="r", client="127.0.0.1", path="/v1", session="s", cost=2**62,
    )  # fmt: skip
    await store.append([entry, spent("c2")], PERIODS, {})
    assert await store.get("c1") == entry and await store.get("none") is None
    assert await store.get("c2") == spent("c2")


async def test_what_many_have_spent_is_what_each_has(any_store):
    """More than one statement asks for: with others between them, without any, and with names that are cut."""
    names = [f"key:{number:05d}" for number in range(1300)] + [f"team:t{number}" for number in range(7)] + ["key:" + 400 * "ä"]
    some = [name for number, name in enumerate(names) if number % 5]
    entries = [spent(f"c{n}", n + 1, accounts=(name,), key="", team="") for n, name in enumerate(some)]
    await any_store.append(entries, dict.fromkeys(some[::3], ("", "30d")), {})
    start = window("30d", NOON).start
    costs = {name: number + 1 for number, name in enumerate(some)}
    for asked in (names, names[::-1], names[::400], names[:3], []):
        assert await any_store.amounts(asked, "", 0.0) == [costs.get(name, 0) for name in asked]
    for period, since in (("", 0.0), ("30d", start)):
        each = [total.amount for name in names[::7] for total in await any_store.totals([(name, period, since)])]
        assert await any_store.amounts(names[::7], period, since) == each
    together = await any_store.totals([(name, *window) for name in some[:600:3] for window in (("", 0.0), ("30d", start))])
    assert [one.amount for one in together] == [costs[name] for name in some[:600:3] for _ in range(2)]


async def test_what_is_told_once_or_twice_counts_once(any_store):
    store = any_store
    await store.append([spent(), spent(), spent("c2", 7), spent("c3", 50, pending=True)], PERIODS, {"j": 10})
    await store.append([spent(), spent(cost=900), spent("c3", 60, pending=True)], PERIODS, {"j": 20})
    assert await amount(store) == await amount(store, "team:t") == await amount(store, period="30d") == 62
    await store.append([spent("c3", 1), spent("c3", 70, pending=True), spent("c3", 2)], PERIODS, {})
    assert await amount(store) == await amount(store, "team:t") == await amount(store, period="30d") == 13
    assert await amount(store, "key:nobody") == await amount(store, period="30d", at=NOON + 40 * DAY) == 0
    await store.append([], {}, {"other": 1})
    assert await store.marks() == {"j": 20, "other": 1}


async def test_an_entry_counts_once_whatever_happens(store):
    await store.append([spent(), spent(), spent("c2", 7)], PERIODS, {"j": 10})
    await store.append([spent(), spent(cost=900), spent("c3", 1)], PERIODS, {"j": 20})
    assert await amount(store) == await amount(store, "team:t") == await amount(store, period="30d") == 13
    assert (await store.get("c1")).cost == 5 and (await store.rows()).total == 3
    assert await store.marks() == {"j": 20}
    await store.append([], {}, {"j": 30, "other": 1})
    assert await store.marks() == {"j": 30, "other": 1}


async def test_what_was_pending_is_replaced_by_the_truth(store):
    await store.append([spent(cost=100, pending=True)], PERIODS, {})
    await store.append([spent(cost=70, pending=True)], PERIODS, {})
    assert await amount(store) == 100, "the first guess stays until somebody knows better"
    await store.append([spent(cost=3, at=NOON + 60, user="u")], PERIODS, {})
    assert await amount(store) == await amount(store, period="30d") == 3
    await store.append([spent(cost=100, pending=True)], PERIODS, {})
    assert await amount(store) == 3, "the truth stays"
    [day] = await store.daily("key")
    assert (day.cost, day.requests) == (3, 1) and (await store.daily("user"))[0].requests == 1
    await store.append([spent("c2", 9, pending=True), spent("c2", 2)], PERIODS, {})
    assert await amount(store) == 5, "within one batch, too"


async def test_windows_begin_anew_and_old_ones_go(store):
    for day in range(0, 50, 5):
        await store.append([spent(f"c{day}", 1, NOON + day * DAY)], {"key:k": ("", "1d", "1w", "1mo")}, {})
    assert await amount(store) == 10
    assert await amount(store, period="1d", at=NOON + 45 * DAY) == 1
    assert await amount(store, period="1d", at=NOON + 44 * DAY) == 0
    assert await amount(store, period="1mo", at=NOON + 15 * DAY) == 6, "December"
    kept = await store._database.read(lambda c: c.exec_driver_sql("SELECT COUNT(*) FROM penstock_totals").scalar())
    assert kept <= 1 + 1 + 3 * WINDOWS, "of windows that are over for long nothing is kept"


async def test_a_clock_that_was_ahead_takes_nothing_from_the_window_it_comes_back_to(store):
    """A week in a month that is still to come, and then it is today again: also where no rows have an index."""
    accounts = ("key:k", "team:t", "tag:x", "global", "key:k/model:m")
    periods = dict.fromkeys(accounts, ("", "1h", "1d", "30d"))

    async def pay(call_id: str, cost: int, at: float) -> None:
        entry = spent(call_id, cost, at, accounts=accounts, tags=("x",), model="m", group="m")
        await store.append([entry, entry], periods, {})

    await pay("today", 5, NOON)
    for number in range(7):
        await pay(f"ahead{number}", 100, NOON + (31 + number) * DAY)
    await pay("back", 7, NOON + 60)
    for account in accounts:
        assert await amount(store, account) == 712, account
        assert await amount(store, account, "1d") == await amount(store, account, "30d") == 12, account
        assert await amount(store, account, "30d", NOON + 31 * DAY) == 700, "and when it is that month, it was spent"
        assert await amount(store, account, "1d", NOON + 37 * DAY) == 100, account
    for account in ("key:k", "team:t", "key:k/model:m"):
        assert await amount(store, account, "1h") == 12, account
    assert await store.latest() == NOON + 37 * DAY
    assert sum(day.cost for day in await store.daily("key", until="2026-11-18")) == 12


async def test_a_window_that_is_new_has_what_was_spent_since_it_began(store):
    """A budget that is set today: for each kind of account, and for the share of a model."""
    entry = {"user": "u", "organization": "o", "customer": "e", "model": "m", "group": "g"}
    whose = ("key:k", "team:t", "user:u", "organization:o", "customer:e", "member:t/u", "key:k/model:g", "key:k/model:m")
    await store.append([spent("c1", 5, NOON - 400 * DAY, **entry), spent("c2", 7, NOON, **entry)], {}, {})
    await store.append([spent("c3", 90, NOON, key="k2", team="t2", accounts=("key:k2",))], {}, {})
    for account in whose:
        assert await amount(store, account, "1d") == await amount(store, account, "1y") == 7, account
    assert await amount(store, "key:k/model:other", "1d") == 0
    # And goes on from there, also where only another process knows of it.
    await store.append([spent("c4", 2, **entry, accounts=whose)], dict.fromkeys(whose, ("1d",)), {})
    await store.append([spent("c5", 1, **entry, accounts=whose)], {}, {})
    for account in whose:
        assert await amount(store, account, "1d") == 10, account


async def test_processes_that_append_at_once_lose_nothing_and_count_nothing_twice(store):
    others = [SqlSpendStore(Database(store._database.address)) for _ in range(3)]
    batches = [[spent(f"c{n}", 1, key=f"k{n % 3}", accounts=(f"key:k{n % 3}", "team:t")) for n in range(at, at + 12)]
               for at in range(0, 60, 6)]  # fmt: skip
    every = [store, *others]
    try:
        await asyncio.gather(*(every[n % 4].append(batch, PERIODS, {f"j{n % 4}": n}) for n, batch in enumerate(batches)))
    finally:
        for other in others:
            other._database.close()
    assert (await store.rows()).total == await amount(store, "team:t") == 66
    assert sum([await amount(store, f"key:k{n}") for n in range(3)]) == 66
    assert sum(day.cost for day in await store.daily("key")) == 66


async def test_foreign_texts_and_figures_cost_no_entry(store):
    long = "\0漢" * 4000
    names = "key team user customer model group request_id client path session error message".split()
    wild = spent(long, input=10**30, tags=(long, "'); DROP TABLE penstock_spend; --"), accounts=(f"key:{long}",),
                 usage=b"\xff\x00", **dict.fromkeys(names, long))  # fmt: skip
    await store.append([wild, spent("c2", tags=("\ud800",))], {}, {})
    await store.append([wild], {}, {})
    page = await store.rows()
    assert page.total == 2 and await amount(store, f"key:{long}") == 5
    assert (await store.rows({"key": page.rows[0].key})).total >= 1
    assert [day.name for day in await store.daily("tag") if "DROP" in day.name] == ["'); DROP TABLE penstock_spend; --"]


async def test_sums_of_wild_figures_stop_no_other_entry(store):
    """An upstream may claim whatever it likes, and again and again: what comes after it is stored."""
    wild = {"cost": 2**63 - 1, "input": 10**30, "output": 2**63 - 1, "reasoning": -(10**30)}
    for turn in range(3):
        await store.append([spent(f"c{turn}-{n}", **wild) for n in range(3)], PERIODS, {})
    await store.append([spent("last")], PERIODS, {})
    [day] = await store.daily("key")
    assert day.requests == 10 and day.input == 9 * 2**40 and day.reasoning == -9 * 2**40
    assert await amount(store) >= 2**62 and (await store.get("last")).cost == 5


async def test_requests_are_listed_page_by_page(store):
    entries = [spent(f"c{n}", n, NOON + n, key=f"k{n % 2}", user="u" if n > 3 else "") for n in range(6)]
    await store.append(entries, {}, {})

    async def ids(where=None, **more) -> list[str]:
        return [one.call_id for one in (await store.rows(where, **more)).rows]

    assert await ids() == ["c5", "c4", "c3", "c2", "c1", "c0"]
    assert await ids({"key": "k1"}, limit=2) == ["c5", "c3"] and await ids({"key": "k1"}, limit=2, offset=2) == ["c1"]
    assert await ids({"key": ("k0", "k1"), "user": "u"}) == ["c5", "c4"]
    assert await ids(since=NOON + 1, until=NOON + 3, descending=False) == ["c1", "c2"]
    assert await ids(order="cost", limit=1) == ["c5"] and await ids({"key": "' OR 1=1"}) == []
    assert (await store.rows({"key": "k1"}, limit=1)).total == 3
    assert await store.forget(NOON + 4, most=3) == 3 and await ids() == ["c5", "c4", "c3"]
    assert await store.forget(NOON + 4) == 1 and await store.forget(NOON + 4) == 0
    assert sum(day.cost for day in await store.daily("key")) == 15, "the sums stay"


async def test_days_are_summed_up_by_what_is_asked(store):
    entries = [
        spent("c1", 1, NOON, key="k1", user="u", tags=("x", "y"), model="m", group="g", status=200, input=3, output=4, cache_read=1),
        spent("c2", 2, NOON + 1, key="k2", user="u", tags=("x",), target="other", status=500, error="upstream"),
        spent("c3", 4, NOON + DAY, key="k1", tags=("x", "x"), provider="azure", estimated=True, cache_hit=True),
    ]
    await store.append(entries, {}, {})

    async def told(dimension="key", by=("day", "name"), what=("day", "name", "cost", "requests"), **more) -> list[tuple]:
        return [tuple(getattr(day, name) for name in what) for day in await store.daily(dimension, by=by, **more)]

    assert await told() == [("2026-11-18", "k1", 1, 1), ("2026-11-18", "k2", 2, 1), ("2026-11-19", "k1", 4, 1)]
    assert await told(by=("name",)) == [("", "k1", 5, 2), ("", "k2", 2, 1)]
    assert await told(by=()) == [("", "", 7, 3)]
    assert await told("tag", by=("name",)) == [("", "x", 7, 3), ("", "y", 1, 1)]
    assert await told("team", by=("name",)) == [("", "t", 7, 3)]
    assert await told("user", by=("name",)) == [("", "u", 3, 2)], "of those that have one"
    assert await told("organization") == []
    assert await told(since="2026-11-19") == [("2026-11-19", "k1", 4, 1)] and len(await told(until="2026-11-18")) == 2
    assert await told("user", ("key",), ("key", "cost")) == [("k1", 1), ("k2", 2)]
    assert await told(where={"name": "k2"}) == [("2026-11-18", "k2", 2, 1)]
    assert await told(by=("provider",), what=("provider", "cost")) == [("azure", 4), ("openai", 3)]
    assert await told(by=("model",), what=("model", "cost"), order="cost", descending=True, limit=1) == [("gpt", 5)]
    [first] = await store.daily("key", {"name": "k1"}, until="2026-11-18")
    assert (first.input, first.output, first.cache_read, first.failed) == (3, 4, 1, 0)
    [every] = await store.daily("key", by=())
    assert (every.failed, every.estimated, every.cache_hits) == (1, 1, 1)


async def test_what_costs_something_else_changes_every_sum(store):
    old, before, other = spent("c1", 5), spent("c0", 3, NOON - 40 * DAY), spent("c2", 7)
    await store.append([before], PERIODS, {})
    await store.append([old, other], PERIODS, {})
    new, late = (msgspec.structs.replace(one, cost=one.cost + 10) for one in (old, before))
    pairs = [(old, new), (before, late), (spent("c2", 6), spent("c2", 99)), (spent("c9", 1), spent("c9", 2))]
    assert await store.reprice(pairs) == 2, "what is not as it was any more stays, and what is gone"
    assert await store.reprice(pairs) == 0, "and twice is once"
    assert [await amount(store), await amount(store, period="30d"), await amount(store, "team:t")] == [35, 22, 35]
    assert await amount(store, period="30d", at=NOON - 40 * DAY) == 13, "a window that was over for long"
    days = await store.daily("team", by=("day", "name"))
    assert [(day.day, day.cost, day.requests) for day in days] == [("2026-10-09", 13, 1), ("2026-11-18", 22, 2)]
    assert [one.cost for one in (await store.rows(order="call_id", descending=False)).rows] == [13, 15, 7]


async def test_a_cap_that_processes_share_hears_of_what_costs_something_else(store):
    pot, old = SqlPot(store._database), spent("c1", 5)
    await store.append([old], PERIODS, {})
    want = Want("key:k", "", 0.0, float("inf"), 100, 5, 0, 0, need=20)
    await pot.take("a", "f:0", [[want]])
    await store.reprice([(old, spent("c1", 70))])
    [refused, fits] = await pot.take("b", "g:0", [[want._replace(need=11)], [want._replace(need=10)]])
    assert (refused.granted, fits.granted) == (False, True), "70 spent, 20 granted, 10 left"


async def test_sums_are_put_in_the_place_of_others(store):
    await store.append([spent("c1", 5)], PERIODS, {})
    day = Day("key", "2026-11-17", "k", "k", "gpt", "g", "openai", requests=3, cost=10**25 if store_takes_much(store) else 9)
    for _ in range(2):  # an import may be done again
        await store.put_sums([day], [Total("key:k", "", 0.0, 100), Total("team:new", "", 0.0, 7)])
    assert await amount(store) == 100 and await amount(store, "team:new") == 7
    assert (await store.daily("key", until="2026-11-17")) == [Day("key", "2026-11-17", "k", requests=3, cost=day.cost)]
    await store.append([spent("c2", 5)], PERIODS, {})
    assert await amount(store) == 105


def store_takes_much(store: SqlSpendStore) -> bool:
    return store._database.address.kind != "sqlite"


async def test_all_requests_are_gone_over_in_pieces(store):
    entries = [spent(f"c{n:02}", at=NOON + n // 3, key=f"k{n % 2}") for n in range(23)]
    await store.append(entries, {}, {})
    pieces = [piece async for piece in store.scan(size=5)]
    assert [len(piece) for piece in pieces] == [5, 5, 5, 5, 3]
    assert [one.call_id for piece in pieces for one in piece] == [f"c{n:02}" for n in range(23)]
    found = [one.call_id async for piece in store.scan({"key": "k1"}, NOON + 1, NOON + 3) for one in piece]
    assert found == ["c03", "c05", "c07"]
    assert [piece async for piece in store.scan(since=NOON + 999)] == []


ENTRIES = st.builds(
    spent,
    call_id=st.sampled_from("abcdef"),
    cost=st.integers(0, 10**15),
    at=st.floats(NOON, NOON + 80 * DAY),
    pending=st.booleans(),
    accounts=st.lists(st.sampled_from(["key:k", "team:t", "tag:x"]), unique=True).map(tuple),
)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(st.lists(ENTRIES, max_size=5), max_size=4), run=st.uuids())
async def test_the_totals_are_the_sums_of_what_is_kept(store, batches, run):
    """Whatever comes, in whatever batches: a total is the sum of the entries that are kept, and so are the days."""
    for batch in batches:
        own = [msgspec.structs.replace(one, call_id=f"{run}{one.call_id}",
                                       accounts=tuple(f"{name}{run}" for name in one.accounts)) for one in batch]  # fmt: skip
        accounts = {account for one in own for account in one.accounts}
        await store.append(own, dict.fromkeys(accounts, ("", "1w")), {})
    kept = [one for one in (await store.rows(limit=10_000)).rows if one.call_id.startswith(str(run))]
    sums: Counter[str] = Counter()
    for one in kept:
        for account in one.accounts:
            sums[account] += one.cost
    for account, cost in sums.items():
        assert await amount(store, account) == cost
    assert sum(day.cost for day in await store.daily("key")) == sum(one.cost for one in (await store.rows(limit=10_000)).rows)


async def test_sums_of_all_requests_are_those_of_the_keys_whoever_wrote_them(store):
    """An older version beside this one writes none, and another gateway's sums are put in the place of others."""
    entries = [spent(f"c{n}", n, NOON - n % 3 * DAY, key=f"k{n % 2}", target=f"m{n % 4}", provider=f"p{n % 2}") for n in range(1, 20)]
    await store.append([*entries, spent("open", 400, pending=True)], {}, {})
    await store.append([spent("open", 3)], {}, {})

    async def told(**more) -> list[tuple]:
        found = await store.daily("key", by=("day", "model", "provider"), **more)
        return [(one.day, one.model, one.provider, one.cost, one.requests) for one in found]

    async def of_keys(**more) -> list[tuple]:
        sums: dict[tuple[str, ...], list[int]] = {}
        for one in await store.daily("key", by=("day", "key", "model", "provider"), **more):
            cost, count = sums.get((one.day, one.model, one.provider), (0, 0))
            sums[one.day, one.model, one.provider] = [cost + one.cost, count + one.requests]
        return sorted((*names, *counts) for names, counts in sums.items())

    assert await told() == await of_keys() and await store.daily("all", by=("day", "key")) == await store.daily("all", by=("day", "name"))
    await store.put_sums([Day("key", "2026-11-17", "k1", "k1", "m1", provider="p1", requests=9, cost=90)])
    assert await told() == await of_keys()

    def forget(connection):  # as if an older version had written them
        connection.exec_driver_sql("DELETE FROM penstock_daily WHERE dimension = 'all' AND model <> 'm2'")

    await store._database.write(forget)
    assert await told() != await of_keys()
    for _ in range(2):
        await store._database.write(lambda connection: even_out(connection, "2026-11-17"))
    assert await told(since="2026-11-17") == await of_keys(since="2026-11-17")
    assert await store.count_days("key", by=("model",)) == len(await store.daily("key", by=("model",)))


async def test_who_spent_most_is_told_of_totals(store):
    periods = {"key:k": ("", "1d"), "key:k/model:m": ("1d",)}
    await store.append([spent("c1", 5, accounts=("key:k", "key:k/model:m")), spent("c2", 7, accounts=("key:l", "keys:x"))], periods, {})
    await store.append([spent("c3", 3, accounts=("key:k",))], periods, {})
    assert await store.dearest("key", 10) == {"k": 8, "l": 7} and list(await store.dearest("key", 1)) == ["k"]


async def test_pages_of_sums_have_each_once_and_names_are_listed(store):
    entries = [
        spent(f"c{n}", n, NOON - n % 3 * DAY, key=f"k{n % 7}", customer=f"é{n % 5}" if n % 5 else "", tags=(f"t{n % 4}",), target=f"m{n % 2}")
        for n in range(60)
    ]
    await store.append(entries, {}, {})
    every = ("day", "name", "key", "model", "group", "provider")
    whole = await store.daily("key", by=every, order="day", descending=True)
    pages = [await store.daily("key", by=every, order="day", descending=True, offset=at, limit=4) for at in range(0, 60, 4)]
    assert [one for page in pages for one in page] == whole and len(set(whole)) == len(whole)
    assert [one.day for one in whole] == sorted((one.day for one in whole), reverse=True)
    assert await store.count_days("key", by=every) == len(whole) == await store.count_sums("key", {}, "", "", 1000)
    assert sum(one.cost for one in whole) == sum(one.cost for one in entries)
    assert await store.count_sums("key", {"name": "k1", "key": "k2"}, "2026-11-18", "2026-11-18", 1000) == len(
        await store.daily("key", {"name": "k1"}, "2026-11-18", "2026-11-18", every)
    )
    assert await store.names("customer", 100) == ["é1", "é2", "é3", "é4"] and await store.names("customer", 2) == ["é1", "é2"]
    assert await store.names("tag", 100) == ["t0", "t1", "t2", "t3"] and await store.names("team", 9) == ["t"]
    assert await store.names("organization", 9) == []


async def test_reports_have_a_connection_that_cannot_write_and_wait_for_nobody(store):
    database = store._database
    await store.append([spent()], PERIODS, {})
    go, began = threading.Event(), threading.Event()

    def holds(connection: sa.Connection) -> None:
        began.set()
        go.wait(10)

    writing = asyncio.create_task(database.write(holds))
    await asyncio.to_thread(began.wait, 10)
    try:
        assert [one.call_id for one in (await store.rows()).rows] == ["c1"]
    finally:
        go.set()
        await writing
    with pytest.raises(OSError, match=r"(?i)read.?only|readonly"):
        await database.report(lambda c: c.execute(sa.delete(SPEND)))
    assert (await store.rows()).total == 1
