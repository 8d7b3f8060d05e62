"""``/health/test_connection``: a tiny request to one deployment, also to one that is not stored, and what came of it.

LiteLLM's path and body; its answer has beside LiteLLM's ``status`` and ``result`` the text, the time and the cost.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from penstock.core.envelope import read_as
from penstock.core.errors import GatewayError
from penstock.core.route.plan import Plan, Try
from penstock.runtime.call import Call
from penstock.runtime.exchange import CollectedExchange
from penstock.runtime.gate import ADMIN, shown
from penstock.runtime.route import JSON, Page, Route
from penstock.server.health import PATIENCE, QUESTIONS, behind_star, error_of
from penstock.server.surfaces import SURFACES

if TYPE_CHECKING:
    from penstock.runtime.targets import Target
    from penstock.server.gateway import Gateway

MOST_BYTES = 256 * 1024
MOST_TEXT = 2000


class Asked(Struct):
    """What is tried. ``model_info.id`` alone: a deployment that serves; with ``litellm_params``: one that does not."""

    litellm_params: dict[str, Any] | None = None
    model_info: dict[str, Any] | None = None
    mode: str | None = None


async def try_it(gateway: Gateway, call: Call) -> Page:
    """Send one tiny request to a deployment, which its provider bills, and tell what came of it. Either
    ``model_info.id`` of one that serves, or ``litellm_params`` of one that is to be."""
    asked = read_as(call.exchange.body, Asked, MOST_BYTES)
    stored = asked.litellm_params is None
    target = _named(gateway, asked) if stored else await _draft(gateway, asked)
    try:
        told = await ask(gateway, call, target, asked.mode)
    finally:
        if not stored:  # nobody else will ever ask it
            gateway.engine.means.lives.pop(target.live_id, None)
    status = "error" if told["error"] else "success"
    return Page(200, JSON, msgspec.json.encode({"status": status, "result": told}))


def _named(gateway: Gateway, asked: Asked) -> Target:
    id_ = (asked.model_info or {}).get("id")
    if not isinstance(id_, str) or not id_:
        text = "Name a deployment by model_info.id, or give the litellm_params of one that is to be."
        raise GatewayError("bad_request", text, param="litellm_params")
    found = next((target for target in gateway.state.targets if target.id == id_), None)
    if found is None:
        text = f"There is no deployment with the id {shown(id_)!r}; GET /model/info lists all."
        raise GatewayError("bad_request", text, param="model_info.id")
    return found


async def _draft(gateway: Gateway, asked: Asked) -> Target:
    if gateway.registry is None:
        raise GatewayError("not_installed", "The models of this gateway cannot be changed while it runs.")
    info = {key: value for key, value in (asked.model_info or {}).items() if key != "id"}
    entry = {"model_name": "test-connection", "litellm_params": asked.litellm_params, "model_info": info}
    target, _ = await gateway.registry.draft(entry)
    return target


async def ask(gateway: Gateway, call: Call, target: Target, mode: str | None = None) -> dict[str, Any]:
    """Ask one deployment something short, and no other; tell its text, time and cost, or the error."""
    mode = mode or target.deployment.mode or target.price.capabilities.mode or "chat"
    question, asked = QUESTIONS.get(mode), behind_star(gateway.state, target)
    if question is None or asked is None:
        text = f"no short question is known for mode {shown(mode)!r}: {', '.join(QUESTIONS)} can be tried"
        if asked is None:
            text = "the wildcard names no model; set model_info.health_check_model"
        raise GatewayError("bad_request", f"This deployment cannot be tried: {text}.", param="mode")
    path, body = question
    name = asked.deployment.model_name
    item = CollectedExchange(
        "POST", path, {b"content-type": JSON}, msgspec.json.encode({**body, "model": name}),
        client=call.exchange.client, started=gateway.clock(),
    )  # fmt: skip
    probe = Call(item, gateway.engine.means, call.caller, SURFACES[path])
    plan = Plan(name, {name: (asked,)}, {}, retries=0, only=Try(asked, name))
    patience = float(target.deployment.info.get("health_check_timeout") or PATIENCE)
    told: dict[str, Any] = {"model": target.label, "mode": mode, "text": None, "cost": None, "error": None}
    try:
        async with asyncio.timeout(patience):
            await gateway.engine.handle(probe, gateway.state, plan)
    except TimeoutError:
        return told | {"error": f"no answer within {patience:g} s"}
    told["response_time_ms"] = round((gateway.clock() - item.started) * 1000, 1)
    if item.status != 200:
        return told | {"error": error_of(item.answer), "status": item.status}
    return told | {"text": _text(item.answer), "cost": _cost(item.head)}


def _text(answer: bytes) -> str | None:
    """Read what a model said; of what is no chat and no completion, nothing."""
    said = msgspec.json.decode(answer, type=dict[str, Any])
    choices = said.get("choices")
    if not isinstance(choices, list) or not choices:
        return None
    first = choices[0]
    text = (first.get("message") or {}).get("content") or first.get("text") or ""
    return str(text)[:MOST_TEXT]


def _cost(head: bytes) -> float | None:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"x-litellm-response-cost":
            return float(value)
    return None


ROUTES = (Route("/health/test_connection", try_it, methods=("POST",), role=ADMIN, no_pages=True, body=Asked),)
