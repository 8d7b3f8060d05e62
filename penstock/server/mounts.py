"""Prefixes under which other products' clients expect the gateway: what is served there is what is served here.

A mount is a row: its prefix, where what follows it leads, and what is told differently there. All of it is made when
this module is loaded, nothing per request. Everything else (keys, routing, records) is the gateway's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from penstock.runtime.call import Call
from penstock.runtime.gate import Rule
from penstock.runtime.ids import new_id
from penstock.runtime.outlet import MountStyle, safe
from penstock.runtime.surface import Surface
from penstock.server import las, shared
from penstock.server.gateway import Visit
from penstock.server.routes import Route, Routes
from penstock.server.surfaces import PATTERNS, SURFACES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from msgspec import Raw

    from penstock.runtime.state import State

Adapt = Callable[[Call, "dict[str, Raw]", "State"], None]


class Mount:
    """One prefix. ``base``: what stands in the prefix's place. ``surfaces``, ``routes``, ``batches``: what is only
    there, by the path behind the prefix. ``adapt``: changes a request's fields before the surface does. ``error``,
    ``lines``: see ``outlet.MountStyle``; ``answer``: by path. ``parameter``: what must stand in the query, where a
    prefix alone does not say who asks."""

    def __init__(
        self,
        prefix: str,
        *,
        base: str = "",
        surfaces: Mapping[str, Surface] | None = None,
        routes: Iterable[Route] = (),
        batches: Mapping[str, shared.Batch] | None = None,
        adapt: Adapt | None = None,
        default_model: Callable[[State], str] | None = None,
        error: Callable[[dict[str, Any], int, Call], None] | None = None,
        answer: Mapping[str, Callable[[bytes], bytes]] | None = None,
        lines: Callable[[Call], bytes] | None = None,
        parameter: bytes = b"",
    ) -> None:
        self.prefix = prefix
        self.base = base
        self.parameter = parameter
        self.routes = Routes(routes)
        self.style = MountStyle(prefix, base, error, None, lines)
        self.answers = {rest: self.style._replace(answer=change) for rest, change in (answer or {}).items()}
        self._change, self._default = adapt, default_model
        here = {path.removeprefix(base): row for path, row in SURFACES.items() if (path + "/").startswith(base + "/")}
        self.surfaces = {rest: self._adapted(row) for rest, row in {**here, **(surfaces or {})}.items()}
        self.patterns = [row._replace(surface=self._adapted(row.surface)) for row in PATTERNS]
        # What is nowhere else, for the document of all URLs.
        self.own = {rest: self.surfaces[rest] for rest in surfaces or {}}
        self.batches = dict(batches or {})
        self.batch_surfaces = {rest: self._adapted(batch.surface) for rest, batch in self.batches.items()}
        self.visits = {
            rest: Visit(_BATCH, partial(shared.serve_batch, batch, self.batch_surfaces[rest]))
            for rest, batch in self.batches.items()
        }

    def _adapted(self, surface: Surface) -> Surface:
        """Change a surface into what it is under the mount."""
        change, inner = self._change, surface.adapt
        if change is not None:

            def both(call: Call, fields: dict[str, Raw], state: State) -> None:
                change(call, fields, state)
                if inner is not None:
                    inner(call, fields, state)

            surface = surface._replace(adapt=both)
        if self._default is not None and surface.default_model is None and surface.forced_by == "completion_model":
            surface = surface._replace(default_model=self._default)
        return surface

    def turn(self, call: Call) -> str:
        """Turn a call to the path that it means here; return what follows the prefix."""
        rest = call.path[len(self.prefix) :]
        call.path = self.base + rest or "/"
        call.mount_style = self.answers.get(rest, self.style)
        return rest

    def own_paths(self) -> list[str]:
        """List what is only here, by the paths that it would have without the mount."""
        return [self.base + rest for rest in (*self.own, *self.visits, *self.routes.paths())]

    def surface_at(self, rest: str, path: str) -> Surface | None:
        """Find the surface behind the prefix, as the mount has it."""
        surface = self.surfaces.get(rest)
        if surface is None:
            for row in self.patterns:
                if row.pattern.fullmatch(path):
                    return row.surface
        return surface


_BATCH = Rule(("POST",), json=True, works=True)


def mount_at(path: str, query: bytes) -> Mount | None:
    """Find the mount that a path is below; the longest prefix counts."""
    for mount in MOUNTS:
        if path.startswith(mount.prefix + "/") or path == mount.prefix:
            return mount if mount.parameter in query else None
    return None


# Olla (seed 2): everything, with headers that say so ------------------------------------------------------------------


def _olla_lines(call: Call) -> bytes:
    exchange = call.exchange
    given = exchange.headers.get(b"x-request-id", b"").decode("latin-1")
    took = call.means.clock() - exchange.started if call.surface is not None else 0.0
    lines = b"x-olla-endpoint: litellm-gateway\r\nx-olla-backend-type: litellm\r\n"
    if call.model:
        lines += b"x-olla-model: %b\r\n" % safe(call.model)
    request_id = safe(given)[:256] if given else b"req_" + new_id().replace("-", "").encode()
    return lines + b"x-olla-request-id: %b\r\nx-olla-response-time: %.3fs\r\n" % (request_id, took)


def _olla_error(error: dict[str, Any], status: int, call: Call) -> None:
    """Make ``code`` the status as a number, as clients of Olla expect it (C-06)."""
    error["code"] = status
    if call.attempt is not None:
        error["provider"] = call.attempt.provider


MOUNTS: tuple[Mount, ...] = (
    Mount("/olla/litellm", error=_olla_error, lines=_olla_lines),
    Mount("/api/v1/litellm", surfaces=las.SURFACES, routes=las.ROUTES, adapt=las.adapt, answer=las.ANSWERS),
    Mount(
        "/api/v1",
        base="/v1",
        surfaces=shared.SURFACES,
        routes=shared.ROUTES,
        batches=shared.BATCHES,
        adapt=shared.adapt,
        default_model=shared.default_model,
        error=shared.error,
    ),
    # Responses of Azure OpenAI's clients have no deployment in the path (see ``inpath`` for what has); without a
    # version in the query the path is OpenAI's, passed through.
    Mount("/openai/responses", base="/v1/responses", parameter=b"api-version="),
)
"""Longer prefixes first."""
