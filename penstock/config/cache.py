"""`litellm_settings.cache` and what belongs to it -> how answers are kept; None where they are not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from penstock.config import keys
from penstock.config.keys_cache import CALL_TYPES, TYPES
from penstock.config.keys_redis import ADDRESS, OF_ROUTER, VARIABLES
from penstock.config.problems import KeyPath, Problems
from penstock.config.section import Section, check, warn_unknown
from penstock.config.tree import Node

TTL = 600.0  # seconds; LiteLLM's of what is kept in memory
KB, MB = 1024, 1024 * 1024
_MB = {"local": 64.0, "disk": 1024.0}
_LOCAL, _REDIS = "local", "redis"
_KINDS = frozenset(CALL_TYPES)
_KIND_OF = {name: kind for kind, names in CALL_TYPES.items() for name in names.split()}
_ADDRESSES = (*ADDRESS, "redis_startup_nodes")
_VARIABLES = tuple(variable for variable, name in VARIABLES.items() if name in ADDRESS)
_NEEDED = {"s3": "s3_bucket_name", "gcs": "gcs_bucket_name"}


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheSettings:
    """How answers are kept. `kind` is where; `kinds` is what. `groups`: groups of models that share answers, each under
    one name. `by_name`: the name a client says counts, not the group behind it. `params`: the settings of the place."""

    kind: str = _LOCAL
    ttl: float = TTL
    namespace: str = ""
    default_on: bool = True
    kinds: frozenset[str] = _KINDS
    shared: bool = False
    max_bytes: int = int(_MB[_LOCAL]) * MB
    max_entries: int = 0
    max_entry: int = MB
    folder: str = ""
    groups: Mapping[str, str] = field(default_factory=dict)
    by_name: bool = False
    params: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def place(self) -> tuple[object, ...]:
        """Return what, changed, makes it another place: what was kept is then not here any more."""
        return (self.kind, self.max_bytes, self.max_entries, self.folder, dict(self.params))


def read_cache(
    sections: Mapping[str, Node], litellm: Section, router: Section, env: Mapping[str, str], problems: Problems
) -> CacheSettings | None:
    """Read how answers are kept. `cache_kwargs` of the router stand under `cache_params`. Both are checked also where
    nothing is kept."""
    params: dict[str, Any] = {}
    for section, name in (("router_settings", "cache_kwargs"), ("litellm_settings", "cache_params")):
        params |= _checked(sections.get(section), section, name, problems)
    if not (litellm.get("cache") or router.get("cache_responses")):
        return None
    if not any(params.get(key) for key in _ADDRESSES):  # the Redis of the router is one, too
        params = {name: router.get(key) for key, name in OF_ROUTER.items() if key in router.values} | params
    kind = params.get("type") or _default_kind(params, env)
    node = _said_at(sections)
    where: KeyPath = ("litellm_settings", "cache_params")
    if TYPES[kind] != "acted":
        problems.warn(
            node.file, node.line, (*where, "type"), f"{kind} is known but not acted on yet; nothing is cached"
        )
        return None
    needed = _NEEDED.get(kind)
    if needed and not (params.get(needed) or env.get(needed.upper())):
        problems.error(node.file, node.line, (*where, needed), f"is missing: type {kind} keeps answers in a bucket")
        return None
    named = params.get("supported_call_types")
    return CacheSettings(
        kind=kind,
        ttl=_ttl(kind, params, litellm),
        namespace=params.get("namespace", ""),
        default_on=params.get("mode") != "default_off",
        kinds=_KINDS if named is None else frozenset(_KIND_OF[name] for name in named),
        shared=params.get("cache_scope") == "global",
        max_bytes=int(params.get("max_size_mb", _MB.get(kind, 0.0)) * MB),
        max_entries=params.get("max_size_in_memory", 0),
        max_entry=int(params.get("max_size_per_item", KB) * KB),
        folder=params.get("disk_cache_dir", ".litellm_cache"),
        groups={name: names[0] for names in router.get("caching_groups", ()) for name in names},
        by_name=bool(litellm.get("caching_with_models")),
        params={key: value for key, value in params.items() if key not in _OF_OURS},
    )


# Settings that have a field of their own.
_OF_OURS = frozenset(
    "type mode ttl default_in_memory_ttl default_in_redis_ttl namespace supported_call_types cache_scope max_size_mb "
    "max_size_in_memory max_size_per_item disk_cache_dir".split()
)


def _said_at(sections: Mapping[str, Node]) -> Node:
    """Find the node that says where answers are kept, or at least that they are."""
    litellm, router = (_inner(sections.get(name)) for name in ("litellm_settings", "router_settings"))
    params = _inner(litellm.get("cache_params")) or _inner(router.get("cache_kwargs"))
    found = params.get("type") or litellm.get("cache_params") or litellm.get("cache") or router.get("cache_responses")
    assert found is not None  # one of them says that answers are kept
    return found


def _inner(node: Node | None) -> Mapping[str, Node]:
    return node.value if node is not None and isinstance(node.value, dict) else {}


def _checked(node: Node | None, section: str, name: str, problems: Problems) -> dict[str, Any]:
    """Check one mapping of settings; what is wrong with one of them is an error, and it counts as absent."""
    inner = _inner(node).get(name)
    if inner is None or not isinstance(inner.value, dict):
        return {}  # that it is no mapping was said
    found = check(keys.cache, inner, (section, name), problems)
    warn_unknown(keys.cache, found, (section, name), problems)
    return found.values


def _default_kind(params: Mapping[str, Any], env: Mapping[str, str]) -> str:
    """Choose the place where none is named: LiteLLM's is Redis, which nobody has who says nothing of one."""
    named = any(params.get(key) for key in _ADDRESSES) or any(env.get(key) for key in _VARIABLES)
    return _REDIS if named else _LOCAL


def _ttl(kind: str, params: Mapping[str, Any], litellm: Section) -> float:
    own, general = {
        _LOCAL: ("default_in_memory_ttl", "default_in_memory_ttl"),
        _REDIS: ("default_in_redis_ttl", "default_redis_ttl"),
    }.get(kind, ("ttl", ""))
    return float(params.get("ttl") or params.get(own) or litellm.get(general) or TTL)
