"""Is a relayed answer the upstream's answer? Counts the semantic differences, each under a name.

Chat streams: `text`, `role`, `finish`, `usage`, `model`, `tool_calls`, `chunks` (not 64), `done` (no `[DONE]`).
Messages streams made from a Chat upstream: `start`, `order`, `text`, `tool_calls`, `finish`, `usage`, `done`.
"""

from __future__ import annotations

import json
from typing import Any

from bench import payloads

TOOLS = [{"id": i, "name": n, "arguments": a} for i, n, a in payloads.TOOL_CALLS]
# Not faults of meaning: an arm may merge two chunks, or name the model as the upstream does.
TOLERATED = frozenset({"chunks", "model"})


def events(body: bytes) -> list[bytes]:
    """The `data` of each server-sent event, comments and pings of the wire left out."""
    out = []
    for block in body.replace(b"\r\n", b"\n").split(b"\n\n"):
        data = b"\n".join(line[5:].lstrip() for line in block.split(b"\n") if line.startswith(b"data:"))
        if data:
            out.append(data)
    return out


def chat_stream(body: bytes, model: str, *, tools: bool = False) -> list[str]:
    """Faults of a whole Chat Completions stream (head and transfer coding already taken off)."""
    found = events(body)
    faults = [] if found and found[-1] == b"[DONE]" else ["done"]
    try:
        chunks: list[dict[str, Any]] = [json.loads(e) for e in found if e != b"[DONE]"]
    except ValueError:
        return ["json", *faults]
    text, role, finish, usage = "", None, None, None
    calls: dict[int, dict[str, Any]] = {}
    for chunk in chunks:
        usage = chunk.get("usage") or usage
        for choice in chunk.get("choices") or []:
            delta = choice.get("delta") or {}
            text += delta.get("content") or ""
            role = role or delta.get("role")
            finish = choice.get("finish_reason") or finish
            for call in delta.get("tool_calls") or []:
                seen = calls.setdefault(call["index"], {"id": None, "name": None, "arguments": ""})
                function = call.get("function") or {}
                seen["id"] = seen["id"] or call.get("id")
                seen["name"] = seen["name"] or function.get("name")
                seen["arguments"] += function.get("arguments") or ""
    checks = {
        "chunks": len(chunks) == payloads.CHUNKS,
        "text": text == (payloads.TOOL_TEXT if tools else payloads.STREAM_TEXT),
        "role": role == "assistant",
        "finish": finish == ("tool_calls" if tools else "stop"),
        "usage": _counts(usage, "prompt_tokens", "completion_tokens") == (41, 61),
        "model": all(chunk.get("model") == model for chunk in chunks),
        "tool_calls": _parsed(list(calls.values())) == (TOOLS if tools else []),
    }
    return faults + [name for name, ok in checks.items() if not ok]


def chat_whole(body: bytes, model: str) -> list[str]:
    """Faults of a whole Chat Completions answer to a request without tools."""
    try:
        answer = json.loads(body)
        choice = answer["choices"][0]
        checks = {
            "text": choice["message"]["content"] == payloads.WHOLE_TEXT,
            "role": choice["message"]["role"] == "assistant",
            "finish": choice["finish_reason"] == "stop",
            "usage": _counts(answer["usage"], "prompt_tokens", "completion_tokens") == (41, 61),
            "model": answer["model"] == model,
        }
    except (ValueError, KeyError, IndexError, TypeError):
        return ["json"]
    return [name for name, ok in checks.items() if not ok]


def messages_whole(body: bytes) -> list[str]:
    """Faults of a whole Messages answer made from the mock's Chat answer with tool calls."""
    try:
        answer = json.loads(body)
        blocks = answer["content"]
        calls = [{"id": b["id"], "name": b["name"], "arguments": b["input"]} for b in blocks if b["type"] == "tool_use"]
        checks = {
            "text": "".join(b["text"] for b in blocks if b["type"] == "text") == payloads.TOOL_TEXT,
            "tool_calls": calls == TOOLS,
            "role": answer["role"] == "assistant" and answer["type"] == "message",
            "finish": answer["stop_reason"] == "tool_use",
            "usage": _counts(answer["usage"], "input_tokens", "output_tokens") == (41, 61),
        }
    except (ValueError, KeyError, IndexError, TypeError):
        return ["json"]
    return [name for name, ok in checks.items() if not ok]


def messages_stream(body: bytes) -> list[str]:
    """Faults of a whole Messages stream made from the mock's Chat stream with tool calls."""
    try:
        found: list[dict[str, Any]] = [json.loads(e) for e in events(body)]
        return _messages_events([e for e in found if e.get("type") != "ping"])
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        return ["json"]


def _messages_events(found: list[dict[str, Any]]) -> list[str]:
    kinds = [e["type"] for e in found]
    blocks: list[dict[str, Any]] = []
    open_index: int | None = None
    order, finish = True, None
    usage: dict[str, Any] = {}
    for event in found:
        kind = event["type"]
        if kind == "message_start":
            usage |= event["message"].get("usage") or {}
        elif kind == "content_block_start":
            order &= open_index is None and event["index"] == len(blocks)
            open_index = event["index"]
            blocks.append({**event["content_block"], "json": "", "text": event["content_block"].get("text", "")})
        elif kind == "content_block_delta":
            order &= event["index"] == open_index
            delta = event["delta"]
            wanted = {"text": "text_delta", "tool_use": "input_json_delta"}.get(blocks[event["index"]]["type"])
            order &= delta["type"] == wanted
            blocks[event["index"]]["text"] += delta.get("text", "")
            blocks[event["index"]]["json"] += delta.get("partial_json", "")
        elif kind == "content_block_stop":
            order &= event["index"] == open_index
            open_index = None
        elif kind == "message_delta":
            finish = event["delta"].get("stop_reason") or finish
            usage |= {k: v for k, v in (event.get("usage") or {}).items() if v is not None}
    calls = [{"id": b["id"], "name": b["name"], "arguments": b["json"]} for b in blocks if b["type"] == "tool_use"]
    checks = {
        "done": kinds[-1:] == ["message_stop"],
        "start": kinds[:1] == ["message_start"] and kinds.count("message_start") == 1,
        "order": order and open_index is None and kinds.count("message_stop") <= 1,
        "text": "".join(b["text"] for b in blocks if b["type"] == "text") == payloads.TOOL_TEXT,
        "tool_calls": _parsed(calls) == TOOLS,
        "finish": finish == "tool_use",
        "usage": _counts(usage, "input_tokens", "output_tokens") == (41, 61),
    }
    return [name for name, ok in checks.items() if not ok]


def _parsed(calls: list[dict[str, Any]]) -> list[dict[str, Any]]:
    out = []
    for call in calls:
        try:
            out.append({**call, "arguments": json.loads(call["arguments"])})
        except ValueError:
            out.append(call)
    return out


def _counts(usage: Any, *names: str) -> tuple[Any, ...]:
    return tuple((usage or {}).get(name) for name in names)
