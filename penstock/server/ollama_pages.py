"""/api/tags, /api/ps and /api/version: what Ollama's clients ask before they chat. No upstream is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from penstock.core.dialects.ollama import listing
from penstock.server.routes import Page

if TYPE_CHECKING:
    from penstock.runtime.call import Call
    from penstock.server.gateway import Gateway

_KIND = b"application/json; charset=utf-8"


def tags(gateway: Gateway, call: Call) -> Page:
    """List the models in Ollama's form. A wildcard is none that a client could ask for."""
    catalog = gateway.state.catalog
    told = []
    for name in gateway.names_for(call):
        found = None if "*" in name else catalog.find(name)
        if found is not None:
            owner = found.targets[0].owner if found.targets else "penstock"
            told.append(listing.tag(name, owner, int(gateway.started_at)))
    return Page(200, _KIND, msgspec.json.encode({"models": told}))


def running(gateway: Gateway, call: Call) -> Page:
    """List the models in memory, as Ollama does. A gateway holds none there."""
    return Page(200, _KIND, b'{"models":[]}')


def version(gateway: Gateway, call: Call) -> Page:
    """Tell the version of Ollama's API that is spoken here."""
    return Page(200, _KIND, msgspec.json.encode({"version": listing.API_VERSION}))
