"""This machine as a source: every local engine that answers on its usual port, and a mock, plainly labelled, so that
something answers on a machine with nothing.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from penstock.core.providers.engines import Engine, identify, model_names, probes
from penstock.runtime.http import ConnectError, Origin, Pool, Timeouts, TransportError, render_head
from penstock.server.sources.base import Source, SourceContent
from penstock.server.sources.made import deployment

if TYPE_CHECKING:
    from penstock.config import Config, Deployment, Problem
    from penstock.mock import Mock

PATIENCE = 0.4  # seconds for a local engine to list its models
MAX_LISTING = 4 * 1024 * 1024
Found = tuple[Engine, tuple[str, ...]]


class Busy(Exception):
    """Somebody listens and cannot say who it is: an engine that loads a model, or has its hands full."""


class EnginesSource(Source):
    """Looks for local engines each time it is asked. One that was found and is too busy to answer now keeps its models;
    one that is gone has none. ``close`` stops the mock."""

    def __init__(self) -> None:
        self.name = "local engines"
        self._mock: Mock | None = None
        self._known: dict[tuple[int, str], Found] = {}

    async def load(self, config: Config) -> SourceContent:
        if self._mock is None:
            from penstock.mock import Mock

            self._mock = Mock(keep=0, debug_urls=False)
            await self._mock.start()
        problems = await self._look()
        found = [deployment("mock/echo", "mock", "echo", f"{self._mock.url}/v1", owner="penstock-mock")]
        for (port, _), (engine, names) in self._known.items():
            found += [_local(engine, name, f"http://127.0.0.1:{port}") for name in names]
        return SourceContent(tuple(found), problems=tuple(problems))

    async def _look(self) -> list[Problem]:
        """Ask all ports at once, and remember who is there."""
        from penstock.config import Problem

        places = probes()
        pool = Pool()
        try:
            answers = await asyncio.gather(*(_ask(pool, port, path) for port, path in places), return_exceptions=True)
        finally:
            await pool.close()
        known: dict[tuple[int, str], Found] = {}
        problems = []
        for place, answer in zip(places, answers, strict=True):
            if isinstance(answer, Busy) and place in self._known:
                known[place] = self._known[place]
                text = f"{known[place][0].name} on port {place[0]} gave no list of its models; those known stay"
                problems.append(Problem(self.name, 0, "", text, "warning"))
            elif isinstance(answer, BaseException) and not isinstance(answer, Busy):
                raise answer
            elif isinstance(answer, tuple):
                known[place] = answer
        self._known = known
        return problems

    async def close(self) -> None:
        if self._mock is not None:
            await self._mock.stop()


async def _ask(pool: Pool, port: int, path: str) -> Found | None:
    """Ask who listens on ``port``; return the engine and its models, None where it is none. Raises ``Busy``."""
    origin = Origin.parse(f"http://127.0.0.1:{port}")
    head = render_head(b"GET", path.encode(), origin, [(b"accept", b"application/json")])
    try:
        answer = await pool.send(origin, head, None, Timeouts(PATIENCE, PATIENCE, PATIENCE, PATIENCE, PATIENCE))
        try:
            if answer.status >= 500:
                raise Busy
            listing = msgspec.json.decode(await answer.read(MAX_LISTING)) if answer.status == 200 else None
        finally:
            answer.close()
    except (ConnectError, msgspec.DecodeError):
        return None
    except TransportError:
        raise Busy from None
    engine = identify(port, path, listing)
    return (engine, model_names(listing)) if engine is not None else None


def _local(engine: Engine, name: str, base: str) -> Deployment:
    return deployment(f"{engine.provider}/{name}", engine.provider, name, base)
