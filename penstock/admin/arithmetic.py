"""What a request cost, line by line: tokens times price, less a discount, plus a margin."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from penstock.core.admit import amount
from penstock.core.price import plain
from penstock.core.repricing import KeptUsage, read_usage
from penstock.runtime.prices import MAP

if TYPE_CHECKING:
    from penstock.config import Config
    from penstock.core.money import Rates
    from penstock.stores.base import Spent

Fields = dict[str, Any]
_MIXED = "Several tries used tokens at different prices, so there is no one price to multiply by."


def arithmetic(entry: Spent, config: Config) -> Fields:
    """Return how a cost comes about by the prices of today, and what the ledger says. ``why``: there are no lines."""
    from penstock.runtime.repricing import Repricer  # only who looks at a request needs it

    told: Fields = {"lines": [], "ledger": plain(amount.decimal(entry.cost)), "version": entry.price_version, "why": ""}
    kept = read_usage(entry.usage)
    if entry.cache_hit:
        return {**told, "why": "It was answered from the cache, which costs nothing."}
    if kept is None:
        return {**told, "why": "Nothing was used, as far as is known."}
    if kept.mixed:
        return {**told, "why": _MIXED}
    found = Repricer(config, MAP).listed(entry)
    if isinstance(found, str) or found.price is None:
        return {**told, "why": found if isinstance(found, str) else "No price is known for this model."}
    tier = kept.tier or kept.asked_tier
    lines = [
        {"kind": kind, "count": count, "rate": plain(rate * 1_000_000), "amount": plain(count * rate)}
        for kind, count, rate in _lines(kept, found.price.rates(kept.input, tier, entry.at))
        if count
    ]
    cost = found.price.cost(kept, tier, kept.units, entry.at)
    if cost.units:
        lines.append({"kind": "beside tokens", "count": None, "rate": None, "amount": plain(cost.units)})
    total = cost.total
    if found.terms is not None:
        charge = found.terms.charge(total)
        told["discount"], told["margin"], total = plain(charge.discount), plain(charge.margin), charge.total
    same = amount.pico(total) == entry.cost
    return {**told, "lines": lines, "tier": tier, "total": plain(total), "same": same}


def _lines(usage: KeptUsage, rates: Rates) -> Iterator[tuple[str, int, Decimal]]:
    """Split usage into disjoint kinds, each with what a token of it costs."""
    if usage.billed is not None:
        yield "input, as billed", usage.billed[0], rates.fresh
        yield "output, as billed", usage.billed[1], rates.output
        return
    audio_in = min(usage.audio_in, usage.fresh)
    reasoning = min(usage.reasoning, usage.output)
    audio_out = min(usage.audio_out, usage.output - reasoning)
    yield "input", usage.fresh - audio_in, rates.fresh
    yield "audio input", audio_in, rates.audio_in
    yield "read from the provider's cache", usage.cache_read, rates.cache_read
    yield "written to the provider's cache", usage.cache_write, rates.cache_write
    yield "written to it for longer", usage.cache_write_1h, rates.cache_write_1h
    yield "output", usage.output - reasoning - audio_out, rates.output
    yield "thinking", reasoning, rates.reasoning
    yield "audio output", audio_out, rates.audio_out
