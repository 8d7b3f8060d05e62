"""Token counts of the Messages API to the disjoint counters and back.

``input_tokens`` excludes what was read from or written to the cache; ``cache_creation`` splits the writes by time to
live. Source: https://docs.anthropic.com/en/docs/build-with-claude/prompt-caching (tracking cache performance).
"""

from __future__ import annotations

from typing import Any

from msgspec import Raw, Struct
from msgspec.json import Decoder

from penstock.core.dialects.anthropic.wire import NAME
from penstock.core.ir import Opaque, Usage


class _Writes(Struct):
    ephemeral_5m_input_tokens: int | None = None
    ephemeral_1h_input_tokens: int | None = None


class _Details(Struct):
    thinking_tokens: int | None = None


class Counts(Struct):
    """``usage`` of an answer, of ``message_start`` and of ``message_delta``: any field may be absent or null."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation: _Writes | None = None
    output_tokens_details: _Details | None = None
    service_tier: str | None = None


_COUNTS = Decoder(Counts)
_FIELDS = Decoder(dict[str, Raw])
_KNOWN = frozenset(Counts.__struct_fields__)


class Meter:
    """The counts of one answer: they are cumulative, so the last one that is told wins and none is added.

    A zero never replaces a count of the input: some servers tell the input only at the start, others only at the end.
    """

    __slots__ = ("counts", "seen", "tier")

    def __init__(self) -> None:
        self.counts = Counts()
        self.seen = False
        self.tier = ""

    def feed(self, new: Counts) -> None:
        counts = self.counts
        self.seen = True
        counts.input_tokens = new.input_tokens or counts.input_tokens
        counts.cache_read_input_tokens = new.cache_read_input_tokens or counts.cache_read_input_tokens
        counts.cache_creation_input_tokens = new.cache_creation_input_tokens or counts.cache_creation_input_tokens
        counts.cache_creation = new.cache_creation or counts.cache_creation
        counts.output_tokens_details = new.output_tokens_details or counts.output_tokens_details
        if new.output_tokens is not None:
            counts.output_tokens = new.output_tokens
        self.tier = new.service_tier or self.tier

    def usage(self) -> Usage | None:
        if not self.seen:
            return None
        counts = self.counts
        split = counts.cache_creation
        hour = (split.ephemeral_1h_input_tokens or 0) if split is not None else 0
        five = (split.ephemeral_5m_input_tokens or 0) if split is not None else 0
        written = max(counts.cache_creation_input_tokens or 0, five + hour)
        details = counts.output_tokens_details
        return Usage(
            fresh=counts.input_tokens or 0,
            cache_read=counts.cache_read_input_tokens or 0,
            cache_write=written - hour,
            cache_write_1h=hour,
            output=counts.output_tokens or 0,
            reasoning=(details.thinking_tokens or 0) if details is not None else 0,
        )


def unknown(raw: Raw | bytes) -> list[Opaque]:
    """Return the parts of ``usage`` that have no counter (``server_tool_use``, ``inference_geo``, ...), under
    "usage.X"."""
    out = []
    for key, value in _FIELDS.decode(raw).items():
        if key not in _KNOWN and bytes(value) != b"null":
            out.append(Opaque(NAME, f"usage.{key}", bytes(value)))
    return out


def read(raw: Raw | bytes) -> Counts:
    return _COUNTS.decode(raw)


_TIERS = {"default": "standard", "auto": "standard"}


def tier_out(tier: str) -> str:
    """Name the tier that answered in the API's words; "" for one it has no word for."""
    tier = _TIERS.get(tier, tier)
    return tier if tier in ("standard", "priority", "batch") else ""


def write(usage: Usage | None, tier: str = "") -> dict[str, Any]:
    """Write the ``usage`` of an answer. The dialect demands the field, so unknown counts are zero."""
    usage = usage or _NOTHING
    out: dict[str, Any] = {
        "input_tokens": usage.fresh,
        "cache_creation_input_tokens": usage.cache_write + usage.cache_write_1h,
        "cache_read_input_tokens": usage.cache_read,
        "output_tokens": usage.output,
    }
    if usage.cache_write_1h:
        split = {"ephemeral_5m_input_tokens": usage.cache_write, "ephemeral_1h_input_tokens": usage.cache_write_1h}
        out["cache_creation"] = split
    if usage.reasoning:
        out["output_tokens_details"] = {"thinking_tokens": usage.reasoning}
    if tier:
        out["service_tier"] = tier
    return out


_NOTHING = Usage()
