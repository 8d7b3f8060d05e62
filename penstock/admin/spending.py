"""What answers say that somebody has spent, and how that is put right: the ledger knows, no row does."""

from __future__ import annotations

import inspect
from typing import Any

from penstock.core.errors import GatewayError


async def spent(gateway: Any, kind: str, id_: str) -> int:
    """Return the picodollars that somebody has spent in the window of the budget; 0, where nothing is counted."""
    found: int = await gateway.spent(f"{kind}:{id_}")
    return found


def need_ledger(gateway: Any) -> None:
    """Raise "not_installed" where nothing is counted, so that nothing can be put right."""
    if getattr(gateway, "put_right", None) is None:
        raise GatewayError("not_installed", "spend: nothing is counted by this gateway, so nothing can be put right.")


async def put_right(gateway: Any, kind: str, id_: str, amount: int, who: str) -> None:
    """Set what somebody has spent in the window of the budget, in picodollars. Raises "not_installed"."""
    need_ledger(gateway)
    done = gateway.put_right(f"{kind}:{id_}", amount, who)
    if inspect.isawaitable(done):
        await done
