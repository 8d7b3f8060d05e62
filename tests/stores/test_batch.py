"""Entries that are read and stored in groups are those that are read and stored one by one."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.stores.base import CORRECTION, Spent
from penstock.stores.batch import OWN, SHARED, read_batch
from penstock.stores.journal import BEGIN, Journal, read_all
from penstock.stores.sql import batches
from penstock.stores.sql.address import read_address
from penstock.stores.sql.batches import Careful, append_new
from penstock.stores.sql.database import Database
from penstock.stores.sql.migrate import upgrade
from penstock.stores.sql.schema import DAILY, MARKS, SPEND, TOTALS
from penstock.stores.sql.spend import SqlSpendStore

NOON = 1_795_694_400.0
PERIODS = {f"{kind}:{name}": ("", "1d") for kind in ("key", "team") for name in ("a", "ä", "")}
NAMES = st.sampled_from(["a", "ä", "", "x" * 300, "nul\0"])
UUIDS = st.uuids().map(str)
ORDINARY = st.sampled_from(["a", "", "b" * 40])


@st.composite
def entries(draw, names=ORDINARY, ids=UUIDS) -> Spent:
    """An entry of any kind; ``names``: the texts that foreign people chose."""
    key, team = draw(names), draw(names)
    return Spent(
        draw(ids),
        at=draw(st.sampled_from([NOON, NOON + 1.5, NOON + 86400, 5])),
        began=draw(st.sampled_from([NOON, 5])),
        kind=draw(st.sampled_from(["acompletion", "aembedding", CORRECTION])),
        key=key, team=team, customer=draw(names), tags=draw(st.sampled_from([(), ("t",), ("t", "u", "t")])),
        model=draw(st.sampled_from(["m", "n"])), cache_hit=draw(st.booleans()), estimated=draw(st.booleans()),
        status=draw(st.sampled_from([200, 500])), accounts=(f"key:{key}", f"team:{team}"),
        cost=draw(st.integers(-5, 2**40)), input=draw(st.sampled_from([0, 3, 200, 2**40])), message=draw(names),
        first_ms=draw(st.none() | st.just(1.5)), session=draw(names),
        usage=draw(st.sampled_from([b"", b'{"a":1}', '"ä"'.encode(), b"\xff\0"])), tries=draw(st.integers(0, 2)),
    )  # fmt: skip


def journal_of(folder: Path, given: list[Spent], pending: bool = False) -> Journal:
    journal = Journal(folder, "a")
    for one in given:
        if pending:
            journal.put(Spent(one.call_id, one.at, one.began, one.kind, pending=True))
        journal.put(one)
    journal.flush()
    return journal


def test_what_is_shared_and_what_is_not_is_all_that_there_is():
    assert sorted((*SHARED, *OWN)) == sorted(Spent.__struct_fields__)


@given(st.lists(entries(NAMES, UUIDS | NAMES), max_size=12), st.integers(1, 30), st.booleans())
def test_a_batch_has_the_entries_of_the_file(tmp_path_factory, given, most, pending):
    journal = journal_of(tmp_path_factory.mktemp("journal"), given, pending)
    file, position, found = journal.files[0], 0, []
    while (batch := read_batch(file, position, most)).end > max(position, BEGIN):
        position = batch.end
        assert len(batch) == len(list(batch)) and list(batch) == [batch[at] for at in range(len(batch))]
        found += batch
    assert position == (file.size if given else 0)
    if most == 1:
        assert found == given, "in order, of one at a time"
    assert Counter(found) == Counter(given)
    ends = [entry.end for entry in read_all(file)]
    for until in ends[:3]:
        assert read_batch(file, 0, 10**6, until).end == until
    journal.close()


def test_a_frame_that_rotted_ends_a_batch(tmp_path):
    given = [Spent(str(uuid.uuid4()), NOON, NOON, "x", message=f"text {n}") for n in range(5)]
    file = journal_of(tmp_path, given).files[0]
    data = file.path.read_bytes()
    file.path.write_bytes(data.replace(b"text 3", b"toxt 3"))
    assert list(read_batch(file, 0, 100)) == given[:3]


def test_many_of_one_kind_are_one_group(tmp_path):
    given = [
        Spent(str(uuid.uuid4()), NOON + n, NOON, "acompletion", key=f"k{n % 3}", customer="c" * (n % 2), cost=n)
        for n in range(60)
    ]
    batch = read_batch(journal_of(tmp_path, given).files[0], 0, 100)
    assert sorted((group.of.key, group.of.customer, group.size) for group in batch.groups) == [
        (f"k{n}", "c" * c, 10) for n in range(3) for c in range(2)
    ]
    assert sorted(batch, key=lambda one: one.at) == given


async def everything(store: SqlSpendStore) -> list[object]:
    """All that a store says."""
    told: list[object] = [sorted((await store.rows(limit=1000)).rows, key=lambda one: one.call_id)]
    for dimension in ("key", "team", "customer", "tag"):
        told.append(sorted(await store.daily(dimension, by=("day", "name", "key", "model")), key=repr))
    asked = [(account, period, start) for account, periods in PERIODS.items() for period in periods
             for start in ({NOON - NOON % 86400, 0.0} if period else {0.0})]  # fmt: skip
    return [*told, sorted(await store.totals(asked)), dict(await store.marks())]


@pytest.fixture(scope="module")
def stores(tmp_path_factory) -> Iterator[list[SqlSpendStore]]:
    folder = tmp_path_factory.mktemp("stores")
    made = [Database(read_address(f"sqlite:///{folder}/{name}.db")) for name in ("one", "two")]
    for database in made:
        upgrade(database)
    yield [SqlSpendStore(database) for database in made]
    for database in made:
        database.close()


def empty(connection: sa.Connection) -> None:
    for table in (SPEND, DAILY, TOTALS, MARKS):
        connection.execute(sa.delete(table))


async def compare(stores: list[SqlSpendStore], folder: Path, before: list[Spent], given: list[Spent]) -> None:
    one_by_one, in_groups = stores
    for store in stores:
        await store._database.write(empty)
        await store.append(before, PERIODS, {})
    journal = journal_of(folder, given)
    batch = read_batch(journal.files[0], 0, 1000)
    await one_by_one.append(list(batch), PERIODS, {"j": 7})
    for _ in range(2):
        await in_groups.append(batch, PERIODS, {"j": 7})
        assert await everything(in_groups) == await everything(one_by_one)
    journal.close()


IDS = st.sampled_from([str(uuid.UUID(int=n)) for n in range(6)])


@given(
    st.lists(entries(ORDINARY), max_size=8) | st.lists(entries(NAMES, IDS), max_size=8),
    st.lists(st.tuples(IDS, st.booleans()), max_size=3, unique_by=lambda one: one[0]),
)
@settings(max_examples=30, deadline=None)
def test_a_batch_is_stored_as_its_entries_are(stores, tmp_path_factory, given, known):
    before = [Spent(id_, NOON, NOON, "acompletion", key="a", cost=9, accounts=("key:a",), pending=pending)
              for id_, pending in known]  # fmt: skip
    asyncio.run(compare(stores, tmp_path_factory.mktemp("journal"), before, given))


@pytest.mark.parametrize("most", [None, 999, 100])
async def test_a_large_batch_is_stored_as_its_entries_are(stores, tmp_path, monkeypatch, most):
    """Also where a statement may have few values, as in SQLite before 3.32."""
    if most is not None:
        monkeypatch.setattr(batches, "_most_values", lambda connection: most)
    given = [
        Spent(str(uuid.uuid4()), NOON + n, NOON, "acompletion", key="a" if n % 9 else f"k{n % 40}", team="a", cost=n,
              accounts=("key:a", "team:a"), usage=b'{"n":%d}' % n, input=n, session=f"s{n}", first_ms=n / 3)
        for n in range(700)
    ]  # fmt: skip
    await compare(stores, tmp_path, given[100:101], given)
    await compare(stores, tmp_path / "new", [], given)


async def test_only_a_batch_with_something_known_is_added_with_care(stores, tmp_path):
    store = stores[0]
    await store._database.write(empty)
    given = [Spent(str(uuid.UUID(int=n)), NOON, NOON, "acompletion", cost=1, accounts=("key:a",)) for n in range(300)]
    batch = read_batch(journal_of(tmp_path, given).files[0], 0, 1000)
    await store._database.write(lambda connection: append_new(connection, batch, PERIODS, {"j": 1}))
    kept = await everything(store)
    with pytest.raises(Careful):
        await store._database.write(lambda connection: append_new(connection, batch, PERIODS, {"j": 2}))
    assert await everything(store) == kept, "and nothing of it is kept"
