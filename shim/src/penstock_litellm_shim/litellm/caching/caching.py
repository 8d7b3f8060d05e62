"""`litellm.caching.caching`: `litellm.cache = Cache(type="local")`."""

from __future__ import annotations

from enum import StrEnum
from typing import Any


class LiteLLMCacheType(StrEnum):
    """Where answers may be kept."""

    LOCAL = "local"
    REDIS = "redis"
    REDIS_SEMANTIC = "redis-semantic"
    QDRANT_SEMANTIC = "qdrant-semantic"
    S3 = "s3"
    GCS = "gcs"
    DISK = "disk"
    AZURE_BLOB = "azure-blob"


class Cache:
    """Says how answers are kept; assigned to `litellm.cache` it is put into effect. ``settings``: as a config's
    `cache_params`; a name or a value that cannot be is told then."""

    def __init__(self, type: str | None = "local", **settings: Any) -> None:
        given = {"type": None if type is None else str(type), **settings}
        self.type = type
        self.settings = {name: value for name, value in given.items() if value is not None}
