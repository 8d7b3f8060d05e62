"""Which dialect answers which path, and how each tells its errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from penstock.mock import (
    anthropic,
    bedrock,
    chatgpt,
    clouds,
    cohere,
    gemini,
    ollama,
    openai_chat,
    openai_responses,
    ops,
    replicate,
    tei,
)
from penstock.mock.openai_common import error_reply as openai_error
from penstock.mock.openai_common import headers_of as openai_headers
from penstock.mock.openai_common import models_reply as openai_models
from penstock.mock.reply import Exchange, Frame, Refused, Reply, encode
from penstock.mock.script import Script, Step

if TYPE_CHECKING:
    from penstock.mock.server import Received  # circle: judges what its caller, the server, keeps

_NOT_FOUND = {
    "anthropic": "Not found",
    "ollama": "404 page not found",
    **dict.fromkeys(("gemini", "bedrock", "cohere", "replicate"), ""),
}
KEYS = ("x-api-key", "api-key", "x-goog-api-key", "authorization")
TOO_LARGE = {
    "gemini": "Request payload size exceeds the limit: 20971520 bytes.",
    "anthropic": "Request exceeds the maximum size",
    "openai_chat": "Maximum content size limit exceeded. (mock)",
    "openai_responses": "Maximum content size limit exceeded. (mock)",
    "ollama": "http: request body too large",
    "replicate": "Request body is too large.",
    "bedrock": "Input is too long for requested model.",
    "cohere": "",
    "tei": "Payload Too Large",
}
_OWN: dict[str, Any] = {
    "ollama": ollama,
    "gemini": gemini,
    "bedrock": bedrock,
    "cohere": cohere,
    "replicate": replicate,
    "tei": tei,
}


def route(received: Received, script: Script) -> tuple[str, Any]:
    """Find the dialect whose shape errors take, and the handler (None: 404). Any prefix before the known end is
    fine."""
    path, method = received.path.rstrip("/") or "/", received.method
    is_anthropic = received.header("anthropic-version") is not None
    shape = "anthropic" if is_anthropic and "anthropic" in script.dialects else "openai_chat"
    if path == "/":
        return shape, _landing if method in ("GET", "HEAD") else None
    if ollama.PATH.fullmatch(path) and "ollama" in script.dialects:
        return "ollama", ollama.handler(method, path)
    if (cloud := clouds.handler(path)) is not None:
        return "openai_chat", cloud if method == "POST" and "openai_chat" in script.dialects else None
    if replicate.PATH.fullmatch(path) and "replicate" in script.dialects:
        return "replicate", replicate.handler(method, path)
    if chatgpt.ROOT in path:
        asked = path.endswith(f"{chatgpt.ROOT}/responses") and method == "POST"
        return "openai_responses", chatgpt.reply if asked and "openai_responses" in script.dialects else None
    if path.endswith("/chat/completions"):
        return "openai_chat", openai_chat.reply if method == "POST" and "openai_chat" in script.dialects else None
    if path.endswith(("/messages", "/messages/count_tokens")):
        if "anthropic" not in script.dialects:
            return "openai_chat", None
        count = path.endswith("count_tokens")
        return "anthropic", (anthropic.count_reply if count else anthropic.reply) if method == "POST" else None
    if path.endswith("/responses") or "/responses/" in path:
        handler = openai_responses.handler(method, path) if "openai_responses" in script.dialects else None
        return "openai_responses", handler
    if (native := cohere.handler(path)) is not None and "cohere" in script.dialects:
        return "cohere", native if method == "POST" else None
    if (served := tei.handler(path, received.body)) is not None:
        return "tei", served if method == "POST" else None
    if (operation := ops.handler(path)) is not None:
        return "openai_chat", operation if method == "POST" and "openai_chat" in script.dialects else None
    amazon = bedrock.handler(path)
    if amazon is not None and "bedrock" in script.dialects:
        return "bedrock", amazon if method == "POST" else None
    google = gemini.handler(path)
    if google is not None:
        own = "anthropic" if google is gemini.claude_reply else "gemini"
        return own, google if method == "POST" and own in script.dialects else None
    head, found, model = path.partition("/models")
    if found and "gemini" in script.dialects and (head.endswith("/v1beta") or received.header("x-goog-api-key")):
        if method in ("GET", "HEAD") and (not model or model.startswith("/")):
            return "gemini", lambda exchange: gemini.models_reply(exchange, model[1:] or None)
        return "gemini", None
    if found and method in ("GET", "HEAD") and (not model or model.startswith("/")):
        listing = anthropic.models_reply if shape == "anthropic" else openai_models
        return shape, lambda exchange: listing(exchange, model[1:] or None)
    return shape, None


def handled(handler: Callable[[Exchange], Reply], exchange: Exchange) -> Reply:
    """Run the handler. What it stumbles over in the request's shape is the client's fault: Refused 400."""
    try:
        return handler(exchange)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as exc:
        raise Refused(400, f"The request has a wrong shape; the mock stumbled over it: {exc!r}") from exc


def _landing(exchange: Exchange) -> Reply:
    told = {
        "mock": True,
        "server": "penstock-mock",
        "dialects": sorted(exchange.script.dialects),
        "debug": "/__mock__/requests",
    }
    return Reply(200, [], encode(told))


def unknown_path(received: Received, dialect: str) -> Refused:
    if dialect in _NOT_FOUND:
        return Refused(404, _NOT_FOUND[dialect])
    if received.method == "GET" and (received.header("upgrade") or "").lower() == "websocket":
        return Refused(
            426, "This mock has no WebSocket; use POST.", "invalid_request_error", headers={"upgrade": "HTTP/1.1"}
        )
    return Refused(404, f"Invalid URL ({received.method} {received.path})", "invalid_request_error")


def error_reply(dialect: str, exchange: Exchange, exc: Refused) -> Reply:
    """Render an error in the dialect's shape."""
    own = _OWN.get(dialect)
    if own is not None:
        reply: Reply = own.error_reply(exchange, exc)
        return reply
    return anthropic.error_reply(exchange, exc) if dialect == "anthropic" else openai_error(exchange, exc)


