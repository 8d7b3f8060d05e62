"""The answer cache, as who manages the gateway sees it: is it there, and what is to be forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from msgspec import Struct

from penstock.core.admit.access import MANAGEMENT
from penstock.core.envelope import read_as
from penstock.core.errors import GatewayError
from penstock.runtime.cache_place import Place
from penstock.runtime.gate import ADMIN
from penstock.server.routes import JSON, Page, Route

if TYPE_CHECKING:
    from penstock.runtime.call import Call
    from penstock.server.gateway import Gateway

PATIENCE = 10.0  # seconds
MOST_KEYS = 10_000
_REDIS = frozenset(("redis", "redis-semantic", "valkey-semantic"))
T = TypeVar("T")


class ToForget(Struct):
    keys: list[str]


async def ping(gateway: Gateway, call: Call) -> Page:
    """Tell whether the place where answers are kept is there."""
    place = _place(gateway)
    await _asked(place, place.answers.ping())
    told = {"status": "healthy", "cache_type": place.kind, "ping_response": True, "info": None}
    if place.at_once:
        told["info"] = await place.answers.info()
    likeness = gateway.engine.answers.likeness
    if likeness is not None:
        await likeness.place.check()
        told["semantic"] = likeness.told
    return _page(told)


async def delete(gateway: Gateway, call: Call) -> Page:
    """Forget the answers that are kept under keys: those of `x-litellm-cache-key`."""
    place = _place(gateway)
    keys = read_as(call.exchange.body, ToForget).keys
    if len(keys) > MOST_KEYS:
        raise GatewayError("bad_request", f"'keys' has {len(keys)} keys; at most {MOST_KEYS} at once.", param="keys")
    keys = gateway.engine.answers.keys_now(keys)
    return _page({"status": "success", "deleted": await _asked(place, place.answers.delete(keys))})


async def flush(gateway: Gateway, call: Call) -> Page:
    """Forget every answer that is kept; nothing else in that place."""
    place = _place(gateway)
    await _asked(place, place.answers.flush())
    return _page({"status": "success"})


async def redis_info(gateway: Gateway, call: Call) -> Page:
    """Tell what the Redis of the cache says of itself."""
    place = _place(gateway)
    if place.kind not in _REDIS:
        text = f"Answers are kept in a place of type {place.kind!r} here, not in Redis."
        raise GatewayError("bad_request", text, param="type")
    info = await _asked(place, place.answers.info())
    clients = info.get("connected_clients")
    return _page({"num_clients": clients, "clients": [], "info": info})


def told_of(gateway: Gateway) -> dict[str, Any] | None:
    """Tell of the cache what a health page tells; None where there is none."""
    settings = gateway.state.caching
    if settings is None:
        return None
    answers = gateway.engine.answers
    trouble, likeness = answers.trouble, answers.likeness
    told = {"type": settings.kind, "status": "unhealthy" if trouble else "healthy"}
    if trouble:
        told["error"] = trouble
    if likeness is not None and likeness.trouble:  # the same question still has the same answer
        told["semantic"] = likeness.trouble
    return told


def _place(gateway: Gateway) -> Place:
    """Return the place where answers are kept. Raises "upstream_unavailable" where there is none."""
    place = gateway.engine.answers.open(gateway.state)
    if place is None:
        why = gateway.engine.answers.trouble or "no cache is configured (litellm_settings.cache)"
        raise GatewayError("no_cache", f"Answers are not cached: {why}.")
    return place


async def _asked(place: Place, answer: Awaitable[T]) -> T:
    """Wait for a place. Raises "no_cache" where it does not answer."""
    try:
        async with asyncio.timeout(PATIENCE):
            return await answer
    except TimeoutError:
        why = f"it does not answer within {PATIENCE:g} s"
    except OSError as error:
        why = str(error)
    raise GatewayError("no_cache", f"The cache ({place.kind}) cannot be reached: {why}.")


def _page(told: object) -> Page:
    return Page(200, JSON, msgspec.json.encode(told, enc_hook=str))


ROUTES = (
    Route("/cache/ping", ping, role=ADMIN),
    Route("/cache/delete", delete, ("POST",), ADMIN, no_pages=True, family=MANAGEMENT, body=ToForget),
    Route("/cache/flushall", flush, methods=("POST",), role=ADMIN, json=False, no_pages=True, family=MANAGEMENT),
    Route("/cache/redis/info", redis_info, role=ADMIN),
)
