"""Shared among interpreters, every file is run, and what depends on the interpreter by all of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pythons import ON_ALL, ROOT, TESTS, share


@pytest.mark.parametrize("of", [1, 2, 3, 4])
def test_every_file_runs_with_one_and_some_with_all(of: int) -> None:
    shares = [share(number, of) for number in range(of)]
    every = {path.relative_to(ROOT).as_posix() for folder in TESTS for path in (ROOT / folder).rglob("test_*.py")}
    assert set().union(*shares) == every and len(every) > 100
    for file in every:
        assert sum(file in one for one in shares) == (of if file.startswith(ON_ALL) else 1), file
    assert min(map(len, shares)) > 0.6 * max(map(len, shares)), "about as many for each"


def test_another_file_moves_none(tmp_path: Path) -> None:
    folder = tmp_path / TESTS[0]
    folder.mkdir(parents=True)
    for name in "abcdefgh":
        (folder / f"test_{name}.py").touch()
    before = [share(number, 3, tmp_path) for number in range(3)]
    (folder / "test_abc.py").touch()
    after = [share(number, 3, tmp_path) for number in range(3)]
    assert [[file for file in one if "abc" not in file] for one in after] == before


@pytest.mark.parametrize("name", ON_ALL)
def test_what_all_run_is_there(name: str) -> None:
    assert (ROOT / name).exists() and name.startswith(TESTS)


def test_a_whole_check_shares() -> None:
    assert re.search(r'^make pythons ARGS="--share --but \$this"$', (ROOT / ".ci/run").read_text(), re.M)
