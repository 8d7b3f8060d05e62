"""From a name to a plan: whose targets, which fallbacks behind them, how many tries; as a config and a request say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from msgspec.structs import replace

from penstock.core.errors import GatewayError
from penstock.core.route.plan import Plan, Try
from penstock.core.route.stars import fill, fixed, match
from penstock.runtime.rules import RuleBook, is_plain

if TYPE_CHECKING:
    from penstock.config import Config
    from penstock.core.route.catalog import Catalog
    from penstock.core.route.choose import Rules
    from penstock.runtime.targets import Target
    from penstock.runtime.wishes import Change, Wishes

DEFAULT_RETRIES = 2
_CONTINUES = ("continue_streams", "enable_mid_stream_fallback_continuation")  # the latter is LiteLLM's name
Tables = Mapping[str, Mapping[str, Sequence[str]]]
"""Fallbacks by kind of error ("" = any other): group -> groups."""


class Models(Protocol):
    """Who serves a name: what a planner knows of a state."""

    @property
    def catalog(self) -> Catalog[Target]: ...
    def targets_of(self, name: str) -> Sequence[Target]: ...
    def unknown(self, model: str) -> GatewayError: ...
    def instead_of(self, model: str) -> str: ...


class Planner:
    """Makes the plans of one config. ``most``: how many fallbacks may follow from one another."""

    def __init__(self, config: Config, models: Models) -> None:
        router = config.router
        self.most = router.max_fallbacks
        self._models = models
        self._most_tries = router.most_tries
        self._retries = _first(router.num_retries, config.litellm.num_retries, DEFAULT_RETRIES)
        self._retry_after = float(router.retry_after or 0)
        self._tables = _tables_of(config)
        self._rules = RuleBook(config, models.catalog.unions)
        falls = router.values.get("fallback_on_unsupported_params", True)
        self._final = frozenset[str]() if falls else frozenset(("unsupported",))
        self._continues = any(router.values.get(key) for key in _CONTINUES)

    def make(self, model: str) -> Plan[Target]:
        """Make the config's plan for a name. Raises "unknown_model" with the nearest names."""
        return self._made(model, self._tables, {})

    def wished(self, model: str, wishes: Wishes) -> Plan[Target]:
        """Make the plan for a name as a request wants it. Raises "unknown_model", and "bad_request" for a fallback that
        does not exist."""
        for name, place in wishes.places.items():
            if not self._models.targets_of(name):
                raise self._nobody(name, place)
        for name in (name for table in wishes.fallbacks.values() for name in table):
            if not self._may_fail(name):
                raise self._nobody(name, "fallbacks")
        tables = {} if wishes.alone else {**self._tables, **wishes.fallbacks}
        plan = self._made(model, tables, wishes.changes)
        if wishes.retries is None:
            return plan
        rules = {group: replace(found, retries={}) for group, found in plan.rules.items()}
        return plan._replace(retries=wishes.retries, own={}, rules=rules)

    def _nobody(self, name: str, place: str) -> GatewayError:
        shown = name if len(name) <= 120 else name[:117] + "..."
        text = f"{place} names the model {shown!r}, which does not exist. {self._models.instead_of(name)}"
        return GatewayError("bad_request", text, param=place.partition("[")[0])

    def _may_fail(self, name: str) -> bool:
        """Tell whether a row of fallbacks can be for a model here: see ``_lookup``."""
        catalog, bare = self._models.catalog, name.partition("/")[2]
        if "*" in name or catalog.find(name) is not None or (bare and catalog.find(bare) is not None):
            return True
        return any(one.endswith(f"/{name}") for one in catalog.names())

    def _made(self, model: str, tables: Tables, changes: Mapping[str, Change]) -> Plan[Target]:
        own = self._models.targets_of(model)
        if not own:
            raise self._models.unknown(model)
        groups, ways = {model: own}, dict[str, Mapping[str, Sequence[str]]]()
        ring = [model]
        for _ in range(self.most if tables else 0):
            reached: list[str] = []
            for group in ring:
                rows = self._rows(group, tables, changes)
                if rows:
                    ways[group] = rows
                for name in (name for names in rows.values() for name in names):
                    if name not in groups:
                        groups[name] = self._models.targets_of(_group_of(name, changes))
                        reached.append(name)
            ring = reached
        fallbacks = ways.pop(model, {})
        elsewhere = len(groups) > 1
        rules = {name: self._rules_of(_group_of(name, changes), found, elsewhere) for name, found in groups.items()}
        return Plan(
            group=model,
            targets=groups,
            fallbacks=fallbacks,
            retries=self._retries,
            retry_after=self._retry_after,
            only=Try(own[0], model) if len(own) == 1 and is_plain(rules[model], own[0]) else None,
            rules={name: found for name, found in rules.items() if found is not None},
            final=self._final,
            continues=self._continues,
            nested=ways,
            depth=self.most,
            own=_retries_of(groups),
            most=self._most_tries,
        )

    def _rules_of(self, name: str, targets: Sequence[Target], elsewhere: bool) -> Rules | None:
        """Return the rules of the group that serves a name."""
        found = self._models.catalog.find(name)
        return self._rules.of(found.group if found is not None else name, targets, elsewhere)

    def _rows(self, group: str, tables: Tables, changes: Mapping[str, Change]) -> dict[str, Sequence[str]]:
        """Find where to go from a group, by kind of error."""
        found = {kind: self._lookup(table, _group_of(group, changes)) for kind, table in tables.items()}
        return {kind: names for kind, names in found.items() if names is not None}

    def _lookup(self, table: Mapping[str, Sequence[str]], model: str) -> Sequence[str] | None:
        """Find a model's row in a table of fallbacks: by its exact name, the group it is an alias of, either without or
        with the provider before it, the pattern with most fixed characters, then "*" (LiteLLM's contract, 3.5). What
        the pattern's stars stand for stands in its row for stars. None without a row."""
        found = self._models.catalog.find(model)
        names = (model, found.group) if found else (model,)
        bare = [name.partition("/")[2] for name in names if "/" in name]
        prefixed = [f"{target.provider.name}/{name}" for target in (found.targets if found else ()) for name in names]
        stars: tuple[str, ...] = ()
        key = next((key for key in (*names, *bare, *prefixed) if key in table), "")
        if not key or "*" in key:
            patterns = sorted((one for one in table if "*" in one and one != "*"), key=fixed, reverse=True)
            fits = ((one, match(one, name)) for one in patterns for name in names if "*" not in name)
            key, stars = next(((one, told) for one, told in fits if told is not None), (key or "*", ()))
        if key not in table:
            return None
        return [name for name in (fill(name, stars) if stars else name for name in table[key]) if name != model]


def _group_of(name: str, changes: Mapping[str, Change]) -> str:
    """Return the group that a key of a plan stands for."""
    return changes[name].group if name in changes else name


def _retries_of(groups: Mapping[str, Sequence[Target]]) -> dict[Target, int]:
    """Collect the deployments that say themselves how often a request that begins at them is tried again."""
    told = ((target, target.deployment) for targets in groups.values() for target in targets)
    found = ((target, _first(one.num_retries, one.max_retries, -1)) for target, one in told)
    return {target: count for target, count in found if count >= 0}


def _tables_of(config: Config) -> Tables:
    """Collect a config's fallbacks."""
    router, module = config.router, config.litellm
    general = dict(module.fallbacks or {}) | dict(router.fallbacks or {})
    default = router.default_fallbacks or module.default_fallbacks
    if default:
        general.setdefault("*", tuple(default))
    tables = {
        "": general,
        "context_window": dict(module.context_window_fallbacks or {}) | dict(router.context_window_fallbacks or {}),
        "content_policy": dict(module.content_policy_fallbacks or {}) | dict(router.content_policy_fallbacks or {}),
    }
    return {kind: table for kind, table in tables.items() if table}


def _first(*values: int | None) -> int:
    return next(value for value in values if value is not None)
