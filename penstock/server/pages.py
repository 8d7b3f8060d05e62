"""Pages: health, model lists, the landing page, and what is said to those who ask for something else.

None of them asks an upstream anything. ``PAGES`` is the table; ``public`` pages are for everyone, the rest need a key
when one is configured.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import msgspec

from penstock import __version__
from penstock.core.errors import GatewayError
from penstock.server import costs, google, modelinfo, mounts, ollama_pages, passing, stored
from penstock.server.page import READ, Page, answer
from penstock.server.refusals import no_route, shown
from penstock.server.surfaces import SURFACES

if TYPE_CHECKING:
    from penstock.runtime.exchange import Exchange
    from penstock.runtime.targets import Target
    from penstock.server.gateway import Gateway


async def serve(gateway: Gateway, exchange: Exchange) -> None:
    """Answers a request for a page. Raises ``GatewayError`` for what is none, or not for this caller."""
    path = exchange.path
    if gateway.state.passages and await passing.serve_passage(gateway, exchange):
        return
    if path.startswith(stored.PREFIXES):
        await stored.serve(gateway, exchange)
        return
    page = PAGES.get(path)
    mount = mounts.mount_at(path, exchange.query) if page is None else None
    if mount is not None and not isinstance(exchange, mounts.Mounted):
        await mounts.serve(gateway, exchange, mount, serve)
        return
    if page is None and path.startswith(_MODEL_PREFIXES):
        page = Page(_one_model)
    if page is None and await passing.serve(gateway, exchange):
        return
    if page is None:
        gateway.identity.check(exchange.headers)  # who may not call learns nothing of what is here
        raise no_route(exchange, [*SURFACES, *PAGES])
    answer(gateway, exchange, page)


# Health (seeds C-01 to C-04) ------------------------------------------------------------------------------------------


def _health(gateway: Gateway, exchange: Exchange) -> tuple[int, bytes, bytes]:
    """Whether the gateway takes traffic; what is known of upstreams from the traffic itself and from connection
    probes. Details are for those who hold the key."""
    state = gateway.state
    told: dict[str, Any] = {
        "status": "healthy",
        "models": len(state.catalog.names()),
        "providers": sorted({target.provider.name for target in state.targets}),
    }
    if gateway.identity.knows(exchange.headers):
        now = gateway.clock()
        troubles = [(target, target.health.trouble(now)) for target in state.targets]
        healthy = [_endpoint(target) for target, trouble in troubles if not trouble]
        unhealthy = [_endpoint(target) | {"error": trouble} for target, trouble in troubles if trouble]
        told |= {
            "healthy_endpoints": healthy,
            "unhealthy_endpoints": unhealthy,
            "healthy_count": len(healthy),
            "unhealthy_count": len(unhealthy),
        }
    return 200, b"application/json", msgspec.json.encode(told)


def _endpoint(target: Target) -> dict[str, Any]:
    origin = target.origin
    return {
        "model": target.label,
        "model_name": target.deployment.model_name,
        "model_id": target.id,
        "api_base": modelinfo.address(target.deployment.api_base) or (str(origin) if origin else None),
    }


def _readiness(gateway: Gateway, exchange: Exchange) -> tuple[int, bytes, bytes]:
    """503 while draining, and while no deployment at all is usable: a load balancer should look elsewhere then."""
    targets = gateway.state.targets
    if gateway.draining:
        status, text = 503, "draining"
    elif targets and all(target.health.trouble(gateway.clock()) for target in targets):
        status, text = 503, "no deployment is usable"
    else:
        status, text = 200, "healthy"
    return status, b"application/json", msgspec.json.encode({"status": text, "db": "Not connected"})


def _alive(gateway: Gateway, exchange: Exchange) -> tuple[int, bytes, bytes]:
    return 200, b"application/json", b'"I\'m alive!"'


# Models ---------------------------------------------------------------------------------------------------------------

_MODEL_PREFIXES = ("/v1/models/", "/models/", *google.MODELS)


def _entry(gateway: Gateway, name: str) -> dict[str, Any]:
    found = gateway.state.catalog.find(name) or gateway.state.catalog.find(name.replace("*", "x"))
    owner = found.targets[0].owner if found else "penstock"
    return {"id": name, "object": "model", "created": int(gateway.started_at), "owned_by": owner}


def _models(gateway: Gateway, exchange: Exchange) -> tuple[int, bytes, bytes]:
    """In the shape of the vendor whose client asks: three SDKs share the path and are told apart by their headers."""
    names = gateway.state.catalog.names()
    if b"anthropic-version" in exchange.headers:
        told = _anthropic_list(gateway, [name for name in names if "*" not in name], exchange.query)
    elif b"x-goog-api-key" in exchange.headers:
        return google.models(gateway, exchange)
    else:
        told = {"object": "list", "data": [_entry(gateway, name) for name in names]}
    return 200, b"application/json", msgspec.json.encode(told)


def _anthropic_entry(gateway: Gateway, name: str) -> dict[str, Any]:
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(gateway.started_at))
    return {"type": "model", "id": name, "display_name": name, "created_at": created}


def _anthropic_list(gateway: Gateway, names: list[str], query: bytes) -> dict[str, Any]:
    """A page of the list: ``limit`` (1 to 1000, 20 by default), ``after_id``, ``before_id``, as Anthropic documents."""
    asked = {key: values[-1] for key, values in parse_qs(query.decode("latin-1")).items()}
    given = asked.get("limit", "")[:9]
    limit = min(max(int(given), 1), 1000) if given.isascii() and given.isdigit() else 20
    more_before = False
    if asked.get("after_id") in names:
        names = names[names.index(asked["after_id"]) + 1 :]
    elif asked.get("before_id") in names:
        names = names[: names.index(asked["before_id"])]
        more_before = len(names) > limit
        names = names[-limit:]
    page = names[:limit]
    return {
        "data": [_anthropic_entry(gateway, name) for name in page],
        "has_more": more_before or len(names) > limit,
        "first_id": page[0] if page else None,
        "last_id": page[-1] if page else None,
    }


def _one_model(gateway: Gateway, exchange: Exchange) -> tuple[int, bytes, bytes]:
    prefix = next(p for p in _MODEL_PREFIXES if exchange.path.startswith(p))
    name = exchange.path[len(prefix) :]
    if gateway.state.catalog.find(name) is None:
        near = gateway.state.catalog.near(name)
        hint = f" Nearest names here: {', '.join(near)}." if near else ""
        raise GatewayError("upstream_not_found", f"The model {shown(name)!r} does not exist here.{hint}", param="model")
    if b"anthropic-version" in exchange.headers:
        return 200, b"application/json", msgspec.json.encode(_anthropic_entry(gateway, name))
    if google.is_google(exchange.path, exchange.headers):
        return 200, b"application/json", msgspec.json.encode(google.entry(name))
    return 200, b"application/json", msgspec.json.encode(_entry(gateway, name))


# The landing page -----------------------------------------------------------------------------------------------------

_LANDING = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Penstock</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:44rem;margin:3rem auto;padding:0 1rem;color:#1a2733}}
code,pre{{font:14px/1.5 ui-monospace,monospace;background:#eef2f5;border-radius:4px;padding:.1em .3em}}
pre{{padding:1rem;overflow:auto}}a{{color:#0b62a8}}</style></head>
<body><h1>Penstock {version}</h1>
<p>One HTTP door in front of every LLM. Point your OpenAI client at <code>{base}/v1</code>.</p>
<pre>curl {base}/v1/chat/completions \\
  -H 'Content-Type: application/json' \\{auth}
  -d '{{"model": "{model}", "messages": [{{"role": "user", "content": "Hello"}}]}}'</pre>
<p><a href="/health">Health</a> &middot; <a href="/v1/models">Models</a></p></body></html>
"""


