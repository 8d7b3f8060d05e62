"""The config file as a source: its deployments, and the settings of the gateway."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.server.sources.base import Broken, Source, SourceContent

if TYPE_CHECKING:
    from penstock.config import Config, Loaded
    from penstock.config.over import Over


class FileSource(Source):
    """Reads a config file and its includes. ``environ`` returns the variables that the file may name."""

    def __init__(self, path: Path, environ: Callable[[], Mapping[str, str]]) -> None:
        self.name = str(path)
        self._path = path
        self._environ = environ
        self._errors = 0  # of the file that is served

    async def load(self, config: Config) -> SourceContent:
        """Read the file. ``Broken`` for one that cannot be used, and for one that would take away what is served: every
        model, or by an error that was not there an entry."""
        try:
            loaded = await self.check(self.over)
        except OSError as error:
            raise Broken(f"cannot be read ({error.strerror})") from None
        if loaded.config is None:
            raise Broken("has errors", loaded.problems)
        if self.last is not None and len(loaded.errors) > self._errors:
            raise Broken("has errors that it had not before", loaded.problems)
        if self.last is not None and self.last.deployments and not loaded.config.deployments:
            # An editor that is about to write, or a template that was given nothing: hardly ever what is meant.
            raise Broken("names no models any more (if that is meant, restart)", loaded.problems)
        self._errors = len(loaded.errors)
        return SourceContent(loaded.config.deployments, replace(loaded.config, deployments=()), loaded.problems)

    async def check(self, over: Over) -> Loaded:
        from penstock.config import load
        from penstock.core.providers.resolve import resolve

        # In a thread: a thousand deployments take a tenth of a second, and streams go on meanwhile.
        return await asyncio.to_thread(load, self._path, self._environ(), resolve=resolve, also=self.also, over=over)
