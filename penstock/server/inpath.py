"""Surfaces of OpenAI's shape whose path carries the model: Azure's deployments, and OpenAI's own old engines.

A client of Azure OpenAI works with the gateway as its endpoint: the deployment is the model's name here, the key stands
in ``api-key``, and ``?api-version=`` is not asked about. Source:
https://learn.microsoft.com/azure/ai-foundry/openai/reference.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from msgspec import Raw

if TYPE_CHECKING:
    from penstock.runtime.call import Call
    from penstock.runtime.state import State
    from penstock.runtime.surface import Surface

PREFIXES = ("/openai/deployments/", "/engines/")


class Pattern(NamedTuple):
    """A surface whose path carries the model. ``templates``: the paths that ``pattern`` takes, written as a route's."""

    pattern: re.Pattern[str]
    surface: Surface
    templates: tuple[str, ...]


def rows(operations: Mapping[str, Surface]) -> list[Pattern]:
    """Make a pattern for each operation (its path without version) below each prefix."""
    made = []
    for prefix in PREFIXES:
        for path, surface in operations.items():
            pattern = re.compile(rf"{prefix}(?P<model>.+){path}", re.DOTALL)
            adapted = surface._replace(adapt=partial(_adapt, pattern, surface.adapt))
            made.append(Pattern(pattern, adapted, (f"{prefix}{{model:path}}{path}",)))
    return made


def _adapt(pattern: re.Pattern[str], inner: object, call: Call, fields: dict[str, Raw], state: State) -> None:
    found = pattern.fullmatch(call.path)
    assert found is not None  # it brought us here
    fields["model"] = Raw(msgspec.json.encode(found["model"]))
    if callable(inner):
        inner(call, fields, state)
