"""The journal: what was written is read again, whatever was cut off, whoever died."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.stores import journal as journals
from penstock.stores.base import Spent
from penstock.stores.journal import BEGIN, Journal, JournalFile, Lost, left_open, read_all, take_over


def spent(number: int, pending: bool = False, text: str = "") -> Spent:
    return Spent(f"call-{number}", 1.79e9 + number, 1.79e9, "acompletion", cost=number, pending=pending, message=text)


def entries(folder: Path) -> list[Spent]:
    taken = [file for files in take_over(folder) for file in files]
    found = [entry.spent for file in taken for entry in read_all(file)]
    for file in taken:
        file.close()
    return found


@given(sizes=st.lists(st.integers(0, 400), max_size=30), groups=st.integers(1, 7))
def test_what_is_written_is_read_again(tmp_path_factory, sizes, groups) -> None:
    folder = tmp_path_factory.mktemp("journal")
    journal = Journal(folder, "a")
    given = [spent(number, bool(number % 3 == 0), "x" * size) for number, size in enumerate(sizes)]
    for number, one in enumerate(given):
        journal.put(one)
        if number % groups == 0:
            assert journal.flush()
    assert journal.end[1] == BEGIN + sum(len(frame) for frame in journal._waiting) + journal.files[0].size - BEGIN
    journal.close()
    assert entries(folder) == given


@given(cut=st.integers(1, 300))
def test_a_frame_that_was_cut_off_ends_the_file(tmp_path_factory, cut) -> None:
    folder = tmp_path_factory.mktemp("journal")
    journal = Journal(folder, "a")
    for number in range(5):
        journal.put(spent(number))
        journal.flush()
    file = journal.files[0]
    journal.close()
    size = file.path.stat().st_size
    os.truncate(file.path, max(0, size - cut))
    found = entries(folder)
    assert found == [spent(number) for number in range(len(found))] and len(found) < 5


def test_bytes_that_rotted_are_no_entry(tmp_path) -> None:
    journal = Journal(tmp_path, "a")
    for number in range(3):
        journal.put(spent(number, text="text"))
    journal.close()
    path = journal.files[0].path
    data = path.read_bytes()
    path.write_bytes(data.replace(b"text", b"tixt", 2).replace(b"tixt", b"text", 1))
    assert entries(tmp_path) == [spent(0, text="text")]


def test_one_longer_than_a_read_is_read(tmp_path) -> None:
    journal = Journal(tmp_path, "a")
    long = spent(1, text="x" * 3_000_000)
    for one in (spent(0), long, spent(2)):
        journal.put(one)
    journal.close()
    assert entries(tmp_path) == [spent(0), long, spent(2)]


def test_nobody_takes_what_somebody_holds(tmp_path) -> None:
    journal = Journal(tmp_path, "a")
    journal.put(spent(1))
    journal.flush()
    code = "import sys, pathlib; from penstock.stores.journal import take_over; print(take_over(pathlib.Path(sys.argv[1])))"
    told = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert told.stdout == "[]\n"
    journal.close()
    told = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert "JournalFile" in told.stdout


def test_its_files_are_its_owners_alone(tmp_path) -> None:
    journal = Journal(tmp_path / "journal", "a")
    assert (journal.files[0].path.stat().st_mode & 0o777, (tmp_path / "journal").stat().st_mode & 0o777) == (
        0o600,
        0o700,
    )


def test_large_files_are_followed_by_others(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(journals, "LARGEST", 1000)
    journal = Journal(tmp_path, "a")
    for number in range(40):
        journal.put(spent(number, pending=number == 3))
        journal.flush()
    assert len(journal.files) > 3
    journal.close()
    assert entries(tmp_path) == [spent(number, pending=number == 3) for number in range(40)]
    [files] = take_over(tmp_path)
    assert left_open(files) == [spent(3, pending=True)]


def test_a_disk_that_is_full_for_a_while_loses_nothing(tmp_path, monkeypatch) -> None:
    journal = Journal(tmp_path, "a")
    write, room = os.pwrite, [60]

    def pwrite(fd: int, data: bytes, at: int) -> int:
        if room[0] <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken = min(len(data), room[0])
        room[0] -= taken
        return write(fd, data[:taken], at)

    monkeypatch.setattr(os, "pwrite", pwrite)
    for number in range(10):
        journal.put(spent(number))
        journal.flush()
    assert "No space left" in journal.trouble and journal.waits
    assert [entry.spent for entry in read_all(journal.files[0])] == []
    room[0] = 1 << 20
    assert journal.flush() and not journal.trouble
    journal.close()
    assert entries(tmp_path) == [spent(number) for number in range(10)]


def test_what_waits_has_a_bound(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(journals, "KEPT", 1000)
    journal = Journal(tmp_path, "a")

    def pwrite(fd: int, data: bytes, at: int) -> int:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "pwrite", pwrite)
    with pytest.raises(Lost, match="Read-only"):
        for number in range(100):
            journal.put(spent(number))
            journal.flush()


def test_a_file_that_is_removed_while_it_is_taken_is_nobodys(tmp_path, monkeypatch) -> None:
    journal = Journal(tmp_path, "a")
    file = journal.files[0]
    opened = os.open

    def late(path, *more):
        found = opened(path, *more)
        file.remove()
        return found

    monkeypatch.setattr(os, "open", late)
    assert JournalFile.take(file.path) is None
