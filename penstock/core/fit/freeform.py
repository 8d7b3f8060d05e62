"""The free text of a custom tool as the one argument of a function, and back.

OpenAI's ``custom`` tools (Codex's ``apply_patch`` and ``exec``) are called with plain text. Where a target has
functions only, the model is asked for ``{"input": "<the text>"}``. It comes in pieces: what is certain of the text is
told at once, so that a patch appears in the client as it is written.
"""

from __future__ import annotations

import re

import msgspec
from msgspec.json import Decoder, encode

KEY = "input"
SCHEMA = (
    b'{"type":"object","properties":{"input":{"type":"string","description":"The whole input of the tool, as plain '
    b'text."}},"required":["input"],"additionalProperties":false}'
)
_LEAD = '{"input":"'
_HEAD = re.compile(r'\s*\{\s*"input"\s*:\s*"')
_LONGEST_HEAD = 256  # characters, white space included; what begins in another way is read at its end
_PLAIN = re.compile(r'[^"\\]+')
_CODE = re.compile(r"\\u([0-9a-fA-F]{4})")
_CODE_BEGUN = re.compile(r"\\(?:u[0-9a-fA-F]{0,3})?")
_LETTERS = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", '"': '"', "\\": "\\", "/": "/"}
_OBJECT = Decoder(dict[str, object]).decode


def to_args(text: str) -> str:
    """Write the free text of a call as a function's arguments."""
    return encode({KEY: text.encode("utf-8", "replace").decode()}).decode()


def to_text(args: str) -> str:
    """Read the free text out of a function's arguments."""
    reader = InputReader()
    return reader.feed(args) + reader.close()


class InputReader:
    """A reader of arguments that come in pieces: each gives the text that is certain by then. However the pieces are
    cut, the whole is the same. Arguments that are no such object are the text themselves, and of an object with another
    one text that is it: models invent names for a parameter."""

    __slots__ = ("_held", "_mode")

    def __init__(self) -> None:
        self._held = ""
        self._mode = "head"

    def feed(self, piece: str) -> str:
        if self._mode == "raw":
            return piece
        if self._mode == "text":
            return self._read(self._held + piece)
        if self._mode == "head":
            self._held += piece
            return self._begin()
        if self._mode == "whole":
            self._held += piece
        return ""

    def close(self) -> str:
        held, self._held = self._held, ""
        if self._mode not in ("head", "whole") or not held.strip():
            return ""
        try:
            texts = {key: value for key, value in _OBJECT(held).items() if isinstance(value, str)}
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return held
        if KEY in texts:
            return texts[KEY]
        return next(iter(texts.values())) if len(texts) == 1 else held

    def _begin(self) -> str:
        """Find out how the arguments begin, as soon as that is certain."""
        held = self._held
        lead = "".join(held[:_LONGEST_HEAD].split())
        if lead and lead[0] != "{":
            self._mode, self._held = "raw", ""
            return held
        head = _HEAD.match(held, 0, _LONGEST_HEAD)
        if head is not None:
            self._mode = "text"
            return self._read(held[head.end() :])
        if len(held) >= _LONGEST_HEAD or not _LEAD.startswith(lead):
            self._mode = "whole"
        return ""

    def _read(self, data: str) -> str:
        """Read more of the string up to its closing quote; an escape that is not whole yet is held."""
        out: list[str] = []
        at, end = 0, len(data)
        self._held = ""
        while at < end:
            plain = _PLAIN.match(data, at)
            if plain is not None:
                out.append(plain[0])
                at = plain.end()
            elif data[at] == '"':
                self._mode = "done"
                break
            else:
                text, after = _escape(data, at)
                if after < 0:
                    self._held = data[at:]
                    break
                out.append(text)
                at = after
        return "".join(out)


def _escape(data: str, at: int) -> tuple[str, int]:
    """Read the escape that begins at ``at``: its text and where it ends, -1 while it is not whole."""
    code = _CODE.match(data, at)
    if code is None:
        begun = _CODE_BEGUN.match(data, at)
        if begun is not None and begun.end() == len(data):
            return "", -1
        letter = data[at + 1]
        return _LETTERS.get(letter, "\\" + letter), at + 2
    number, after = int(code[1], 16), code.end()
    if not 0xD800 <= number < 0xE000:
        return chr(number), after
    if number < 0xDC00:
        low = _CODE.match(data, after)
        if low is not None and 0xDC00 <= int(low[1], 16) < 0xE000:
            return chr(0x10000 + ((number - 0xD800) << 10) + int(low[1], 16) - 0xDC00), low.end()
        begun = _CODE_BEGUN.match(data, after)
        if after == len(data) or (begun is not None and begun.end() == len(data)):
            return "", -1
    return "\ufffd", after  # half of a pair, which no text can hold
