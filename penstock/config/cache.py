"""`litellm_settings.cache` and what belongs to it -> how answers are kept; None where they are not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from penstock.config import keys
from penstock.config.keys_cache import CALL_TYPES, EMBEDDING_MODEL, SEMANTIC
from penstock.config.keys_redis import ADDRESS, OF_ROUTER, VARIABLES
from penstock.config.problems import KeyPath, Problems
from penstock.config.section import Section, check, warn_unknown
from penstock.config.tree import Node

TTL = 600.0  # seconds; LiteLLM's of what is kept in memory
KB, MB = 1024, 1024 * 1024
_LOCAL, _REDIS = "local", "redis"
_MB = {_LOCAL: 64.0, "local-semantic": 64.0, "disk": 1024.0}
_KINDS = frozenset(CALL_TYPES)
_KIND_OF = {name: kind for kind, names in CALL_TYPES.items() for name in names.split()}
_ADDRESSES = (*ADDRESS, "redis_startup_nodes", "redis_url")
_VARIABLES = tuple(variable for variable, name in VARIABLES.items() if name in ADDRESS)
_BUCKET = "type {} keeps answers in a bucket"
# What a type cannot do without: (key, variables that stand in for it, why).
_NEEDED: Mapping[str, tuple[tuple[str, tuple[str, ...], str], ...]] = {
    "s3": (("s3_bucket_name", ("S3_BUCKET_NAME",), _BUCKET),),
    "gcs": (("gcs_bucket_name", ("GCS_BUCKET_NAME",), _BUCKET),),
    "azure-blob": (
        ("azure_account_url", ("AZURE_STORAGE_ACCOUNT_URL",), "type {} keeps answers in a storage account"),
        ("azure_blob_container", (), "type {} keeps answers in a container"),
    ),
    "qdrant-semantic": (
        ("qdrant_api_base", ("QDRANT_URL", "QDRANT_API_BASE"), "type {} keeps answers in Qdrant"),
        ("qdrant_collection_name", (), "type {} keeps answers in a collection"),
    ),
}
_THRESHOLD = "say from which likeness on, 0 to 1, two questions of type {} share an answer (such as 0.9)"
_NEEDED_TO_COMPARE = (("similarity_threshold", (), _THRESHOLD),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparing:
    """How questions are compared: by the vectors of ``model``, which is waited for ``timeout`` seconds. ``threshold``:
    the least cosine of two that are alike. ``most_tokens``: longer ones are not compared. ``by_user``: only those of
    one end user are."""

    threshold: float
    model: str = EMBEDDING_MODEL
    timeout: float = 2.0
    most_tokens: int = 8000
    by_user: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheSettings:
    """How answers are kept. `kind` is where; `kinds` is what. `groups`: groups of models that share answers, each under
    one name. `by_name`: the name a client says counts, not the group behind it. `params`: the settings of the place.
    `comparing`: how questions are compared; None where only the same question has the same answer."""

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
    comparing: Comparing | None = None

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
    for key, variables, why in (*_NEEDED.get(kind, ()), *(_NEEDED_TO_COMPARE if kind in SEMANTIC else ())):
        if not (key in params or any(env.get(name) for name in variables)):
            if key not in _said(sections):  # else it was said what is wrong with it
                problems.error(node.file, node.line, (*where, key), f"is missing: {why.format(kind)}")
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
        comparing=_comparing(kind, params) if kind in SEMANTIC else None,
    )


def _comparing(kind: str, params: Mapping[str, Any]) -> Comparing:
    return Comparing(
        threshold=params["similarity_threshold"],
        model=params.get(f"{kind.replace('-', '_')}_cache_embedding_model", EMBEDDING_MODEL),
        timeout=params.get("semantic_cache_embedding_timeout", 2.0),
        most_tokens=params.get("semantic_cache_embedding_max_input_tokens", 8000),
        by_user=params.get("semantic_cache_scope") == "end_user",
    )


# Settings that have a field of their own.
_OF_OURS = frozenset(
    "type mode ttl default_in_memory_ttl default_in_redis_ttl namespace supported_call_types cache_scope max_size_mb "
    "max_size_in_memory max_size_per_item disk_cache_dir similarity_threshold semantic_cache_embedding_timeout "
    "semantic_cache_embedding_max_input_tokens semantic_cache_scope".split()
)


def _said_at(sections: Mapping[str, Node]) -> Node:
    """Find the node that says where answers are kept, or at least that they are."""
    litellm, router = (_inner(sections.get(name)) for name in ("litellm_settings", "router_settings"))
    params = _inner(litellm.get("cache_params")) or _inner(router.get("cache_kwargs"))
    found = params.get("type") or litellm.get("cache_params") or litellm.get("cache") or router.get("cache_responses")
    assert found is not None  # one of them says that answers are kept
    return found


def _said(sections: Mapping[str, Node]) -> set[str]:
    """List the settings that are given, right or wrong."""
    litellm, router = (_inner(sections.get(name)) for name in ("litellm_settings", "router_settings"))
    return {*_inner(litellm.get("cache_params")), *_inner(router.get("cache_kwargs"))}


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


# Types that have the settings of another one.
_LIKE = {"local-semantic": _LOCAL, "redis-semantic": _REDIS, "valkey-semantic": _REDIS}


def _ttl(kind: str, params: Mapping[str, Any], litellm: Section) -> float:
    own, general = {
        _LOCAL: ("default_in_memory_ttl", "default_in_memory_ttl"),
        _REDIS: ("default_in_redis_ttl", "default_redis_ttl"),
    }.get(_LIKE.get(kind, kind), ("ttl", ""))
    return float(params.get("ttl") or params.get(own) or litellm.get(general) or TTL)
