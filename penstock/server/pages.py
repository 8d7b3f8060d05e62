"""Pages: model lists, the landing page, and the table of all of them, ``ROUTES``. None asks an upstream anything but
``/health?live=true``."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import msgspec

from penstock import __version__
from penstock.admin import (
    activity,
    customers,
    keys,
    keyviews,
    managing,
    modelinfo,
    models,
    ranking,
    spend_bills,
    spend_global,
    spend_logs,
    spend_reports,
    spend_sessions,
    spend_sums,
    status,
    users,
    userviews,
)
from penstock.admin.ui import table as ui
from penstock.core.admit.access import LLM
from penstock.core.errors import GatewayError
from penstock.runtime.gate import PUBLIC, shown
from penstock.server import (
    caching,
    costs,
    deployed,
    engines,
    explaining,
    google,
    google_pages,
    guardrails,
    health,
    ollama_pages,
    providing,
    reference,
    stored,
    trying,
)
from penstock.server.batches import anthropic, files, openai
from penstock.server.metrics import page as metrics
from penstock.server.refusals import no_model
from penstock.server.routes import JSON, READ, Page, Route

if TYPE_CHECKING:
    from penstock.runtime.call import Call
    from penstock.server.gateway import Gateway


# Models ---------------------------------------------------------------------------------------------------------------


def _entry(gateway: Gateway, name: str) -> dict[str, Any]:
    found = gateway.state.catalog.find(name) or gateway.state.catalog.find(name.replace("*", "x"))
    owner = found.targets[0].owner if found else "penstock"
    return {"id": name, "object": "model", "created": int(gateway.started_at), "owned_by": owner}


def _models(gateway: Gateway, call: Call) -> Page:
    """List the models. In the shape of the vendor whose client asks: three SDKs share the path and are told apart by
    their headers."""
    names = _listed(gateway, call)
    if b"anthropic-version" in call.exchange.headers:
        told = _anthropic_list(gateway, [name for name in names if "*" not in name], call.exchange.query)
    elif b"x-goog-api-key" in call.exchange.headers:
        return google_pages.models(gateway, call)
    else:
        told = {"object": "list", "data": [_entry(gateway, name) for name in names]}
    return Page(200, JSON, msgspec.json.encode(told))


def _listed(gateway: Gateway, call: Call) -> list[str]:
    """List the names that a caller may ask for; with them or alone the access groups, where a client of LiteLLM's asks
    for these."""
    names, admission, query = gateway.names_for(call), gateway.engine.admission, call.exchange.query
    if admission is None or b"_model_access_groups=true" not in query:
        return names
    groups = [one for one in admission.access(gateway.state).all_groups() if gateway.may_see(call, one)]
    return groups if b"only_model_access_groups=true" in query else [*names, *groups]


def _anthropic_entry(gateway: Gateway, name: str) -> dict[str, Any]:
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(gateway.started_at))
    return {"type": "model", "id": name, "display_name": name, "created_at": created}


def _anthropic_list(gateway: Gateway, names: list[str], query: bytes) -> dict[str, Any]:
    """List the models page by page: ``limit`` (1 to 1000, 20 by default), ``after_id``, ``before_id``, as Anthropic
    documents."""
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


def _one_model(gateway: Gateway, call: Call) -> Page:
    """Describe one model. In the shape of the vendor whose client asks."""
    name = call.params["name"]
    if not gateway.may_see(call, name):
        text = f"The model `{shown(name)}` does not exist or is not accessible"
        raise GatewayError("upstream_not_found", text, param="model")
    if gateway.state.catalog.find(name) is None:
        raise no_model(gateway.state, name)
    if b"anthropic-version" in call.exchange.headers:
        return Page(200, JSON, msgspec.json.encode(_anthropic_entry(gateway, name)))
    if google.is_google(call.path, call.exchange.headers):
        return Page(200, JSON, msgspec.json.encode(google_pages.entry(name)))
    return Page(200, JSON, msgspec.json.encode(_entry(gateway, name)))


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
<p><a href="/health">Health</a> &middot; <a href="/v1/models">Models</a>
&middot; <a href="/docs">Every URL</a>{pages}</p></body></html>
"""


