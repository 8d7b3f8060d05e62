"""Health pages (seeds C-01 to C-04). What they tell is known from the traffic itself and from connection probes; only
``?live=true`` asks the upstreams, for who may manage the gateway, because it costs: about ten tokens in and at most
``MOST_TOKENS`` out for each deployment.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import msgspec

from penstock.admin import modelinfo
from penstock.core.route.plan import Plan, Try
from penstock.runtime.call import Call
from penstock.runtime.exchange import CollectedExchange
from penstock.runtime.gate import ADMIN, PUBLIC, Rule
from penstock.server import caching
from penstock.server.refusals import no_model
from penstock.server.routes import JSON, Page, Route
from penstock.server.surfaces import SURFACES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from penstock.runtime.state import State
    from penstock.runtime.targets import Target
    from penstock.server.gateway import Gateway

MOST_TOKENS = 16  # the least that OpenAI's Responses take
PATIENCE = 60.0  # seconds for one deployment's answer, where its model_info has no health_check_timeout
AT_ONCE = 8
_TEXT = "test from penstock"
# Mode of a model -> the surface that asks it, and the body. What is not here would cost more than a few tokens.
_CHAT = ("/v1/chat/completions", {"messages": [{"role": "user", "content": _TEXT}], "max_tokens": MOST_TOKENS})
QUESTIONS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "chat": _CHAT,
    "responses": _CHAT,
    "completion": ("/v1/completions", {"prompt": _TEXT, "max_tokens": MOST_TOKENS}),
    "embedding": ("/v1/embeddings", {"input": _TEXT}),
    "rerank": ("/v1/rerank", {"query": _TEXT, "documents": [_TEXT]}),
    "moderation": ("/v1/moderations", {"input": _TEXT}),
}
_LIVE = Rule(("GET",), role=ADMIN, no_pages=True)


async def health(gateway: Gateway, call: Call) -> Page:
    """Tell whether the gateway takes traffic; to those who hold the key also how its deployments are. ``model`` asks
    for those of one name. ``live=true`` asks each of them a short question, which the provider bills."""
    state, asked = gateway.state, _asked(call.exchange.query)
    told: dict[str, Any] = {
        "status": "healthy",
        "models": len(state.catalog.names()),
        "providers": sorted({target.provider.name for target in state.targets}),
    }
    live = asked.get("live", "").lower() in ("true", "1", "yes")
    if live:
        waits = gateway.gate.admit(call, _LIVE)
        if waits is not None:
            await waits
    if live or gateway.gate.know(call):
        targets = _named(state, asked.get("model") or asked.get("model_id") or "")
        if not live:  # what is asked is refused by itself
            targets = [target for target in targets if gateway.may_see(call, target.deployment.model_name)]
        shared = gateway.engine.means.shared
        if shared is not None:
            told["shared_state"] = shared.told()
        told |= _counted(await _ask(gateway, call, targets) if live else _known(gateway, targets))
        if gateway.books is not None and (trouble := gateway.books.told()):
            told["ledger"] = trouble
        if gateway.callbacks is not None and (queues := gateway.callbacks.told()):
            told["callbacks"] = queues
        if (cache := caching.told_of(gateway)) is not None:
            told["cache"] = cache
    return Page(200, JSON, msgspec.json.encode(told))


def readiness(gateway: Gateway, call: Call) -> Page:
    """Tell a load balancer whether to send requests here. 503 while draining, and while no deployment at all is
    usable, or keys cannot be looked up: it should look elsewhere then."""
    targets, lives, now = gateway.state.targets, gateway.engine.means.lives, gateway.clock()
    if gateway.gate.draining:
        status, text = 503, "draining"
    elif targets and all(lives.of(target).health.trouble(now) for target in targets):
        status, text = 503, "no deployment is usable"
    elif gateway.storage is not None and not gateway.storage.usable:
        status, text = 503, "the database cannot be reached"
    else:
        status, text = 200, "healthy"
    connected = gateway.storage is not None and gateway.storage.connected
    told = {"status": text, "db": "connected" if connected else "Not connected"}
    shared = gateway.engine.means.shared
    if shared is not None:  # it serves without, each process for itself: no reason to send traffic elsewhere
        told["shared_state"] = "connected" if shared.connected else "not connected"
    if gateway.books is not None and gateway.books.told():
        told["ledger"] = "not written" if gateway.books.ledger.trouble else "waits for the database"
    return Page(status, JSON, msgspec.json.encode(told))


def alive(gateway: Gateway, call: Call) -> Page:
    """Tell that the process is alive."""
    return Page(200, JSON, b'"I\'m alive!"')


ROUTES = (
    Route("/health", health, role=PUBLIC),
    Route("/health/liveliness", alive, role=PUBLIC),
    Route("/health/liveness", alive, role=PUBLIC),
    Route("/health/readiness", readiness, role=PUBLIC),
)


# What is known --------------------------------------------------------------------------------------------------------


def _asked(query: bytes) -> dict[str, str]:
    return {key: values[-1] for key, values in parse_qs(query.decode("latin-1")).items()} if query else {}


def _named(state: State, name: str) -> Sequence[Target]:
    """List the deployments under a public name, an alias, an id, or as the provider calls the model; all for ""."""
    if not name:
        return state.targets
    found = state.targets_of(name) or [target for target in state.targets if name in (target.label, target.model)]
    if not found:
        raise no_model(state, name)
    return found


def _known(gateway: Gateway, targets: Sequence[Target]) -> list[tuple[dict[str, Any], str]]:
    """Tell of each deployment what traffic told: the row of the answer, and what is wrong."""
    now, found = gateway.clock(), []
    for target in targets:
        live = gateway.engine.means.lives.of(target)
        rests = live.standing.resting(now)
        row = _endpoint(target) | ({"rests": rests} if rests else {})
        found.append((row, live.health.trouble(now) or live.standing.unwell or rests))
    return found


def _counted(rows: list[tuple[dict[str, Any], str]]) -> dict[str, Any]:
    healthy = [row for row, trouble in rows if not trouble]
    unhealthy = [row | {"error": trouble} for row, trouble in rows if trouble]
    return {
        "healthy_endpoints": healthy,
        "unhealthy_endpoints": unhealthy,
        "healthy_count": len(healthy),
        "unhealthy_count": len(unhealthy),
    }


def _endpoint(target: Target) -> dict[str, Any]:
    origin = target.origin
    return {
        "model": target.label,
        "model_name": target.deployment.model_name,
        "model_id": target.id,
        "api_base": modelinfo.address(target.deployment.api_base) or (str(origin) if origin else None),
    }


# A question to each ---------------------------------------------------------------------------------------------------


async def _ask(gateway: Gateway, call: Call, targets: Sequence[Target]) -> list[tuple[dict[str, Any], str]]:
    """Ask each deployment something short, several at once, and tell how it went. Those that cannot be asked so are as
    they are known, and say why."""
    room = asyncio.Semaphore(AT_ONCE)

    async def one(target: Target) -> tuple[dict[str, Any], str]:
        async with room:
            return await _ask_one(gateway, call, target)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(target)) for target in targets]
    return [task.result() for task in tasks]


async def _ask_one(gateway: Gateway, call: Call, target: Target) -> tuple[dict[str, Any], str]:
    hosts = gateway.engine.hosts
    if target.engine and (hosts is None or not hosts.is_ready(target.engine)):  # a look loads none, and ends no other
        [(row, trouble)] = _known(gateway, [target])
        return row | {"not_asked": f"the engine {target.engine} is not loaded"}, trouble
    mode = target.deployment.mode or target.price.capabilities.mode or "chat"
    asked = behind_star(gateway.state, target)
    question = QUESTIONS.get(mode)
    if asked is None or question is None:
        [(row, trouble)] = _known(gateway, [target])
        why = f"no short question is known for mode {mode}" if question is None else "the wildcard names no model"
        hint = "" if question is None else "; set model_info.health_check_model"
        return row | {"not_asked": why + hint}, trouble
    path, body = question
    info = target.deployment.info
    if "max_tokens" in body and info.get("health_check_max_tokens"):
        body = body | {"max_tokens": info["health_check_max_tokens"]}
    body = {"model": target.deployment.model_name, **body}
    item = CollectedExchange(
        "POST", path, {b"content-type": b"application/json"}, msgspec.json.encode(body),
        client=call.exchange.client, started=gateway.clock(),
    )  # fmt: skip
    probe = Call(item, gateway.engine.means, call.caller, SURFACES[path])
    name = asked.deployment.model_name
    plan = Plan(name, {name: (asked,)}, {}, retries=0, only=Try(asked, name))
    patience = float(info.get("health_check_timeout") or PATIENCE)
    try:
        async with asyncio.timeout(patience):
            await gateway.engine.handle(probe, gateway.state, plan)
    except TimeoutError:
        return _endpoint(target), f"no answer within {patience:g} s"
    row = _endpoint(target) | {"response_time_ms": round((gateway.clock() - item.started) * 1000, 3)}
    return row, "" if item.status == 200 else error_of(item.answer)


def behind_star(state: State, target: Target) -> Target | None:
    """Return the target that is asked: of a wildcard, the one that ``health_check_model`` names; None without it."""
    if "*" not in target.deployment.model_name and "*" not in target.model:
        return target
    named = str(target.deployment.info.get("health_check_model") or "")
    found = state.targets_of(named) if named else ()
    return next((one for one in found if one.deployment.id == target.deployment.id and "*" not in one.model), None)


def error_of(answer: bytes) -> str:
    error = msgspec.json.decode(answer, type=dict[str, Any]).get("error")
    return str(error.get("message")) if isinstance(error, dict) else "it failed"
