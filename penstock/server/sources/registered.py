"""The sources of a gateway, in the order in which they are asked. A new one is a line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from penstock.server.sources.base import Source
from penstock.server.sources.engines import EnginesSource
from penstock.server.sources.environment import EnvironmentSource
from penstock.server.sources.file import FileSource
from penstock.server.sources.mock import MockSource


def sources_of(config: Path | None, environ: Callable[[], Mapping[str, str]]) -> list[Source]:
    """List the sources of a gateway. The first has the settings. A config file is the whole configuration: beside it
    nothing is looked for, and the mock is there only where it names it."""
    if config is not None:
        return [FileSource(config, environ), MockSource()]
    return [EnvironmentSource(environ), EnginesSource(environ)]
