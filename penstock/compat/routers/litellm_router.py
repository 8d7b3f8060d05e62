"""A router of FastAPI for `/api/v1/litellm`: `app.include_router(router)`. Needs FastAPI, which is no dependency.

Each route hands its request on to the service as it is. What the application puts before its routes, dependencies that
say who may call among them, holds for these, too.
"""

from __future__ import annotations

from typing import Any

try:
    from fastapi import APIRouter, Request, Response
except ImportError as missing:
    text = f"routers.litellm_router needs FastAPI ({missing}): install it, or serve `api:app`, which needs none"
    raise ImportError(text) from missing

from penstock.server.las_app import PREFIX, app

_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
_ROUTES = (
    ("POST", "/chat/completions", "Answer a chat, whole or as a stream"),
    ("POST", "/vision", "Answer a question about a picture"),
    ("POST", "/embeddings", "Compute the vectors of texts"),
    ("POST", "/cost/estimate", "Estimate what a request will cost"),
    ("GET", "/models", "List the models, of all providers or of one"),
    ("GET", "/providers", "List the providers"),
)


class _HandedOn(Response):
    """An answer that the service gives."""

    def __init__(self, request: Request) -> None:
        super().__init__()
        self._request = request

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        path = scope["path"]
        body = getattr(self._request, "_body", None)  # a dependency has read it
        if body is not None:
            waiting, before = receive, [{"type": "http.request", "body": body, "more_body": False}]

            async def again() -> Any:
                return before.pop() if before else await waiting()

            receive = again
        await app({**scope, "path": path[path.index(PREFIX) :]}, receive, send)


async def hand_on(request: Request) -> Response:
    """Give a request to the service."""
    return _HandedOn(request)


router = APIRouter(prefix=PREFIX, tags=["litellm"])
for _method, _path, _summary in _ROUTES:
    router.add_api_route(_path, hand_on, methods=[_method], summary=_summary, name=_path.strip("/"))
router.add_api_route("/{path:path}", hand_on, methods=_METHODS, include_in_schema=False)
