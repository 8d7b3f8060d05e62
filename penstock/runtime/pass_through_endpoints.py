"""``general_settings.pass_through_endpoints``: paths of the admin's own that go to an address of the admin's choice.

LiteLLM's keys (docs.litellm.ai/docs/proxy/pass_through): ``path``, ``target``, ``headers``, ``include_subpath``,
``auth``, ``methods``, ``default_query_params``, ``cost_per_request``, ``timeout``, ``forward_headers``. One thing is
closed here that is open there: without ``auth: false`` a key is needed. The target is the admin's word and not checked
against any list; what a client adds to it can only be a path below it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

import msgspec

from penstock.config.known import secrets_in
from penstock.config.problems import described, shown
from penstock.core.mask import Mask
from penstock.core.money import number
from penstock.core.providers.pass_through import METHODS
from penstock.runtime.http import Origin, render_header

if TYPE_CHECKING:
    from penstock.config import Config

_VARIABLE = re.compile(r"os\.environ/([A-Za-z_][A-Za-z0-9_]*)")


class PassThroughEndpoint(msgspec.Struct, frozen=True):
    """One endpoint. ``root``: scheme and host. ``base``: the target's path. ``query``: what stands behind it, without
    what a client sends itself. ``timeout``: seconds to the first byte and between bytes. ``secrets``: what must not be
    told of what goes along."""

    path: str
    origin: Origin
    root: str
    base: str
    query: tuple[tuple[str, str], ...] = ()
    headers: tuple[tuple[bytes, bytes], ...] = ()
    below: bool = False
    open: bool = False
    methods: tuple[str, ...] = METHODS
    cost: Decimal | None = None
    timeout: float | None = None
    forward: bool = False
    secrets: frozenset[str] = frozenset()

    def __repr__(self) -> str:
        return f"PassThroughEndpoint({self.path!r} -> {self.origin})"  # headers hold keys

    @property
    def mask(self) -> Mask:
        """Return what takes the secrets out of good answers, too."""
        return _mask_of(self.secrets)

    def takes(self, path: str) -> bool:
        return path == self.path or (self.below and path.startswith(self.path.rstrip("/") + "/"))

    def url(self, rest: str, query: str) -> str:
        """Return the address that ``rest`` (what follows the endpoint's own path) goes to, with the client's query
        before the defaults."""
        named = {part.partition("=")[0] for part in query.split("&")}
        own = urlencode([(name, value) for name, value in self.query if name not in named])
        whole = "&".join(part for part in (query, own) if part)
        return self.root + self.base + rest + (f"?{whole}" if whole else "")


_mask_of = lru_cache(256)(Mask)


def pass_through_endpoints_of(
    config: Config, env: Mapping[str, str], problems: list[str]
) -> tuple[PassThroughEndpoint, ...]:
    """Read the endpoints of a config, longest path first. What is wrong with one is told in ``problems``, and it is not
    served."""
    rows = config.general.values.get("pass_through_endpoints") or ()
    found = []
    for number_, row in enumerate(rows):
        try:
            found.append(_read(row, env))
        except ValueError as error:
            problems.append(f"general_settings.pass_through_endpoints[{number_}] is not served: {error}")
    return tuple(sorted(found, key=lambda endpoint: -len(endpoint.path)))


def _read(row: Any, env: Mapping[str, str]) -> PassThroughEndpoint:
    if not isinstance(row, Mapping):
        raise ValueError("expected a mapping with path and target")
    path, target = row.get("path"), row.get("target")
    if not isinstance(path, str) or not path.startswith("/") or path == "/":
        raise ValueError(f"path is {described(path)}; it must begin with / and name something, such as /rerank")
    if not isinstance(target, str):
        raise ValueError(f"target of {shown(path)} is missing; write the whole URL")
    target = _filled(target, env)
    origin = Origin.parse(target)  # ValueError says what is wrong
    parts = urlsplit(target)
    query = [tuple(part.split("=", 1)) if "=" in part else (part, "") for part in parts.query.split("&") if part]
    query += list(_words(row, "default_query_params", env).items())
    headers = []
    for name, value in _words(row, "headers", env).items():
        line = (name.lower().encode(), value.encode("latin-1", "replace"))
        render_header(*line)
        if line[0] not in (b"content-length", b"transfer-encoding", b"host"):
            headers.append(line)
    methods = row.get("methods")
    if methods is not None and not (isinstance(methods, list) and set(map(str, methods)) <= set(METHODS)):
        raise ValueError(f"methods of {shown(path)} is {described(methods)}; it must be a list of {', '.join(METHODS)}")
    # A variable may stand within a value here, so that the file does not tell what is secret.
    told = {name.decode(): value.decode("latin-1") for name, value in headers}
    told |= {name: value for name, value in query if value}
    secrets = frozenset(secrets_in({**told, "target": target}))
    return PassThroughEndpoint(
        path=path,
        origin=origin,
        root=str(origin),
        base=parts.path.rstrip("/") if row.get("include_subpath") else parts.path,
        query=tuple((name, value) for name, value in query),
        headers=tuple(headers),
        below=bool(row.get("include_subpath")),
        open=row.get("auth") is False,
        methods=tuple(methods or METHODS),
        cost=_amount(row, "cost_per_request"),
        timeout=None if (seconds := _amount(row, "timeout")) is None else float(seconds),
        forward=bool(row.get("forward_headers")),
        secrets=secrets,
    )


def _amount(row: Mapping[str, Any], key: str) -> Decimal | None:
    value = row.get(key)
    amount = number(value)
    if value is not None and (amount is None or amount < 0):
        raise ValueError(f"{key} is {described(value)}; it must be a number from 0")
    return amount


def _words(row: Mapping[str, Any], key: str, env: Mapping[str, str]) -> dict[str, str]:
    value = row.get(key) or {}
    if not isinstance(value, Mapping):
        raise ValueError(f"{key} must be a mapping of names to values")
    for name, word in value.items():
        if word is None:
            raise ValueError(f"{key}.{name} has no value (a variable that is not set?)")
    return {str(name): _filled(str(word), env) for name, word in value.items()}


def _filled(text: str, env: Mapping[str, str]) -> str:
    """Fill in the variables in a text such as ``bearer os.environ/KEY``: here one may stand within a value. Raises
    ValueError for one that is not set."""

    def value(match: re.Match[str]) -> str:
        found = env.get(match[1])
        if not found:
            raise ValueError(f"the variable {match[1]} is not set")
        return found

    return _VARIABLE.sub(value, text)
