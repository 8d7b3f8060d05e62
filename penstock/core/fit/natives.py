"""A vendor's own tools that stand in a Chat request are its own again where the vendor is asked.

LiteLLM's callers put Anthropic's, Google's and OpenAI's server tools into Chat's list as they are
(docs.litellm.ai/docs/providers/anthropic, .../gemini, "Tool Calling"). For any other target they stay Chat's, and are
fitted or lost like all tools of a foreign form.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec.json import Decoder, encode
from msgspec.structs import replace

from penstock.core.fit.base import Takes, Undo
from penstock.core.ir import Loss, Opaque, Request, Tool

_CHAT = "openai_chat"
_OWN: Mapping[str, re.Pattern[str]] = {
    "anthropic": re.compile(
        r"(?:bash|text_editor|computer|memory|web_search|web_fetch|code_execution|tool_search_tool_[a-z0-9]+)_20\d{6}"
    ),
    "gemini": re.compile(
        r"googleSearch|google_search|googleSearchRetrieval|google_search_retrieval|enterpriseWebSearch|"
        r"enterprise_web_search|urlContext|url_context|codeExecution|code_execution|googleMaps|google_maps|"
        r"computerUse|computer_use|fileSearch|file_search"
    ),
    "openai_responses": re.compile(
        r"web_search(?:_preview)?(?:_20\d\d_\d\d_\d\d)?|file_search|code_interpreter|image_generation|mcp|local_shell|"
        r"shell|apply_patch|computer(?:_use_preview)?|namespace|tool_search"
    ),
}
_ANY = Decoder(dict[str, Any]).decode


def fit_natives(request: Request, takes: Takes, losses: list[Loss]) -> tuple[Request, Undo | None]:
    """Take the target's own tools out of a Chat request's list as what they are."""
    own = _OWN.get(takes.dialect)
    if own is None or request.dialect != _CHAT or all(tool.kind == "function" for tool in request.tools):
        return request, None
    tools = tuple(
        _native(tool, takes.dialect) if tool.kind != "function" and own.fullmatch(tool.kind) else tool
        for tool in request.tools
    )
    return replace(request, tools=tools), None


def _native(tool: Tool, dialect: str) -> Tool:
    opaque = tool.opaque
    if opaque is None or opaque.dialect != _CHAT:
        return tool
    raw, name = opaque.raw, tool.name
    try:
        fields = _ANY(raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return tool
    nested = fields.get("function")
    if isinstance(nested, dict):  # LiteLLM's form of Anthropic's computer: its settings are the function's parameters
        settings = nested.get("parameters")
        flat = {"type": fields.get("type"), "name": nested.get("name")}
        raw = encode({**flat, **(settings if isinstance(settings, dict) else {})})
        name = str(nested.get("name") or name)
    return replace(tool, name=name, opaque=Opaque(dialect, opaque.kind, raw))
