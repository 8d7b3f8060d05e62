"""Words that do not belong in the project: notes to self and paths of somebody's machine."""

from __future__ import annotations

import re

from tests.rules.repo import ROOT, files

# Written in pieces, so that this file passes its own test.
WORDS = ["/" + "work/", "/" + "farm/", "/" + "tmp/real", "/" + "tmp/research", r"\b" + "TO" + r"DO\b"]
WORDS += [r"\b" + "FIX" + r"ME\b", r"\b" + "X" + r"XX\b", r"\b" + "sub" + "agent", r"\b" + "C" + r"EO\b"]
PATTERN = re.compile("|".join(WORDS))
OPAQUE = (".lock", ".svg", ".png", ".json", ".min.js", ".gguf")


def test_no_file_has_a_word_that_does_not_belong() -> None:
    hits = []
    for name in files():
        if name.endswith(OPAQUE):
            continue
        text = (ROOT / name).read_bytes().decode("utf-8", "replace")
        for number, line in enumerate(text.split("\n"), 1):
            if found := PATTERN.search(line):
                hits.append(f"{name}:{number}: {found.group(0)}")
    assert hits == []


def test_the_pattern_finds_what_it_should() -> None:
    assert PATTERN.search("# TO" + "DO later") and PATTERN.search("see /" + "work/x")
    assert not PATTERN.search("the network/works; a to-do list")


def test_readme_names_both_commands_and_ci_runs_one() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "make run" in readme and "make test" in readme
    assert "make test" in (ROOT / ".ci/run").read_text(encoding="utf-8")
