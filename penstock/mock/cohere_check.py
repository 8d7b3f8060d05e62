"""What Cohere's API refuses: unknown fields, roles and parts, calls without results, values out of their range.

Field lists and ranges: https://docs.cohere.com/reference/chat and the types of the `cohere` client (7.3); words:
https://docs.cohere.com/reference/errors."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any

from penstock.mock.reply import Exchange, Refused

TOP = frozenset(
    "model messages stream tools strict_tools documents citation_options response_format safety_mode max_tokens"
    " stop_sequences temperature seed frequency_penalty presence_penalty k p logprobs tool_choice thinking"
    " priority".split()
)
FIELDS = {
    "system": frozenset(("role", "content")),
    "user": frozenset(("role", "content")),
    "assistant": frozenset(("role", "content", "tool_calls", "tool_plan", "citations")),
    "tool": frozenset(("role", "content", "tool_call_id")),
}
PARTS = {
    "system": {"text": "text"},
    "user": {"text": "text", "image_url": "image_url"},
    "assistant": {"text": "text", "thinking": "thinking"},
    "tool": {"text": "text", "document": "document"},
}
_RANGES = {"p": (0.01, 0.99), "k": (0, 500), "frequency_penalty": (0, 1), "presence_penalty": (0, 1)}
_IMAGE = re.compile(r"data:image/(?:jpeg|png|webp|gif);base64,")
_PLAIN = re.compile(r"command-(?:r|light|a-03|a-vision)|c4ai-")


def bad(message: str) -> Refused:
    """Make a 400 in the vendor's manner."""
    return Refused(400, f"invalid request: {message}")


def check(exchange: Exchange, body: Mapping[str, Any]) -> None:
    """Raise Refused for the first thing that the real API would refuse."""
    if exchange.rejects_unknown(by_default=True):
        for name in body:
            if name not in TOP:
                raise Refused(400, f"unknown field: parameter '{name}' is not a valid field")
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise bad("messages must not be empty.")
    for at, message in enumerate(messages):
        _check_message(message, f"messages[{at}]")
    if messages[-1]["role"] not in ("user", "tool"):
        raise bad("the last message must be of role user or tool.")
    _check_calls(messages)
    _check_tools(body)
    _check_settings(body)


def _check_message(message: Any, where: str) -> None:
    role = message.get("role") if isinstance(message, Mapping) else None
    if role not in FIELDS:
        raise bad(f"{where}.role must be one of system, user, assistant, tool.")
    for name in message:
        if name not in FIELDS[role]:
            raise Refused(400, f"unknown field: parameter '{where}.{name}' is not a valid field")
    content = message.get("content")
    if content is None and role == "assistant" and message.get("tool_calls"):
        return
    if isinstance(content, str):
        if not content and role != "tool":
            raise bad("message must be at least 1 token long or tool results must be specified.")
        return
    if not isinstance(content, list) or not content:
        raise bad(f"{where}.content must be a string or a list of content blocks.")
    for place, part in enumerate(content):
        _check_part(part, role, f"{where}.content[{place}]")


def _check_part(part: Any, role: str, where: str) -> None:
    kind = part.get("type") if isinstance(part, Mapping) else None
    field = PARTS[role].get(str(kind))
    if field is None:
        raise bad(f"{where}.type {kind!r} is not supported in a message of role {role}.")
    if set(part) - {"type", field} or field not in part:
        raise bad(f"{where} must have 'type' and {field!r}, nothing else.")
    if field in ("text", "thinking") and not (isinstance(part[field], str) and part[field]):
        raise bad(f"{where}.{field} must be at least 1 token long.")
    if field == "image_url":
        _check_image(part[field], f"{where}.image_url")
    if field == "document" and not isinstance(part[field].get("data"), Mapping | str):
        raise bad(f"{where}.document.data is required.")


