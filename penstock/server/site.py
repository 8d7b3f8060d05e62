"""What there is at which path: surfaces, pages, mounts, what is passed through; in this order, but for the config's own
endpoints, which go before everything."""

from __future__ import annotations

import inspect
from functools import cached_property, partial
from typing import TYPE_CHECKING

import msgspec

from penstock.core.admit.access import LLM
from penstock.core.providers.pass_through import prefixes
from penstock.runtime.gate import PAGE, PAGE_ADMIN, PAGE_VIEW, PUBLIC, Rule
from penstock.server import mounts, pass_through
from penstock.server.gateway import Visit
from penstock.server.pages import ROUTES
from penstock.server.paths import tidied
from penstock.server.refusals import no_route
from penstock.server.routes import READ, Page, Route, Routes
from penstock.server.surfaces import PATTERNS, SURFACES, VENDORS, dialect_of, find

if TYPE_CHECKING:
    from collections.abc import Mapping

    from penstock.core.dialects.base import Dialect
    from penstock.runtime.call import Call
    from penstock.runtime.state import State
    from penstock.runtime.surface import Surface
    from penstock.server.gateway import Gateway

_UNRECORDED = frozenset((PUBLIC, PAGE, PAGE_VIEW, PAGE_ADMIN))  # what they ask for has records of its own


class Site:
    """A ``gateway.Site`` of all that is served. ``routes``: pages and management URLs. ``root``: the path of a shared
    host below which all of it is found as well (LiteLLM's ``SERVER_ROOT_PATH``)."""

    def __init__(self, routes: Routes | None = None, root: str = "") -> None:
        self.routes = routes or Routes(ROUTES)
        self.root = root_of(root)
        self.surfaces: Mapping[str, Surface] = SURFACES

    def find(self, call: Call, state: State) -> Surface | Visit:
        """Find what a request is. One below a mount is turned to the path that it means."""
        if self.root and call.path != (path := self._inner(call.path)):
            call.below, call.path = self.root, path
        path = call.path
        tidy = call.path = tidied(path)
        if state.pass_through_endpoints:
            visit = pass_through.by_config(path, state) or pass_through.by_config(tidy, state)
            if visit is not None:
                return visit
        path = tidy
        surface = find(path)
        if surface is not None:
            return surface
        page = self._page(call, self.routes)
        if page is not None:
            return page
        mount = mounts.mount_at(path, call.exchange.query)
        if mount is not None:
            return self._below(mount, call, state)
        return self._elsewhere(call, state)

    def _below(self, mount: mounts.Mount, call: Call, state: State) -> Surface | Visit:
        rest = mount.turn(call)
        visit = mount.visits.get(rest) or self._page(call, mount.routes, rest)
        if visit is not None:
            return visit
        surface = mount.surface_at(rest, call.path)
        if surface is not None:
            return surface
        visit = pass_through.by_config(call.path, state) if state.pass_through_endpoints else None
        return visit or self._page(call, self.routes) or self._elsewhere(call, state)

    def _page(self, call: Call, routes: Routes, path: str | None = None) -> Visit | None:
        found = routes.find(call.path if path is None else path, call.exchange.method)
        if found is None:
            return None
        route, call.params = found
        reads = call.exchange.method not in READ
        return Visit(route, partial(_answer, route), recorded=route.role not in _UNRECORDED, reads=reads)

    def _elsewhere(self, call: Call, state: State) -> Visit:
        nothing = Visit(Rule((call.exchange.method,)), self._none, reads=False)
        return pass_through.by_provider(call.path, state) or nothing

    async def _none(self, gateway: Gateway, call: Call) -> None:
        """Raise "no_route". Who may call is told what is near; who may not was refused before, and learns nothing of
        what is here."""
        paths = [*SURFACES, *self.routes.paths()]
        mount = mounts.mount_at(tidied(self._inner(call.exchange.path)), call.exchange.query)
        raise no_route(call, paths if mount is None else [*paths, *mount.own_paths()])

    def dialect_of(self, path: str, headers: Mapping[bytes, bytes]) -> Dialect:
        """Tell in whose shape an error about a path is told. By the client's headers only where its path may be that of
        several vendors: who manages keys with a key in ``x-goog-api-key`` is no client of Google's."""
        path = tidied(self._inner(path))
        return dialect_of(path, {} if headers.keys() & VENDORS and self._own.find(path, "GET") else headers)

    @cached_property
    def _own(self) -> Routes:
        """Return the routes that no vendor has, those of mounts by the paths that they mean."""
        tables = [("", self.routes.rows), *((mount.base, mount.routes.rows) for mount in mounts.MOUNTS)]
        return Routes(row._replace(path=base + row.path) for base, rows in tables for row in rows if row.family != LLM)

    @cached_property
    def openapi(self) -> bytes:
        """Return the document of all of it, made when somebody asks for it first."""
        from penstock.server import openapi  # few ask for it: not at every start

        made = openapi.document(SURFACES, PATTERNS, self.routes.rows, mounts.MOUNTS, prefixes())
        return msgspec.json.encode(made)

    def upload_at(self, path: str) -> bool:
        """Tell whether a large form to this path may be passed on while it comes."""
        path = tidied(self._inner(path))
        surface = find(path)
        if surface is not None:
            return surface.upload
        mount = mounts.mount_at(path, b"")
        found = self.routes.find(path if mount is None else mount.base + path[len(mount.prefix) :], "POST")
        return found is not None and found[0].upload

    def _inner(self, path: str) -> str:
        """Return the path without the root that it may be below."""
        if self.root and (path + "/").startswith(self.root + "/"):
            return path[len(self.root) :] or "/"
        return path


def root_of(text: str) -> str:
    """Write a path as a root: with a slash before it and none behind; "" for none."""
    inner = text.strip().strip("/")
    return f"/{inner}" if inner else ""


async def _answer(route: Route, gateway: Gateway, call: Call) -> None:
    """Send what a route's handler makes."""
    made = route.handler(gateway, call)
    page = await made if inspect.isawaitable(made) else made
    if isinstance(page, Page):
        call.outlet.page(call, page.status, page.content_type, page.body)
    else:
        await page.send(call)
