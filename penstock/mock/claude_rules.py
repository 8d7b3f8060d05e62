"""What Claude refuses wherever it is served, in its words: the mocks of Anthropic, Bedrock and Vertex AI ask here.

Sources: https://platform.claude.com/docs/en/api/messages and .../build-with-claude/adaptive-thinking. From Opus 4.7 on
(Opus 4.8, Sonnet 5, ...) a model takes no sampling but the default, and thinks adaptively only; from 4.6 on it takes no
prefill. Bedrock says the same in front of its own words (NousResearch/hermes-agent#36151, earendil-works/pi#7081)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

# Both orders of the name: claude-opus-4-7, us.anthropic.claude-opus-4-8-v1, claude-sonnet-5; a date is no version.
_VERSION = re.compile(r"claude-[a-z]+-(\d{1,2})(?:[-.](\d{1,2}))?(?![0-9])")


def version(model: str) -> tuple[int, int]:
    """Return the version in a model's name, (0, 0) where it has none."""
    found = _VERSION.search(model)
    return (int(found[1]), int(found[2] or 0)) if found else (0, 0)


def refusal_of_model(model: str, sampling: Mapping[str, Any], thinking: Mapping[str, Any]) -> str:
    """Return the words by which the model refuses, "" where it does not. ``sampling``: temperature, top_p and top_k by
    these names."""
    if version(model) < (4, 7):
        return ""
    if thinking.get("type") == "enabled":
        return (
            '"thinking.type.enabled" is not supported for this model. Use "thinking.type.adaptive" and'
            ' "output_config.effort" to control thinking behavior.'
        )
    for name, right in (("temperature", lambda value: value == 1), ("top_p", lambda value: value >= 0.99)):
        value = sampling.get(name)
        if value is not None and not right(value):
            return f"`{name}` is deprecated for this model."
    return "`top_k` is deprecated for this model." if sampling.get("top_k") is not None else ""


def refuses_prefill(model: str) -> bool:
    """Tell whether a conversation with this model must end with the user."""
    return version(model) >= (4, 6)


PREFILL = "This model does not support assistant message prefill. The conversation must end with a user message."