def _landing(gateway: Gateway, call: Call) -> Page:
    """Show how the gateway is called, to a person with a browser."""
    from html import escape

    host = escape(call.exchange.headers.get(b"host", b"127.0.0.1:4000").decode("latin-1"))
    names = [n for n in gateway.names_for(call) if "*" not in n] if gateway.gate.know(call) else []
    text = _LANDING.format(
        version=__version__,
        base=f"http://{host}{escape(call.below)}",
        auth="\n  -H 'Authorization: Bearer YOUR_KEY' \\" if gateway.identity.needs_key else "",
        model=escape(names[0]) if names else "MODEL",
        pages="" if gateway.pages is None else '\n&middot; <a href="/ui/">Pages</a>',
    )
    return Page(200, b"text/html; charset=utf-8\r\nx-frame-options: DENY", text.encode())


# The document of all URLs ---------------------------------------------------------------------------------------------


def _openapi(gateway: Gateway, call: Call) -> Page:
    """Describe every URL here in an OpenAPI document."""
    return Page(200, JSON, gateway.site.openapi)


def _reference(gateway: Gateway, call: Call) -> Page:
    """Show every URL here to a person with a browser."""
    return Page(200, b"text/html; charset=utf-8\r\nx-frame-options: DENY", reference.render(gateway.site.openapi))


_MODEL = "/{name:path}"
ROUTES: tuple[Route, ...] = (
    *ui.ROUTES,
    *stored.ROUTES,
    *files.ROUTES,
    *openai.ROUTES,
    *anthropic.ROUTES,
    *caching.ROUTES,
    *engines.ROUTES,
    *guardrails.ROUTES,
    *metrics.ROUTES,
    *status.ROUTES,
    *spend_sessions.ROUTES,
    *ranking.ROUTES,
    Route("/", _landing, role=PUBLIC, answer="text/html"),
    *health.ROUTES,
    *trying.ROUTES,
    *deployed.ROUTES,
    *providing.ROUTES,
    # For who holds a key, although LiteLLM shows its own to anybody: nothing else here tells a stranger what there is.
    Route("/openapi.json", _openapi),
    Route("/docs", _reference, answer="text/html"),
    Route("/v1/models", _models, family=LLM),
    Route("/models", _models, family=LLM),
    *(Route(path, google_pages.models, key_in_query=True, family=LLM) for path in google_pages.LISTS),
    Route("/v1/capabilities", modelinfo.capabilities),
    Route("/model/info", modelinfo.model_info),
    Route("/v1/model/info", modelinfo.model_info),
    Route("/model_group/info", modelinfo.group_info),
    *models.ROUTES,
    *keys.ROUTES,
    *keyviews.ROUTES,
    *users.ROUTES,
    *userviews.ROUTES,
    *customers.ROUTES,
    *managing.ROUTES,
    Route("/v1/route/explain", explaining.route_explained, methods=(*READ, "POST")),
    Route("/spend/calculate", costs.spend, methods=(*READ, "POST")),
    Route("/cost/estimate", costs.estimate, methods=("POST",), body=costs.EstimateAsked),
    *(row for of in (spend_logs, spend_global, spend_reports, spend_sums, spend_bills, activity) for row in of.ROUTES),
    Route("/api/tags", ollama_pages.tags, family=LLM),
    Route("/api/ps", ollama_pages.running, family=LLM),
    Route("/api/version", ollama_pages.version, family=LLM),
    Route("/v1/models" + _MODEL, _one_model, family=LLM),
    Route("/models" + _MODEL, _one_model, family=LLM),
    *(Route(path + _MODEL, _one_model, key_in_query=True, family=LLM) for path in google_pages.LISTS),
)
