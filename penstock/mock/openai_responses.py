"""OpenAI Responses: `POST /v1/responses`, whole, streamed and in the background; get, delete, cancel, input items.

Shapes: the `openai` Python package's `types/responses` (3.51). Every event has a `sequence_number` and an `event:`
line; there is no `[DONE]`. Reasoning's `encrypted_content` is a seal that is checked when it comes back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

from penstock.mock import brain
from penstock.mock.brain import Ask, Result, Tool
from penstock.mock.openai_common import (
    LONGEST_CALL_ID,
    MOST_TOOLS,
    check_context,
    check_count,
    check_length,
    check_model,
    check_name,
    check_types,
    check_unknown,
    error_object,
    headers_of,
    read_body,
    require,
)
from penstock.mock.reply import Exchange, Frame, Refused, Reply, encode
from penstock.mock.responses_output import Talk, as_item

FIELDS = frozenset(
    "access_programs background context_management conversation image include input instructions max_output_tokens"
    " max_tool_calls metadata model moderation parallel_tool_calls previous_response_id prompt prompt_cache_key"
    " prompt_cache_options prompt_cache_retention reasoning safety_identifier service_tier store stream stream_options"
    " temperature text tool_choice tools top_logprobs top_p truncation user"
    " client_metadata".split()  # not in the types; Codex CLI 0.169 sends it
)
TYPES: dict[str, tuple[type, ...]] = {
    "stream": (bool,),
    "background": (bool,),
    "store": (bool,),
    "include": (list,),
    "instructions": (str,),
    "reasoning": (dict,),
    "text": (dict,),
    "tools": (list,),
    "tool_choice": (str, dict),
    "parallel_tool_calls": (bool,),
    "max_output_tokens": (int,),
    "top_logprobs": (int,),
    "previous_response_id": (str,),
    "metadata": (dict,),
}
CALLS = {"function_call": "function_call_output", "custom_tool_call": "custom_tool_call_output"}
OUTPUTS = tuple(CALLS.values())


def error_frame(exc: Refused) -> Frame:
    """Render an error inside a stream (its sequence number is not known here: 0)."""
    found = error_object(exc)
    return Frame({"type": "error", "code": found["code"] or found["type"], "message": found["message"],
                  "param": found["param"], "sequence_number": 0}, "error")  # fmt: skip


def handler(method: str, path: str) -> Callable[[Exchange], Reply] | None:
    """Find what answers a path at or below `/responses`; None: 404."""
    rest = path.partition("/responses")[2].strip("/").split("/")
    match method, rest:
        case "POST", [""]:
            return reply
        case "POST", ["input_tokens"]:
            return count_reply
        case "GET", [one] if one:
            return lambda exchange: _get(exchange, one)
        case "DELETE", [one] if one:
            return lambda exchange: _delete(exchange, one)
        case "POST", [one, "cancel"]:
            return lambda exchange: _cancel(exchange, one)
        case "GET", [one, "input_items"]:
            return lambda exchange: _input_items(exchange, one)
    return None


def reply(exchange: Exchange) -> Reply:
    """Answer `POST /v1/responses`. Raises Refused."""
    body, items, tokens = _read(exchange)
    answer = brain.answer(_ask(body, items), exchange.step, lambda prefix: exchange.new_id(prefix))
    talk = Talk(exchange, body, answer, tokens, _cached(exchange, body, items))
    made = talk.whole()
    if body.get("store") is not False:
        listed = [as_item(exchange, item) for item in _own_items(body)]
        pending = 1 if body.get("background") else 0  # the first GET still finds it at work
        exchange.memory.store(made["id"], {"response": made, "input": listed, "items": items, "pending": pending})
    if body.get("background"):
        return Reply(200, headers_of(exchange), encode({**made, "status": "queued", "output": [], "usage": None}))
    if body.get("stream"):
        return Reply(200, headers_of(exchange), content_type="text/event-stream; charset=utf-8", frames=talk.frames())
    return Reply(200, headers_of(exchange), encode(made), tokens=answer.tokens)


def count_reply(exchange: Exchange) -> Reply:
    """Answer `POST /v1/responses/input_tokens`. Raises Refused."""
    _, _, tokens = _read(exchange)
    return Reply(200, headers_of(exchange), encode({"object": "response.input_tokens", "input_tokens": tokens}))


# ---- stored responses ------------------------------------------------------------------------------------------------


def _stored(exchange: Exchange, name: str) -> dict[str, Any]:
    record = exchange.memory.responses.get(name)
    if record is None:
        raise Refused(404, f"Response with id '{name}' not found.", "invalid_request_error")
    found: dict[str, Any] = record
    return found


def _get(exchange: Exchange, name: str) -> Reply:
    record = _stored(exchange, name)
    made = record["response"]
    if record.get("pending"):
        record["pending"] -= 1
        made = {**made, "status": "in_progress", "output": [], "usage": None, "completed_at": None}
    return Reply(200, headers_of(exchange), encode(made))


def _delete(exchange: Exchange, name: str) -> Reply:
    _stored(exchange, name)
    del exchange.memory.responses[name]
    return Reply(200, headers_of(exchange), encode({"id": name, "object": "response", "deleted": True}))


def _cancel(exchange: Exchange, name: str) -> Reply:
    record = _stored(exchange, name)
    if not record["response"]["background"]:
        raise Refused(400, "Cannot cancel a synchronous response.", "invalid_request_error")
    if record.pop("pending", 0):
        record["response"] = {
            **record["response"],
            "status": "cancelled",
            "output": [],
            "usage": None,
            "completed_at": None,
        }
    return Reply(200, headers_of(exchange), encode(record["response"]))


def _input_items(exchange: Exchange, name: str) -> Reply:
    query = parse_qs(exchange.query)
    rows = list(_stored(exchange, name)["input"])
    if query.get("order", ["desc"])[0] != "asc":
        rows.reverse()
    after = query.get("after", [""])[0]
    ids = [row["id"] for row in rows]
    if after in ids:
        rows = rows[ids.index(after) + 1 :]
    limit = int(query.get("limit", ["20"])[0])
    page = rows[:limit]
    told = {"object": "list", "data": page, "first_id": page[0]["id"] if page else None,
            "last_id": page[-1]["id"] if page else None, "has_more": len(rows) > limit}  # fmt: skip
    return Reply(200, headers_of(exchange), encode(told))


# ---- reading the request ---------------------------------------------------------------------------------------------


def _bad(message: str, param: str | None, code: str | None = None) -> Refused:
    return Refused(400, message, "invalid_request_error", code, param)


def _read(exchange: Exchange) -> tuple[dict[str, Any], list[Any], int]:
    """Read the body, all items (earlier turns first) and the prompt's tokens."""
    body = read_body(exchange)
    model = require(body, "model", str)
    require(body, "input", str, list)
    if body.get("background") and body.get("store") is False:
        raise _bad("Background mode requires 'store' to be true.", "store")
    check_types(body, TYPES)
    check_unknown(exchange, body, FIELDS)
    check_model(model)
    check_count(body.get("tools"), MOST_TOOLS, "tools")
    for at, tool in enumerate(body.get("tools") or []):
        if isinstance(tool, dict) and tool.get("type") in ("function", "custom"):
            check_name(tool.get("name"), f"tools[{at}].name")
    previous = body.get("previous_response_id")
    items: list[Any] = []
    if previous is not None:
        record = exchange.memory.responses.get(previous)
        if record is None:
            raise _bad(f"Previous response with id '{previous}' not found.", "previous_response_id",
                       "previous_response_not_found")  # fmt: skip
        items = [*record["items"], *record["response"]["output"]]
    items += _own_items(body)
    _check_items(exchange, items)
    tokens = brain.count(body.get("instructions") or "") + sum(_weight(item) for item in items)
    if body.get("tools"):
        tokens += brain.count(encode(body["tools"]).decode())
    check_context(exchange, tokens, "input")
    return body, items, tokens


