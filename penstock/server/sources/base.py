"""The contract of a source of deployments, and the one function that asks them all.

A source has a name, and ``load`` gives the deployments that it has now; when it cannot tell, it raises ``Broken``, and
what it gave last stays. To add one, write a file beside this one and a line in ``registered``.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from penstock.config import Config, Deployment, Loaded, Problem
    from penstock.config.over import Over

log = logging.getLogger("penstock")
PATIENCE = 15.0  # seconds for one source: a database that hangs must not hold up the others


@dataclass(frozen=True, slots=True)
class SourceContent:
    """What a source has to give. ``settings``: a config whose settings hold, from the first source that has any; its
    own ``deployments`` do not count. ``problems``: what its reader should know, and did not keep it from giving."""

    deployments: tuple[Deployment, ...] = ()
    settings: Config | None = None
    problems: tuple[Problem, ...] = ()


class Broken(Exception):
    """A source cannot tell what it has. ``reason`` completes a sentence that begins with its name; ``problems`` say
    more, one line each."""

    def __init__(self, reason: str, problems: tuple[Problem, ...] = ()) -> None:
        super().__init__(reason)
        self.reason = reason
        self.problems = problems


class Source(ABC):
    """Somewhere deployments come from. ``name`` is what messages call it; ``last`` is what it gave last, and
    ``trouble`` says why it gave nothing when it was asked after that. ``also`` are the names of
    models that the others gave, to which its own may refer. ``gather`` sets all three. ``over``: settings of the
    database, which one that has settings lays over them. ``silent``: nobody is told that it was asked again."""

    name: str
    last: SourceContent | None = None
    trouble: str = ""
    also: frozenset[str] = frozenset()
    silent: bool = False
    over: Over = MappingProxyType({})

    @abstractmethod
    async def load(self, config: Config) -> SourceContent:
        """Give what there is now, or raise ``Broken``. ``config``: what the sources before it gave."""

    async def check(self, over: Over) -> Loaded | None:
        """Read what there would be with these settings over it; None for a source that has none of its own. Raises
        ``OSError``."""
        return None

    def complete(self, config: Config) -> Config:
        """Add to the config of all sources what this one knows beside deployments."""
        return config

    async def close(self) -> None:
        """Let go of what ``load`` left open."""
        return


async def gather(sources: Sequence[Source], again: bool | Source = True) -> tuple[Config | None, list[Problem]]:
    """Ask the sources in their order, and put together what they have: a config, and every problem.

    The config is None while nobody gave settings. ``again`` False: who gave something already is not asked again; a
    source: none but that one is."""
    config: Config | None = None
    problems: list[Problem] = []
    owners: dict[str, str] = {}
    for source in sources:
        if again is True or again is source or source.last is None:
            source.also = names_beside(source, sources)
            problems += await _ask(source, config)
        given = source.last
        if config is None and given is not None and given.settings is not None:
            config = replace(given.settings, deployments=())
        if config is not None and given is not None:
            added = tuple(_new(source, given, owners, problems))
            config = replace(config, deployments=config.deployments + added)
    if config is not None:
        for source in sources:
            config = source.complete(config)
    return config, problems


def names_beside(source: Source, sources: Sequence[Source]) -> frozenset[str]:
    """Return the names of the models that the other sources gave last."""
    others = (other.last for other in sources if other is not source and other.last is not None)
    return frozenset(deployment.model_name for given in others for deployment in given.deployments)


async def _ask(source: Source, config: Config | None) -> Sequence[Problem]:
    """Ask one source. Set its ``last`` and its ``trouble``, and return the problems that it told."""
    from penstock.config import Config, Problem

    problems: tuple[Problem, ...] = ()
    try:
        async with asyncio.timeout(PATIENCE):
            given = await source.load(config or Config())
    except Broken as broken:
        source.trouble, problems = broken.reason, broken.problems
    except TimeoutError:
        source.trouble = f"did not answer within {PATIENCE:g} s"
    except Exception as error:  # boundary: the fault of one source must not take away what the others have
        log.exception("%s could not be asked", source.name)
        source.trouble = f"could not be asked ({type(error).__name__})"
    else:
        source.last, source.trouble = given, ""
        return given.problems
    if source.last is None and config is None:
        return problems  # nothing can be served: whoever starts the gateway says why, and ends it
    stays = "what it gave last stays" if source.last is not None else "it gives nothing until a reload"
    return (*problems, Problem(source.name, 0, "", f"{source.trouble}; {stays}", "error"))


def _new(source: Source, given: SourceContent, owners: dict[str, str], problems: list[Problem]) -> list[Deployment]:
    """List the deployments whose id no source before this one has: one id is one deployment everywhere."""
    from penstock.config import Problem

    found = []
    for deployment in given.deployments:
        owner = owners.setdefault(deployment.id, source.name)
        if owner == source.name:
            found.append(deployment)
        else:
            text = f"the deployment {deployment.id!r} is left out: {owner} has one of the same id"
            problems.append(Problem(source.name, 0, "", text, "warning"))
    return found
