"""A bare text out of a target that can only be held to a JSON schema: an object with one property, and back.

OpenAI, Anthropic and those like them enforce an object's schema (strict: every property required, no others). So "one
of these choices" is asked for as ``{"value": <one of them>}``, and the client gets the value alone::

    request = replace(request, output=wrapped.choice(("yes", "no")))
    response = wrapped.unwrap_response(response)
    events = Unwrapper().feed(event)          # for each event of a stream

An answer in another form (a refusal in words, JSON that was cut off) is left as it is: nothing is invented.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from msgspec import Struct
from msgspec.json import Decoder, encode
from msgspec.structs import replace

from penstock.core.envelope import BAD_JSON
from penstock.core.ir import Block, Close, Delta, Event, Logprobs, Open, OutputFormat, Response, Text

KEY = "value"
NAME = "choice"


class _Wrapped(Struct, forbid_unknown_fields=True):
    value: str


_READ = Decoder(_Wrapped).decode
# An engine that holds a text between quotes to an expression may let a bare quote or line break through.
_LOOSE = re.compile(r'\s*\{\s*"value"\s*:\s*"(.*)"\s*\}\s*', re.DOTALL)


def choice(choices: tuple[str, ...]) -> OutputFormat:
    """Make a schema whose only values are the choices, each in its object."""
    return _schema({"type": "string", "enum": choices})


def regex(source: str) -> OutputFormat:
    """Make a schema for a text that ``source`` matches from its first character to its last."""
    return _schema({"type": "string", "pattern": anchored(source)})


def anchored(source: str) -> str:
    """Make an expression match whole texts only: ``pattern`` in a JSON schema finds parts, too."""
    return f"^(?:{source})$"


def _schema(value: object) -> OutputFormat:
    schema = {"type": "object", "properties": {KEY: value}, "required": [KEY], "additionalProperties": False}
    return OutputFormat("json_schema", NAME, encode(schema), strict=True)


def wrap(text: str) -> str:
    """Write what the target answers for ``text``."""
    return encode({KEY: text}).decode()


def unwrap(answer: str) -> str:
    """Return the text inside; the answer itself when it is no such object."""
    try:
        return _READ(answer).value
    except (UnicodeError, *BAD_JSON):
        loose = _LOOSE.fullmatch(answer)
        return loose[1] if loose is not None else answer


class Unwrapper:
    """A filter of events: each text block is told at its end, unwrapped. Log probabilities are those of the object's
    tokens and belong to nothing that the client sees, so they end here."""

    __slots__ = ("_texts",)

    def __init__(self) -> None:
        self._texts: dict[int, list[str]] = {}

    def feed(self, event: Event) -> Iterator[Event]:
        if isinstance(event, Open) and isinstance(event.block, Text):
            self._texts[event.index] = [event.block.text]
            yield replace(event, block=replace(event.block, text=""))
        elif isinstance(event, Delta) and event.index in self._texts and event.citation is None:
            self._texts[event.index].append(event.text)
        elif isinstance(event, Close) and event.index in self._texts:
            yield Delta(event.index, unwrap("".join(self._texts.pop(event.index))))
            yield event
        elif not isinstance(event, Logprobs):
            yield event


def unwrap_response(response: Response) -> Response:
    """Unwrap the text blocks of a whole answer."""
    choices = tuple(
        replace(one, blocks=tuple(_block(block) for block in one.blocks), logprobs=b"") for one in response.choices
    )
    return replace(response, choices=choices)


def _block(block: Block) -> Block:
    return replace(block, text=unwrap(block.text)) if isinstance(block, Text) else block
