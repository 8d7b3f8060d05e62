"""The ledger of one serving process: its journal, and whoever carries that into the store."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec.structs import replace

from penstock.config.tag_budgets import KEY as TAGS
from penstock.config.tag_budgets import read_tag_budgets
from penstock.core.admit import amount
from penstock.core.admit.holders import Cap
from penstock.core.admit.periods import parse
from penstock.runtime.bookkeeper import Bookkeeper
from penstock.runtime.ledger import OVER_BUDGET, STOP, Ledger, Rules
from penstock.runtime.sharing import Sharing
from penstock.runtime.spending import Details
from penstock.stores.journal import Journal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from penstock.config import Config
    from penstock.config.redis import RedisSettings
    from penstock.server.gateway import Gateway
    from penstock.server.storage import Storage
    from penstock.stores.base import Pot, SpendStore

log = logging.getLogger("penstock")
FOLDER = "journal"  # in the state directory
SLICES = 50  # a process borrows a cap in slices of 2 %
REDIS, LEASES = "redis", "leases"
KEYS = (
    *("disable_budget_reservation", "default_estimated_output_tokens", "on_ledger_failure"),
    *("disable_spend_logs", "disable_error_logs", "disable_requester_ip_address_logging"),
    *("store_prompts_in_spend_logs", "disable_spend_updates", "disable_reset_budget"),
)
LITELLM_KEYS = (
    *("max_budget", "budget_duration", "budget_exceeded_status_code"),
    "block_requests_for_models_without_pricing",
    TAGS,
    "budget_rollover",
)


class Books:
    """What ``open`` made. ``ledger``: the gateway's, from then on. ``sharing``: its part of shared budgets, None where
    this process is alone."""

    def __init__(self, ledger: Ledger, keeper: Bookkeeper, journal: Journal, sharing: Sharing | None) -> None:
        self.ledger, self.sharing, self._keeper, self._journal = ledger, sharing, keeper, journal

    @classmethod
    async def open(
        cls, gateway: Gateway, store: SpendStore, state_folder: Path, shared: SharedBy | None = None
    ) -> Books:
        """Begin to keep books: take over what dead processes left, and charge every call from now on. Raises
        ``OSError`` where nothing can be written in the folder."""
        folder = state_folder / FOLDER
        name = f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{os.getpid()}-{secrets.token_hex(4)}"
        journal = Journal(folder, name)
        clock = gateway.engine.means.clock
        admission = gateway.engine.admission
        assert admission is not None, "whoever keeps books has a keyring, and so a gateway that admits"
        ledger = Ledger(lambda: gateway.keyring, journal, clock, rules_of(gateway.state.config))
        keeper = Bookkeeper(store, journal, folder, ledger.accounts.periods)
        keeper.mask = lambda: gateway.state.mask
        sharing = None
        if shared is not None:
            sharing = Sharing(shared.pot, name, journal.told, shared.slices, shared.processes)
            keeper.bury = sharing.bury
        await keeper.start()
        if sharing is not None:
            sharing.start()
            ledger.sharing = sharing
        ledger.take_over(keeper)
        ledger.drive(gateway.batch(asyncio.get_running_loop()))
        admission.budgets = ledger
        return cls(ledger, keeper, journal, sharing)

    def put(self, config: Config) -> None:
        """Go by the settings of another config."""
        self.ledger.go_by(rules_of(config))

    async def close(self) -> None:
        """Store what is left, and let go of the journal."""
        self.ledger.flush()
        if self.sharing is not None:
            await self.sharing.stop()
        await self._keeper.stop()
        self._journal.close()

    def lag(self) -> tuple[int, float, int]:
        """Return how many entries are not in the store yet, how many seconds the oldest has waited at most, and the
        bytes of the journal."""
        return (*self._keeper.lag(), sum(file.size for file in self._journal.files))

    def told(self) -> dict[str, str]:
        """Return what an operator should know: what cannot be written down, or stored."""
        found = {"journal": self.ledger.trouble, "store": self._keeper.away}
        found["sharing"] = "" if self.sharing is None else self.sharing.trouble
        return {name: text for name, text in found.items() if text}


class SharedBy(NamedTuple):
    """By what processes share budgets. ``slices``: see ``Sharing``; ``processes``: how many there are at least."""

    pot: Pot
    slices: int
    processes: int


def shared_by(config: Config, storage: Storage, redis: RedisSettings | None, processes: int) -> SharedBy | None:
    """Tell by what processes share budgets: by Redis, where one is named, else by the database, where it may be that
    of several processes; None where this one is alone."""
    named = config.general.values.get("budget_sharing")
    if redis is not None and named != LEASES:
        from penstock.stores.redis_board import RedisBoard
        from penstock.stores.redis_pot import RedisPot

        return SharedBy(RedisPot(RedisBoard(redis)), 0, processes)
    if named == REDIS:
        log.error("general_settings.budget_sharing is redis, and no Redis is named: budgets are shared by the database")
    if named is None and processes == 1 and storage.database.address.kind == "sqlite":
        return None
    from penstock.stores.sql.pot import SqlPot

    return SharedBy(SqlPot(storage.database), SLICES, processes)


def rules_of(config: Config) -> Rules:
    """Read how money is counted from a config."""
    general, litellm = config.general.values, config.litellm.values
    most = amount.read(litellm.get("max_budget")) or 0
    period = str(litellm.get("budget_duration") or "").strip().lower()
    try:
        parse(period or "1d")
    except ValueError as error:  # a budget that cannot be read is never none
        log.error("litellm_settings.budget_duration: %s. Until then max_budget is for all of time", error)
        period = ""
    output = general.get("default_estimated_output_tokens")
    for_good = bool(general.get("disable_reset_budget"))
    return Rules(
        caps=(Cap(most, "" if for_good else period),) if most else (),
        tags={tag: _for_good(caps) if for_good else caps for tag, caps in read_tag_budgets(litellm, []).items()},
        carries=bool(litellm.get("budget_rollover")),
        reserves=not general.get("disable_budget_reservation"),
        status=int(litellm.get("budget_exceeded_status_code") or OVER_BUDGET),
        priced=bool(litellm.get("block_requests_for_models_without_pricing")),
        on_failure=str(general.get("on_ledger_failure") or STOP),
        default_output=None if output is None else int(output),
        details=_details_of(general),
        counts=not general.get("disable_spend_updates"),
        for_good=for_good,
        texts=bool(general.get("store_prompts_in_spend_logs")) and not general.get("disable_spend_logs"),
    )


def _for_good(caps: tuple[Cap, ...]) -> tuple[Cap, ...]:
    return tuple(replace(cap, period="") for cap in caps)


def _details_of(general: Mapping[str, Any]) -> Details | None:
    """Read what is written down beside costs; None for everything."""
    found = Details(
        addresses=not general.get("disable_requester_ip_address_logging"),
        errors=not general.get("disable_error_logs"),
        said=not general.get("disable_spend_logs"),
    )
    return None if found == Details() else found
