"""What the results of a provider's batch tell of its use: read line by line, added up by model.

Sources: docs.anthropic.com/en/api/retrieving-message-batch-results (``result.message``),
platform.openai.com/docs/guides/batch (``response.body``).
"""

from __future__ import annotations

import msgspec
from msgspec import Raw, Struct

from penstock.core.ir import Usage, added
from penstock.core.seen import WHOLE, Seen

MOST_MODELS = 100  # more that results may name are counted as the last of them
TIER = "batch"
_JSON = b"application/json"
_NULL = Raw(b"null")


class _Result(Struct):
    type: str = ""
    message: Raw = _NULL


class _Response(Struct):
    status_code: int = 0
    body: Raw = _NULL


class _Line(Struct):
    result: _Result | None = None
    response: _Response | None = None


_decode = msgspec.json.Decoder(_Line).decode


class ResultsMeter:
    """``feed`` the bytes of results as they come, ``close`` at their end; then ``used`` has the tokens by model, ""
    for one that is not told. No more of a line is kept than ``Seen`` keeps of an answer."""

    def __init__(self) -> None:
        self.used: dict[str, Usage] = {}
        self._parts: list[bytes] = []
        self._size = 0
        self._long: Seen | None = None  # a line that is longer than what is kept, known by its ends
        self._model = ""

    def feed(self, data: bytes) -> None:
        first, *others = data.split(b"\n")
        self._gather(first)
        for line in others:
            self._end_line()
            self._gather(line)

    def close(self) -> None:
        self._end_line()

    def _gather(self, data: bytes) -> None:
        if self._long is not None:
            self._long.feed(data)
            return
        self._parts.append(data)
        self._size += len(data)
        if self._size > WHOLE:
            self._long = Seen(_JSON)
            self._long.feed(b"".join(self._parts))
            self._parts, self._size = [], 0

    def _end_line(self) -> None:
        line, long = b"".join(self._parts), self._long
        self._parts, self._size, self._long = [], 0, None
        if long is not None:
            self._note(long)
        elif line.strip() and (answer := _answer_of(line)) is not None:
            seen = Seen(_JSON)
            seen.feed(answer)
            self._note(seen)

    def _note(self, seen: Seen) -> None:
        seen.close()
        usage = seen.usage
        if usage is None:
            return
        model = self._model = seen.model or self._model
        if model not in self.used and len(self.used) >= MOST_MODELS:
            model = next(reversed(self.used))
        self.used[model] = msgspec.structs.replace(added(self.used.get(model), usage), tier=TIER)


def _answer_of(line: bytes) -> bytes | None:
    """Return the answer in a line; None where the request failed, or was never asked."""
    try:
        found = _decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if found.result is not None:
        return bytes(found.result.message) if found.result.type == "succeeded" else None
    if found.response is not None and found.response.status_code == 200:
        return bytes(found.response.body)
    return None


def used_of_batch(told: bytes) -> dict[str, Usage]:
    """Return what a batch's own description tells of its use, by model: OpenAI's does; {} where it tells nothing."""
    seen = Seen(_JSON)
    seen.feed(told)
    seen.close()
    usage = seen.usage
    if usage is None or not usage.total:
        return {}
    return {seen.model: msgspec.structs.replace(usage, tier=TIER)}
