"""Usage as the ledger keeps it, with all that a price needs besides, so that a cost can be worked out again later.

Most of what is kept is plain ``Usage``. Only what no token says is written beside it: units, and the service tier that
a request asked for and no answer told of.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from penstock.core.charge import Terms
from penstock.core.ir import Usage
from penstock.core.price import Price, Units

_ENCODE = msgspec.json.Encoder().encode


class KeptUsage(Usage, frozen=True, gc=False, omit_defaults=True):
    """What an entry of the ledger says of usage. ``units``: what is billed beside tokens. ``asked_tier``: of the
    request, where the answer tells none. ``mixed``: a sum of several tries, which no one price holds for."""

    units: Units | None = None
    asked_tier: str = ""
    mixed: bool = False

    def cost(self, price: Price, terms: Terms | None, at: float) -> Decimal:
        """Compute what this costs by a price, of a call that ended ``at`` a time: US dollars."""
        tier, units = self.tier or self.asked_tier, self.units
        total = price.total(self, tier, at) if units is None else price.cost(self, tier, units, at).total
        return total if terms is None else terms.charge(total).total


_READ = msgspec.json.Decoder(KeptUsage).decode


def write_usage(usage: Usage | None, units: Units | None = None, asked_tier: str = "", mixed: bool = False) -> bytes:
    """Write usage as the ledger keeps it; b"" where nothing was counted."""
    if usage is None and units is None:
        return b""
    if units is None and not asked_tier and not mixed:
        return _ENCODE(usage)
    told = {} if usage is None else msgspec.structs.asdict(usage)
    return _ENCODE(KeptUsage(**told, units=units, asked_tier=asked_tier, mixed=mixed))


def read_usage(raw: bytes) -> KeptUsage | None:
    """Read usage from an entry of the ledger; None where it has none that can be read."""
    if not raw:
        return None
    try:
        return _READ(raw)
    except (msgspec.DecodeError, RecursionError):
        return None
