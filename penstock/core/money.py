"""Amounts of money: how prices are read, and the rates of one call once all is decided."""

from __future__ import annotations

from decimal import ROUND_CEILING, Context, Decimal, InvalidOperation

from msgspec import Struct

# Division somewhere upstream left 3.0000000000000004e-07 where 3e-07 was meant; 15 digits are what a float can promise.
_DIGITS = Context(prec=15)
_NANO = Decimal(10**9)


class Rates(Struct, frozen=True, gc=False):
    """US dollars per token, all decided: nothing is missing any more."""

    fresh: Decimal
    cache_read: Decimal
    cache_write: Decimal
    cache_write_1h: Decimal
    output: Decimal
    reasoning: Decimal
    audio_in: Decimal
    audio_out: Decimal


def number(value: object) -> Decimal | None:
    """Read a price as written in JSON or YAML ("3e-7" in quotes, too); None for what is no price, or a negative one."""
    if isinstance(value, bool):
        return None
    if isinstance(value, float):
        value = repr(value)
    if isinstance(value, int | str | Decimal):
        try:
            found = _DIGITS.create_decimal(value)
        except (InvalidOperation, ValueError):
            return None
        return found if found.is_finite() and found >= 0 else None
    return None


def to_nano(amount: Decimal) -> int:
    """Convert US dollars to whole nano-dollars, upwards: sums of them are exact in every process, in whatever order
    they are added, and nothing is free that is not."""
    return int((amount * _NANO).to_integral_value(ROUND_CEILING))
