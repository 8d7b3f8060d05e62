"""The contract of ``stores.base.Directory``, for every one: in memory, and in each kind of database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.stores.base import Audited, Directory, Gone, Outdated, Row, Taken
from penstock.stores.directory_memory import MemoryDirectory
from penstock.stores.kinds import KINDS
from penstock.stores.sql.address import read_address
from penstock.stores.sql.database import Database
from penstock.stores.sql.directory import SqlDirectory
from tests.databases import KINDS as DATABASES

EVERY = ["memory", *DATABASES]


def row(id: str = "a", version: int = 1, kind: str = "key", at: float = 1.5, **body: object) -> Row:
    return Row(kind, id, msgspec.json.encode(body), version, at, "master", at + version, "me")


@pytest.fixture(params=EVERY)
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Directory]:
    if request.param == "memory":
        yield MemoryDirectory()
        return
    database = Database(read_address(request.getfixturevalue(f"empty_{request.param}")))
    made = SqlDirectory(database)
    yield made
    await made.close()


async def test_a_row_is_there_as_it_was_written_until_it_goes(store):
    assert await store.revision() == 0 and (await store.since(0)).rows == ()
    assert await store.get("key", "a") is None
    first = row(key_alias="Zoë ☃ 'x' \"y\" \\ %", blocked=True, other={"n": [1, 2.5, None], "text": "\u0000\n"})
    assert await store.write([first]) == await store.revision() == 1
    assert await store.get("key", "a") == first and await store.get("team", "a") is None
    second = row(version=2, key_alias="b")
    await store.write([second])
    assert await store.get("key", "a") == second
    assert await store.write([Gone("key", "a", 2)]) == 3
    assert await store.get("key", "a") is None
    await store.write([row(at=9.25)])  # its id is free again
    assert await store.get("key", "a") == row(at=9.25)


@pytest.mark.parametrize("kind", sorted(KINDS))
async def test_every_kind_is_kept_with_all_its_columns(store, kind):
    body = {name: True if name == "blocked" else f"{name} {kind}" for name in KINDS[kind].columns}
    one, other = row("one", kind=kind, **body), row("other", kind=kind)
    await store.write([one, other])
    for name, value in body.items():
        assert await store.find(kind, {name: value}) == ((one,), 1), name
        assert await store.find(kind, {name: None}) == ((other,), 1), name
    assert set((await store.since(0)).rows) == {one, other}


async def test_a_write_is_all_or_nothing(store):
    await store.write([row("a"), row("b", key_alias="of b")])
    wrong = {
        "an id that is taken": (row("a"), Outdated),
        "a version too high": (row("a", 3), Outdated),
        "a version of nothing": (row("none", 2), Outdated),
        "a row that is gone": (Gone("key", "none", 1), Outdated),
        "another version goes": (Gone("key", "a", 2), Outdated),
        "an alias that is another's": (row("a", 2, key_alias="of b"), Taken),
    }
    for name, (change, error) in wrong.items():
        with pytest.raises(error):
            await store.write([row("new", key_alias="n"), change], [audited("x")])
        assert await store.revision() == 1, name
        assert await store.get("key", "new") is None and (await store.audits()) == ((), 0), name
    assert (await store.find("key")).total == 2


async def test_what_must_be_one_of_a_kind_is(store):
    for kind in sorted(kind for kind in KINDS if KINDS[kind].unique):
        for column in KINDS[kind].unique:
            await store.write([row(f"{column}1", kind=kind, **{column: "same"})])
            with pytest.raises(Taken) as told:
                await store.write([row(f"{column}2", kind=kind, **{column: "same"})])
            assert (told.value.kind, told.value.column) == (kind, column)
            # Another's is not its own, other letters are another value, and nothing is nobody's.
            await store.write([row(f"{column}1", 2, kind=kind, **{column: "same"})])
            for number, value in enumerate(("SAME", "same ", " same", "sam\u00e9", None, None, "", "")):
                await store.write([row(f"{column}{number + 10}", kind=kind, **{column: value})])
            # Within one write, what a row gives up another may have.
            await store.write([Gone(kind, f"{column}1", 2), row(f"{column}3", kind=kind, **{column: "same"})])


async def test_since_tells_what_changed_after_a_revision(store):
    one = await store.write([row("a"), row("b"), row("t", kind="team")])
    assert set((await store.since(0)).rows) == {row("a"), row("b"), row("t", kind="team")}
    two = await store.write([row("a", 2)])
    three = await store.write([Gone("key", "b", 1)])
    assert await store.since(one) == (three, (row("a", 2),), (Gone("key", "b", 1),))
    assert await store.since(two) == (three, (), (Gone("key", "b", 1),))
    assert await store.since(three) == (three, (), ())
    four = await store.write([row("b", at=7.0)])
    assert await store.since(two) == (four, (row("b", at=7.0),), ()), "what came back is not gone"


async def test_rows_are_found_by_columns(store):
    rows = [
        row("k1", key_alias="Alpha One", team_id="t1", user_id="u1", at=3.0),
        row("k2", key_alias="beta_one", team_id="t1", user_id="u2", blocked=True, at=1.0),
        row("k3", key_alias="ALPHÄ", team_id="t2", at=2.0),
        row("k4", at=4.0),
    ]
    await store.write(rows)

    async def ids(where=None, like=None, **more) -> list[str]:
        return [one.id for one in (await store.find("key", where, like, **more)).rows]

    assert await ids() == ["k2", "k3", "k1", "k4"]
    assert await ids(descending=True) == ["k4", "k1", "k3", "k2"]
    assert await ids({"team_id": "t1"}) == ["k2", "k1"]
    assert await ids({"team_id": ("t2", "t1"), "user_id": "u1"}) == ["k1"]
    assert await ids({"team_id": None}) == ["k4"] and await ids({"team_id": ("t2", None)}) == ["k3", "k4"]
    assert await ids({"team_id": ()}) == [] and await ids({"team_id": "T1"}) == []
    assert await ids({"blocked": True}) == ["k2"]
    assert await ids(like={"key_alias": "one"}) == ["k2", "k1"]
    assert await ids(like={"key_alias": "alphä"}) == ["k3"]
    assert await ids(like={"key_alias": "_"}) == ["k2"] and await ids(like={"key_alias": "%"}) == []
    assert await ids(like={"key_alias": "' OR 1=1 --"}) == []
    assert await ids(order="key_alias") == ["k4", "k3", "k1", "k2"], "nothing first, then by code points"
    assert await ids(order="key_alias", descending=True) == ["k2", "k1", "k3", "k4"]
    assert await ids(offset=1, limit=2) == ["k3", "k1"] and await ids(offset=3) == ["k4"]
    assert (await store.find("key", {"team_id": "t1"}, limit=1)).total == 2
    assert (await store.find("key", offset=9)).rows == () and (await store.find("key", limit=0)).total == 4


def audited(id: str, **more: object) -> Audited:
    told = {"at": 1.5, "who": "me", "action": "created", "kind": "key", "row": "a"} | more
    return Audited(id=id, **told)  # type: ignore[arg-type]


async def test_the_audit_log_has_the_newest_first(store):
    first = audited("1", before=b'{"a":"\xc3\xa4"}', after=b"{}")
    await store.write([row("a")], [first, audited("2", row="b")])
    await store.write([row("b")], [audited("3", who="you")])
    found, total = await store.audits()
    assert [one.id for one in found] == ["3", "2", "1"] and total == 3 and found[2] == first
    found, total = await store.audits({"who": "me"}, offset=1, limit=1)
    assert [one.id for one in found] == ["1"] and total == 2
    assert await store.audits({"kind": "key", "row": "b"}) == ((audited("2", row="b"),), 1)


async def test_of_several_writers_one_wins_and_the_others_are_told(store):
    await store.write([row("a")])
    done = await asyncio.gather(*(store.write([row("a", 2, n=n)]) for n in range(8)), return_exceptions=True)
    assert sorted(type(one).__name__ for one in done) == ["Outdated"] * 7 + ["int"]
    await asyncio.gather(*(store.write([row(f"n{n}")]) for n in range(20)))
    assert await store.revision() == 22 and (await store.find("key")).total == 21


NAMES = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=30)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(bodies=st.lists(st.tuples(NAMES, NAMES, st.booleans()), min_size=1, max_size=8), asked=NAMES)
async def test_any_text_is_found_as_in_memory(store, bodies, asked):
    """Whatever stands in the columns: the same rows, in the same order, as a directory in memory has them."""
    memory = MemoryDirectory()
    kept = [Gone("team", one.id, one.version) for one in (await store.find("team")).rows]
    rows = [
        row(f"{number}", kind="team", at=float(number), team_alias=alias, organization_id=organization, blocked=flag)
        for number, (alias, organization, flag) in enumerate(bodies)
    ]
    await store.write([*kept, *rows])
    await memory.write(rows)
    for where, order in (({}, "team_alias"), ({"team_alias": asked}, "created_at"), ({"team_alias": bodies[0][0]}, "organization_id")):
        assert await store.find("team", where, order=order) == await memory.find("team", where, order=order)
