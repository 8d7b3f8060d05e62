"""``/deployments``: every deployment as it stands, for people and for scripts that watch: what it is and costs, where
its entry is kept, and what traffic tells of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import msgspec

from penstock.admin import modelinfo
from penstock.config.deployments import place_of
from penstock.core.errors import GatewayError
from penstock.runtime.gate import shown
from penstock.server.routes import JSON, Page, Route

if TYPE_CHECKING:
    from penstock.runtime.call import Call
    from penstock.runtime.targets import Target
    from penstock.server.gateway import Gateway

SIZE, MOST = 50, 500  # public names on a page of the list
_NOTHING: dict[str, Any] = {
    **dict.fromkeys(("in_flight", "failures_in_a_row", "requests_this_minute", "tokens_this_minute"), 0),
    **dict.fromkeys(("why", "rests_s", "seconds_per_token", "first_byte_s")),
}  # of a deployment that nobody has asked
SEEN = 600.0  # seconds after which a latency says nothing of now


def listed(gateway: Gateway, call: Call) -> Page:
    """List the deployments by their public names: what each is, costs and may, and how it stands. ``search`` looks into
    names, ids and tags, ``provider`` and ``model`` ask for those of one, ``trouble=true`` for those that are not well;
    ``page`` and ``size`` count public names."""
    asked = {key: values[-1] for key, values in parse_qs(call.exchange.query.decode("latin-1")).items()}
    page, size = _number(asked, "page", 1, 1_000_000), _number(asked, "size", SIZE, MOST)
    groups: dict[str, list[Target]] = {}
    trouble = asked.get("trouble", "").lower() in ("true", "1")
    for target in gateway.state.targets:
        name = target.deployment.model_name
        if not _is_asked(target, asked) or not gateway.may_see(call, name):
            continue
        if trouble and not _trouble(gateway, target):
            continue
        groups.setdefault(name, []).append(target)
    names = list(groups)
    chosen = names[(page - 1) * size : page * size]
    told = {
        "object": "list",
        "data": [
            {"model_name": name, "deployments": [_row(gateway, call, one) for one in groups[name]]} for name in chosen
        ],
        "total": len(names),
        "total_deployments": sum(map(len, groups.values())),
        "page": page,
        "pages": max(1, -(-len(names) // size)),
    }
    return Page(200, JSON, msgspec.json.encode(told, enc_hook=str))


def show(gateway: Gateway, call: Call) -> Page:
    """Show one deployment by its id, as the list does."""
    id_ = call.params["id"]
    for target in gateway.state.targets:
        if target.id == id_ and gateway.may_see(call, target.deployment.model_name):
            return Page(200, JSON, msgspec.json.encode(_row(gateway, call, target), enc_hook=str))
    raise GatewayError("no_object", f"There is no deployment {shown(id_)!r}; GET /deployments lists all.")


def _number(asked: dict[str, str], name: str, default: int, most: int) -> int:
    text = asked.get(name, "")
    if not text:
        return default
    if text.isascii() and text.isdigit() and len(text) < 9 and 1 <= int(text) <= most:
        return int(text)
    raise GatewayError("bad_request", f"'{name}' must be a number from 1 to {most}, not {shown(text)!r}.", param=name)


def _is_asked(target: Target, asked: dict[str, str]) -> bool:
    deployment = target.deployment
    if asked.get("model") not in (None, "", deployment.model_name):
        return False
    if asked.get("provider") not in (None, "", target.provider.name):
        return False
    search = asked.get("search", "").strip().lower()
    return not search or any(
        search in text.lower() for text in (deployment.model_name, target.label, target.id, *target.tags)
    )


def _row(gateway: Gateway, call: Call, target: Target) -> dict[str, Any]:
    """Describe a deployment: LiteLLM's row of ``/model/info``, and beside it what is known of it now."""
    row = modelinfo.row_of(target)
    origin = target.origin
    row |= {
        "id": target.id,
        "provider": target.provider.name,
        "deployment": target.label,
        "dialects": list(target.dialects),
        "tags": list(target.tags),
        "most": target.most,
        "engine": target.engine or None,
        "blocked": target.blocked,
        "stored": target.deployment.stored,
        "live": _live(gateway, target),
    }
    if call.caller.views:  # where things stand on this machine is not everybody's to know
        row["place"] = place_of(target.deployment) if target.deployment.file else None
        row["address"] = modelinfo.address(target.deployment.api_base) or (str(origin) if origin else None)
        row["notes"] = list(target.notes)
        row["credential"] = target.deployment.params.get("litellm_credential_name")
    return row


def _trouble(gateway: Gateway, target: Target) -> str:
    live, now = gateway.engine.means.lives.get(target.live_id), gateway.clock()
    if live is None:
        return ""
    return live.health.trouble(now) or live.standing.unwell or live.standing.resting(now)


def _live(gateway: Gateway, target: Target) -> dict[str, Any]:
    """Tell what traffic told of a deployment. ``state``: "blocked", "resting", "trial", "unwell", "well", or "unknown"
    while nobody has asked it. ``rests_s``: how long it still rests, and ``why``. The two times are learned where
    routing goes by latency."""
    live, now = gateway.engine.means.lives.get(target.live_id), gateway.clock()
    if live is None:
        return {**_NOTHING, "state": "blocked" if target.blocked else "unknown"}
    standing = live.standing
    requests, tokens, _ = standing.used(now)
    rests, trouble = standing.resting(now), live.health.trouble(now)
    if target.blocked:
        state = "blocked"
    elif rests:
        state = "resting" if now < standing.rests_until else "trial"
    elif trouble or standing.unwell:
        state = "unwell"
    else:
        state = "well"
    (whole, whole_seen), (first, first_seen) = standing.quickness(False), standing.quickness(True)
    return {
        "state": state,
        "why": rests or trouble or standing.unwell or None,
        "rests_s": round(standing.rests_until - now, 1) if now < standing.rests_until else None,
        "failures_in_a_row": standing.row,
        "in_flight": standing.in_flight,
        "requests_this_minute": requests,
        "tokens_this_minute": tokens,
        "seconds_per_token": round(whole, 5) if now - whole_seen < SEEN else None,
        "first_byte_s": round(first, 4) if now - first_seen < SEEN else None,
    }


ROUTES = (
    Route("/deployments", listed),
    Route("/deployments/{id:path}", show),
)
