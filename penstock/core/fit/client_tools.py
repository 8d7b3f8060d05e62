"""Anthropic's tools that the client runs are functions elsewhere, with the schemas that their documentation gives.

They are declared by a type and a name alone (``bash_20250124``, ``text_editor_*``, ``computer_*``, ``memory_*``): only
Claude knows what is in them. Calls and results have the form of any other tool's, so nothing needs to be undone.
Sources: platform.claude.com/docs/en/agents-and-tools/tool-use/ (bash-tool, text-editor-tool, computer-use-tool,
memory-tool).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec.json import Decoder, encode
from msgspec.structs import replace

from penstock.core.fit.base import Takes, Undo
from penstock.core.ir import Loss, Request, Tool

_KIND = re.compile(r"(bash|text_editor|computer|memory)_(20\d{6})")
_ANY = Decoder(dict[str, Any]).decode
_TEXT, _WHOLE = {"type": "string"}, {"type": "integer"}
_POINT = {"type": "array", "items": _WHOLE, "minItems": 2, "maxItems": 2}


def fit_client_tools(request: Request, takes: Takes, losses: list[Loss]) -> tuple[Request, Undo | None]:
    """Describe Anthropic's client tools to a target that does not know them."""
    if takes.dialect == "anthropic" or all(tool.kind == "function" for tool in request.tools):
        return request, None
    tools = tuple(_described(tool) for tool in request.tools)
    return (request if tools == request.tools else replace(request, tools=tools)), None


def _described(tool: Tool) -> Tool:
    found = _KIND.fullmatch(tool.kind)
    if found is None or tool.opaque is None or not tool.name:
        return tool
    try:
        fields = _ANY(tool.opaque.raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return tool
    description, schema = _WRITERS[found[1]](fields, found[2])
    return Tool(tool.name, description, encode(schema))


def _schema(required: list[str], properties: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required}


def _words(*words: str) -> dict[str, Any]:
    return {"type": "string", "enum": words}


_Made = tuple[str, dict[str, Any]]


def _bash(fields: Mapping[str, Any], version: str) -> _Made:
    about = "Run a command in a bash session that goes on from call to call. `restart` begins a new one."
    return about, _schema([], {"command": _TEXT, "restart": {"type": "boolean"}})


def _text_editor(fields: Mapping[str, Any], version: str) -> _Made:
    commands = ["view", "create", "str_replace", "insert"]
    if version < "20250429":
        commands.append("undo_edit")
    inserted = "new_str" if version < "20250728" and fields.get("name") == "str_replace_editor" else "insert_text"
    about = (
        "View, create and edit files. `view` shows a file, or the lines of `view_range`, or lists a folder; `create` "
        "writes `file_text`; `str_replace` replaces `old_str`, which must occur exactly once, by `new_str`; `insert` "
        f"puts `{inserted}` behind the line `insert_line` (0: at the beginning)."
    )
    properties = {
        "command": _words(*commands),
        "path": _TEXT,
        "view_range": _POINT,
        "file_text": _TEXT,
        "old_str": _TEXT,
        "new_str": _TEXT,
        "insert_line": _WHOLE,
        inserted: _TEXT,
    }
    return about, _schema(["command", "path"], properties)


def _memory(fields: Mapping[str, Any], version: str) -> _Made:
    about = (
        "Keep notes in files below /memories, which stay from one conversation to the next. Look there before a task. "
        "`view`, `create` (`file_text`), `str_replace` (`old_str`, `new_str`), `insert` (`insert_line`, "
        "`insert_text`), `delete`, `rename` (`old_path`, `new_path`)."
    )
    texts = ("path", "file_text", "old_str", "new_str", "insert_text", "old_path", "new_path")
    commands = _words("view", "create", "str_replace", "insert", "delete", "rename")
    properties = {"command": commands, **dict.fromkeys(texts, _TEXT), "insert_line": _WHOLE, "view_range": _POINT}
    return about, _schema(["command"], properties)


_ACTIONS = ("key", "type", "mouse_move", "left_click", "left_click_drag", "right_click", "middle_click")
_MORE = ("double_click", "screenshot", "cursor_position")
_LATER = ("left_mouse_down", "left_mouse_up", "scroll", "hold_key", "wait", "triple_click")


def _computer(fields: Mapping[str, Any], version: str) -> _Made:
    wide, high = fields.get("display_width_px"), fields.get("display_height_px")
    about = (
        f"Use a computer's screen ({wide} by {high} pixels), mouse and keyboard. Take a screenshot to see what is "
        "there, and again after an action to see what it did. `coordinate` is [x, y] from the top left."
    )
    actions = [*_ACTIONS, *_MORE]
    properties: dict[str, Any] = {"coordinate": _POINT, "start_coordinate": _POINT, "text": _TEXT}
    if version >= "20250124":
        actions += _LATER
        properties |= {
            "scroll_direction": _words("up", "down", "left", "right"),
            "scroll_amount": _WHOLE,
            "duration": {"type": "number", "description": "Seconds, for wait and hold_key."},
        }
    if version >= "20251124" and fields.get("enable_zoom"):
        actions.append("zoom")
        properties["region"] = {**_POINT, "minItems": 4, "maxItems": 4}
    return about, _schema(["action"], {"action": _words(*actions), **properties})


_WRITERS: Mapping[str, Callable[[Mapping[str, Any], str], _Made]] = {
    "bash": _bash,
    "text_editor": _text_editor,
    "computer": _computer,
    "memory": _memory,
}