def _check_image(image: Any, where: str) -> None:
    url = image.get("url") if isinstance(image, Mapping) else None
    if not isinstance(url, str) or set(image) - {"url", "detail"}:
        raise bad(f"{where} must be an object with a url.")
    if image.get("detail", "auto") not in ("auto", "low", "high"):
        raise bad(f"{where}.detail must be one of auto, low, high.")
    if url.startswith(("http://", "https://")):
        return
    found = _IMAGE.match(url)
    if found is None:
        raise bad(f"{where}.url must be a web address or a data URI of a jpeg, png, webp or gif image.")
    try:
        base64.b64decode(url[found.end() :], validate=True)
    except (binascii.Error, ValueError) as exc:
        raise bad(f"{where}.url holds no valid base64.") from exc


def _check_calls(messages: list[dict[str, Any]]) -> None:
    """Check that every call is answered by a tool message directly behind its turn, and that nothing else is."""
    waiting: set[str] = set()
    for at, message in enumerate([*messages, {"role": "end"}]):
        if message["role"] == "tool":
            if message.get("tool_call_id") not in waiting:
                raise bad(f"messages[{at}].tool_call_id {message.get('tool_call_id')!r} is of no call before it.")
            waiting.remove(message["tool_call_id"])
            continue
        if waiting:
            raise bad(f"tool call id {sorted(waiting)[0]!r} found in no tool message.")
        for call in message.get("tool_calls") or ():
            function = call.get("function") or {}
            if call.get("type") != "function" or not call.get("id") or not function.get("name"):
                raise bad(f"messages[{at}].tool_calls must have an id, the type function and a function's name.")
            if not isinstance(function.get("arguments"), str):
                raise bad(f"messages[{at}].tool_calls.function.arguments must be a string.")
            waiting.add(call["id"])


def _check_tools(body: Mapping[str, Any]) -> None:
    tools = body.get("tools") or []
    for at, tool in enumerate(tools):
        function = tool.get("function") or {}
        if tool.get("type") != "function" or set(function) - {"name", "description", "parameters"}:
            raise bad(f"tools[{at}] must be a function with name, description and parameters.")
        schema = function.get("parameters")
        if not function.get("name") or not isinstance(schema, Mapping) or schema.get("type") != "object":
            raise bad(f"tools[{at}].function must have a name, and parameters of type object.")
        if body.get("strict_tools") and not schema.get("required"):
            raise bad(f"tools[{at}]: at least one parameter must be required with strict_tools.")
    choice = body.get("tool_choice")
    if choice is not None and (choice not in ("REQUIRED", "NONE") or not tools):
        raise bad("tool_choice must be REQUIRED or NONE, and goes with tools.")
    form = body.get("response_format") or {"type": "text"}
    if form.get("type") not in ("text", "json_object") or set(form) - {"type", "json_schema"}:
        raise bad("response_format.type must be text or json_object.")
    if form["type"] == "json_object" and (tools or body.get("documents")):
        raise bad("response_format is not supported with RAG.")
    if form.get("json_schema") is not None and form["json_schema"].get("type") != "object":
        raise bad("response_format.json_schema must be of type object.")


def _check_settings(body: Mapping[str, Any]) -> None:
    for name, (low, high) in _RANGES.items():
        value = body.get(name)
        if value is not None and not low <= value <= high:
            raise bad(f"{name} must be between {low} and {high} inclusive.")
    if (body.get("temperature") or 0) < 0 or len(body.get("stop_sequences") or ()) > 5:
        raise bad("temperature must not be negative, and at most 5 stop_sequences are taken.")
    limit = body.get("max_tokens")
    if limit is not None and (not isinstance(limit, int) or limit < 0):
        raise bad("max_tokens must be a whole number from 0 on.")
    thinking = body.get("thinking")
    if thinking is None:
        return
    if thinking.get("type") not in ("enabled", "disabled") or set(thinking) - {"type", "token_budget"}:
        raise bad("thinking.type must be enabled or disabled.")
    if _PLAIN.search(str(body.get("model"))):
        raise bad(f"thinking is not supported by model {body.get('model')!r}.")
