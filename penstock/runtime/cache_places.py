"""How the places in which answers are kept are opened: in memory, on disk, in Redis."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from penstock.config.keys_cache import INDEX
from penstock.config.redis import RedisSettings, find_redis
from penstock.core.errors import GatewayError
from penstock.runtime.redis_token import with_token
from penstock.stores.answers_disk import DiskAnswers
from penstock.stores.answers_memory import MemoryAnswers
from penstock.stores.answers_redis import RedisAnswers
from penstock.stores.redis_client import NotInstalled

if TYPE_CHECKING:
    from penstock.config.cache import CacheSettings
    from penstock.runtime.means import Means
    from penstock.stores.base import Answers, NearAnswers


def open_memory(settings: CacheSettings, env: Mapping[str, str], means: Means) -> Answers:
    """Keep answers in this process."""
    return MemoryAnswers(settings.max_bytes, means.clock, settings.max_entries)


def open_disk(settings: CacheSettings, env: Mapping[str, str], means: Means) -> Answers:
    """Keep answers in a folder."""
    return DiskAnswers(settings.folder, settings.max_bytes)


def open_memory_vectors(settings: CacheSettings, env: Mapping[str, str], means: Means) -> NearAnswers:
    """Keep answers in this process, and find them by questions like theirs."""
    from penstock.stores.vectors_memory import MemoryVectors  # few configs ask for it

    return MemoryVectors(settings.max_bytes, means.clock, settings.max_entries)


def open_redis(settings: CacheSettings, env: Mapping[str, str], means: Means) -> Answers:
    """Keep answers in Redis. Raises "not_installed", and "not_configured" where nobody says where it is."""
    try:
        return RedisAnswers(_redis_of(settings, env))
    except NotInstalled as error:
        raise GatewayError("not_installed", f"{error}.") from None


def open_redis_vectors(settings: CacheSettings, env: Mapping[str, str], means: Means) -> NearAnswers:
    """Keep answers in Redis or Valkey, and find them by questions like theirs. Raises as ``open_redis`` does."""
    from penstock.stores.vectors_redis import RedisVectors  # few configs ask for it

    kind = settings.kind.partition("-")[0]
    if kind == "valkey":
        env = {**env, **{f"REDIS_{name}": env[f"VALKEY_{name}"] for name in _OF_VALKEY if env.get(f"VALKEY_{name}")}}
    index = settings.params.get(f"{kind}_semantic_cache_index_name", INDEX)
    try:
        return RedisVectors(_redis_of(settings, env), index)
    except NotInstalled as error:
        raise GatewayError("not_installed", f"{error}.") from None


_OF_VALKEY = ("HOST", "PORT", "PASSWORD")  # variables that LiteLLM reads for it before those of Redis


def _redis_of(settings: CacheSettings, env: Mapping[str, str]) -> RedisSettings:
    found = find_redis("litellm_settings.cache_params", settings.params, env)
    if found.settings is None:
        why = "; ".join(text for _, text in found.problems) or "nothing says where it is: give cache_params a host"
        raise GatewayError("not_configured", f"Redis: {why}.")
    return with_token(found.settings)
