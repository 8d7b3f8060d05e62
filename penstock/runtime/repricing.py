"""What entries of the ledger would cost today: by the config's own prices, else by the price map, as a call would."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from penstock.core.admit import amount
from penstock.core.money import number
from penstock.core.pricelist import is_price, lookup
from penstock.core.repricing import read_usage
from penstock.runtime.building import settings_of
from penstock.runtime.prices import DATA, PriceMap, TargetPrice, own_fields, price_of, with_terms
from penstock.stores.base import CORRECTION, Spent

if TYPE_CHECKING:
    from penstock.config import Config, Deployment

# Why an entry stays as it is.
NO_USAGE = "no usage is kept of them"
MIXED = "several tries are summed up in them"
PENDING = "their process died, and nobody knows what they used"
NO_PRICE = "no price is known of their model"
ELSEWHERE = "a config file has their price: name it with --config"
GONE = "a config had their price, and names their deployment no more"


class Unreadable(Exception):
    """A file of prices is none."""


class FileMap(PriceMap):
    """The price map with the prices of a file in front: JSON, in the form of LiteLLM's
    `model_prices_and_context_window.json`. Models that it does not list keep the price that they have."""

    def __init__(self, data: bytes, folder: Path = DATA) -> None:
        super().__init__(folder)
        try:
            found = msgspec.json.decode(data)
        except (msgspec.DecodeError, RecursionError) as error:
            raise Unreadable(f"it is no JSON: {error}") from None
        if not isinstance(found, dict) or not found:
            raise Unreadable("it must be an object of models, each with input_cost_per_token, ...")
        for name, entry in found.items():
            _check(name, entry)
        self._own: Mapping[str, Any] = found
        self._digest = hashlib.sha256(data).hexdigest()[:12]

    @cached_property
    def version(self) -> str:
        """Return the version of a cost: the map's, and a digest of the file."""
        return f"{self.about['taken']}/{self.about['version']}+{self._digest}"

    def get(self, name: str) -> dict[str, Any] | None:
        found = self._own.get(name)
        return super().get(name) if found is None else found

    def find(self, provider: str, model: str, base_model: str | None = None) -> tuple[str, Mapping[str, Any]] | None:
        """Find the entry of a model: in any spelling in the file, before any in the map."""
        return lookup(self._own.get, provider, model, base_model) or super().find(provider, model, base_model)


def _check(name: str, entry: object) -> None:
    if not isinstance(entry, dict):
        raise Unreadable(f"{name[:120]!r} must be an object with input_cost_per_token, ...")
    for field, value in entry.items():
        plain = is_price(field) and value is not None and not isinstance(value, dict | list)
        if plain and number(value) is None:
            raise Unreadable(f"{name[:120]!r}: {field}: {str(value)[:40]!r} is no price")


class Repriced(NamedTuple):
    """What an entry costs today, in picodollars, and by which prices; ``why`` it stays as it is, "" where it need
    not."""

    cost: int
    version: str
    why: str = ""


class Repricer:
    """Prices entries anew. ``config``: whose deployments may have prices of their own, and which has discounts and
    margins; None where nobody named one: then what a config priced stays."""

    def __init__(self, config: Config | None, book: PriceMap) -> None:
        self._config, self._book = config, book
        self._settings = {} if config is None else settings_of(config)
        self._ids: dict[str, Deployment] = {}
        self._names: dict[tuple[str, str], list[Deployment]] = {}
        for one in () if config is None else config.deployments:
            self._ids[one.id] = one
            self._names.setdefault((one.model_name, one.upstream_model), []).append(one)
        self._found: dict[tuple[str, ...], TargetPrice | str] = {}

    def price(self, entry: Spent) -> Repriced:
        """Return what an entry costs today."""
        same = entry.cost, entry.price_version
        if entry.kind == CORRECTION or entry.cache_hit:
            return Repriced(*same)
        if entry.pending:
            return Repriced(*same, PENDING)
        kept = read_usage(entry.usage)
        if kept is None:
            # What failed before it was answered has used nothing; what was kept without usage is another matter.
            return Repriced(*same, NO_USAGE if entry.cost or entry.input or entry.output else "")
        if kept.mixed:
            return Repriced(*same, MIXED)
        found = self._price_of(entry)
        if isinstance(found, str):
            return Repriced(*same, found)
        assert found.price is not None
        cost = amount.pico(kept.cost(found.price, found.terms, entry.at))
        return Repriced(cost, found.version if cost != entry.cost else entry.price_version)

    def listed(self, entry: Spent) -> TargetPrice | str:
        """Return the price that an entry would be priced by today, or why there is none."""
        return self._price_of(entry)

    def _price_of(self, entry: Spent) -> TargetPrice | str:
        """Return the price of an entry, or why it has none."""
        own, _, terms = entry.price_version.partition(" ")
        asked = (entry.target_id, entry.group, entry.provider, entry.target, own if own == "config" else "", terms)
        found = self._found.get(asked)
        if found is None:
            found = self._found[asked] = self._look_up(entry, own == "config", bool(terms))
        return found

    def _look_up(self, entry: Spent, own: bool, terms: bool) -> TargetPrice | str:
        if self._config is None and (own or terms):
            return ELSEWHERE
        deployment = self._deployment(entry)
        if deployment is None and own:
            return GONE
        if deployment is None:
            deployment = _bare(entry.target)
        price = price_of(entry.provider, entry.target, deployment, self._book)
        if price.price is None:
            return NO_PRICE
        return with_terms(price, self._settings, entry.provider, entry.target)

    def _deployment(self, entry: Spent) -> Deployment | None:
        """Find the deployment of an entry: by its id, else by its names, as the id of an entry of a config file changes
        with each of its fields."""
        found = self._ids.get(entry.target_id)
        if found is not None:
            return found
        named = self._names.get((entry.group, entry.target)) or []
        return named[0] if named and all(own_fields(one) == own_fields(named[0]) for one in named) else None


def _bare(model: str) -> Deployment:
    from penstock.config import Deployment

    return Deployment(id="", model_name=model, model=model)
