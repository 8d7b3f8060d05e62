"""How many tokens a request may use, as its body says: what limits take when it comes, before anybody knows better."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec
from msgspec import Raw

from penstock.core.count import prompt_tokens
from penstock.core.envelope import BAD_JSON
from penstock.core.ir import Usage

Counted = Literal["total", "input", "output"]
"""Which tokens limits count; LiteLLM's words for it."""

# Where the dialects say how long an answer may be: at the top, or inside of a field.
_MOST = {
    "max_completion_tokens": "",
    "max_tokens": "",
    "max_output_tokens": "",
    "max_tokens_to_sample": "",
    "generationConfig": "maxOutputTokens",
    "generation_config": "max_output_tokens",
    "inferenceConfig": "maxTokens",
    "options": "num_predict",
}
_PLACES = tuple(_MOST.items())
_HIGHEST = 10_000_000  # tokens: more is no model's, and no claim that anybody should have to keep free
_FIELDS = msgspec.json.Decoder(dict[str, Raw]).decode


def most_output(fields: Mapping[str, Raw]) -> int:
    """Return how many tokens an answer may have, as its request says; 0 where it does not say."""
    found = 0
    for name, inner in _PLACES:
        if name not in fields:
            continue
        raw: Raw | None = fields[name]
        if inner:
            try:
                raw = _FIELDS(fields[name]).get(inner)
            except BAD_JSON:
                continue  # for who it is meant for to refuse
        found = max(found, _count(raw))
    if "n" in fields:
        found *= max(1, _count(fields["n"]))
    return min(found, _HIGHEST)


def may_use(fields: Mapping[str, Raw], counted: Counted = "total") -> int:
    """Estimate the tokens that a request may use: those of its prompt, and as many as its answer may have."""
    if counted == "output":
        return most_output(fields)
    asked = prompt_tokens(fields)
    return asked if counted == "input" else asked + most_output(fields)


def has_used(usage: Usage | None, counted: Counted = "total") -> int:
    """Return the tokens of a usage that limits count."""
    if usage is None:
        return 0
    return usage.total if counted == "total" else usage.input if counted == "input" else usage.output


def _count(raw: Raw | None) -> int:
    text = b"" if raw is None else bytes(raw)
    return min(int(text), _HIGHEST) if text.isdigit() and len(text) < 20 else 0
