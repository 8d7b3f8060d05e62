"""What an answer that is passed through says of its use, read on the way: any dialect, whole or streamed.

Nothing here changes a byte, raises, or keeps more than ``WHOLE`` bytes of an answer. What is longer is known by its
ends: vendors put the counts last. Sources beside the dialects' own: https://docs.cohere.com/reference/chat-stream
(``billed_units``), https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_TokenUsage.html (what was read
from and written to the cache is not within ``inputTokens``), https://docs.voyageai.com/reference/embeddings-api.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Raw

from penstock.core.dialects.anthropic.usage import Counts, Meter
from penstock.core.dialects.anthropic.usage import read as read_counts
from penstock.core.dialects.gemini.usage import Meter as GeminiMeter
from penstock.core.dialects.openai_chat.usage import read_usage
from penstock.core.dialects.openai_responses.usage import read_usage as read_responses_usage
from penstock.core.envelope import BAD_JSON
from penstock.core.ir import Usage
from penstock.core.price import Units
from penstock.core.same import in_tier

WHOLE = 1024 * 1024  # bytes of an answer, or of one line of a stream, that are kept
TAIL = 64 * 1024  # bytes of the end of a longer one
_MOST_TRIES = 8  # places there that are read for counts
_OBJECT = msgspec.json.Decoder(dict[str, Raw]).decode
_LIST = msgspec.json.Decoder(list[dict[str, Raw]]).decode
_TEXT = msgspec.json.Decoder(str).decode
_BAD = BAD_JSON
# An object that has none of these words tells nothing of its use.
_WORDS = re.compile(rb"usage|billed_units|eval_count|service_tier")
_LAST = re.compile(rb'"(usage|usageMetadata|meta)"[ \t\r\n]*:[ \t\r\n]*(?=\{)')
_MODEL = re.compile(rb'"(?:model|modelVersion|response_model)"[ \t\r\n]*:[ \t\r\n]*("(?:[^"\\]|\\.){1,300}")')
_PLACES = (("usage",), ("response", "usage"), ("message", "usage"), ("delta", "usage"), ("x_groq", "usage"))
_STREAMS = (b"event-stream", b"ndjson", b"jsonl")


def kind_of(content_type: bytes) -> str:
    """Tell how to read a body: "lines" for a stream of events or lines, "whole" for JSON, "tail" for AWS's binary
    events (the last of them is plain JSON and tells the counts), "" for what is not read."""
    lower = content_type.lower()
    if b"amazon.eventstream" in lower:
        return "tail"
    if any(word in lower for word in _STREAMS):
        return "lines"
    return "whole" if b"json" in lower else ""


class Seen:
    """What an answer that passes tells of its use. ``feed`` the body as it passes, ``close`` at its end; then
    ``usage``, ``units`` and ``model`` are what it told. ``chunks``: events of a stream with something in them, which
    counts tokens roughly where nothing is told. ``batch``: the answer, where it describes a batch: what it tells of its
    use, each time that somebody asks, was used once, at the price of batches."""

    __slots__ = ("_anthropic", "_gemini", "_head", "_kind", "_long", "_parts", "_size", "_tier", "_usage", "batch",
                 "chunks", "model", "units")  # fmt: skip

    def __init__(self, content_type: bytes) -> None:
        self._kind = kind_of(content_type)
        self._parts: list[bytes] = []
        self._size = 0
        self._long = False  # what is gathered has outgrown WHOLE: only its tail is kept
        self._head = b""
        self._usage: Usage | None = None
        self._anthropic = Meter()
        self._gemini = GeminiMeter()
        self._tier: Raw | None = None
        self.units: Units | None = None
        self.model = ""
        self.batch = b""
        self.chunks = 0

    @property
    def streamed(self) -> bool:
        return self._kind in ("lines", "tail")

    @property
    def usage(self) -> Usage | None:
        if self._anthropic.seen:
            usage, tier = self._anthropic.usage(), self._anthropic.tier
            return msgspec.structs.replace(usage, tier=tier) if usage is not None and tier else usage
        return in_tier(self._usage or self._gemini.usage(), self._tier)

    def feed(self, data: bytes) -> None:
        if not self._kind:
            return
        if self._kind != "lines":
            self._long |= self._kind == "tail"
            self._head = self._head or data[:4096]
            self._keep(data)
            return
        lines = data.split(b"\n")
        self._keep(lines[0])
        for line in lines[1:]:
            self._line()
            self._keep(line)

    def close(self) -> None:
        """End the body, complete or not."""
        if self._kind == "lines":
            self._line()
        elif self._parts:
            self._whole()

    def _keep(self, data: bytes) -> None:
        if not data:
            return
        self._parts.append(data)
        self._size += len(data)
        if self._size > (2 * TAIL if self._long else WHOLE):
            self._long = True
            tail = b"".join(self._parts)[-TAIL:]
            self._parts, self._size = [tail], len(tail)

    def _taken(self) -> tuple[bytes, bool]:
        data = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        long, self._long = self._long, False
        self._parts, self._size = [], 0
        return data, long

    def _line(self) -> None:
        if not self._parts:
            return
        line, long = self._taken()
        if not long:
            line = line.removeprefix(b"data:").strip()
            if line[:1] != b"{":
                return
        self.chunks += 1
        if not self.model and (found := _MODEL.search(line, 0, 4096)):
            self.model = _name(found[1])
        if long:
            self._end(line)
        elif _WORDS.search(line):
            self._object(line)

    def _whole(self) -> None:
        if not self.model and (found := _MODEL.search(self._head)):
            self.model = _name(found[1])
        data, long = self._taken()
        if long:
            self._end(data)
        elif data.lstrip()[:1] == b"[":
            try:
                for fields in _LIST(data):
                    self._fields(fields)
            except _BAD:
                return
        else:
            self._object(data)

    def _object(self, data: bytes) -> None:
        try:
            fields = _OBJECT(data)
            if bytes(fields.get("object", b"")) == b'"batch"' or bytes(fields.get("type", b"")) == b'"message_batch"':
                self.batch = data
            self._fields(fields)
        except _BAD:
            self._end(data[-TAIL:])

    def _end(self, tail: bytes) -> None:
        """Read the last counts that stand in the end of something longer, or broken off."""
        for found in reversed(list(_LAST.finditer(tail))[-_MOST_TRIES:]):
            try:
                value, end = json.JSONDecoder().raw_decode(tail[found.end() :].decode("utf-8", "replace"))
            except (ValueError, RecursionError):
                continue
            self._fields({found[1].decode(): Raw(msgspec.json.encode(value))})
            return

    def _fields(self, fields: Mapping[str, Raw]) -> None:
        if "usageMetadata" in fields:
            self._gemini.feed(fields["usageMetadata"])
        if "eval_count" in fields:
            self._ollama(fields)
        for outer, *inner in _PLACES:
            raw = fields.get(outer)
            if raw is not None and inner:
                held = _held(raw)
                self._tier = held.get("service_tier", self._tier)
                raw = held.get(inner[0])
            if raw is not None:
                self._counts(raw)
        self._tier = fields.get("service_tier", self._tier)
        if self.batch:
            self._tier = Raw(b'"batch"')
        meta = fields.get("meta") or _held(fields.get("response")).get("meta")
        if meta is not None:
            self._counts(meta)

    def _ollama(self, fields: Mapping[str, Raw]) -> None:
        told = [_number(fields.get(name)) for name in ("prompt_eval_count", "eval_count")]
        self._usage = Usage(fresh=told[0], output=told[1])

    def _counts(self, raw: Raw) -> None:
        """Read ``usage`` in the words of whoever answers: they differ by name and by what is counted twice."""
        told = _held(raw)
        if "prompt_tokens" in told or "completion_tokens" in told:
            self._usage = read_usage(raw) or self._usage
        elif "billed_units" in told:
            self._billed(_held(told["billed_units"]))
        elif "inputTokens" in told:
            read, written = _number(told.get("cacheReadInputTokens")), _number(told.get("cacheWriteInputTokens"))
            fresh, output = _number(told["inputTokens"]), _number(told.get("outputTokens"))
            self._usage = Usage(fresh=fresh, cache_read=read, cache_write=written, output=output)
        elif "input_tokens_details" in told or ("total_tokens" in told and "input_tokens" in told):
            self._usage = read_responses_usage(raw) or self._usage
        elif "input_tokens" in told or "output_tokens" in told:
            try:
                counts: Counts = read_counts(raw)
            except _BAD:
                return
            self._anthropic.feed(counts)
        elif "total_tokens" in told:  # Voyage's embeddings
            self._usage = Usage(fresh=_number(told["total_tokens"]))

    def _billed(self, units: Mapping[str, Raw]) -> None:
        """Read Cohere's counts: tokens, or searches."""
        if "search_units" in units:
            self.units = Units(queries=_number(units["search_units"]))
        if "input_tokens" in units or "output_tokens" in units:
            fresh, output = _number(units.get("input_tokens")), _number(units.get("output_tokens"))
            self._usage = Usage(fresh=fresh, output=output)


def _held(raw: Raw | None) -> Mapping[str, Raw]:
    try:
        return {} if raw is None else _OBJECT(raw)
    except _BAD:
        return {}


def _number(raw: Raw | None) -> int:
    """Read a count; what is none counts nothing."""
    try:
        value: Any = None if raw is None else msgspec.json.decode(raw)
    except _BAD:
        return 0
    return int(value) if isinstance(value, int | float) and 0 <= value < 1e15 else 0


def _name(raw: bytes) -> str:
    try:
        return _TEXT(raw)
    except _BAD:
        return ""
