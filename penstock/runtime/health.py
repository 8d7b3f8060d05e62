"""What is known of upstreams without asking them anything that costs: traffic tells, and a bare TCP connect now and
then.

A connect is no request: it is free, it says nothing about us, and it finds the engine that was switched off.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from penstock.runtime.identity import is_loopback
from penstock.runtime.speaks import learn

if TYPE_CHECKING:
    from penstock.runtime.http import Origin
    from penstock.runtime.targets import Target
    from penstock.server.gateway import Gateway

EVERY = 10.0  # seconds between two rounds of connects
PATIENCE = 3.0  # seconds for a connect
TROUBLE_LASTS = 60.0  # seconds that a failed request is held against a target that is not asked any more


class Health:
    """One target's. ``trouble``: the last upstream fault, forgotten at the next success or after ``TROUBLE_LASTS``.
    ``unreachable``: no connection could be made when last tried; forgotten like that, too, where nobody probes."""

    __slots__ = ("_lost", "_since", "_trouble", "unreachable")

    def __init__(self) -> None:
        self._trouble = ""
        self._since = 0.0
        self._lost = 0.0
        self.unreachable = ""

    def succeeded(self) -> None:
        if self._trouble or self.unreachable:
            self._trouble = self.unreachable = ""

    def failed(self, message: str, kind: str, now: float) -> None:
        if kind == "connect":
            self.unreachable, self._lost = message, now
        else:
            self._trouble, self._since = message, now

    def trouble(self, now: float) -> str:
        """Why the target is not well, "" when it is (or nothing is known)."""
        if self._trouble and now - self._since > TROUBLE_LASTS:
            self._trouble = ""
        if self.unreachable and now - self._lost > TROUBLE_LASTS:
            self.unreachable = ""
        return self._trouble or self.unreachable

    def probed(self, trouble: str, ours: bool, now: float) -> None:
        """What a connect told. ``ours``: it goes the way that requests go. A host behind a proxy cannot be reached by a
        bare connect, and a gateway that took this for the host's death would never be sent traffic again."""
        if not trouble or ours:
            self.unreachable, self._lost = trouble, now


class Prober:
    """Connects to the origins of local targets, and of those that could not be reached, in rounds."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while True:
            await self.round()
            await asyncio.sleep(EVERY)

    async def round(self) -> None:
        """One connect per origin that is worth it."""
        origins: dict[Origin, list[Target]] = {}
        for target in self._gateway.state.targets:
            if "*" in target.deployment.model_name and not target.provider.local:
                continue
            origin = target.origin
            if origin is not None and (is_loopback(origin.host) or target.health.unreachable):
                origins.setdefault(origin, []).append(target)
        troubles = await asyncio.gather(*(_connect(origin) for origin in origins))
        now = self._gateway.clock()
        for (origin, targets), trouble in zip(origins.items(), troubles, strict=True):
            for target in targets:
                target.health.probed(trouble, is_loopback(origin.host), now)
                if not trouble and target.provider.may_speak:
                    await learn(self._gateway.engine.pool, target)


async def _connect(origin: Origin) -> str:
    """ "" when a connection could be made, else why not."""
    try:
        async with asyncio.timeout(PATIENCE):
            _, writer = await asyncio.open_connection(origin.host, origin.port)
    except TimeoutError:
        return f"no connection to {origin.host}:{origin.port} within {PATIENCE:.0f} s"
    except (OSError, UnicodeError) as error:  # UnicodeError: a name that DNS cannot have
        return f"no connection to {origin.host}:{origin.port}: {getattr(error, 'strerror', None) or error}"
    writer.close()
    return ""
