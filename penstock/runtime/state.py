"""What a config means at run time. Built whole, swapped whole: a reload never mixes two configs in one request."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from penstock.config.group_settings import read_group_settings
from penstock.config.known import names_of, names_of_deployments, secrets_of, secrets_of_deployments
from penstock.config.managing import read_managing
from penstock.config.priorities import read_priorities
from penstock.config.tag_budgets import read_tag_budgets
from penstock.core.charge import EVERYBODY
from penstock.core.errors import GatewayError
from penstock.core.mask import Mask
from penstock.core.providers import PROVIDERS
from penstock.core.providers import get as get_provider
from penstock.core.providers.resolve import credential, missing_key_message
from penstock.core.route.catalog import Catalog, Member
from penstock.runtime.building import Stars, build_target, settings_of
from penstock.runtime.cache_wish import ANYTHING, Shelf, join_wishes, wishes_of
from penstock.runtime.pass_through_endpoints import PassThroughEndpoint, pass_through_endpoints_of
from penstock.runtime.plans import Planner
from penstock.runtime.review import callback_faults, comparing_faults, faults_of
from penstock.runtime.rules import blocked_names, unions_of

if TYPE_CHECKING:
    from penstock.config import Config, Deployment
    from penstock.core.route.plan import Plan
    from penstock.runtime.credential import Credential  # circle: looked for in a state, and kept there
    from penstock.runtime.guards import Guards
    from penstock.runtime.targets import Target
    from penstock.runtime.wishes import Wishes


# Changes after which the mask is made anew: what was deleted is masked until then, since answers to it may still come.
MOST_GROWTH = 1000


class Built(NamedTuple):
    """A deployment, and what came of it. ``target`` and ``member``: None where it cannot be used. ``problems``: what
    does not hold."""

    deployment: Deployment
    target: Target | None
    problems: tuple[str, ...]
    member: Member[Target] | None = None


class State:
    """Catalog, targets and settings of one config. ``problems``: deployments that cannot be used, and why. ``built``:
    what came of each deployment, by id. ``before``: the state that this one takes the place of; deployments that are
    the same objects keep their targets where the settings around them are the same, because a target takes a fifth of
    a millisecond, and there may be thousands."""

    def __init__(self, config: Config, env: Mapping[str, str], before: State | None = None) -> None:
        self.config = config
        self.caching = config.cache
        self.settings: dict[str, Any] = settings_of(config)
        self.problems: list[str] = []
        self.cache_wishes = wishes_of(config.deployments, self.problems) if config.cache is not None else {}
        self.env = env
        self.credentials: dict[str, Credential] = {}  # of pass-through paths, filled as they are asked for
        self.pass_through_endpoints = pass_through_endpoints_of(config, env, self.problems)
        self.managing = read_managing(config.litellm.values, self.problems)
        self.priorities = read_priorities(config.litellm.values, self.problems)
        # What is wrong with them, no more: the ledger and the targets have them.
        read_tag_budgets(config.litellm.values, self.problems)
        read_group_settings(config.litellm.values, self.problems)
        self.guards: Guards | None = None  # None: nobody is guarded
        if config.guards:
            from penstock.runtime.guards import Guards  # few gateways have any

            kept = None if before is None else before.guards
            self.guards = Guards(config.guards, config.deployments, self.problems, kept)
        self.targets: list[Target] = []
        self.built: dict[str, Built] = {}
        members: list[Member[Target]] = []
        same = before is not None and before.env is env and before.settings == self.settings
        known = before.built if before is not None and same else {}
        fresh: list[Deployment] = []
        for deployment in config.deployments:
            built = known.get(deployment.id)
            if built is None or built.deployment is not deployment:
                built = build(deployment, self.settings, env)
                fresh.append(deployment)
            self.built[deployment.id] = built
            if built.problems:
                self.problems += built.problems
            if built.target is not None and built.member is not None:
                self.targets.append(built.target)
                members.append(built.member)
        self._grown = 0
        if before is not None and same:
            self._grow_mask(before, fresh)
        self.problems += _strangers(self.settings)
        router = config.router
        self.catalog: Catalog[Target] = Catalog(
            members,
            router.model_group_alias,
            router.hidden_aliases,
            router.model_alias_map,
            unions_of(router.routing_groups, members),
            blocked_names(members),
        )
        if config.cache is not None:
            join_wishes(self.cache_wishes, router.routing_groups)
        self.problems += [f"The answer cache: {text}." for text in comparing_faults(config, self.catalog)]
        self.problems += [f"{place}: {text}." for place, text in callback_faults(config)]
        self.keep_alive = _keep_alive(config)
        self.forced = _forced(config)
        self.tells_usage = bool(config.general.values.get("always_include_stream_usage"))  # in every stream of chats
        self.most_fallbacks = router.max_fallbacks
        self._planner = Planner(config, self)
        self._stars = Stars()
        self._plans: dict[str, Plan[Target]] = {}
        self.shelves: dict[str, Shelf] = {}  # filled as they are asked for

    @cached_property
    def mask(self) -> Mask:
        """Return what takes every secret of this config and its environment out of an upstream's words: made at the
        first error."""
        found = secrets_of(self.config, self.env)
        for endpoint in self.pass_through_endpoints:
            found |= endpoint.secrets
        return Mask(found, names_of(self.config))

    def _grow_mask(self, before: State, fresh: Sequence[Deployment]) -> None:
        """Take over the mask of the state before, where that was made, and add what is new."""
        known, grown = before.__dict__.get("mask"), before._grown + len(fresh)
        one, other = (
            (config.raw, config.general, config.litellm, config.router) for config in (self.config, before.config)
        )
        if known is None or grown > MOST_GROWTH or one != other:
            return
        self._grown = grown
        secrets = secrets_of_deployments(fresh) if fresh else ()
        self.__dict__["mask"] = known.grown(secrets, names_of_deployments(fresh)) if fresh else known

    def plan(self, model: str) -> Plan[Target]:
        """Return the plan for a name that a client sent. Raises "unknown_model" with the nearest names."""
        plan = self._plans.get(model)
        if plan is None:
            plan = self._planner.make(model)
            if len(self._plans) < 10_000:
                self._plans[model] = plan
        return plan

    def shelf(self, model: str) -> Shelf | None:
        """Return where answers for a model are kept; None for a model that nobody serves, and without a cache."""
        known = self.shelves.get(model)
        if known is None:
            found, settings = self.catalog.find(model), self.caching
            if found is None or settings is None:
                return None
            group = model if found.stars or settings.by_name else found.group
            if settings.groups and not settings.by_name:
                group = settings.groups.get(group, group)
            wish = self.cache_wishes.get(found.group, ANYTHING)
            ttl = settings.ttl if wish.ttl is None else wish.ttl
            plain = (settings.default_on or wish.use) and wish.read and wish.write and ttl > 0
            plain = plain and wish.youngest is None
            space = wish.namespace or settings.namespace
            known = Shelf(group, space, wish, ttl, settings.max_entry, settings.shared, plain)
            if len(self.shelves) < 10_000:
                self.shelves[model] = known
        return known

    def wished(self, model: str, wishes: Wishes) -> Plan[Target]:
        """Return the plan for a name as a request wants it. Raises "unknown_model", and "bad_request" for a fallback
        that does not exist."""
        return self._planner.wished(model, wishes) if wishes.plans else self.plan(model)

    def targets_of(self, name: str) -> Sequence[Target]:
        """List the targets under a public name, or of a deployment's id; none for one that is not known."""
        found = self.catalog.find(name)
        if found is None:
            return ()
        if not found.stars:
            return found.targets
        made = []
        for base in found.targets:
            try:
                made.append(self._stars.target(base, found.stars, self.settings))
            except LookupError:
                continue
        return tuple(made)

    def pass_through_at(self, path: str) -> PassThroughEndpoint | None:
        """Find the config's own pass-through endpoint at a path."""
        return next((endpoint for endpoint in self.pass_through_endpoints if endpoint.takes(path)), None)

    def unknown(self, model: str) -> GatewayError:
        """Make the error for a name that nothing here serves."""
        shown = model if len(model) <= 120 else model[:117] + "..."
        # In LiteLLM's words, which rules over logs match, and then in plain ones.
        text = f"Invalid model name passed in model={shown}. There are no healthy deployments for this model: "
        text += f"there is no such model here. {self.instead_of(model)} See GET /v1/models."
        return GatewayError("unknown_model", text, param="model")

    def instead_of(self, model: str) -> str:
        """Say what to do about a name that nothing here serves: set a provider's key, where no config file says what
        there is; else take one of the nearest names."""
        head, slash, _ = model.partition("/")
        near = self.catalog.near(model)
        served = any(name.startswith(f"{head}/") for name in near)  # then it is the name that is wrong
        provider = get_provider(head) if slash and not served and not self.config.files else None
        if provider is not None and provider.keys and credential(provider, None, self.env) is None:
            return f"{missing_key_message(provider)} It is looked for at the start, and again at SIGHUP."
        return f"Nearest names here: {', '.join(near)}." if near else "No model is configured here."


