"""Amounts of money in the ledger: whole picodollars, so that sums are exact in any order and in any database.

One is 1e-12 US dollars: a millionth of the cheapest token there is. The cost of a call is rounded to it once, half up.
"""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any

from penstock.core.money import number

PICO = 10**12
_SCALE = Decimal(PICO)
_WIDE = Context(prec=60, rounding=ROUND_HALF_UP)
_ONE = Decimal(1)
MOST = 9 * 10**18  # what a signed 64-bit integer takes, as a round number: 9 million dollars
_MOST = Decimal(MOST) / PICO
_FORM = "%d.%012d"


def pico(dollars: Decimal) -> int:
    """Return an amount of US dollars in picodollars."""
    return int(_WIDE.quantize(_WIDE.multiply(dollars, _SCALE), _ONE))


def decimal(amount: int) -> Decimal:
    """Return picodollars as US dollars."""
    return Decimal(amount).scaleb(-12)


def text(amount: int) -> str:
    """Write picodollars as US dollars, as short as it is exact: "0.00005", "0"."""
    if amount < 0:
        return f"-{text(-amount)}"
    whole, rest = amount // PICO, amount % PICO
    return (_FORM % (whole, rest)).rstrip("0") if rest else str(whole)


def dollars(amount: int) -> float:
    """Return picodollars as US dollars, as JSON has numbers: the nearest there is."""
    return amount / PICO


def read(value: Any) -> int | None:
    """Read US dollars as JSON or YAML have them; None for what is no amount, or more than ``MOST``."""
    found = number(value)
    # Compared before it is scaled: 1e48 has more digits than the context, and would be no amount but an exception.
    return None if found is None or found > _MOST else pico(found)
