"""Chat's ``usage`` and the neutral counters.

``prompt_tokens`` includes what was read from and written to a cache, ``completion_tokens`` includes reasoning. Details
that OpenAI does not give are read where others put them: DeepSeek ``prompt_cache_hit_tokens``, LiteLLM
``cache_creation_input_tokens`` and ``cache_creation_token_details``, Moonshot ``cached_tokens``.
"""

from __future__ import annotations

from typing import Any

from msgspec import Raw, Struct
from msgspec.json import Decoder, encode

from penstock.core.envelope import BAD_JSON
from penstock.core.ir import Usage


class _CacheWrites(Struct, gc=False):
    ephemeral_5m_input_tokens: int | None = None
    ephemeral_1h_input_tokens: int | None = None


class _Prompt(Struct, gc=False):
    cached_tokens: int | None = None
    audio_tokens: int | None = None
    cache_write_tokens: int | None = None
    cache_creation_tokens: int | None = None
    cache_creation_token_details: _CacheWrites | None = None


class _Completion(Struct, gc=False):
    reasoning_tokens: int | None = None
    audio_tokens: int | None = None


class WireUsage(Struct, gc=False):
    """``usage`` as it stands in answers and chunks, vendors' additions included."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: _Prompt | None = None
    completion_tokens_details: _Completion | None = None
    prompt_cache_hit_tokens: int | None = None
    cached_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    reasoning_tokens: int | None = None


class _Bare(Struct, gc=False):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


_NULL = Raw(b"null")
_DECODE = Decoder(WireUsage, strict=False).decode
_DECODE_BARE = Decoder(_Bare, strict=False).decode


def read_usage(raw: Raw | bytes) -> Usage | None:
    """Read the counters of a ``usage`` object; None when it tells nothing. Odd details never cost an answer: the two
    main counts are taken alone then."""
    if raw == _NULL:  # in every chunk of OpenAI's but the last: two decoders that raise were a third of a chunk's work
        return None
    try:
        return usage_of(_DECODE(raw))
    except BAD_JSON:
        pass
    try:
        bare = _DECODE_BARE(raw)
    except BAD_JSON:
        return None
    return usage_of(WireUsage(bare.prompt_tokens, bare.completion_tokens))


def usage_of(found: WireUsage) -> Usage | None:
    """Subtract what is counted twice on the wire."""
    if found.prompt_tokens is None and found.completion_tokens is None:
        return None
    prompt = found.prompt_tokens_details or _Prompt()
    completion = found.completion_tokens_details or _Completion()
    total_in, output = found.prompt_tokens or 0, found.completion_tokens or 0
    read = prompt.cached_tokens or found.prompt_cache_hit_tokens or found.cached_tokens
    read = read or found.cache_read_input_tokens or 0
    write = prompt.cache_write_tokens or prompt.cache_creation_tokens or found.cache_creation_input_tokens or 0
    details = prompt.cache_creation_token_details
    long = min(details.ephemeral_1h_input_tokens or 0, write) if details else 0
    reasoning = completion.reasoning_tokens or found.reasoning_tokens or 0
    if reasoning and found.total_tokens == total_in + output + reasoning:
        output += reasoning  # xAI counts reasoning beside the completion
    return Usage(
        fresh=max(0, total_in - read - write),
        cache_read=read,
        cache_write=write - long,
        cache_write_1h=long,
        output=output,
        reasoning=min(reasoning, output),
        audio_in=prompt.audio_tokens or 0,
        audio_out=completion.audio_tokens or 0,
    )


def write_usage(usage: Usage) -> bytes:
    """Write the vendor's form; cache writes also as LiteLLM's clients read them."""
    written = usage.cache_write + usage.cache_write_1h
    prompt: dict[str, Any] = {"cached_tokens": usage.cache_read, "audio_tokens": usage.audio_in}
    out: dict[str, Any] = {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.total,
        "prompt_tokens_details": prompt,
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning, "audio_tokens": usage.audio_out},
    }
    if written:
        prompt["cache_write_tokens"] = written
        prompt["cache_creation_token_details"] = {
            "ephemeral_5m_input_tokens": usage.cache_write,
            "ephemeral_1h_input_tokens": usage.cache_write_1h,
        }
        out["cache_creation_input_tokens"] = written
        out["cache_read_input_tokens"] = usage.cache_read
    return encode(out)
