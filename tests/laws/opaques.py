"""What only one dialect knows: blocks, fields, tools, and fields of function tools, as the vendors' references show
them."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from hypothesis import strategies as st
from msgspec.structs import replace

from penstock.core.ir import Opaque, Tool


def opaque_of(table: dict[str, dict[str, Any]], dialect: str) -> st.SearchStrategy[Opaque]:
    rows = table.get(dialect, {})
    return st.sampled_from([Opaque(dialect, kind, json.dumps(value).encode()) for kind, value in rows.items()])


# Blocks of an assistant's turn that only their own dialect knows, as the vendors' references show them.
OPAQUE_BLOCKS: dict[str, dict[str, Any]] = {
    "anthropic": {
        "server_tool_use": {
            "type": "server_tool_use",
            "id": "srvtoolu_1",
            "name": "web_search",
            "input": {"query": "x"},
        },
        "web_search_tool_result": {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []},
    },
    "openai_responses": {
        "web_search_call": {
            "type": "web_search_call",
            "id": "ws_1",
            "status": "completed",
            "action": {"type": "search", "query": "x"},
        },
    },
}
# Top-level request fields that only their own dialect knows.
OPAQUE_FIELDS: dict[str, dict[str, Any]] = {
    "anthropic": {"container": "container_1", "context_management": {"edits": []}},
    "openai_responses": {"truncation": "auto", "max_tool_calls": 3},
    "openai_chat": {"prediction": {"type": "content", "content": "x\u2028"}, "modalities": ["text"], "min_p": 0.10},
}


@cache
def opaque_blocks(dialects: tuple[str, ...] = tuple(OPAQUE_BLOCKS)) -> st.SearchStrategy[Opaque]:
    return st.one_of([opaque_of(OPAQUE_BLOCKS, dialect) for dialect in dialects])


@cache
def opaque_fields(dialects: tuple[str, ...] = tuple(OPAQUE_FIELDS)) -> st.SearchStrategy[Opaque]:
    return st.one_of([opaque_of(OPAQUE_FIELDS, dialect) for dialect in dialects])


# Tools that are no functions, whole, by dialect.
OPAQUE_TOOLS: dict[str, dict[str, Any]] = {
    "anthropic": {"web_search_20250305": {"type": "web_search_20250305", "name": "web_search", "max_uses": 5}},
    "openai_responses": {"web_search": {"type": "web_search", "search_context_size": "low"}},
    "openai_chat": {"custom": {"type": "custom", "custom": {"name": "grep", "format": {"type": "text"}}}},
}


# Function tools with a field more: what is understood of each, and all of it.
OPAQUE_FUNCTIONS: dict[str, tuple[Tool, dict[str, Any]]] = {
    "anthropic": (
        Tool("find", "finds", b'{"type": "object"}'),
        {"name": "find", "description": "finds", "input_schema": {"type": "object"}, "defer_loading": True},
    ),
    "openai_responses": (
        Tool("find", "finds", b'{"type": "object"}', True),
        {
            "type": "function",
            "name": "find",
            "description": "finds",
            "parameters": {"type": "object"},
            "strict": True,
            "defer_loading": True,
        },
    ),
    "openai_chat": (
        Tool("find", "finds", b'{"type": "object"}'),
        {
            "type": "function",
            "function": {"name": "find", "description": "finds", "parameters": {"type": "object"}, "cached": 1},
        },
    ),
}


@cache
def opaque_tools(dialects: tuple[str, ...] = tuple(OPAQUE_TOOLS)) -> st.SearchStrategy[Tool]:
    rows = []
    for dialect in dialects:
        for kind, value in OPAQUE_TOOLS[dialect].items():
            name = value.get("name") or value.get(kind, {}).get("name", "")
            rows.append(Tool(name, kind=kind, opaque=Opaque(dialect, kind, json.dumps(value).encode())))
        tool, value = OPAQUE_FUNCTIONS[dialect]
        kind = "custom" if dialect == "anthropic" else "function"
        rows.append(replace(tool, opaque=Opaque(dialect, kind, json.dumps(value).encode())))
    return st.sampled_from(rows)
