"""Connects to upstreams in rounds, to know which are there without asking them anything that costs.

A connect is no request: it is free, it says nothing about us, and it finds the engine that was switched off.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from penstock.runtime.http import out_of_files
from penstock.runtime.identity import is_loopback
from penstock.runtime.speaks import discover_dialects
from penstock.server.rounds import Rounds

if TYPE_CHECKING:
    from penstock.runtime.http import Origin
    from penstock.runtime.targets import Target
    from penstock.server.gateway import Gateway

EVERY = 10.0  # seconds between two rounds of connects
PATIENCE = 3.0  # seconds for a connect


class Prober(Rounds):
    """Connects to the origins of local targets, and of those that could not be reached, in rounds."""

    def __init__(self, gateway: Gateway) -> None:
        super().__init__()
        self._gateway = gateway

    @property
    def pause(self) -> float:
        return EVERY

    async def round(self) -> None:
        """Connect once to each origin that is worth it, and note what that told."""
        means = self._gateway.engine.means
        lives, hosts = means.lives, self._gateway.engine.hosts
        origins: dict[Origin, list[Target]] = {}
        for target in self._gateway.state.targets:
            if "*" in target.deployment.model_name and not target.provider.local:
                continue
            if target.engine and not (hosts is not None and hosts.is_ready(target.engine)):
                continue  # it is not loaded, which is no trouble
            origin = target.origin
            if origin is not None and (is_loopback(origin.host) or lives.of(target).health.unreachable):
                origins.setdefault(origin, []).append(target)
        troubles = await asyncio.gather(*(_connect(origin) for origin in origins))
        now = self._gateway.clock()
        for (origin, targets), trouble in zip(origins.items(), troubles, strict=True):
            for target in targets if trouble is not None else ():
                live = lives.of(target)
                live.health.probed(trouble or "", is_loopback(origin.host), now)
                live.standing.unwell = live.health.unreachable
                if not trouble and target.provider.may_speak:
                    await discover_dialects(means.pool, target, live)


async def _connect(origin: Origin) -> str | None:
    """Try to connect; return "" when it worked, else why not. None: it could not be tried, for want of descriptors."""
    try:
        async with asyncio.timeout(PATIENCE):
            _, writer = await asyncio.open_connection(origin.host, origin.port)
    except TimeoutError:
        return f"no connection to {origin.host}:{origin.port} within {PATIENCE:.0f} s"
    except (OSError, UnicodeError) as error:  # UnicodeError: a name that DNS cannot have
        if isinstance(error, OSError) and out_of_files(error):
            return None
        return f"no connection to {origin.host}:{origin.port}: {getattr(error, 'strerror', None) or error}"
    writer.close()
    return ""
