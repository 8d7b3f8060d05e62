"""Token counts of the Responses API to the disjoint counters and back.

``input_tokens`` includes what was read from the cache and written to it. Writes are split by time to live, 30 minutes
or 12 hours: the longer stands for the neutral ``cache_write_1h``. Source: the ``openai`` client's ``ResponseUsage``.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw, Struct
from msgspec.json import Decoder

from penstock.core.ir import Usage


class _Writes(Struct, gc=False):
    ttl_12h_tokens: int | None = None


class _Input(Struct, gc=False):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    cache_write_tokens_details: _Writes | None = None
    audio_tokens: int | None = None


class _Output(Struct, gc=False):
    reasoning_tokens: int | None = None
    audio_tokens: int | None = None


class _Usage(Struct, gc=False):
    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: _Input | None = None
    output_tokens_details: _Output | None = None


class _Bare(Struct, gc=False):
    input_tokens: int | None = None
    output_tokens: int | None = None


_FULL = Decoder(_Usage, strict=False)
_BARE = Decoder(_Bare, strict=False)
_NO_INPUT = _Input()
_NO_OUTPUT = _Output()


def read_usage(raw: Raw | bytes | None) -> Usage | None:
    """Read the counters of a ``usage`` object; None when it tells nothing. Odd details never cost an answer: the two
    main counts are taken alone then."""
    if raw is None:
        return None
    try:
        found = _FULL.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        try:
            bare = _BARE.decode(raw)
        except (msgspec.DecodeError, RecursionError):
            return None
        found = _Usage(bare.input_tokens, bare.output_tokens)
    if found.input_tokens is None and found.output_tokens is None:
        return None
    inside = found.input_tokens_details or _NO_INPUT
    outside = found.output_tokens_details or _NO_OUTPUT
    total, output = found.input_tokens or 0, found.output_tokens or 0
    read, written = inside.cached_tokens or 0, inside.cache_write_tokens or 0
    split = inside.cache_write_tokens_details
    long = min((split.ttl_12h_tokens or 0) if split is not None else 0, written)
    return Usage(
        fresh=max(total - read - written, 0),
        cache_read=read,
        cache_write=written - long,
        cache_write_1h=long,
        output=output,
        reasoning=min(outside.reasoning_tokens or 0, output),
        audio_in=inside.audio_tokens or 0,
        audio_out=outside.audio_tokens or 0,
    )


def write_usage(usage: Usage | None) -> dict[str, Any] | None:
    """Write the ``usage`` of an answer; None (a null) while or where nothing is known."""
    if usage is None:
        return None
    written = usage.cache_write + usage.cache_write_1h
    inside: dict[str, Any] = {"cached_tokens": usage.cache_read, "cache_write_tokens": written}
    if usage.cache_write_1h:
        split = {"ttl_30m_tokens": usage.cache_write, "ttl_12h_tokens": usage.cache_write_1h}
        inside["cache_write_tokens_details"] = split
    outside: dict[str, Any] = {"reasoning_tokens": usage.reasoning}
    if usage.audio_in:
        inside["audio_tokens"] = usage.audio_in
    if usage.audio_out:
        outside["audio_tokens"] = usage.audio_out
    return {
        "input_tokens": usage.input,
        "input_tokens_details": inside,
        "output_tokens": usage.output,
        "output_tokens_details": outside,
        "total_tokens": usage.total,
    }
