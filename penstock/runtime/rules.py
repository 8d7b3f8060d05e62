"""How each group is routed, read out of a config."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from penstock.config.spec_groups import levels_of
from penstock.core.route.choose import USUAL, Rules
from penstock.core.route.pick import CONFIDENCE
from penstock.core.route.standing import Rests
from penstock.runtime.group_lines import tells

if TYPE_CHECKING:
    from penstock.config import Config
    from penstock.config.spec_groups import RoutingGroup
    from penstock.core.route.catalog import Member
    from penstock.runtime.targets import Target

BUDGETS = "provider_budget_config"
# Strategies and checks that ask for rpm, tpm and quotas to be kept; to the others they are weights, or nothing.
_STRICT = frozenset("usage-based-routing usage-based-routing-v2 latency-based-routing cost-based-routing".split())
_STAYS = {
    "session_affinity": "session",
    "deployment_affinity": "caller",
    "prompt_caching": "prompt",
}


class RuleBook:
    """The rules of a config's groups. ``of``: those of a group; None where there is nothing to see to. ``unions``:
    names of the routing groups that requests may name."""

    def __init__(self, config: Config, unions: Collection[str] = ()) -> None:
        values = config.router.values
        self._values: Mapping[str, Any] = values
        self._checks = frozenset(values.get("optional_pre_call_checks") or ())
        self._tags = bool(values.get("enable_tag_filtering"))
        self._policies: Mapping[str, Any] = values.get("model_group_retry_policy") or {}
        self._affinity: Mapping[str, Any] = values.get("model_group_affinity_config") or {}
        self._groups: dict[str, RoutingGroup] = {}
        for row in config.router.routing_groups:
            for model in row.models if row.routes_members else ():
                self._groups.setdefault(model, row)  # a second group of a model is an error in its config
        self._groups |= {row.name: row for row in config.router.routing_groups if row.name in unions}
        self._usual = self._made(config)

    def _made(self, config: Config) -> Rules:
        router, values = config.router, self._values
        seconds = 5.0 if router.cooldown_time is None else router.cooldown_time
        rests = Rests(
            seconds=0.0 if router.disable_cooldowns else seconds,
            fails=router.allowed_fails,
            by_class=values.get("allowed_fails_policy") or {},
        )
        usual = Rules(
            rests=rests,
            by_tags=self._tags,
            any_tag=values.get("tag_filtering_match_any", True),
            prefix=str(values.get("tag_routing_prefix") or ""),
            by_health=bool(values.get("enable_health_check_routing")),
            stale=float(values.get("health_check_staleness_threshold") or 0.0),
            budgets=values.get(BUDGETS) or {},
            fits=bool(values.get("enable_pre_call_checks")),
            priority=values.get("default_priority", USUAL),
            retries=values.get("retry_policy") or {},
            hedge=values.get("hedge_after"),
        )
        return self._routed(usual, router.routing_strategy, values.get("routing_strategy_args") or {})

    def _routed(self, rules: Rules, strategy: str, args: Mapping[str, Any]) -> Rules:
        strict = strategy in _STRICT or rules.fits or "enforce_model_rate_limits" in self._checks
        return replace(
            rules,
            strategy=strategy,
            strict=strict,
            ttl=float(args.get("ttl") or 3600.0),
            buffer=float(args.get("lowest_latency_buffer") or 0.0),
            levels=levels_of(args),
        )

    def of(self, group: str, targets: Sequence[Target], elsewhere: bool) -> Rules | None:
        """Return the rules of a group. ``elsewhere``: there are fallbacks to go to when it fails.

        None: there is one deployment, and nothing that would keep a request from it. It never rests, since then nobody
        would answer (LiteLLM's rule)."""
        rules = self._usual
        own = self._groups.get(group)
        if own is not None:
            rules = self._routed(rules, _strategy(own) or rules.strategy, own.args)
        by_tags = next((told for target in targets if (told := _says_tags(target)) is not None), rules.by_tags)
        if by_tags is not rules.by_tags:
            rules = replace(rules, by_tags=by_tags)
        own_budgets = {target.purse: budget for target in targets if (budget := target.budget) is not None}
        if own_budgets:
            rules = replace(rules, budgets={**rules.budgets, **own_budgets})
        policy = self._policies.get(group)
        if policy:
            rules = replace(rules, retries={**rules.retries, **policy})
        stays = frozenset(_STAYS[name] for name in self._affinity.get(group, self._checks) if name in _STAYS)
        if stays:
            rules = replace(rules, stays=stays)
        if any(target.quotas for target in targets):
            rules = replace(rules, measured=True)
        if any(map(tells, targets)):
            rules = replace(rules, told=True)
        if len(targets) > 1 or elsewhere:
            return replace(rules, simple=_is_simple(rules, targets))
        rules = replace(rules, rests=replace(rules.rests, seconds=0.0), by_health=False)
        return None if is_plain(rules, targets[0]) and not rules.told else rules


def _says_tags(target: Target) -> bool | None:
    """Return what a deployment's `model_info` says of tags, for its group; None for nothing."""
    told: bool | None = target.deployment.info.get("enable_tag_filtering")
    return told


def _is_simple(rules: Rules, targets: Sequence[Target]) -> bool:
    """Tell whether everybody may be asked while nobody rests."""
    looks = rules.by_tags or rules.by_health or rules.fits or rules.budgets or rules.stays or rules.hedge is not None
    looks = looks or rules.strategy == CONFIDENCE
    return not looks and not any(
        t.rpm or t.tpm or t.quotas or t.order is not None or t.most is not None or t.blocked for t in targets
    )


def is_plain(rules: Rules | None, target: Target) -> bool:
    """Tell whether nothing but its rest can keep a request from a group's only deployment, and nothing is to be done
    beside it."""
    if rules is None:
        return not target.blocked and not target.silent_model
    limited = rules.strict and (target.rpm or target.tpm or target.quotas)
    looks = rules.by_tags or rules.by_health or rules.fits or rules.budgets or rules.retries
    return not (looks or limited or target.most is not None or target.blocked or target.silent_model)


def _strategy(group: RoutingGroup) -> str:
    """Return the strategy among those of a group that come first; "" for the router's own."""
    return group.strategy if group.routes_members else "simple-shuffle"


def blocked_names(members: Sequence[Member[Target]]) -> frozenset[str]:
    """Name the groups whose deployments take no traffic, all of them: nobody is told to ask there."""
    if not any(member.target.blocked for member in members):
        return frozenset()
    served = {member.name for member in members if not member.target.blocked}
    return frozenset(member.name for member in members) - served


def unions_of(groups: Iterable[RoutingGroup], members: Iterable[Member[Target]]) -> dict[str, list[Target]]:
    """Collect the deployments of each routing group: those of all its models, by their ``model_priorities`` where it
    has them. (A pattern's are ready to be called only once a name has filled its stars.)"""
    wanted = {model for group in groups for model in group.models if "*" not in model}
    by_name: dict[str, list[Target]] = {}
    for member in members if wanted else ():
        if member.name in wanted:
            by_name.setdefault(member.name, []).append(member.target)
    found = {}
    for group in groups:
        ranks = group.priorities
        found[group.name] = [
            replace(target, order=ranks[model]) if ranks else target
            for model in group.models
            for target in by_name.get(model, ())
        ]
    return found