def _own_items(body: dict[str, Any]) -> list[Any]:
    given = body["input"]
    return [{"type": "message", "role": "user", "content": given}] if isinstance(given, str) else given


def _kind(item: dict[str, Any]) -> str:
    return item.get("type") or ("message" if "role" in item else "item_reference")


def _check_items(exchange: Exchange, items: list[Any]) -> None:
    calls: dict[str, str] = {}
    answered: set[str] = set()
    known = {row.get("id") for record in exchange.memory.responses.values() for row in record["response"]["output"]}
    for at, item in enumerate(items):
        if not isinstance(item, dict):
            raise _bad(f"Invalid type for 'input[{at}]': expected an object.", f"input[{at}]", "invalid_type")
        kind = _kind(item)
        if kind == "message" and item.get("role") not in ("user", "assistant", "system", "developer"):
            raise _bad(f"Invalid value: '{item.get('role')}'. Supported values are: 'assistant', 'system', 'developer',"
                       " and 'user'.", f"input[{at}].role", "invalid_value")  # fmt: skip
        if kind in CALLS or kind in OUTPUTS:
            check_length(item.get("call_id"), LONGEST_CALL_ID, f"input[{at}].call_id")
        if kind in CALLS:
            check_name(item.get("name"), f"input[{at}].name")
            calls[item.get("call_id", "")] = CALLS[kind]
        elif kind in OUTPUTS:
            if calls.get(item.get("call_id", "")) != kind:
                noun = "custom tool call" if kind.startswith("custom") else "function call"
                raise _bad(f"No tool call found for {noun} output with call_id {item.get('call_id')}.", "input")
            answered.add(item["call_id"])
        elif kind == "reasoning":
            _check_reasoning(exchange, item, known)
        elif kind == "item_reference" and item.get("id") not in known:
            raise Refused(404, f"Item with id '{item.get('id')}' not found.", "invalid_request_error", None, "input")
    for call_id, output in calls.items():
        if call_id not in answered:
            noun = "custom tool call" if output.startswith("custom") else "function call"
            raise _bad(f"No tool output found for {noun} {call_id}.", "input")


