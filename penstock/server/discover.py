"""What a gateway without a config serves: every provider whose key is in the environment, every local engine that
answers on its usual port, and a mock, plainly labelled, so that something answers on a machine with nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from penstock.core.providers import PROVIDERS, get
from penstock.core.providers.engines import Engine, identify, model_names, probes
from penstock.core.providers.resolve import credential
from penstock.runtime.http import Origin, Pool, Timeouts, TransportError, render_head

if TYPE_CHECKING:
    from penstock.config import Config, Deployment
    from penstock.mock import Mock

PATIENCE = 0.4  # seconds for a local engine to list its models
MAX_LISTING = 4 * 1024 * 1024
_USABLE = frozenset({"openai_chat", "openai_responses", "anthropic", "gemini", "cohere"})


class Discovery:
    """Extends an empty config. ``close`` stops the built-in mock."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._mock: Mock | None = None

    async def extend(self, config: Config, pool: Pool) -> Config:
        from penstock.mock import Mock

        self._mock = Mock(keep=0, debug_urls=False)
        await self._mock.start()
        found = await asyncio.gather(*(_ask(pool, port, path) for port, path in probes()))
        deployments = [
            _deployment("mock/echo", "mock/echo", "mock", "echo", f"{self._mock.url}/v1", owner="penstock-mock")
        ]
        for port, engine, names in filter(None, found):
            base = f"http://127.0.0.1:{port}"
            deployments += [_local(engine, name, base) for name in names]
        taken = {d.model_name for d in deployments}
        for provider in PROVIDERS.values():
            if provider.keys and credential(provider, None, self._environ) and _USABLE & set(provider.dialects):
                name = f"{provider.name}/*"
                if name not in taken:
                    deployments.append(_deployment(name, name, provider.name, "*", None))
        return replace(config, deployments=tuple(config.deployments) + tuple(deployments))

    async def close(self) -> None:
        if self._mock is not None:
            await self._mock.stop()


async def _ask(pool: Pool, port: int, path: str) -> tuple[int, Engine, tuple[str, ...]] | None:
    """Who listens on ``port``, if it is an engine."""
    origin = Origin.parse(f"http://127.0.0.1:{port}")
    head = render_head(b"GET", path.encode(), origin, [(b"accept", b"application/json")])
    try:
        answer = await pool.send(origin, head, None, Timeouts(PATIENCE, PATIENCE, PATIENCE, PATIENCE, PATIENCE))
        try:
            listing = msgspec.json.decode(await answer.read(MAX_LISTING)) if answer.status == 200 else None
        finally:
            answer.close()
    except (TransportError, msgspec.DecodeError):
        return None
    engine = identify(port, path, listing)
    return (port, engine, model_names(listing)) if engine is not None else None


def _local(engine: Engine, name: str, base: str) -> Deployment:
    return _deployment(f"{engine.provider}/{name}", f"{engine.provider}/{name}", engine.provider, name, base)


def _deployment(public: str, model: str, provider: str, upstream: str, base: str | None, owner: str = "") -> Deployment:
    from penstock.config import Deployment

    assert get(provider) is not None
    return Deployment(
        id=public.replace("/", "-").replace("*", "all"),
        model_name=public,
        model=model,
        provider=provider,
        upstream_model=upstream,
        api_base=base,
        info={"owned_by": owner} if owner else {},
    )
