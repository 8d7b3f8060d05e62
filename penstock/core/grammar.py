"""Constraints in the words of other engines: a list of choices as a regular expression, both as a GBNF grammar.

GBNF is llama.cpp's notation (github.com/ggml-org/llama.cpp/blob/master/grammars/README.md; its reader is
src/llama-grammar.cpp). A literal knows the escapes \\xHH, \\uHHHH and \\UHHHHHHHH; so does a class of characters, where
each end of a range is written as one, so that no character there has a meaning of its own.

The regular expressions are those that engines with a grammar of their own take: literals, ``.``, classes, groups,
``|``, ``* + ? {n} {n,} {n,m}`` and their lazy forms (the language is the same). An expression matches the whole answer.
``\\d \\w \\s`` are ASCII. Look-around, back references and word boundaries have no grammar: they are ``Unsupported``.
"""

from __future__ import annotations

from collections.abc import Iterable

Ranges = list[tuple[int, int]]  # code points, both ends in

_LAST = 0x10FFFF
_ALL: Ranges = [(1, 0xD7FF), (0xE000, _LAST)]  # NUL ends a text there, and halves of surrogate pairs are no characters
_DIGIT: Ranges = [(48, 57)]
_WORD: Ranges = [(48, 57), (65, 90), (95, 95), (97, 122)]
_BLANK: Ranges = [(9, 13), (32, 32)]
_SETS = {"d": _DIGIT, "w": _WORD, "s": _BLANK}
_CONTROLS = {"n": 10, "r": 13, "t": 9, "f": 12, "v": 11, "a": 7, "e": 27}
_MOST_REPEATS = 2000  # llama.cpp's limit, MAX_REPETITION_THRESHOLD in src/llama-grammar.cpp
_DEEPEST = 50
_META = frozenset("\\^$.|?*+()[]{}/-")


class Unsupported(ValueError):
    """The expression cannot be a grammar; the text says which part of it, and where."""


def choices_regex(choices: Iterable[str]) -> str:
    """Make an expression that matches each choice and nothing else."""
    return "(" + "|".join("".join(map(_escaped, choice)) for choice in choices) + ")"