def _check_reasoning(exchange: Exchange, item: dict[str, Any], known: set[Any]) -> None:
    sealed = item.get("encrypted_content")
    if sealed is not None:
        # The id is inside as well: an item without one (Codex sends none) is good, one with another is not.
        seal, _, name = str(sealed).rpartition(".")
        if not brain.seal_fits(exchange.script.seed, "reasoning", name, seal):
            shown = f"{str(sealed)[:4]}...{str(sealed)[-4:]}"
            raise _bad(f"The encrypted content {shown} could not be verified.", None, "invalid_encrypted_content")
        if item.get("id") not in (None, name):
            text = f"The encrypted content for item {item['id']} could not be verified. "
            text += "Reason: Encrypted content item_id"
            raise _bad(f"{text} did not match the target item id.", None, "invalid_encrypted_content")
    elif item.get("id") not in known:
        raise Refused(404, f"Item with id '{item.get('id')}' not found. Items are not persisted when `store` is set to"
                      " false. Try again with `store` set to true, or remove this item from your input.",
                      "invalid_request_error", None, "input")  # fmt: skip


def _text_of(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts = [part for part in content or [] if isinstance(part, dict)]
    return "\n".join(part["text"] for part in parts if isinstance(part.get("text"), str))


def _media_of(content: Any) -> list[str]:
    found = []
    for part in content if isinstance(content, list) else []:
        kind = part.get("type")
        if kind == "input_image":
            found.append(brain.url_label("image", part.get("image_url") or part.get("file_id") or "?"))
        elif kind == "input_file":
            data = part.get("file_data") or part.get("file_url") or part.get("file_id") or "?"
            found.append(brain.url_label("file", data) if data.startswith(("data:", "http")) else f"file ({data[:20]})")
        elif kind == "input_audio":
            sound = part.get("input_audio") or {}
            found.append(brain.media_label("audio", f"audio/{sound.get('format')}", sound.get("data", "")))
    return found


def _weight(item: dict[str, Any]) -> int:
    if _kind(item) == "message":
        content = item.get("content")
        return brain.MESSAGE_TOKENS + brain.count(_text_of(content)) + brain.MEDIA_TOKENS * len(_media_of(content))
    if _kind(item) in OUTPUTS:
        output = item.get("output")
        return brain.MESSAGE_TOKENS + brain.count(_text_of(output)) + brain.MEDIA_TOKENS * len(_media_of(output))
    return brain.MESSAGE_TOKENS + brain.count(encode(item).decode())


def _cached(exchange: Exchange, body: dict[str, Any], items: list[Any]) -> int:
    least = exchange.script.cache_min_tokens
    least, grain = (1024, 128) if least is None else (least, 1)
    total = brain.count(body.get("instructions") or "")
    key = brain.digest(body["model"], body.get("instructions"))
    cached = 0
    for item in items:
        key = brain.digest(key, encode(item).decode())
        total += _weight(item)
        if total >= least and exchange.memory.seen(f"responses:{key}"):
            cached = total // grain * grain
    return cached


def _tools(body: dict[str, Any]) -> list[Tool]:
    made = []
    for raw in body.get("tools") or []:
        kind = raw.get("type")
        if kind in ("function", "custom"):
            made.append(Tool(raw["name"], raw.get("parameters"), kind == "custom"))
        elif kind == "namespace":
            inner = [one for one in raw.get("tools") or [] if one.get("type") in ("function", "custom")]
            made += [Tool(one["name"], one.get("parameters"), one["type"] == "custom", raw["name"]) for one in inner]
    return made


def _ask(body: dict[str, Any], items: list[Any]) -> Ask:
    ask = Ask(tools=_tools(body), parallel=body.get("parallel_tool_calls") is not False)
    choice = body.get("tool_choice", "auto")
    if isinstance(choice, dict) and choice.get("type") == "allowed_tools":
        ask.choice = choice.get("mode", "auto")
        ask.only = frozenset(str(tool.get("name")) for tool in choice.get("tools") or [])
    elif isinstance(choice, dict):
        ask.choice = "required"
        ask.only = frozenset([choice["name"]]) if "name" in choice else None
        if ask.only and not any(tool.name in ask.only for tool in ask.tools):
            raise _bad(f"Tool choice '{choice['name']}' not found in 'tools' parameter.", "tool_choice")
    else:
        ask.choice = choice or "auto"
    _last_turn(ask, items)
    form = (body.get("text") or {}).get("format") or {}
    if form.get("type") == "json_schema":
        if not form.get("name"):
            raise _bad(
                "Missing required parameter: 'text.format.name'.", "text.format.name", "missing_required_parameter"
            )
        ask.schema = form.get("schema") or {}
    elif form.get("type") == "json_object":
        ask.schema = {"type": "object", "properties": {"mock": {"const": True}}, "required": ["mock"]}
    ask.max_tokens = body.get("max_output_tokens")
    reasoning = body.get("reasoning") or {}
    effort = reasoning.get("effort") or ("medium" if reasoning.get("summary") else None)
    ask.think = effort if effort != "none" else None
    return ask


def _last_turn(ask: Ask, items: list[Any]) -> None:
    """Take the tool results after the last call, and the last user message if it is the newest."""
    names = {item.get("call_id"): item.get("name", "?") for item in items if _kind(item) in CALLS}
    for item in reversed(items):
        kind = _kind(item)
        if kind in OUTPUTS:
            ask.results.insert(0, Result(names.get(item["call_id"], "?"), _text_of(item.get("output"))))
            ask.media += _media_of(item.get("output"))
        elif kind == "message" and item.get("role") == "user":
            ask.user, ask.media = _text_of(item.get("content")), _media_of(item.get("content")) + ask.media
            return
        elif ask.results:
            return
