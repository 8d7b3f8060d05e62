"""``/guardrails/list`` and ``/guardrails/apply_guardrail``: which guards there are, and what one makes of a text."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from penstock.config.guards import PRE, UNUSABLE
from penstock.core.admit.access import INFO
from penstock.core.envelope import read_as
from penstock.core.errors import GatewayError
from penstock.core.guarding.masking import Masks, masked
from penstock.core.guarding.ran import Ran
from penstock.guards.base import REQUEST, Guard, Shown
from penstock.runtime.gate import shown
from penstock.runtime.guard_verdicts import checked, count, refuse, why
from penstock.runtime.guards import Broken
from penstock.runtime.http import in_task
from penstock.runtime.posting import guard_poster
from penstock.server.routes import JSON, Page, Route

if TYPE_CHECKING:
    from penstock.runtime.call import Call
    from penstock.server.gateway import Gateway

MOST_BYTES = 256 * 1024  # of a text that is tried
_TOLD = ("guardrail", "mode", "default_on")  # of its settings: others may hold secrets


class Apply(Struct):
    """The body of ``/guardrails/apply_guardrail``. ``language``, ``entities``: what the guard is told beside the
    text."""

    guardrail_name: str
    text: str
    language: str | None = None
    entities: list[str] | None = None


def list_them(gateway: Gateway, call: Call) -> Page:
    """List the guards of the config: their names, when they run, and what is to be told of them."""
    told = [_row(guard) for guard in _guards(gateway).values()]
    return Page(200, JSON, msgspec.json.encode({"guardrails": told}))


def _row(guard: Guard) -> dict[str, Any]:
    settings = guard.settings
    params: dict[str, Any] = {"guardrail": settings.kind or None, "default_on": settings.default_on}
    params |= {name: settings.params[name] for name in _TOLD if name in settings.params}
    params |= {"on_error": "block" if settings.blocks_on_error else "allow", "timeout": settings.timeout}
    trouble = guard.why if isinstance(guard, Broken) else None
    return {
        "guardrail_id": None,
        "guardrail_name": settings.name,
        "litellm_params": params,
        "guardrail_info": dict(settings.info) or None,
        "guardrail_definition_location": "config",
        "usable": settings.kind != UNUSABLE and trouble is None,
        # The file's name alone: where it lies is no matter of whoever holds a key.
        "where": f"{PurePath(settings.file).name}:{settings.places.get('', 0)}" if settings.file else None,
    }


async def apply(gateway: Gateway, call: Call) -> Page:
    """Judge a text by one guard. Its answer has the text with what is masked in it; what is blocked is a 400."""
    asked = read_as(call.exchange.body, Apply, MOST_BYTES)
    guard = _guards(gateway).get(asked.guardrail_name)
    if guard is None:
        text = f"There is no guardrail {shown(asked.guardrail_name)!r} here; GET /guardrails/list tells which are."
        raise GatewayError("bad_request", text, param="guardrail_name")
    text, ran = await _judge(gateway, call, guard, asked)
    told = {"response_text": text, "verdict": ran.verdict, "kinds": ran.kinds}
    return Page(200, JSON, msgspec.json.encode(told))


async def _judge(gateway: Gateway, call: Call, guard: Guard, asked: Apply) -> tuple[str, Ran]:
    ran, texts = Ran(guard.settings.name, PRE), [asked.text]
    extra = {name: value for name in ("language", "entities") if (value := getattr(asked, name)) is not None}
    given = Shown(
        side=REQUEST, texts=texts, model="", call_id=call.call_id, caller=call.caller, dialect="openai_chat",
        path=call.path, extra=extra, post=guard_poster(gateway.engine.means.pool) if guard.waits else None,
    )  # fmt: skip
    try:
        await in_task()
        async with asyncio.timeout(guard.settings.timeout):
            looked = guard.look(given)
            findings = checked(looked if isinstance(looked, Sequence) else await looked, texts)
    except Exception as error:  # boundary: a guard is anybody's; one that raises has not judged
        text = f"The guardrail {guard.settings.name!r} could not judge this: {why(error)}."
        raise GatewayError("guard_failed", text) from None
    for found in findings:
        count(ran, found.kind, found.action)
    refuse(ran)
    masks = Masks()
    masks.avoid(texts)
    return masked(asked.text, findings, masks), ran


def _guards(gateway: Gateway) -> dict[str, Guard]:
    return {} if gateway.state.guards is None else gateway.state.guards.by_name


ROUTES = (
    Route("/guardrails/list", list_them, family=INFO),
    Route("/v2/guardrails/list", list_them, family=INFO),
    Route("/guardrails/apply_guardrail", apply, methods=("POST",), no_pages=True, body=Apply),
)
