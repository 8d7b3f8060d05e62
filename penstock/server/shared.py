"""``/api/v1``: what the clients of a shared Ollama service with LiteLLM-compatible endpoints expect (seed 0).

Chat bodies may leave out the model, ``guided_json`` is always converted, ``extra_body`` and ``metadata`` are logged and
not sent on, bad input has the code "validation_error"; many chats may come in one request.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from msgspec import Raw

from penstock import __version__
from penstock.config.keys_request import REQUEST
from penstock.core.admit.access import LLM
from penstock.core.dialects import guided
from penstock.core.dialects.openai_chat.request_in import ATTRIBUTES
from penstock.core.dialects.redact import scrub
from penstock.core.errors import GatewayError
from penstock.runtime.call import OURS
from penstock.runtime.exchange import CollectedExchange
from penstock.runtime.gate import PUBLIC
from penstock.runtime.ids import new_id
from penstock.runtime.outlet import MountStyle
from penstock.runtime.surface import About, Surface
from penstock.server.asked import ask
from penstock.server.batches import chats
from penstock.server.routes import JSON, Page, Route
from penstock.server.surfaces import SURFACES as NATIVE

if TYPE_CHECKING:
    from penstock.runtime.call import Call
    from penstock.runtime.state import State
    from penstock.server.gateway import Gateway

log = logging.getLogger("penstock")
LONGEST = 2000  # characters of a client's own words in the log
_NAMED = ("extra_body", "metadata")
_OPENAI = "openai_chat"
# What a chat may say there: what the vendors and engines have words for.
_KNOWN = frozenset((*ATTRIBUTES, *(row[0] for row in REQUEST), *OURS, *_NAMED, "model", "messages", "stream", "user"))
_PLAIN = MountStyle()  # an item of a batch is told in the batch, not by the mount


def adapt(call: Call, fields: dict[str, Raw], state: State) -> None:
    """Log what is not processed and take ``extra_body`` and what nobody knows out; convert ``guided_json``."""
    surface = call.surface
    noted = {name: fields[name] for name in _NAMED if name in fields}
    if "messages" in fields and surface is not None and surface.dialect.name == _OPENAI:
        unknown = [name for name in fields if name not in _KNOWN]
        noted |= {name: fields.pop(name) for name in unknown}
    project = call.exchange.headers.get(b"x-project-name")
    if noted or project is not None:
        words = scrub(msgspec.json.encode(noted).decode())[:LONGEST]
        name = ascii((project or b"").decode("latin-1")[:200])
        log.info("call=%s project=%s %s", call.call_id, name, words)
    fields.pop("extra_body", None)
    if "guided_json" in fields and surface is not None:
        dialect = surface.dialect.name
        output = guided.read({"guided_json": fields["guided_json"]})
        if output is None or guided.given(fields, dialect) or guided.lift(fields, output, dialect):
            del fields["guided_json"]


def error(told: dict[str, Any], status: int, call: Call) -> None:
    """Give bad input the code that this service's clients look for."""
    if status == 400:
        told["code"] = "validation_error"


def default_model(state: State) -> str:
    """Choose who answers chats that name nobody: ``general_settings.default_model``, else the first chat model of the
    list."""
    named = state.config.general.values.get("default_model")
    return str(named) if named else _first(state, "")


def default_vision_model(state: State) -> str:
    """Choose the same for pictures: ``default_vision_model``, else the first model that is known to see."""
    named = state.config.general.values.get("default_vision_model")
    return str(named) if named else _first(state, "vision") or default_model(state)


def _first(state: State, feature: str) -> str:
    for target in state.targets:
        deployment = target.deployment
        found = target.price.capabilities
        chats = (deployment.mode or deployment.info.get("mode") or found.mode or "chat") == "chat"
        if chats and "*" not in deployment.model_name and (not feature or found.supports(feature)):
            return deployment.model_name
    return ""


def _health(gateway: Gateway, call: Call) -> Page:
    """Tell whether the gateway takes traffic, and its Ollama servers, if it has any."""
    told = {"status": "healthy", "ollama_service": "healthy", "version": __version__}
    if any(target.provider.name.startswith("ollama") for target in gateway.state.targets):
        lives, now = gateway.engine.means.lives, gateway.clock()
        troubles = [
            lives.of(target).health.trouble(now)
            for target in gateway.state.targets
            if target.provider.name.startswith("ollama")
        ]
        told["ollama_service"] = "unhealthy" if all(troubles) else "healthy"
    else:
        told["ollama_service"] = "not configured"
    return Page(200, JSON, msgspec.json.encode(told))