def _escaped(char: str) -> str:
    if char in _META:
        return "\\" + char
    return {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(char, char)


def choices_gbnf(choices: Iterable[str]) -> str:
    """Make a grammar of the choices. Raises ``Unsupported`` for a character that no grammar can hold."""
    return "root ::= " + " | ".join(literal(choice) for choice in choices)


def literal(text: str) -> str:
    """Write a text as a GBNF literal."""
    return '"' + "".join(_in_literal(ord(char)) for char in text) + '"'


def _in_literal(code: int) -> str:
    _check(code)
    char = chr(code)
    return char if char.isascii() and char.isprintable() and char not in '"\\' else _code(code)


def _check(code: int) -> None:
    if code == 0 or 0xD800 <= code <= 0xDFFF:
        raise Unsupported(f"the character U+{code:04X} cannot stand in a grammar")


def _code(code: int) -> str:
    return f"\\x{code:02X}" if code < 0x100 else f"\\u{code:04X}" if code < 0x10000 else f"\\U{code:08X}"


def regex_gbnf(pattern: str) -> str:
    """Make a grammar of what ``pattern`` matches from the first character to the last. Raises ``Unsupported``."""
    return "root ::= " + _Parser(pattern).whole()


class _Parser:
    def __init__(self, pattern: str) -> None:
        self._text = pattern
        self._at = 0
        self._depth = 0

    def whole(self) -> str:
        text = self._text
        if text.startswith("^"):
            self._at = 1
        made = self._alternatives(top=True)
        if self._at < len(text):
            raise self._no("')' closes no group")
        return made

    def _no(self, why: str, at: int | None = None) -> Unsupported:
        return Unsupported(f"{why} (character {(self._at if at is None else at) + 1} of the expression)")

    def _peek(self) -> str:
        return self._text[self._at] if self._at < len(self._text) else ""

    def _take(self) -> str:
        char = self._peek()
        if not char:
            raise self._no("the expression breaks off")
        self._at += 1
        return char

    def _alternatives(self, top: bool = False) -> str:
        branches = [self._branch(top)]
        while self._peek() == "|":
            self._at += 1
            if top and self._peek() == "^":
                self._at += 1
            branches.append(self._branch(top))
        return " | ".join(branches)

    def _branch(self, top: bool) -> str:
        parts: list[str] = []
        while (char := self._peek()) not in ("", "|", ")"):
            if char == "$" and top and self._text[self._at + 1 : self._at + 2] in ("", "|"):
                self._at += 1
                continue
            parts.append(self._quantified(self._atom()))
        return " ".join(parts) or '""'

    def _atom(self) -> str:
        start = self._at
        char = self._take()
        if char == "(":
            return self._group(start)
        if char == "[":
            return self._class(start)
        if char == ".":
            return _ranges(_without([(10, 10)]))
        if char == "\\":
            return self._escape(start)
        if char in "^$":
            raise self._no(f"'{char}' stands inside the expression, which matches the whole answer as it is", start)
        if char in "*+?":
            raise self._no(f"'{char}' repeats nothing", start)
        return literal(char)

    def _group(self, start: int) -> str:
        if self._peek() == "?":
            self._at += 1
            self._kind(start)
        self._depth += 1
        if self._depth > _DEEPEST:
            raise self._no(f"groups are nested deeper than {_DEEPEST}", start)
        inner = self._alternatives()
        self._depth -= 1
        if self._peek() != ")":
            raise self._no("'(' is not closed", start)
        self._at += 1
        return f"({inner})"

    def _kind(self, start: int) -> None:
        """Read what follows ``(?``: a plain or a named group; all else looks around or changes the rules."""
        char = self._take()
        if char == ":":
            return
        if char == "P" and self._peek() == "<":
            char = self._take()
        if char == "<" and self._peek() not in ("=", "!"):
            end = self._text.find(">", self._at)
            if end > self._at:
                self._at = end + 1
                return
        raise self._no("a group beginning with '(?' that is neither '(?:' nor named has no grammar", start)

    def _escape(self, start: int) -> str:
        if self._peek().lower() in _SETS:
            return _ranges(self._set(self._take()))
        if self._peek() and self._peek() in "bBAZzGK":
            raise self._no(f"'\\{self._peek()}' has no grammar", start)
        return literal(chr(self._escaped_code(start)))

    def _set(self, char: str) -> Ranges:
        found = _SETS[char.lower()]
        return found if char.islower() else _without(found)

    def _escaped_code(self, start: int) -> int:
        char = self._take()
        if char in _CONTROLS:
            return _CONTROLS[char]
        if char in "xu":
            return self._hex(start, char)
        if char.isalnum():
            raise self._no(f"'\\{char}' has no grammar", start)
        return ord(char)

    def _hex(self, start: int, char: str) -> int:
        if self._peek() == "{":
            end = self._text.find("}", self._at)
            digits, self._at = self._text[self._at + 1 : max(end, self._at + 1)], end + 1
        else:
            size = 2 if char == "x" else 4
            digits, self._at = self._text[self._at : self._at + size], self._at + size
            if len(digits) < size:
                raise self._no(f"'\\{char}' wants {size} digits", start)
        try:
            code = int(digits, 16)
        except ValueError:
            raise self._no(f"'\\{char}{digits}' is no character", start) from None
        if code > _LAST:
            raise self._no(f"'\\{char}{digits}' is no character", start)
        return code

    def _class(self, start: int) -> str:
        negated = self._peek() == "^"
        self._at += negated
        found: Ranges = []
        first = True
        while (char := self._peek()) != "]" or first:
            if not char:
                raise self._no("'[' is not closed", start)
            first = False
            if char == "[" and self._text[self._at + 1 : self._at + 2] == ":":
                raise self._no("classes such as [:alpha:] are not known", self._at)
            low = self._member()
            if isinstance(low, list):
                found += low
                continue
            high = low
            if self._peek() == "-" and self._text[self._at + 1 : self._at + 2] not in ("]", ""):
                self._at += 1
                end = self._member()
                if isinstance(end, list) or end < low:
                    raise self._no("a range of characters runs backwards or has no end", self._at - 1)
                high = end
            found.append((low, high))
        self._at += 1
        found = _without(found) if negated else _within(found)
        if not found:
            raise self._no("a class of characters is empty", start)
        return _ranges(found)

    def _member(self) -> int | Ranges:
        start = self._at
        char = self._take()
        if char != "\\":
            return ord(char)
        if self._peek().lower() in _SETS:
            return self._set(self._take())
        if self._peek() == "b":
            self._at += 1
            return 8
        return self._escaped_code(start)

    def _quantified(self, atom: str) -> str:
        start = self._at
        char = self._peek()
        if char in ("*", "+", "?") and char:
            self._at += 1
            count = char
        elif char == "{":
            count = self._count(start)
        else:
            return atom
        follow = self._peek()
        if follow == "?":
            self._at += 1  # lazy: the same texts match
        elif follow == "+":
            raise self._no("possessive repetition has no grammar")
        elif follow in ("*", "{") and follow:
            raise self._no("a repetition is repeated")
        return atom + count

    def _count(self, start: int) -> str:
        end = self._text.find("}", start)
        low, comma, high = self._text[start + 1 : max(end, start + 1)].partition(",")
        if end < 0 or not low.isascii() or not low.isdigit() or (high and not (high.isascii() and high.isdigit())):
            raise self._no("'{' begins no number of repetitions; write '\\{' for the character", start)
        if max(int(low), int(high or 0)) > _MOST_REPEATS or (high and int(high) < int(low)):
            raise self._no(f"a number of repetitions is over {_MOST_REPEATS}, or runs backwards", start)
        self._at = end + 1
        return "{" + str(int(low)) + comma + (str(int(high)) if high else "") + "}"


def _within(found: Ranges) -> Ranges:
    """Sort and join ranges, without what cannot be written."""
    joined: Ranges = []
    for low, high in sorted(found):
        if joined and low <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(high, joined[-1][1]))
        else:
            joined.append((low, high))
    kept: Ranges = []
    for low, high in joined:
        for first, last in _ALL:
            if low <= last and high >= first:
                kept.append((max(low, first), min(high, last)))
    return kept


def _without(found: Ranges) -> Ranges:
    """Return all characters but these."""
    kept: Ranges = []
    for first, last in _ALL:
        at = first
        for low, high in _within(found):
            if high < at or low > last:
                continue
            if low > at:
                kept.append((at, low - 1))
            at = high + 1
        if at <= last:
            kept.append((at, last))
    return kept


def _ranges(found: Ranges) -> str:
    return "[" + "".join(_code(low) if low == high else f"{_code(low)}-{_code(high)}" for low, high in found) + "]"
