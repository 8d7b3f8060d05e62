"""The price of each target, found once, and the cost of each call.

The snapshot is read at the first question for a price and not before: a gateway that nobody asks pays nothing for it.
Entries stay packed until they are asked for.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw

from penstock.core.capabilities import Capabilities, capabilities
from penstock.core.charge import Terms, terms_of
from penstock.core.price import FREE, Price
from penstock.core.pricelist import GENERAL, LOCAL, general, is_price, lookup, overlay
from penstock.core.providers.resolve import resolve

if TYPE_CHECKING:
    from penstock.config import Deployment

log = logging.getLogger("penstock")
DATA = Path(__file__).resolve().parent.parent / "data"
# Fields of `model_info` that say more of a model than the map does.
_FACTS = ("mode", "max_tokens", "max_input_tokens", "max_output_tokens", "litellm_provider", "supported_endpoints")
_DECODE = msgspec.json.Decoder(dict[str, Any]).decode


class PriceMap:
    """The price map: the snapshot, and beneath it the models that it no longer lists."""

    def __init__(self, folder: Path = DATA) -> None:
        self._folder = folder

    @cached_property
    def _entries(self) -> dict[str, Raw]:
        import gzip

        data = gzip.decompress((self._folder / "prices.json.gz").read_bytes())
        return msgspec.json.decode(data, type=dict[str, Raw])

    @cached_property
    def _retired(self) -> dict[str, Raw]:
        class File(msgspec.Struct):
            models: dict[str, Raw]

        return msgspec.json.decode((self._folder / "retired.json").read_bytes(), type=File).models

    @cached_property
    def about(self) -> Mapping[str, Any]:
        """Return source, version, day and checksums of the snapshot."""
        import tomllib  # neither is needed where nobody asks for a price

        return tomllib.loads((self._folder / "prices.toml").read_text(encoding="utf-8"))

    @cached_property
    def version(self) -> str:
        """Return the version that a cost is recorded with: "2026-11-20/1.109.1", the day of the snapshot and its
        source's version."""
        return f"{self.about['taken']}/{self.about['version']}"

    def get(self, name: str) -> dict[str, Any] | None:
        """Return the entry of exactly that name, or None."""
        raw = self._entries.get(name)
        if raw is None:
            raw = self._retired.get(name)
        return None if raw is None or name == GENERAL else _DECODE(raw)

    def names(self) -> list[str]:
        """List every name that has an entry."""
        return sorted({*self._entries, *self._retired} - {GENERAL})

    def find(self, provider: str, model: str, base_model: str | None = None) -> tuple[str, Mapping[str, Any]] | None:
        """Find the entry of a model, and the name it stands under, see ``pricelist.lookup``."""
        return lookup(self.get, provider, model, base_model)

    def family(self, model: str) -> dict[str, Any]:
        """Return what is known of a model by its name's pattern alone; never a price."""
        raw = self._entries.get(GENERAL)
        return general(_DECODE(raw) if raw is not None else None, model)


MAP = PriceMap()


class TargetPrice(msgspec.Struct, frozen=True):
    """What one target costs. ``price`` None: unknown. ``version``: "config", "local", the snapshot's, or "" for
    unknown; behind it the terms. ``key`` and ``entry``: what the map and the deployment say of the model. ``terms``:
    discount and margin, if any. ``batches``: the deployment itself says what batches cost. What the map says of these
    is the vendor's price for those that are handed over to it, and not for requests that are sent one by one."""

    price: Price | None
    version: str
    key: str
    entry: Mapping[str, Any]
    terms: Terms | None = None
    batches: bool = False

    @property
    def capabilities(self) -> Capabilities:
        return capabilities(self.key, self.entry)


def own_fields(deployment: Deployment) -> dict[str, Any]:
    """Return the prices and facts that a deployment states itself; `litellm_params` before `model_info`."""
    own = {key: value for key, value in deployment.info.items() if value is not None and (is_price(key) or _fact(key))}
    own.update((key, value) for key, value in deployment.params.items() if value is not None and is_price(key))
    return own


def _fact(key: str) -> bool:
    return key in _FACTS or key.startswith("supports_")


def price_of(provider: str, model: str, deployment: Deployment, book: PriceMap = MAP) -> TargetPrice:
    """Find the price of a target: its own, else its base model's, else the map's, else none. Reads the map if it
    must."""
    own = own_fields(deployment)
    priced = any(is_price(key) for key in own)
    batches = any(key.endswith("_batches") for key in own)
    if provider in LOCAL and not priced:
        return TargetPrice(FREE, "local", "", own)
    if "input_cost_per_token" in own and "output_cost_per_token" in own:
        return TargetPrice(Price("", own, provider), "config", "", own, batches=batches)
    found = find(provider, model, deployment, book)
    entry = overlay(found[1], own) if found else {**book.family(model), **own}
    price = Price(found[0] if found else "", entry, provider)
    if not price.known:
        return TargetPrice(None, "", price.key, entry)
    return TargetPrice(price, "config" if priced else book.version, price.key, entry, batches=batches)


def with_terms(found: TargetPrice, settings: Mapping[str, Any], provider: str, model: str) -> TargetPrice:
    """Return the price with the discount and the margin that ``settings`` have for it. Unknown stays unknown."""
    discounts, margins = settings.get("cost_discount_config"), settings.get("cost_margin_config")
    if found.price is None or not (discounts or margins):
        return found
    terms = terms_of(discounts or {}, margins or {}, provider, model)
    if terms is None:
        return found
    return msgspec.structs.replace(found, terms=terms, version=f"{found.version} {terms}".rstrip())


def find(
    provider: str, model: str, deployment: Deployment, book: PriceMap = MAP
) -> tuple[str, Mapping[str, Any]] | None:
    """Find the map's entry for a deployment, by `base_model` and `pricing_provider` where it has them."""
    params, info = deployment.params, deployment.info
    base = info.get("base_model") or params.get("base_model")
    named = info.get("pricing_provider") or params.get("pricing_provider")
    return book.find(str(named or provider), model, str(base) if base else None)


def describe(model: str, book: PriceMap = MAP) -> Capabilities | None:
    """Return what is known of a model by its name as users write it (`provider/model`, or a bare known name); None for
    a model that neither the map nor a family's rule knows."""
    try:
        provider, upstream = resolve(model)
    except LookupError:
        entry = book.get(model)
        return None if entry is None else capabilities(model, entry)
    found = book.find(provider, upstream)
    if found is not None:
        return capabilities(*found)
    family = book.family(upstream)
    return capabilities("", family) if family else None


def supports(model: str, feature: str, book: PriceMap = MAP) -> bool:
    """Tell whether a model is known to have an ability: "vision", "function_calling", "response_schema",
    "prompt_caching", ..."""
    found = describe(model, book)
    return found is not None and found.supports(feature)


class Unpriced:
    """Counts answers whose cost is not known, by target; says so once for each. Behind a wildcard clients choose the
    names: after ``keep`` of them the rest are counted together, as "other"."""

    def __init__(self, keep: int = 1000) -> None:
        self.counts: Counter[str] = Counter()
        self._keep = keep

    def count(self, label: str) -> None:
        if label not in self.counts and len(self.counts) >= self._keep:
            label = "other"
        self.counts[label] += 1
        if self.counts[label] == 1:
            log.warning(
                "No price is known for %s: its cost is recorded as unknown, not as 0. Set input_cost_per_token and "
                "output_cost_per_token, or base_model, in its model_info.",
                label,
            )


UNPRICED = Unpriced()
