"""Fenced code blocks of Markdown files, and the comments above them that say how to run each.

A block is run by its language (test_doc_blocks.py). An HTML comment right above the fence changes that; several may
stand one below the other:

    <!-- doctest: skip because REASON -->     not run; every `text` and `console` block needs this
    <!-- doctest: background -->              started, and left running for the blocks below it
    <!-- doctest: file NAME -->               also written to NAME, for the blocks below it
    <!-- doctest: prints TEXT -->             the output must have TEXT in it
    <!-- doctest: fails -->                   the exit code must not be 0
    <!-- doctest: parse -->                   a `yaml` block that is not a Penstock config
    <!-- doctest: script -->                  a `yaml` block that is a script for `penstock mock`
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

# Verb -> what must follow it.
DIRECTIVES = {
    "skip": r"because \S+ \S+.*",
    "background": "",
    "file": r"[\w./-]+",
    "prints": ".+",
    "fails": "",
    "parse": "",
    "script": "",
}
FENCE = re.compile(r"^(?P<indent> *)(?P<ticks>`{3,})(?P<language>[\w-]*)\s*$")
COMMENT = re.compile(r"^\s*<!--\s*doctest:\s*(?P<verb>\w+)\s*(?P<rest>.*?)\s*-->\s*$")


@dataclass(slots=True)
class Block:
    """One fenced block: where it stands, its language, its text without the fence's indent, and its directives."""

    file: str
    line: int
    language: str
    text: str
    directives: dict[str, str] = field(default_factory=dict)

    @property
    def place(self) -> str:
        return f"{self.file}:{self.line}"


def blocks(file: str, markdown: str) -> list[Block]:
    """The fenced blocks of one Markdown text, in order. ValueError: an open fence, or a directive nobody knows."""
    found: list[Block] = []
    pending: dict[str, str] = {}
    lines = iter(enumerate(markdown.split("\n"), 1))
    for number, line in lines:
        if comment := COMMENT.match(line):
            verb, rest = comment["verb"], comment["rest"]
            if verb not in DIRECTIVES or not re.fullmatch(DIRECTIVES[verb], rest):
                raise ValueError(f"{file}:{number}: doctest comment must be one of {list(DIRECTIVES)}: {line.strip()}")
            pending[verb] = rest
        elif fence := FENCE.match(line):
            text = _text(file, number, fence, lines)
            found.append(Block(file, number, fence["language"], text, pending))
            pending = {}
        elif line.strip():
            if pending:
                raise ValueError(f"{file}:{number}: a doctest comment must stand right above a block")
    return found


def _text(file: str, start: int, fence: re.Match[str], lines: object) -> str:
    body = []
    for _, line in lines:  # type: ignore[attr-defined]
        if line.strip() == fence["ticks"]:
            return "\n".join(body) + "\n"
        body.append(line.removeprefix(fence["indent"]))
    raise ValueError(f"{file}:{start}: this block is never closed")
