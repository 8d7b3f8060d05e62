"""What of a config cannot work, told before a request meets it: by `penstock check`, and in part at the start."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from penstock.config.group_settings import read_group_settings
from penstock.config.managing import read_managing
from penstock.config.priorities import LIMITERS, read_priorities
from penstock.config.tag_budgets import read_tag_budgets
from penstock.core.dialects import DIALECTS
from penstock.core.errors import GatewayError
from penstock.core.providers.azure import is_version
from penstock.core.providers.lending import withheld_message
from penstock.core.providers.operations import NO_CHATS
from penstock.core.route.catalog import Catalog, Member
from penstock.runtime.building import address_of, build_target, settings_of
from penstock.sinks import COUNTED, ELSEWHERE, SINKS

if TYPE_CHECKING:
    from penstock.config import Config, Deployment, Problem
    from penstock.config.problems import Level
    from penstock.runtime.targets import Target

_BEGINS = re.compile(r"((?:litellm|general|router)_settings(?:\.\w+)+):? ")
_CACHE = "litellm_settings.cache_params"


def review(config: Config, env: Mapping[str, str]) -> list[Problem]:
    """List what of a config's entries cannot work here: offline, nothing is started and nobody is called."""
    from penstock.config import Problem
    from penstock.config.redis import shared_redis

    settings = settings_of(config)
    found: list[Problem] = []
    for deployment in config.deployments:
        for level, text in _examined(deployment, settings, env):
            found.append(Problem(deployment.file, deployment.line, "model_list", text, level))
    later = list(shared_redis(config).problems)
    members = [Member(deployment.model_name, deployment.id, deployment) for deployment in config.deployments]
    catalog = Catalog(members, config.router.model_group_alias, (), config.router.model_alias_map)
    later += [(_CACHE, text) for text in comparing_faults(config, catalog)]
    later += callback_faults(config)
    later += [_place_and_text(text) for text in setting_faults(config)]
    main = str(config.files[0]) if config.files else "", 0
    for where, text in later:
        found.append(Problem(*config.places.get(".".join(where.split(".")[:2]), main), where, text, "warning"))
    return found


def _place_and_text(fault: str) -> tuple[str, str]:
    """Take the key that a sentence begins with apart from what it says of it."""
    found = _BEGINS.match(fault)
    return ("", fault) if found is None else (found[1], fault[found.end() :])


def setting_faults(config: Config) -> list[str]:
    """List what is wrong with settings of keys, users and shares, which are read as a whole."""
    values, found = config.litellm.values, list[str]()
    read_managing(values, found)
    read_priorities(values, found)
    read_tag_budgets(values, found)
    read_group_settings(values, found)
    return found


def callback_faults(config: Config) -> Iterator[tuple[str, str]]:
    """Yield the names of callbacks that send nothing here: the key they stand in, and a sentence."""
    options = config.raw.get("callback_settings")
    own = options if isinstance(options, Mapping) else {}
    limited = read_priorities(config.litellm.values, []) is not None
    for key in ("callbacks", "success_callback", "failure_callback"):
        for number, name in enumerate(config.litellm.values.get(key) or ()):
            known = own.get(name)
            webhook = isinstance(known, Mapping) and known.get("callback_type") == "generic_api"
            if name in LIMITERS and limited:
                continue  # it is told of nothing: what it stands for is done in admission
            if name not in SINKS and name not in COUNTED and "." not in name and not webhook:
                # What is no name of LiteLLM's may be anything, also a secret in the wrong place: it is not repeated.
                what = f"the callback {name!r}" if name in ELSEWHERE else f"entry {number + 1}"
                text = f"{what} sends nothing here: known are {', '.join(SINKS)}"
                yield f"litellm_settings.{key}", f"{text}, and paths of Python"


def comparing_faults(config: Config, catalog: Catalog[Any]) -> Iterator[str]:
    """Yield what is wrong with how the cache compares questions."""
    comparing = None if config.cache is None else config.cache.comparing
    if comparing is None or any(group.name == comparing.model for group in config.router.routing_groups):
        return
    if catalog.find(comparing.model) is None:
        text = f"no model here is called {comparing.model!r}, by whose vectors questions are to be compared"
        yield f"{text}; only the same question has the same answer"


def _examined(
    deployment: Deployment, settings: Mapping[str, object], env: Mapping[str, str]
) -> Iterator[tuple[Level, str]]:
    try:
        target = build_target(deployment, settings, env, otherwise="openai" if "*" in deployment.upstream_model else "")
    except GatewayError as error:
        yield "error", error.message
        return
    yield from (("warning", text) for text in examine(target))


def examine(target: Target) -> Iterator[str]:
    """Yield what a target lacks, and what of its entry does not hold."""
    yield from faults_of(target)
    if is_served(target):
        yield from _missing(target)


def is_served(target: Target) -> bool:
    """Tell whether any request to a target can be answered."""
    provider = target.provider
    known = target.attempt is not None or provider.name in NO_CHATS or any(name in DIALECTS for name in target.dialects)
    return known or bool(provider.paths)


def faults_of(target: Target) -> Iterator[str]:
    """Yield what of a target's entry does not hold, whatever a request says. Costs next to nothing: asked at every
    start."""
    named = f"Model {target.deployment.model_name!r}"
    yield from target.notes
    account = target.account
    if account.withheld and not target.deployment.api_key:
        address = address_of(target.deployment, target.provider) or ""
        yield withheld_message(target.provider, target.deployment.model_name, address, account.withheld)
    params = target.deployment.params
    if (params.get("max_budget") is None) is not (params.get("budget_duration") is None):
        yield f"{named}: max_budget and budget_duration say nothing without one another; it has no budget of its own."
    if not is_served(target):
        yield f"{named}: {target.provider.name} is known, but its API is not spoken here: every request is a 501."
        return
    if (version := target.deployment.api_version) and not is_version(version, target.provider.name):
        yield f"{named}: api_version {version[:60]!r} is none; write it as 2024-10-21, without a name before it."
    spoken = next((name for name in target.dialects if name in DIALECTS), None)
    if target.said is not None and spoken is not None:
        for loss in target.never_carried(DIALECTS[spoken]):
            yield f"{named}: its parameter {loss.path} is not carried to {target.label}: {loss.why}."


def _missing(target: Target) -> Iterator[str]:
    """Yield what a target lacks to be called: a key, an address, a package."""
    what = "embeddings" if target.deployment.mode == "embedding" or not target.dialects else target.dialects[0]
    if target.attempt is not None or "*" in target.model:
        return
    try:
        target.endpoint(what)
    except GatewayError as error:
        yield error.message