def _landing(gateway: Gateway, exchange: Exchange) -> tuple[int, bytes, bytes]:
    from html import escape

    host = escape(exchange.headers.get(b"host", b"127.0.0.1:4000").decode("latin-1"))
    names = (
        [n for n in gateway.state.catalog.names() if "*" not in n] if gateway.identity.knows(exchange.headers) else []
    )
    text = _LANDING.format(
        version=__version__,
        base=f"http://{host}",
        auth="\n  -H 'Authorization: Bearer YOUR_KEY' \\" if gateway.identity.needs_key else "",
        model=escape(names[0]) if names else "MODEL",
    )
    return 200, b"text/html; charset=utf-8\r\nx-frame-options: DENY", text.encode()


PAGES: Mapping[str, Page] = {
    "/": Page(_landing, public=True),
    "/health": Page(_health, public=True),
    "/health/liveliness": Page(_alive, public=True),
    "/health/liveness": Page(_alive, public=True),
    "/health/readiness": Page(_readiness, public=True),
    "/v1/models": Page(_models),
    "/models": Page(_models),
    **dict.fromkeys(google.LISTS, Page(google.models)),
    "/v1/capabilities": Page(modelinfo.capabilities),
    "/model/info": Page(modelinfo.model_info),
    "/v1/model/info": Page(modelinfo.model_info),
    "/model_group/info": Page(modelinfo.group_info),
    "/spend/calculate": Page(costs.spend, methods=(*READ, "POST")),
    "/cost/estimate": Page(costs.estimate, methods=("POST",)),
    "/api/v1/litellm/cost/estimate": Page(costs.estimate_short, methods=("POST",)),
    "/api/tags": Page(ollama_pages.tags),
    "/api/ps": Page(ollama_pages.running),
    "/api/version": Page(ollama_pages.version),
}
