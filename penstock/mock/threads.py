"""Anthropic's message threads: a conversation that the API keeps for a while, and goes on with by the last answer's id.

Sources: https://platform.claude.com/docs/en/build-with-claude/message-threads and the ``anthropic`` package 2.10
(``lib/threads``, ``types/thread_*``), which recovers by ``error.details.error_code``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from penstock.mock.reply import Exchange, Refused

BETA = "message-threads-2026-08-12"
_HELD = ("system", "tools")  # taken from the thread on a "continue"
_UNSUPPORTED = ("cache_control", "context_management", "fallbacks")


def refused(status: int, code: str, message: str, **more: Any) -> Refused:
    """Make a refusal whose details name its code."""
    exc = Refused(status, message, "not_found_error" if status == 404 else "invalid_request_error")
    exc.details = {"error_code": code, **more}
    return exc


def resume(exchange: Exchange, body: dict[str, Any], own_api: bool) -> dict[str, Any]:
    """Return the body as if all of the conversation stood in it. ``own_api``: the path is Anthropic's own; clouds that
    serve the model keep no threads. Raises Refused."""
    thread = body.get("thread")
    if thread is None:
        return body
    if not own_api:
        raise refused(400, "thread_unsupported_request", "thread: threads are not supported by this platform.")
    if BETA not in exchange.headers.get("anthropic-beta", ""):
        raise Refused(400, "thread: Extra inputs are not permitted", "invalid_request_error")
    kind = thread.get("type") if isinstance(thread, Mapping) else None
    if kind not in ("create", "continue"):
        raise Refused(400, "thread.type: Input should be 'create' or 'continue'", "invalid_request_error")
    strange = [name for name in _UNSUPPORTED if body.get(name) is not None]
    if strange:
        text = f"thread: cannot be combined with {', '.join(strange)}."
        raise refused(400, "thread_unsupported_request", text, unsupported=strange)
    if kind == "create":
        return body
    for name in _HELD:
        if name in body:
            text = f"{name}: must be left out of a request that continues a thread"
            raise Refused(400, text, "invalid_request_error")
    kept = exchange.memory.threads.get(str(thread.get("previous_message_id")))
    if kept is None:
        text = "thread.previous_message_id: this thread is gone; send the whole conversation again."
        raise refused(404, "thread_not_found", text)
    told = {**kept, **body}
    return {**told, "messages": [*kept["messages"], *body.get("messages", [])]}


def keep(exchange: Exchange, body: Mapping[str, Any], id: str, content: list[dict[str, Any]]) -> None:
    """Keep a conversation under the id of its last answer."""
    if body.get("thread") is None:
        return
    kept = {name: body[name] for name in _HELD if name in body}
    kept["messages"] = [*body["messages"], {"role": "assistant", "content": content}]
    exchange.memory.keep_thread(id, kept)
