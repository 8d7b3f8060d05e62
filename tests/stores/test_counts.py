"""Files in which workers count: what one writes the other reads, a place goes on, nothing is half there."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from penstock.stores import counts
from penstock.stores.counts import SIZE, CountsFile, make_counts_file

LAYOUT, SLOTS, WIDTH = 7, 12, 3


@pytest.fixture
def fd() -> Iterator[int]:
    found = make_counts_file()
    yield found
    os.close(found)


def opened(fd: int, writes: bool = True, layout: int = LAYOUT) -> CountsFile:
    return CountsFile(fd, layout, SLOTS, WIDTH, writes)


def test_what_one_writes_the_other_reads(fd: int):
    mine = opened(fd)
    places = [mine.add(b"text %d" % at, [at, 0.5]) for at in range(1000)]
    theirs = opened(fd, writes=False)
    assert [(e.place, e.text, e.values) for e in theirs.entries()] == [
        (place, b"text %d" % at, (at, 0.5)) for at, place in enumerate(places)
    ]
    mine.write(places[3], [7, 8])
    assert theirs.values(places[3], 2) == (7, 8)
    last = theirs.end
    mine.add(b"new", [1])
    assert [entry.text for entry in theirs.entries(last)] == [b"new"]


def test_who_takes_a_place_goes_on_where_it_was(fd: int):
    first = opened(fd)
    place = first.add(b"a", [1])
    first.put_note(b"note")
    first.put_slot(13, [1, 2, 3])
    first.close()
    second = opened(fd)
    assert [(e.place, e.text, e.values) for e in second.entries()] == [(place, b"a", (1,))]
    assert second.note() == b"note" and {n: list(row) for n, row in second.slots().items()} == {13: [1, 2, 3]}


def test_another_layout_begins_anew_and_is_not_read(fd: int):
    opened(fd).add(b"a", [1])
    assert list(opened(fd, writes=False, layout=8).entries()) == []
    assert opened(fd, layout=8).holds
    assert not opened(fd, writes=False).holds and list(opened(fd, writes=False).entries()) == []


def test_notes_and_slots_take_the_places_of_older_ones(fd: int):
    mine, theirs = opened(fd), opened(fd, writes=False)
    for at in range(5):
        assert mine.put_note(b"%d" % at * (at + 1))
        assert theirs.note() == b"%d" % at * (at + 1)
    assert not mine.put_note(bytes(counts._NOTE + 1)) and theirs.note() == b"44444"
    for number in range(1, 40):
        mine.put_slot(number, [number] * WIDTH)
    assert sorted(theirs.slots()) == list(range(28, 40))


def test_what_does_not_fit_is_told(fd: int):
    mine = opened(fd)
    big = [0.0] * (SIZE // 8 // 2)
    assert mine.add(b"a", big) > 0 and mine.add(b"b", big) == -1
    assert [entry.text for entry in opened(fd, writes=False).entries()] == [b"a"]
