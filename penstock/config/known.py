"""Which texts of a config and of its environment are secret, and must never be seen in an answer, a log or a record."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from penstock.config.models import Config, Deployment
from penstock.config.secret import Secret, is_secret_name

_MOST_DEEP = 20
# Where a secret is, which messages name. No key is so plain: those in base64 have capitals.
_PATH = re.compile(
    r"(?:~|\.{1,2})?(?:/[a-z0-9._-]+)+/?|(?:~|\.{1,2}|/(?:Users|etc|home|mnt|opt|run|srv|tmp|var))/[^\s{}]*|oidc/.*"
)


def secrets_of(config: Config, env: Mapping[str, str]) -> set[str]:
    """Collect every secret: the values of the key table's secret keys, of all other keys and variables whose names say
    that they hold one, passwords and keys in URLs. Keys that everybody knows from samples are none."""
    values = (
        {"master_key": config.general.master_key, "database_url": config.general.database_url},
        config.general.values,
        config.litellm.values,
        config.router.values,
        config.raw,
        env,
    )
    return {text for value in values for text in secrets_in(value)} | secrets_of_deployments(config.deployments)


def secrets_of_deployments(deployments: Iterable[Deployment]) -> set[str]:
    """Collect the secrets of deployments."""
    found: set[str] = set()
    for deployment in deployments:
        own = {"api_key": deployment.api_key, "api_base": deployment.api_base}
        for value in (deployment.params, deployment.extra_headers, own):
            found |= secrets_in(value)
    return found


def secrets_in(value: Mapping[str, Any]) -> set[str]:
    """Collect the secrets in one mapping, at any depth."""
    return {text for text in _within(value, "", 0) if not Secret(text).is_well_known()}


def names_of(config: Config) -> set[str]:
    """Collect the names of a config's models, its own and the upstreams', which are no secrets whatever they look
    like."""
    router = config.router
    named = (*router.model_group_alias, *router.model_alias_map, *(group.name for group in router.routing_groups))
    aliases = {alias for alias in named if "*" not in alias}
    return aliases | names_of_deployments(config.deployments)


def names_of_deployments(deployments: Iterable[Deployment]) -> set[str]:
    """Collect the names of deployments, wildcards left out."""
    found: set[str] = set()
    for deployment in deployments:
        found |= {deployment.model_name, deployment.model, deployment.upstream_model}
    return {name for name in found if "*" not in name}


def _within(value: Any, name: str, depth: int) -> Iterator[str]:
    """Yield the secrets in the value of a key."""
    if isinstance(value, Secret):
        yield from _of_text(value.reveal())
    elif isinstance(value, str):
        yield from _of_text(value) if is_secret_name(name) else _of_url(value)
    elif isinstance(value, Mapping) and depth < _MOST_DEEP:
        for key, inner in value.items():
            yield from _within(inner, str(key), depth + 1)
    elif isinstance(value, Iterable) and not isinstance(value, bytes) and depth < _MOST_DEEP:
        for inner in value:
            yield from _within(inner, name, depth + 1)


def _of_text(text: str) -> Iterator[str]:
    """Yield a secret, and what is secret within it: a service account is an object of which no vendor repeats the
    whole, a header has its scheme before it."""
    text = text.strip()
    if text[:1] == "{":
        try:
            told = json.loads(text)
        except (ValueError, RecursionError):
            told = None
        if isinstance(told, dict):
            yield from _within(told, "", 1)
            return
    url = [*_of_url(text)]
    if url or _PATH.fullmatch(text):
        yield from url
        return
    yield text
    scheme, space, rest = text.partition(" ")
    if space and scheme.isalpha() and len(scheme) <= 10:  # "Bearer ...", "Basic ..."
        yield rest.strip()
    if "\n" in text or "\\n" in text:  # a PEM: its lines
        yield from text.replace("\\n", "\n").split("\n")


def _of_url(text: str) -> Iterator[str]:
    """Yield the password of a URL, and the values of those fields of its query that are secret by their names."""
    if "://" not in text:
        return
    try:
        parts = urlsplit(text.strip())
        user, password = parts.username, parts.password
    except ValueError:
        return
    if password:
        yield from {password, unquote(password)}
    elif user and parts.scheme in ("http", "https"):  # a token in the place of the user
        yield user
    for name, value in parse_qsl(parts.query):
        if is_secret_name(name):
            yield value