_CHAT = NATIVE["/v1/chat/completions"]
_VISION = _CHAT._replace(
    default_model=default_vision_model,
    about=About("Answer a chat about pictures", needs={"messages": "array"}, streams=True),
)
SURFACES: dict[str, Surface] = {"/vlm/openai": _VISION}
ROUTES = (Route("/health", _health, role=PUBLIC), Route("/batch/{id}", chats.read, family=LLM))


# Many chats in one request --------------------------------------------------------------------------------------------


class Batch(NamedTuple):
    """``most``: items of one request. ``at_once``: how many of them are on their way together."""

    surface: Surface
    most: int
    at_once: int


def _whole(call: Call, fields: dict[str, Raw], state: State) -> None:
    """Drop what asks for a stream: items never stream."""
    fields.pop("stream", None)
    fields.pop("stream_options", None)


BATCHES: dict[str, Batch] = {
    "/batch/chat/completions": Batch(_CHAT._replace(adapt=_whole), 50, 5),
    "/batch/vlm/completions": Batch(_VISION._replace(adapt=_whole), 20, 3),
}


async def serve_batch(batch: Batch, surface: Surface, gateway: Gateway, call: Call) -> None:
    """Answer many chats in one request. The items' answers come in order, each with its success. Whoever prefers not to
    wait is answered at once, and asks for them later. ``surface``: the batch's, as the mount has it. Raises
    ``GatewayError``."""
    exchange, began, state = call.exchange, gateway.clock(), gateway.state
    raws, batch_id = _items(exchange.body, batch.most)
    if b"respond-async" in exchange.headers.get(b"prefer", b"").lower():
        page = await chats.begin(gateway, call, raws)
        call.outlet.page(call, page.status, page.content_type, page.body)
        return
    progress = gateway.batches.answering.begin(call.caller.tenant, batch_id, len(raws))
    items = [
        CollectedExchange(
            "POST", exchange.path, exchange.headers, bytes(raw), client=exchange.client, started=exchange.started
        )
        for raw in raws
    ]
    room = asyncio.Semaphore(batch.at_once)
    gateway.gate.leave(exchange)  # each item takes a place of its own

    async def run(item: CollectedExchange) -> None:
        async with room:
            await ask(gateway, item, surface, state, call.path, _PLAIN)
        progress.successful += item.status == 200
        progress.failed += item.status != 200

    try:
        async with asyncio.TaskGroup() as group:
            for item in items:
                group.create_task(run(item))
    finally:
        progress.ended = time.time()
    results = [chats.result(index, item.status, item.answer) for index, item in enumerate(items)]
    told = {
        "batch_id": batch_id,
        "total_requests": len(items),
        "successful": progress.successful,
        "failed": progress.failed,
        "total_time_ms": round((gateway.clock() - began) * 1000, 3),
        "results": results,
    }
    call.outlet.page(call, 200, JSON, msgspec.json.encode(told))


def _items(body: bytes, most: int) -> tuple[list[Raw], str]:
    """Read the items of a batch, and its id: the client's own, where it gives one to ask for the progress by."""
    try:
        if body.lstrip()[:1] == b"[":
            asked = _Requests(msgspec.json.decode(body, type=list[Raw]))
        else:
            asked = msgspec.json.decode(body, type=_Requests)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        text = f"Send {{'requests': [...]}} or a list of chat bodies: {error}."
        raise GatewayError("bad_request", text, param="requests") from None
    if not 1 <= len(asked.requests) <= most:
        text = f"A batch has 1 to {most} requests; this one has {len(asked.requests)}."
        raise GatewayError("bad_request", text, param="requests")
    if asked.batch_id is not None and not _ID.fullmatch(asked.batch_id):
        text = f"batch_id: 1 to 64 letters, digits, '_' and '-' are wanted, not {asked.batch_id[:80]!r}."
        raise GatewayError("bad_request", text, param="batch_id")
    return asked.requests, asked.batch_id or new_id()


_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


class _Requests(msgspec.Struct):
    requests: list[Raw]
    batch_id: str | None = None
