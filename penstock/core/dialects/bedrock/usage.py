"""``TokenUsage`` to the disjoint counters and back. ``inputTokens`` excludes what was read from or written to the
cache; ``cacheDetails`` splits the writes by time to live.
https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_TokenUsage.html"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from penstock.core.ir import Usage


class Detail(Struct, rename="camel"):
    ttl: str = ""
    input_tokens: int | None = None


class Counts(Struct, rename="camel"):
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_write_input_tokens: int | None = None
    cache_details: list[Detail] | None = None


def read(counts: Counts | None) -> Usage | None:
    """Read the counts; None where nothing was told."""
    if counts is None:
        return None
    hour = sum(one.input_tokens or 0 for one in counts.cache_details or () if one.ttl == "1h")
    rest = sum(one.input_tokens or 0 for one in counts.cache_details or () if one.ttl != "1h")
    written = max(counts.cache_write_input_tokens or 0, hour + rest)
    return Usage(
        fresh=counts.input_tokens or 0,
        cache_read=counts.cache_read_input_tokens or 0,
        cache_write=written - hour,
        cache_write_1h=hour,
        output=counts.output_tokens or 0,
    )


def write(usage: Usage | None) -> dict[str, Any]:
    """Write the ``usage`` of an answer, whose first three fields the API demands."""
    usage = usage or Usage()
    written = usage.cache_write + usage.cache_write_1h
    out: dict[str, Any] = {"inputTokens": usage.fresh, "outputTokens": usage.output, "totalTokens": usage.total}
    if usage.cache_read or written:
        out |= {"cacheReadInputTokens": usage.cache_read, "cacheWriteInputTokens": written}
    if usage.cache_write_1h:
        split = (("1h", usage.cache_write_1h), ("5m", usage.cache_write))
        out["cacheDetails"] = [{"ttl": ttl, "inputTokens": count} for ttl, count in split if count]
    return out
