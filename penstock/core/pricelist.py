"""Which entry of the price map belongs to a model, and what a deployment's own prices do to it.

Order (LiteLLM's contract, 8.1): `base_model` of the deployment, then `provider/model`, then `model` alone where the
entry is that provider's, each also in its other spellings: without the region, the version after "@", the id behind
"ft:", with the short name written out. No match is no price: unknown, which is not zero.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from penstock.core.providers.local import ENGINES
from penstock.core.providers.names import SHORT

Get = Callable[[str], Mapping[str, Any] | None]
"""The map: an entry by its exact name, or None."""

LOCAL = frozenset({*(row.name for row in ENGINES), "mock"})
"""Providers that cost nothing: engines on the user's own side."""

GENERAL = "fallback_generalizations"
"""The map's entry that is no model but a list of rules: what is true of a whole family, by pattern."""

# The map keeps models of one house under several names: `vertex_ai-language-models`, `bedrock_converse`, `cohere_chat`.
_HOUSES: Mapping[str, tuple[str, ...]] = {
    "azure": ("azure", "azure_text"),
    "bedrock": ("bedrock", "bedrock_converse"),
    "cohere": ("cohere", "cohere_chat"),
    "cohere_chat": ("cohere", "cohere_chat"),
    "openai": ("openai", "text-completion-openai"),
    "custom_openai": ("openai", "text-completion-openai"),
    "openai_like": ("openai", "text-completion-openai"),
    "text-completion-openai": ("openai", "text-completion-openai"),
    "text-completion-codestral": ("text-completion-codestral", "codestral"),
    "codestral": ("text-completion-codestral", "codestral"),
    "anthropic": ("anthropic",),
}
_GEO = re.compile(r"^(?:us|eu|apac|au|jp|ca|global|us-gov)\.(?=[a-z0-9-]+\.)")
_AWS_REGION = re.compile(r"^[a-z]{2}(?:-gov)?-[a-z]+-\d/")
_BEDROCK_ROUTES = ("converse/", "converse_like/", "invoke/", "llama/", "deepseek_r1/")
_PRICE = re.compile(r"_cost_per_|_token_cost|^cost_per_|_multiplier$|^(?:tiered|off_peak)_pricing$")


def is_price(field: str) -> bool:
    """Tell whether a field of the map, of `litellm_params` or of `model_info` is about money."""
    return _PRICE.search(field) is not None


def lookup(get: Get, provider: str, model: str, base_model: str | None = None) -> tuple[str, Mapping[str, Any]] | None:
    """Find (name in the map, entry) of a provider's model, or None. ``base_model`` is taken at its word, whoever's it
    is."""
    if base_model:
        for name in (f"{provider}/{base_model}", base_model):
            entry = get(name)
            if entry is not None:
                return name, entry
    for name in spellings(provider, model):
        entry = get(f"{provider}/{name}")
        if entry is not None:
            return f"{provider}/{name}", entry
        entry = get(name)
        if entry is not None and of_house(str(entry.get("litellm_provider") or ""), provider):
            return name, entry
    return None


def of_house(listed: str, provider: str) -> bool:
    """Tell whether an entry's `litellm_provider` is ``provider``: `vertex_ai-anthropic_models` is `vertex_ai`'s."""
    if provider in _HOUSES:
        return listed in _HOUSES[provider]
    return listed == provider or listed.startswith(provider + "-")


def spellings(provider: str, model: str) -> Iterator[str]:
    """Yield a model's name and the other ways to write it, best first, none twice."""
    seen: set[str] = set()
    for name in _written(provider, model):
        if name and name not in seen:
            seen.add(name)
            yield name


def _written(provider: str, model: str) -> Iterator[str]:
    yield model
    if model.startswith(provider + "/"):
        yield model[len(provider) + 1 :]
    short = SHORT.get(provider, {}).get(model)
    if short is not None:
        yield short
    if model.startswith("ft:"):
        # ft:gpt-4o-mini-2024-07-18:my-org::id is a tuned gpt-4o-mini-2024-07-18, which has a price of its own
        yield ":".join(model.split(":")[:2])
    if provider.startswith("vertex_ai") and "@" in model:
        yield model.partition("@")[0]
    if provider.startswith("bedrock"):
        yield from _bedrock(model)


def _bedrock(model: str) -> Iterator[str]:
    """Yield a name without the route, the region and the geography; of an ARN the last part, when it names a model."""
    for route in _BEDROCK_ROUTES:
        model = model.removeprefix(route)
    if model.startswith("arn:"):
        model = model.rpartition("/")[2]
    yield model
    model = _AWS_REGION.sub("", model)
    yield model
    yield _GEO.sub("", model)


def images(provider: str, model: str, size: str = "", quality: str = "") -> Iterator[str]:
    """Yield names under which the map keeps an image model's price per size and quality, best first ("1024x1024",
    "hd")."""
    side = size.replace("x", "-x-")
    for tail in (model, model.rpartition("/")[2]):
        for head in (f"{quality}/{side}", side, quality):
            head = head.strip("/")
            if head:
                yield f"{provider}/{head}/{tail}"
                yield f"{head}/{tail}"
        yield f"{provider}/{tail}"
        yield tail


def overlay(entry: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Put a deployment's own fields into an entry.

    Whoever sets the input price means all input: what the map says of cached, tiered or batched input was said of
    another price and goes (LiteLLM bills cached tokens at a deployment's own input price, too). The same for output.
    """
    gone: tuple[str, ...] = ()
    if "input_cost_per_token" in own:
        gone += ("input_", "cache_", "explicit_cache_", "tiered_pricing", "off_peak_pricing")
    if "output_cost_per_token" in own:
        gone += ("output_", "tiered_pricing", "off_peak_pricing")
    fields = {field: value for field, value in entry.items() if not (is_price(field) and field.startswith(gone))}
    fields.update(own)
    return fields


def general(rules: Mapping[str, Any] | None, name: str) -> dict[str, Any]:
    """Return what the map's rules say of a model that it does not list (no prices: they carry none). {} when no rule
    fits."""
    found: dict[str, Any] = {}
    for rule in (rules or {}).get("rules") or ():
        if re.search(rule["pattern"], name, re.IGNORECASE):
            for field, value in rule["model_info"].items():
                found.setdefault(field, value)
    return found
