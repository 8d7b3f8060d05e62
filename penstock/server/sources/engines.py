"""Local engines as a source: every one that answers on its usual port or where its variable says, and a mock, plainly
labelled, so that something answers on a machine with nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from penstock.core.providers import PROVIDERS
from penstock.core.providers.engines import Engine, Place, identify, model_names, places
from penstock.core.providers.resolve import BadKey, auth_headers, credential
from penstock.runtime.http import ConnectError, Origin, Pool, Timeouts, TransportError, render_head
from penstock.server.sources.base import Source, SourceContent
from penstock.server.sources.made import deployment

if TYPE_CHECKING:
    from penstock.config import Config, Deployment, Problem
    from penstock.mock import Mock

PATIENCE = 0.4  # seconds for a local engine to list its models
NAMED_PATIENCE = 2.0  # the same where a variable names the place: it may be another machine
MAX_LISTING = 4 * 1024 * 1024
Found = tuple[Engine, tuple[str, ...]]


class Busy(Exception):
    """Somebody listens and cannot say who it is: an engine that loads a model, or has its hands full."""


class EnginesSource(Source):
    """Looks for engines each time it is asked. One that was found and is too busy to answer now keeps its models; one
    that is gone has none. ``close`` stops the mock. ``environ`` returns the variables that may name places."""

    def __init__(self, environ: Callable[[], Mapping[str, str]] = dict) -> None:
        self.name = "local engines"
        self._environ = environ
        self._mock: Mock | None = None
        self._known: dict[Place, Found] = {}

    async def load(self, config: Config) -> SourceContent:
        if self._mock is None:
            from penstock.mock import Mock

            self._mock = Mock(keep=0, debug_urls=False)
            await self._mock.start()
        problems = await self._look()
        found = [deployment("mock/echo", "mock", "echo", f"{self._mock.url}/v1", owner="penstock-mock")]
        for place, (engine, names) in self._known.items():
            found += [_local(engine, name, place.base) for name in names]
        return SourceContent(tuple(found), problems=tuple(problems))

    async def _look(self) -> list[Problem]:
        """Ask at all places at once, and remember who is there."""
        from penstock.config import Problem

        env = self._environ()
        asked = places(env)
        pool = Pool()
        try:
            answers = await asyncio.gather(*(_ask(pool, place, env) for place in asked), return_exceptions=True)
        finally:
            await pool.close()
        known: dict[Place, Found] = {}
        problems = []
        for place, answer in zip(asked, answers, strict=True):
            text = ""
            if isinstance(answer, Busy) and place in self._known:
                known[place] = self._known[place]
                text = f"{known[place][0].name} at {place.base} gave no list of its models; those known stay"
            elif isinstance(answer, BaseException) and not isinstance(answer, Busy):
                raise answer
            elif isinstance(answer, tuple):
                known[place] = answer
            elif place.variable:
                text = f"{place.variable} is set, and no engine there lists its models"
            if text:
                problems.append(Problem(self.name, 0, "", text, "warning"))
        self._known = known
        return problems

    async def close(self) -> None:
        if self._mock is not None:
            await self._mock.stop()


async def _ask(pool: Pool, place: Place, env: Mapping[str, str]) -> Found | None:
    """Ask who listens at a place; return the engine and its models, None where it is none. Raises ``Busy``."""
    origin = Origin.parse(place.url)
    head = render_head(b"GET", urlsplit(place.url).path.encode(), origin, _headers(place, env))
    patience = NAMED_PATIENCE if place.variable else PATIENCE
    try:
        answer = await pool.send(origin, head, None, Timeouts(patience, patience, patience, patience, patience))
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
    engine = identify(place, listing)
    return (engine, model_names(listing)) if engine is not None else None


def _headers(place: Place, env: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """List the headers of the question. An engine's own key goes to the place that its own variable names, and nowhere
    else."""
    headers = [(b"accept", b"application/json")]
    if place.engine is not None:
        provider = PROVIDERS[place.engine.provider]
        if (key := credential(provider, None, env)) is not None:
            try:
                headers += auth_headers(provider, key)
            except BadKey:
                pass  # told to the calls that need it
    return headers


def _local(engine: Engine, name: str, base: str) -> Deployment:
    return deployment(f"{engine.provider}/{name}", engine.provider, name, base)
