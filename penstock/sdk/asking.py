"""A GET to a gateway elsewhere: whether it lives, and which models it has."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from penstock.runtime.http import Origin, Pool, Timeouts, TransportError, render_head
from penstock.sdk.background import background

MOST = 16 * 1024 * 1024  # bytes of an answer


async def get(url: str, seconds: float, key: str | None = None) -> tuple[int, bytes]:
    """Ask for a URL: return the status and the body. Raises TransportError."""
    there = background()
    return await there.acall(_get(there.driver.pool, url, seconds, key))


async def _get(pool: Pool, url: str, seconds: float, key: str | None) -> tuple[int, bytes]:
    origin = Origin.parse(url)
    headers = [(b"accept", b"application/json")]
    if key:
        headers.append((b"authorization", b"Bearer " + key.encode("latin-1")))
    head = render_head(b"GET", urlsplit(url).path.encode() or b"/", origin, headers)
    answer = await pool.send(origin, head, None, Timeouts(seconds, seconds, seconds, seconds, seconds))
    try:
        return answer.status, await answer.read(MOST)
    finally:
        answer.close()


def key_of_gateway() -> str | None:
    """Return the key that the environment has for gateways."""
    return os.environ.get("LITELLM_PROXY_API_KEY") or None


__all__ = ["TransportError", "get", "key_of_gateway"]
