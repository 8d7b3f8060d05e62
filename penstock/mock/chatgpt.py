"""ChatGPT's Codex backend, `POST /backend-api/codex/responses`: Responses for subscribers, and a narrow form of it.

What LiteLLM's `chatgpt/` models are asked by. Its maker does not document it; ENTERPILOT/GoModel#718 has what was seen
at the live service: only streams, nothing stored, a list as input, few fields. Refusals are `{"detail": ...}`."""

from __future__ import annotations

from typing import Any

import msgspec

from penstock.mock import openai_responses
from penstock.mock.reply import Exchange, Reply, encode

ROOT = "/backend-api/codex"
FIELDS = frozenset(
    "model instructions input tools tool_choice parallel_tool_calls reasoning store stream include prompt_cache_key"
    " text client_metadata".split()
)


def reply(exchange: Exchange) -> Reply:
    """Answer as Responses does, once the backend's own rules are kept."""
    fault = _fault(exchange.raw)
    if fault:
        return Reply(400, [], encode({"detail": fault}))
    return openai_responses.reply(exchange)


def _fault(raw: bytes) -> str:
    try:
        body: Any = msgspec.json.decode(raw)
    except msgspec.DecodeError as exc:
        return f"Invalid JSON: {exc}"
    if not isinstance(body, dict):
        return "Input should be a valid dictionary"
    strange = sorted(set(body) - FIELDS)
    if strange:
        return f"Unsupported parameter: {strange[0]}"
    if body.get("stream") is not True:
        return "Stream must be set to true"
    if body.get("store") is not False:
        return "Store must be set to false"
    if not isinstance(body.get("input"), list):
        return "Input must be a list"
    return "" if body.get("instructions") else "Instructions are required"