def build(deployment: Deployment, settings: Mapping[str, Any], env: Mapping[str, str]) -> Built:
    """Build the target of a deployment, and collect what of its entry does not hold."""
    # Provider "" of a bare "*": the request's own name tells the provider.
    otherwise = "openai" if "*" in deployment.upstream_model else ""
    try:
        target = build_target(deployment, settings, env, otherwise=otherwise)
    except GatewayError as error:
        return Built(deployment, None, (error.message,))
    member = Member(deployment.model_name, deployment.id, target)
    return Built(deployment, target, tuple(faults_of(target)), member)


KEEP_ALIVE = 10.0  # seconds of silence in a stream before a sign of life; 0 in the config switches it off


def _strangers(settings: Mapping[str, Any]) -> Iterator[str]:
    """Yield a warning for each provider that is given a discount or a margin and that does not exist."""
    for table in ("cost_discount_config", "cost_margin_config"):
        for key in settings[table]:
            name = key.partition("/")[0]
            if get_provider(name) is None and (table, key) != ("cost_margin_config", EVERYBODY):
                near = difflib.get_close_matches(name, PROVIDERS, 1)
                hint = f", did you mean {near[0]!r}?" if near else ""
                yield f"litellm_settings.{table}.{key}: there is no provider {name!r}{hint}; it changes no cost."


def _forced(config: Config) -> dict[str, str]:
    """Collect who answers whatever requests say, by the key that says so."""
    keys = ("completion_model", "embedding_model", "image_generation_model", "moderation_model")
    return {key: str(config.general.values[key]) for key in keys if config.general.values.get(key)}


def _keep_alive(config: Config) -> float:
    values = config.litellm.values
    for key in ("sse_keepalive_ping_interval_seconds", "anthropic_sse_ping_interval_seconds"):
        if values.get(key) is not None:
            return float(values[key])
    return KEEP_ALIVE
