"""What a config says of single groups of models, out of ``litellm_settings.model_group_settings``, typed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from penstock.config.problems import described

FORWARDS = "forward_client_headers_to_llm_api"
_KEY = "model_group_settings"


def read_group_settings(values: Mapping[str, Any], problems: list[str]) -> tuple[str, ...]:
    """Read the models, patterns and access groups for which clients' headers go on to upstreams; add a sentence for
    each part that cannot be used to ``problems``."""
    said = values.get(_KEY) or {}
    if not isinstance(said, Mapping):
        problems.append(f"litellm_settings.{_KEY} must be a mapping, with {FORWARDS}.")
        return ()
    if said.keys() - {FORWARDS}:
        problems.append(f"litellm_settings.{_KEY} has a key that is not used: known is {FORWARDS}.")
    names = said.get(FORWARDS)
    if names is None:
        return ()
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        text = f"litellm_settings.{_KEY}.{FORWARDS} must be a list of models, patterns or access groups"
        problems.append(f"{text}; got {described(names)}.")
        return ()
    return tuple(names)
