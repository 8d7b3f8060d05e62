"""What is wrong in a config file, where, and how it is written down."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

Level = Literal["error", "warning"]
Grade = Literal["warning", "error", "fatal"]
GRADES: tuple[Grade, ...] = ("warning", "error", "fatal")
KeyPath = tuple[str | int, ...]

_PLAIN_KEY = r"[\w./*:@+<-]{1,80}"
_MOST_PROBLEMS = 2000
_MOST_HINTS = 60


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding. `line` counts from 1; 0 means the whole file. `str()` is `file:line: key.path: message`."""

    file: str
    line: int
    path: str
    message: str
    level: Level

    def __str__(self) -> str:
        return self.text()

    def text(self, label: str = "") -> str:
        """Render the finding as one line, with `label` (such as `warning: `) before the message."""
        where = f"{self.file}:{self.line}: " if self.line else f"{self.file}: "
        path = f"{self.path}: " if self.path else ""
        return f"{where}{path}{label}{self.message}"


_SHORT = 8  # characters; no key is so short, and most slips of the pen are
_RUN = re.compile(r"[A-Za-z0-9+=]{16,}")  # in no name that people give a model, and in nearly every key
_HIDDEN = "'...'"
_ADDRESS = re.compile(r"(?:[a-z]+:)?//(?:[^/@\s]*@)?|(?=[a-z0-9.-]+:\d{1,5}(?:/|$))")
_HOST = re.compile(r"(?:[\w-]{1,8}|[a-z0-9-]{1,15}(?:\.[a-z0-9-]{1,15})*)?(?::\d+)?")


def shown(name: str) -> str:
    """Quote a name from the file for a message: of a model, a file, a variable. One that may be a key pasted into the
    wrong place is hidden."""
    return _HIDDEN if _RUN.search(name) else repr(name if len(name) <= 100 else name[:97] + "...")


def described(value: object, kind: str = "text") -> str:
    """Describe a value from the file for a message. It may be a secret, whatever its key is called: what is longer than
    a few characters is shown only as far as it is an address, else by its kind and its length."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, int | float):
        return str(value) if len(str(value)) <= _SHORT else "a number"
    if not isinstance(value, str):
        return "a mapping" if isinstance(value, dict) else "a list" if isinstance(value, list) else kind
    if len(value) <= _SHORT:
        return repr(value)
    found = _ADDRESS.match(value)
    if found is None:
        return f"{kind} of {len(value)} characters"
    host, slash, rest = value[found.end() :].partition("/")
    begin = re.sub(r"//.*@", "//***@", found[0])
    if not _HOST.fullmatch(host):
        return f"{kind} of {len(value)} characters"
    return repr(f"{begin}{host}{slash}{rest if len(rest) <= _SHORT and '?' not in rest else '...'}")


def render(path: KeyPath) -> str:
    """Render a path of keys: `("model_list", 0, "litellm_params")` gives `model_list[0].litellm_params`; odd keys are
    quoted as JSON, and hidden where they may be secrets."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif _RUN.search(part):
            text += "[...]"
        elif re.fullmatch(_PLAIN_KEY, part):
            text += f".{part}" if text else part
        else:
            text += f"[{json.dumps(part[:60], ensure_ascii=False)}]"
    return text


class Problems:
    """Collects findings, each once. A hostile file cannot make it grow without end."""

    __slots__ = ("_dropped", "_found", "_grade", "_hints", "errors", "failed", "slips")

    def __init__(self, slips: Level = "warning") -> None:
        self._found: dict[Problem, None] = {}
        self._hints = _MOST_HINTS
        self._dropped = 0
        self._grade: Grade = "fatal"
        self.errors = 0
        """How many errors were added."""
        self.failed = False
        """True once an error was added that keeps the config from being used."""
        self.slips = slips
        """What a misspelt key is: a file serves without it, whoever sends one entry can mend it at once."""

    @contextmanager
    def graded(self, grade: Grade) -> Iterator[None]:
        """Lower errors within it to ``grade``: an "error" that is about a part which the caller leaves out, or a
        "warning" about a value that counts as absent."""
        before = self._grade
        if GRADES.index(grade) < GRADES.index(before):
            self._grade = grade
        try:
            yield
        finally:
            self._grade = before

    def error(self, file: str, line: int, path: KeyPath, message: str) -> None:
        """Add an error: the config is not used, or what the error is about is not (see ``graded``)."""
        if self._grade == "warning":
            self.warn(file, line, path, f"{message}; counts as absent")
            return
        self.errors += 1
        self._add(Problem(file, line, render(path), message, "error"))

    def warn(self, file: str, line: int, path: KeyPath, message: str) -> None:
        """Add a warning: the config is used."""
        self._add(Problem(file, line, render(path), message, "warning"))

    def slip(self, file: str, line: int, path: KeyPath, message: str) -> None:
        """Add a slip of the pen: see ``slips``."""
        add = self.error if self.slips == "error" else self.warn
        add(file, line, path, message)

    def _add(self, problem: Problem) -> None:
        fails = problem.level == "error" and self._grade == "fatal"
        first_error = problem.level == "error" and (self.errors == 1 or (fails and not self.failed))
        if len(self._found) < _MOST_PROBLEMS or first_error:
            self._found[problem] = None
        elif problem not in self._found:
            self._dropped += 1
        self.failed = self.failed or fails

    def sorted(self) -> tuple[Problem, ...]:
        """Return all findings by file, line and path."""
        found = list(self._found)
        if self._dropped:
            found.append(Problem(found[0].file, 0, "", f"has {self._dropped:,} more problems, not shown", "warning"))
        return tuple(sorted(found, key=lambda p: (p.file, p.line, p.path, p.level, p.message)))

    def hint(self, word: str, choices: Iterable[str]) -> str:
        """Render `, did you mean 'x'?` for the nearest choice, else an empty string."""
        if self._hints <= 0 or len(word) > 100:
            return ""
        self._hints -= 1
        near = nearest(word, choices)
        return f", did you mean {near!r}?" if near else ""


def nearest(word: str, choices: Iterable[str]) -> str | None:
    """Find the choice most like `word`, or None when none is close."""
    import difflib

    by_lower = {choice.lower(): choice for choice in choices}
    found = difflib.get_close_matches(word.lower(), by_lower, 1, 0.72)
    return by_lower[found[0]] if found else None
