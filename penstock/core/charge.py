"""What a call is charged at: its cost, less a discount, plus a margin.

Rules and words are those of LiteLLM's `cost_discount_config` and `cost_margin_config`
(docs.litellm.ai/docs/proxy/provider_discounts and /provider_margins): shares are fractions (0.05 is 5 %), the discount
is taken first, the margin is on what is left. All money is `Decimal` US dollars, exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Context, Decimal
from fnmatch import fnmatchcase
from typing import Any

from msgspec import Struct

from penstock.core.money import number
from penstock.core.price import ZERO, plain

# A cost has at most 27 digits and a share 15: what `decimal` keeps by itself would round.
_EXACT = Context(prec=60)
EVERYBODY = "global"
"""The key of a margin for every provider that has none of its own."""


class Charge(Struct, frozen=True, gc=False):
    """US dollars: ``total`` = ``original`` - ``discount`` + ``margin``."""

    original: Decimal
    discount: Decimal
    margin: Decimal

    @property
    def total(self) -> Decimal:
        return _EXACT.add(_EXACT.subtract(self.original, self.discount), self.margin)


class Terms(Struct, frozen=True, gc=False):
    """The terms of one model's price: ``discount`` and ``margin`` are fractions, ``fixed`` is US dollars per call."""

    discount: Decimal = ZERO
    margin: Decimal = ZERO
    fixed: Decimal = ZERO

    def charge(self, cost: Decimal) -> Charge:
        """Charge a call that cost so much, part by part."""
        discount = _EXACT.multiply(cost, self.discount)
        left = _EXACT.subtract(cost, discount)
        return Charge(cost, discount, _EXACT.fma(left, self.margin, self.fixed))

    def __str__(self) -> str:
        """As it stands in a price version: "-5%+10%+0.0005"."""
        shares = ((self.discount, "-"), (self.margin, "+"))
        text = "".join(f"{sign}{plain(share * 100)}%" for share, sign in shares if share)
        return text + (f"+{plain(self.fixed)}" if self.fixed else "")


def terms_of(discounts: Mapping[str, Any], margins: Mapping[str, Any], provider: str, model: str) -> Terms | None:
    """Return the terms of a provider's model; None when the two tables say nothing of it."""
    share = _discount(discounts, provider, model)
    margin = margins.get(provider, margins.get(EVERYBODY))
    if share is None and margin is None:
        return None
    stated = margin if isinstance(margin, Mapping) else {"percentage": margin}
    return Terms(
        share or ZERO,
        number(stated.get("percentage")) or ZERO,
        number(stated.get("fixed_amount")) or ZERO,
    )


def _discount(discounts: Mapping[str, Any], provider: str, model: str) -> Decimal | None:
    """Find the discount of the model: by its name, else by the pattern that says most of it, else of the provider."""
    exact = discounts.get(f"{provider}/{model}")
    if exact is not None:
        return number(exact)
    fitting = [key for key in discounts if "/" in key and fnmatchcase(f"{provider}/{model}", key)]
    if fitting:
        return number(discounts[max(fitting, key=_literal)])
    return number(discounts.get(provider))


def _literal(pattern: str) -> int:
    return sum(char not in "*?[]" for char in pattern)
