"""How the places in which answers are kept are opened: in memory, on disk, in Redis."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from penstock.config.redis import find_redis
from penstock.core.errors import GatewayError
from penstock.stores.answers_disk import DiskAnswers
from penstock.stores.answers_memory import MemoryAnswers
from penstock.stores.answers_redis import RedisAnswers
from penstock.stores.redis_client import NotInstalled

if TYPE_CHECKING:
    from penstock.config.cache import CacheSettings
    from penstock.runtime.means import Means
    from penstock.stores.base import Answers


def open_memory(settings: CacheSettings, env: Mapping[str, str], means: Means) -> Answers:
    """Keep answers in this process."""
    return MemoryAnswers(settings.max_bytes, means.clock, settings.max_entries)


def open_disk(settings: CacheSettings, env: Mapping[str, str], means: Means) -> Answers:
    """Keep answers in a folder."""
    return DiskAnswers(settings.folder, settings.max_bytes)


def open_redis(settings: CacheSettings, env: Mapping[str, str], means: Means) -> Answers:
    """Keep answers in Redis or Valkey. Raises "not_installed", and "not_configured" where nobody says where it is."""
    found = find_redis("litellm_settings.cache_params", settings.params, env)
    if found.settings is None:
        why = "; ".join(text for _, text in found.problems) or "nothing says where it is: give cache_params a host"
        raise GatewayError("not_configured", f"Redis: {why}.")
    try:
        return RedisAnswers(found.settings)
    except NotInstalled as error:
        raise GatewayError("not_installed", f"{error}.") from None
