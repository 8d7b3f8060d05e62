"""What failed beside others gets one more try, alone; nothing else that went wrong is forgiven."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from run_tests import MOST, run_part

INI = "[pytest]\naddopts = -p no:asyncio -p no:hypothesispytest -p no:anyio\n"
# Fails the first time that it runs.
ONCE = """
import os, pathlib, pytest
@pytest.mark.parametrize("word", ["a", "b::c [d] e/f", "\\u00e4"])
def test_once(word):
    seen = pathlib.Path(__file__).with_suffix("." + word.encode().hex())
    if word != "a" and not seen.exists():
        seen.touch()
        assert False
"""
ALWAYS = "def test_always(): assert False\n"
GOOD = "def test_good(): pass\n"
# What is seen from the first run on: the second ends otherwise.
CRASHES = """
import os, pathlib
def test_crashes():
    seen = pathlib.Path(__file__).with_suffix(".seen")
    if seen.exists():
        os._exit(3)
    seen.touch()
    assert False
"""
MANY = f"import pytest\n@pytest.mark.parametrize('n', range({MOST + 1}))\ndef test_many(n): assert False\n"
CASES: dict[str, tuple[list[str], list[str], int, list[str]]] = {
    # files, options, exit code, what is printed of a second try
    "nothing failed": ([GOOD], [], 0, []),
    "passes alone": ([ONCE, GOOD], [], 0, ["once more, alone: test_0.py::test_once[b::c [d] e/f]", "passed alone"]),
    "passes alone, in parallel": ([ONCE, GOOD], ["-n", "2", "--dist", "loadfile"], 0, ["passed alone"]),
    "fails alone": ([ONCE, ALWAYS], [], 1, ["passed alone", "failed alone, too: test_1.py::test_always"]),
    "too many": ([MANY], [], 1, []),
    "a file that cannot be read": ([ONCE, "def test_(: pass\n"], [], 2, []),
    "a crash the second time": ([CRASHES], [], 3, ["once more, alone"]),
    "stopped by the first": ([ONCE, GOOD], ["-x"], 1, []),
    "none chosen": ([GOOD], ["-k", "nobody"], 5, []),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_tried_again_and_what_counts(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    files, options, code, told = CASES[name]
    (tmp_path / "pytest.ini").write_text(INI)
    for number, text in enumerate(files):
        (tmp_path / f"test_{number}.py").write_text(text)
    assert run_part(sys.executable, options, tmp_path) == code
    printed = capfd.readouterr().out
    lines = [line for line in printed.splitlines() if line.startswith("==> ")]
    assert all(any(words in line for line in lines) for words in told), lines
    assert ("passed alone" in printed) == ("passed alone" in told) and bool(lines) == bool(told)
    assert "test_good" not in "".join(lines)


def test_what_the_cache_of_a_developer_says_counts_for_nothing(tmp_path: Path) -> None:
    """What failed yesterday is no failure of this run."""
    (tmp_path / "pytest.ini").write_text(INI)
    (tmp_path / "test_0.py").write_text(GOOD)
    file = tmp_path / ".pytest_cache" / "v" / "cache" / "lastfailed"
    file.parent.mkdir(parents=True)
    file.write_text('{"test_gone.py::test_gone": true}')
    assert run_part(sys.executable, [], tmp_path) == 0
    assert "test_gone" in file.read_text()
