"""The table of all pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from penstock.admin.ui import (
    audit,
    batches,
    budgets,
    engines,
    guards,
    invitation,
    keychange,
    keys,
    modelforms,
    models,
    oidc,
    organizations,
    overview,
    playground,
    providers,
    requests,
    sessions_log,
    settings,
    signin,
    spend,
    static,
    teams,
    users,
)
from penstock.admin.ui.inner import Forwarded
from penstock.admin.ui.rows import form, public
from penstock.admin.ui.view import BASE, check_form
from penstock.core.admit.access import INFO
from penstock.core.errors import GatewayError
from penstock.runtime.gate import PAGE
from penstock.runtime.route import JSON, READ, Route

if TYPE_CHECKING:
    from penstock.runtime.call import Call

_SCRIPTED = (*READ, "POST", "PUT", "PATCH", "DELETE")


async def forward(gateway: Any, call: Call) -> Forwarded:
    """Answer a page's script by the URL whose path stands behind ``/ui/call``, as whoever is signed in."""
    path = "/" + call.params["path"]
    if path == BASE or path.startswith(BASE + "/"):
        raise GatewayError("no_route", "Pages are not asked for in this way.")
    if call.exchange.method not in READ:
        check_form(gateway, call)
    return Forwarded(gateway)


ROUTES: tuple[Route, ...] = (
    public("/signin", signin.show),
    public("/signin", signin.sign_in, ("POST",)),
    public("/enter", signin.enter),
    public("/oidc", oidc.begin),
    public("/oidc/back", oidc.back),
    form("/signout", signin.sign_out),
    *overview.ROUTES,
    *invitation.ROUTES,
    *keychange.ROUTES,
    *keys.ROUTES,
    *teams.ROUTES,
    *users.ROUTES,
    *organizations.ROUTES,
    *budgets.ROUTES,
    *spend.ROUTES,
    *modelforms.ROUTES,
    *models.ROUTES,
    *providers.ROUTES,
    *playground.ROUTES,
    *engines.ROUTES,
    *batches.ROUTES,
    *requests.ROUTES,
    *sessions_log.ROUTES,
    *audit.ROUTES,
    *settings.ROUTES,
    *guards.ROUTES,
    public("/static/{name:path}", static.send, answer="text/css"),
    Route(
        BASE + "/call/{path:path}", forward, methods=_SCRIPTED, role=PAGE, json=False, answer=JSON.decode(), family=INFO
    ),
)
