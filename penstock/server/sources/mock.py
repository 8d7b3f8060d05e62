"""The mock upstream for a config that names it: `model: mock/echo` answers with what it was asked, for try-outs.

It listens on loopback, in this process, from the first config that names it until the gateway ends.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from penstock.server.sources.base import Source, SourceContent

if TYPE_CHECKING:
    from penstock.config import Config
    from penstock.mock import Mock

PROVIDER = "mock"
PLACE = "PENSTOCK_MOCK_API_BASE"
STARTED = {PLACE: "http://127.0.0.1/v1"}
"""Where it is while nobody has started it, for who only checks a config."""


class MockSource(Source):
    """Starts the mock where a deployment wants one and nobody says where it is. It has no deployments of its own."""

    silent = True  # it has nothing that a reload could change

    def __init__(self) -> None:
        self.name = "the mock"
        self._mock: Mock | None = None

    async def load(self, config: Config) -> SourceContent:
        """Start the mock, if the config wants it."""
        wanted = any(one.provider == PROVIDER and not one.api_base for one in config.deployments)
        if wanted and self._mock is None and not config.environment.get(PLACE):
            from penstock.mock import Mock

            mock = Mock(keep=0, debug_urls=False)
            await mock.start()
            self._mock = mock
        return SourceContent()

    def complete(self, config: Config) -> Config:
        """Say where the mock is, as its variable would."""
        if self._mock is None or config.environment.get(PLACE):
            return config
        return replace(config, environment={**config.environment, PLACE: f"{self._mock.url}/v1"})

    async def close(self) -> None:
        if self._mock is not None:
            await self._mock.stop()
