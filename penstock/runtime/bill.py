"""What an attempt used, as money: settled once, told in the answer's head, kept in the record."""

from __future__ import annotations

import time
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from penstock.core.price import NOTHING, plain
from penstock.runtime.prices import UNPRICED

if TYPE_CHECKING:
    from penstock.runtime.attempt import Attempt


def asked_tier(attempt: Attempt) -> str:
    """Return the service tier of the request: it counts where the answer does not say which one it was served in."""
    raw = attempt.fields.get("service_tier")
    if raw is None:
        return ""
    tier = msgspec.json.decode(raw)
    return tier if isinstance(tier, str) else ""


def settle(attempt: Attempt) -> Decimal | None:
    """Return the cost of what an attempt used: US dollars, None where no answer was counted or no price is known.
    Notes it in the attempt, and counts it against the budgets of its provider and its deployment, however the attempt
    ended; a second time it is what it was the first time."""
    if attempt.price_version is not None:
        return attempt.cost
    if attempt.usage is None and attempt.spent is not None:
        attempt.usage, attempt.spent = attempt.spent, None
    usage, target = attempt.usage, attempt.target
    attempt.price_version = ""
    if usage is None and attempt.units is not None:
        usage = NOTHING
    if usage is None:
        return None
    found = target.price
    price = found.price
    if price is None:
        UNPRICED.count(target.label)
        return None
    attempt.price_version = found.version
    if found.batches and attempt.call.batched:
        usage = attempt.usage = msgspec.structs.replace(usage, tier="batch")
    tier, now = usage.tier or asked_tier(attempt), time.time() if price.depends_on_time else 0.0
    if attempt.units is not None:
        attempt.cost = price.cost(usage, tier, attempt.units, now).total
    else:
        attempt.cost = price.total(usage, tier, now)
    if attempt.spent is not None:
        attempt.cost += price.total(attempt.spent, attempt.spent.tier or tier, now)
    if found.terms is not None:
        attempt.cost = found.terms.charge(attempt.cost).total
    if target.budgets:
        means = attempt.call.means
        for name, seconds in target.budgets:
            means.lives.spent.add(name, attempt.cost, means.clock(), seconds)
    return attempt.cost


def so_far(attempt: Attempt) -> Decimal | None:
    """Return what an attempt has cost that goes on; None where nothing was counted or no price is known."""
    usage, found = attempt.usage, attempt.target.price
    if usage is None or found.price is None:
        return None
    cost = found.price.total(usage, usage.tier, time.time() if found.price.depends_on_time else 0.0)
    return cost if found.terms is None else found.terms.charge(cost).total


_PARTS = (
    *("original", "discount-amount", "margin-amount", "margin-percent"),
    *("input", "output", "cache-read", "cache-creation", "reasoning", "tool-usage"),
)


def part_lines(attempt: Attempt) -> bytes:
    """Render header lines that tell a settled cost part by part, in LiteLLM's names; where terms hold, and only there:
    on an answer without they would say nothing new and cost more than finding the cost did. The parts are of the
    original; `input` is without the caches' share, `output` without reasoning, `tool-usage` all that is not tokens."""
    target, usage = attempt.target, attempt.usage or NOTHING
    if target.price.terms is None or target.price.price is None:
        return b""
    price, terms = target.price.price, target.price.terms
    now = time.time() if price.depends_on_time else 0.0
    cost = price.cost(usage, usage.tier or asked_tier(attempt), attempt.units, now)
    charge = terms.charge(cost.total)
    amounts = (
        *(charge.original, charge.discount, charge.margin, terms.margin),
        *(cost.input, cost.output, cost.cache_read, cost.cache_write, cost.reasoning, cost.units),
    )
    told = zip(_PARTS, amounts, strict=True)
    return b"".join(b"x-litellm-response-cost-%b: %b\r\n" % (n.encode(), plain(a).encode()) for n, a in told)
