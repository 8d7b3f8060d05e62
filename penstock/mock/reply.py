"""What passes between the server and the dialects: `Exchange` in, `Reply` (or `Refused`) out."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from penstock.mock import brain
from penstock.mock.script import Script, Step

EPOCH = 1_767_225_600  # 2026-01-01: times in answers count up from here, so that the same run gives the same bytes
Headers = list[tuple[str, str]]

encode = msgspec.json.Encoder().encode


@dataclass(slots=True)
class Frame:
    """One event of a stream: `name` for the `event:` line (None: no such line), `data` a JSON value or raw bytes."""

    data: Any
    name: str | None = None
    tokens: int = 0


@dataclass(slots=True)
class Reply:
    """One HTTP answer. `frames` makes it an event stream, else `body` is sent. `tokens` paces a whole answer."""

    status: int = 200
    headers: Headers = field(default_factory=list)
    body: bytes = b""
    content_type: str = "application/json"
    frames: Iterable[Frame] | None = None
    tokens: int = 0


class Refused(Exception):
    """The request gets an error. The dialect of the path gives it its shape."""

    def __init__(
        self,
        status: int,
        message: str,
        type: str | None = None,
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.type, self.code, self.param = status, message, type, code, param
        self.headers = dict(headers or {})
        self.details: dict[str, Any] | None = None  # Anthropic's


@dataclass(slots=True)
class Memory:
    """What a mock remembers between requests: prompt prefixes (for cache usage), stored Responses, and Anthropic's
    threads."""

    prefixes: dict[str, None] = field(default_factory=dict)
    responses: dict[str, Any] = field(default_factory=dict)
    threads: dict[str, Any] = field(default_factory=dict)
    keep: int = 4096

    def seen(self, prefix: str) -> bool:
        """Tell whether the prefix was there before; it is from now on."""
        if prefix in self.prefixes:
            return True
        self.prefixes[prefix] = None
        if len(self.prefixes) > self.keep:
            del self.prefixes[next(iter(self.prefixes))]
        return False

    def store(self, key: str, value: Any) -> None:
        """Keep a response; the oldest goes when there are too many."""
        _put(self.responses, key, value, self.keep)

    def keep_thread(self, key: str, value: Any) -> None:
        """Keep a thread of Anthropic's, likewise."""
        _put(self.threads, key, value, self.keep)


def _put(table: dict[str, Any], key: str, value: Any, most: int) -> None:
    table[key] = value
    if len(table) > most:
        del table[next(iter(table))]


@dataclass(slots=True)
class Exchange:
    """One request as a dialect sees it. `number` counts the mock's requests from 1."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    raw: bytes
    step: Step
    script: Script
    memory: Memory
    number: int
    _ids: Iterator[int] = field(default_factory=itertools.count)

    def new_id(self, prefix: str, size: int = 24) -> str:
        """Make an id that depends on seed, request number and how many were made before it."""
        return prefix + brain.digest(self.script.seed, self.number, next(self._ids), prefix)[:size]

    @property
    def created(self) -> int:
        """Return the answer's time stamp in seconds."""
        return EPOCH + self.number

    def model(self, asked: str) -> str:
        """Return the name that the answer carries."""
        return self.step.model if self.step.model is not None else asked

    def rejects_unknown(self, by_default: bool) -> bool:
        """Tell whether unknown top-level fields are an error in this dialect."""
        return by_default if self.script.unknown_fields == "dialect" else self.script.unknown_fields == "reject"


MakeReply = Callable[[Exchange], Reply]
