"""Asks every deployment a free question at intervals, where the config wants it (`background_health_checks`).

No model runs and no token is paid: the question is for the provider's list of models, behind the deployment's own key.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from penstock.core.errors import GatewayError
from penstock.core.providers.free import free_path
from penstock.runtime.http import Timeouts, TransportError, in_task
from penstock.server.rounds import Rounds

if TYPE_CHECKING:
    from penstock.runtime.answer import Answer
    from penstock.runtime.endpoint import Endpoint
    from penstock.runtime.targets import Target
    from penstock.server.gateway import Gateway

log = logging.getLogger("penstock")
AT_ONCE = 10
LOOK = 5.0  # seconds between two looks at whether anybody wants checks
_PATIENCE = Timeouts(connect=5.0, first_byte=10.0, stall=5.0, total=15.0, pool=5.0)
_ABSENT = frozenset((404, 405, 501))  # no such page there: something answered
_REFUSED = frozenset((401, 402, 403))


class Checker(Rounds):
    """Checks deployments in rounds, where the config that holds now wants it."""

    def __init__(self, gateway: Gateway) -> None:
        super().__init__()
        self._gateway = gateway

    @property
    def wanted(self) -> bool:
        return self._gateway.state.config.general.background_health_checks

    @property
    def pause(self) -> float:
        return self._gateway.state.config.general.health_check_interval if self.wanted else LOOK

    async def round(self) -> None:
        """Ask every deployment once, several at a time, and note what that told."""
        state = self._gateway.state
        values = {**state.config.router.values, **state.config.general.values}
        groups = values.get("background_health_check_model_groups")
        room = asyncio.Semaphore(values.get("health_check_concurrency") or AT_ONCE)

        async def one(target: Target) -> None:
            async with room:
                await self._check(target, bool(values.get("health_check_ignore_transient_errors")))

        hosts = self._gateway.engine.hosts
        there = [t for t in state.targets if not t.engine or (hosts is not None and hosts.is_ready(t.engine))]
        wanted = [t for t in there if not t.deployment.is_wildcard and _is_wanted(t, groups)]
        await asyncio.gather(*(one(target) for target in wanted))

    async def _check(self, target: Target, lenient: bool) -> None:
        trouble = await self._ask(target, lenient)
        if trouble is None:
            return
        live = self._gateway.engine.means.lives.of(target)
        if trouble and not live.standing.unwell:
            log.warning("%s (%s) failed its health check: %s", target.label, target.id[:12], trouble)
        elif not trouble and live.standing.unwell:
            log.warning("%s (%s) passes its health check again", target.label, target.id[:12])
        live.standing.unwell = trouble
        live.standing.checked = self._gateway.clock()

    async def _ask(self, target: Target, lenient: bool) -> str | None:
        """Ask the free question; return "" for a good answer, else what is wrong. None: there is no such question, or
        what is wrong says nothing of the deployment."""
        dialect = target.dialects[0] if target.dialects else ""
        try:
            endpoint = target.endpoint(dialect)
            path = free_path(dialect, endpoint.url)
            if path is None:
                return None
            answer = await ask_free(self._gateway, target, endpoint, path)
        except GatewayError as error:
            return error.message
        except TransportError as error:
            return None if lenient and "timeout" in type(error).__name__.lower() else str(error)
        except KeyError:
            return None
        answer.close()
        if answer.status in _REFUSED:
            return f"its key is refused ({answer.status})"
        if answer.status == 429 and lenient:
            return None
        fails = answer.status >= 400 and answer.status not in _ABSENT
        return f"status {answer.status}" if fails else ""


async def ask_free(gateway: Gateway, target: Target, endpoint: Endpoint, path: str) -> Answer:
    """Ask a target a question that costs nothing. ``path``: of ``free_path``. The caller closes the answer. Raises
    TransportError."""
    lines = b"" if endpoint.signer is None else await endpoint.signer.lines(endpoint, "GET", b"")
    head = b"GET " + path.encode() + endpoint.head[endpoint.head.index(b" HTTP/1.1\r\n") :]
    await in_task()
    return await gateway.engine.means.pool.send(endpoint.origin, head, None, _PATIENCE, lines, target.tls)


def _is_wanted(target: Target, groups: object) -> bool:
    if target.deployment.info.get("disable_background_health_check"):
        return False
    return not isinstance(groups, (list, tuple)) or target.deployment.model_name in groups
