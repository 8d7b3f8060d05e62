"""Token counts of an answer: ``tokens`` as the model counts, ``billed_units`` as the vendor bills.

https://docs.cohere.com/docs/how-does-cohere-pricing-work and the reference of ``usage``: ``tokens.input_tokens`` holds
the vendor's own preamble and what was read from its cache (``cached_tokens``), ``billed_units`` hold what is paid. The
two may differ by a factor of a hundred, so the neutral form keeps both: clients are told the first, prices multiply
the second.
"""

from __future__ import annotations

from typing import Any

from msgspec import Raw, Struct
from msgspec.json import Decoder

from penstock.core.envelope import BAD_JSON
from penstock.core.ir import Usage


class _Counts(Struct, gc=False):
    input_tokens: float | None = None
    output_tokens: float | None = None


class _Usage(Struct, gc=False):
    tokens: _Counts | None = None
    billed_units: _Counts | None = None
    cached_tokens: float | None = None


_READ = Decoder(_Usage, strict=False).decode


def read(raw: Raw | None) -> Usage | None:
    """Read the counts; None where none are told."""
    if raw is None:
        return None
    try:
        told = _READ(raw)
    except BAD_JSON:
        return None
    counts = told.tokens or told.billed_units
    if counts is None or (counts.input_tokens is None and counts.output_tokens is None):
        return None
    whole = _count(counts.input_tokens)
    cached = min(_count(told.cached_tokens), whole)
    billed = None
    if told.billed_units is not None and told.tokens is not None:
        billed = (_count(told.billed_units.input_tokens), _count(told.billed_units.output_tokens))
    return Usage(fresh=whole - cached, cache_read=cached, output=_count(counts.output_tokens), billed=billed)


def _count(value: float | None) -> int:
    return max(0, int(value)) if value is not None and value < 1e15 else 0


def written(usage: Usage) -> dict[str, Any]:
    """Write the ``usage`` object of an answer for a client."""
    paid = usage.billed or (usage.input, usage.output)
    out: dict[str, Any] = {
        "billed_units": {"input_tokens": paid[0], "output_tokens": paid[1]},
        "tokens": {"input_tokens": usage.input, "output_tokens": usage.output},
    }
    if usage.cache_read:
        out["cached_tokens"] = usage.cache_read
    return out
