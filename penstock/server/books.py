"""The ledger of one serving process: its journal, and whoever carries that into the store."""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.core.admit import amount
from penstock.core.admit.holders import Cap
from penstock.core.admit.periods import parse
from penstock.runtime.bookkeeper import Bookkeeper
from penstock.runtime.ledger import OVER_BUDGET, STOP, Ledger, Rules
from penstock.stores.journal import Journal

if TYPE_CHECKING:
    from penstock.config import Config
    from penstock.server.gateway import Gateway
    from penstock.stores.base import SpendStore

FOLDER = "journal"  # in the state directory


class Books:
    """What ``open`` made. ``ledger``: the gateway's, from then on."""

    def __init__(self, ledger: Ledger, keeper: Bookkeeper, journal: Journal) -> None:
        self.ledger, self._keeper, self._journal = ledger, keeper, journal

    @classmethod
    async def open(cls, gateway: Gateway, store: SpendStore, state_folder: Path) -> Books:
        """Begin to keep books: take over what dead processes left, and charge every call from now on. Raises
        ``OSError`` where nothing can be written in the folder."""
        folder = state_folder / FOLDER
        name = f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{os.getpid()}-{secrets.token_hex(4)}"
        journal = Journal(folder, name)
        clock = gateway.engine.means.clock
        admission = gateway.engine.admission
        assert admission is not None, "whoever keeps books has a keyring, and so a gateway that admits"
        ledger = Ledger(lambda: gateway.keyring, journal, clock, rules_of(gateway.state.config))
        keeper = Bookkeeper(store, journal, folder, ledger.periods)
        await keeper.start()
        ledger.take_over(keeper)
        ledger.drive(gateway.batch(asyncio.get_running_loop()))
        admission.budgets = ledger
        return cls(ledger, keeper, journal)

    def put(self, config: Config) -> None:
        """Go by the settings of another config."""
        self.ledger.rules = rules_of(config)

    async def close(self) -> None:
        """Store what is left, and let go of the journal."""
        self.ledger.flush()
        await self._keeper.stop()
        self._journal.close()

    def told(self) -> dict[str, str]:
        """Return what an operator should know: what cannot be written down, or stored."""
        found = {"journal": self.ledger.trouble, "store": self._keeper.away}
        return {name: text for name, text in found.items() if text}


def rules_of(config: Config) -> Rules:
    """Read how money is counted from a config."""
    general, litellm = config.general.values, config.litellm.values
    most = amount.read(litellm.get("max_budget")) or 0
    period = str(litellm.get("budget_duration") or "").strip().lower()
    if period:
        parse(period)
    output = general.get("default_estimated_output_tokens")
    return Rules(
        caps=(Cap(most, period),) if most else (),
        reserves=not general.get("disable_budget_reservation"),
        status=int(litellm.get("budget_exceeded_status_code") or OVER_BUDGET),
        priced=bool(litellm.get("block_requests_for_models_without_pricing")),
        on_failure=str(general.get("on_ledger_failure") or STOP),
        default_output=None if output is None else int(output),
    )
