"""What answers say that somebody has spent, and how that is put right: the ledger knows, no row does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


async def spent(gateway: Any, kind: str, id_: str) -> int:
    """Return the picodollars that somebody has spent in the window of the budget; 0, where nothing is counted."""
    found: int = await gateway.spent(f"{kind}:{id_}")
    return found


async def spent_of_all(gateway: Any, accounts: Sequence[str]) -> list[int]:
    """Return the picodollars that many have spent, of whom each is named as ``kind:id``."""
    found: list[int] = await gateway.spent_of_all(accounts)
    return found


def need_ledger(gateway: Any) -> None:
    """Raise "not_installed" where what somebody has spent cannot be set."""
    gateway.check_spend()


async def put_right(gateway: Any, kind: str, id_: str, amount: int, who: str) -> None:
    """Set what somebody has spent in the window of the budget, in picodollars. Raises "not_installed"."""
    await gateway.put_right(f"{kind}:{id_}", amount, who)
