"""Qdrant as the place of answers: over HTTP, with the gateway's own transport and a key of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from penstock.core.errors import GatewayError
from penstock.runtime.account import word
from penstock.runtime.cloud.line import Line
from penstock.runtime.http import render_header
from penstock.stores.vectors_qdrant import SIZE, QdrantVectors

if TYPE_CHECKING:
    from penstock.config.cache import CacheSettings
    from penstock.runtime.means import Means
    from penstock.stores.base import NearAnswers

_JSON = b"content-type: application/json\r\n"


def open_qdrant(settings: CacheSettings, env: Mapping[str, str], means: Means) -> NearAnswers:
    """Keep answers in Qdrant. Raises "not_configured" for an address that is none, or a key that is none."""
    params = settings.params
    base = word(params.get("qdrant_api_base")) or env.get("QDRANT_URL", "") or env.get("QDRANT_API_BASE", "")
    key = word(params.get("qdrant_api_key")) or env.get("QDRANT_API_KEY", "").strip()
    line = Line(means, base, what="Qdrant")
    prefix = urlsplit(base).path.rstrip("/")
    try:
        lines = render_header(b"api-key", key.encode()) if key else b""
    except ValueError:
        raise GatewayError("not_configured", "qdrant_api_key holds a line break.") from None

    async def ask(method: str, path: str, body: object = None) -> tuple[int, bytes]:
        data = None if body is None else msgspec.json.encode(body)
        return await line.ask(method, prefix + path, data, lines if data is None else lines + _JSON)

    size = params.get("qdrant_semantic_cache_vector_size", SIZE)
    compressed = params.get("qdrant_quantization_config", "binary")
    return QdrantVectors(ask, word(params.get("qdrant_collection_name")), size, compressed)