def headers(dialect: str, exchange: Exchange) -> list[tuple[str, str]]:
    own = _OWN.get(dialect)
    if own is not None:
        return list(own.headers_of(exchange))
    return anthropic.headers_of(exchange) if dialect == "anthropic" else openai_headers(exchange)


def told_error(step: Step) -> Refused:
    message = step.error if isinstance(step.error, str) else ""
    # both services say when to come back; a step's own retry-after replaces this one
    return Refused(step.status or 500, message, headers={"retry-after": "1"} if step.status == 429 else None)


def told_event(dialect: str, step: Step, sent: int) -> Frame:
    """Make the error event of a stream: an overload (Messages), a server error (OpenAI), with the step's words over
    it."""
    message = step.error if isinstance(step.error, str) else ""
    modules = {"anthropic": anthropic, "openai_responses": openai_responses, **_OWN}
    module: Any = modules.get(dialect, openai_chat)
    frame: Frame = module.error_frame(Refused(529 if dialect == "anthropic" else 500, message))
    holder = frame.data.get("error", frame.data)
    if dialect in ("ollama", "cohere"):
        holder = frame.data.get("delta", frame.data)  # their error is a text
    if "sequence_number" in holder:
        holder["sequence_number"] = sent
    if step.error is not None and not isinstance(step.error, str):
        holder.update({"error": step.error.get("message", "")} if dialect == "cohere" else step.error)
    return frame


def told_body(reply: Reply, step: Step, dialect: str) -> Reply:
    """Lay the step's `error: {...}` over the error object."""
    if step.error is not None and not isinstance(step.error, str):
        body = msgspec.json.decode(reply.body)
        if isinstance(body, list):  # Google's, of a stream that is no stream of events
            body = body[0]
        if dialect in ("replicate", "bedrock", "cohere"):
            body |= step.error
        else:
            plain = dialect in ("ollama", "tei")
            body["error"] = step.error.get("message", "") if plain else {**body["error"], **step.error}
        reply.body = encode(body)
    return reply
