"""Tools of the Responses API that the client runs, and the vendor describes: a function's words for each.

``local_shell``, ``shell``, ``apply_patch`` and ``tool_search`` are declared by their type alone, called in items of
their own, and answered in others. Sources: platform.openai.com/docs/guides/tools-local-shell, .../tools-shell,
.../tools-apply-patch, .../tools-tool-search, and the ``openai`` client's types of the items.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import Raw, Struct
from msgspec.json import Decoder, encode

from penstock.core.ir import Tool

_FIELDS = Decoder(dict[str, Raw]).decode
_ANY = Decoder(dict[str, Any]).decode
_VALUE = Decoder(Any).decode
_BAD = (msgspec.DecodeError, UnicodeError, RecursionError)


class Builtin(Struct, frozen=True):
    """One such tool. ``call`` and ``output``: the types of its items. ``holds``: the field of a call that has what it
    is called with; ``fixed``: what that field has beside it. ``local``: tells of a declared tool whether the client
    runs it."""

    kind: str
    description: str
    schema: bytes
    call: str
    output: str
    holds: str
    fixed: Mapping[str, Any]
    local: Callable[[Mapping[str, Raw]], bool]

    def tool(self, declared: bytes) -> Tool | None:
        """Make the function that stands in for the declared tool; None for one that the vendor runs."""
        fields = _FIELDS(declared)
        if not self.local(fields):
            return None
        schema, description = self.schema, self.description
        if "parameters" in fields and bytes(fields["parameters"])[:1] == b"{":
            schema = bytes(fields["parameters"])
        if bytes(fields.get("description", b""))[:1] == b'"':
            description = str(_VALUE(fields["description"])) or description
        return Tool(self.kind, description, schema)

    def args(self, item: Mapping[str, Raw]) -> str:
        """Return a call's arguments."""
        try:
            inner = _ANY(item.get(self.holds, b"{}"))
        except _BAD:
            return "{}"
        kept = {key: value for key, value in inner.items() if value is not None and value != self.fixed.get(key)}
        return encode(kept).decode()

    def item(self, id: str, args: str) -> bytes | None:
        """Return the item of a call with these arguments; None where they are no object."""
        try:
            inner = _ANY(args or "{}")
        except _BAD:
            return None
        made = {"type": self.call, "id": f"{self.call}_{id}", "call_id": id, self.holds: {**self.fixed, **inner}}
        if self.kind == "tool_search":
            made["execution"] = "client"
        return encode({**made, "status": "completed"})


def told(item: Mapping[str, Raw]) -> tuple[str, bool]:
    """Return the words of an output item, and whether it says that the call failed."""
    failed = bytes(item.get("status", b"")) in (b'"failed"', b'"incomplete"')
    raw = item.get("output")
    if raw is None or bytes(raw) == b"null":
        return "", failed
    value = _VALUE(raw)
    if isinstance(value, str):
        return value, failed
    lines: list[str] = []
    for part in value if isinstance(value, list) else ():
        if isinstance(part, dict):
            lines += [text for key in ("stdout", "stderr", "text") if isinstance(text := part.get(key), str) and text]
            outcome = part.get("outcome")
            if isinstance(outcome, dict):
                code = outcome.get("exit_code")
                lines.append(f"[exit code {code}]" if code is not None else f"[{outcome.get('type')}]")
    return "\n".join(lines) if lines else bytes(raw).decode(), failed


def _always(fields: Mapping[str, Raw]) -> bool:
    return True


def _on_the_client(fields: Mapping[str, Raw]) -> bool:
    """Tell whether a shell is the client's own: its environment is no container of the vendor's."""
    raw = fields.get("environment")
    if raw is None or bytes(raw) == b"null":
        return True
    return bytes(_FIELDS(raw).get("type", b"")) == b'"local"'


def _searched_by_client(fields: Mapping[str, Raw]) -> bool:
    return bytes(fields.get("execution", b"")) == b'"client"'


def _schema(required: list[str], **properties: dict[str, Any]) -> bytes:
    made = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    return encode(made)


_TEXT, _WHOLE = {"type": "string"}, {"type": "integer"}
_TEXTS = {"type": "array", "items": _TEXT}
_ROWS = (
    Builtin(
        "local_shell",
        "Run a command on the user's computer and return its output.",
        _schema(
            ["command"],
            command={**_TEXTS, "description": "The program and its arguments."},
            working_directory=_TEXT,
            timeout_ms=_WHOLE,
            env={"type": "object", "additionalProperties": _TEXT},
        ),
        "local_shell_call",
        "local_shell_call_output",
        "action",
        {"type": "exec", "env": {}},
        _always,
    ),
    Builtin(
        "shell",
        "Run shell commands on the user's computer and return their output.",
        _schema(["commands"], commands=_TEXTS, timeout_ms=_WHOLE, max_output_length=_WHOLE),
        "shell_call",
        "shell_call_output",
        "action",
        {},
        _on_the_client,
    ),
    Builtin(
        "apply_patch",
        "Create, update or delete a file. The diff is in V4A form: lines that begin with a space, + or -, with @@ "
        "before each part that changes; of a new file every line begins with +.",
        _schema(
            ["type", "path"],
            type={"type": "string", "enum": ["create_file", "update_file", "delete_file"]},
            path=_TEXT,
            diff={**_TEXT, "description": "What changes. Not for delete_file."},
        ),
        "apply_patch_call",
        "apply_patch_call_output",
        "operation",
        {},
        _always,
    ),
    Builtin(
        "tool_search",
        "Search for tools that are not loaded yet. Those that are found can be called afterwards.",
        _schema(["query"], query=_TEXT, limit=_WHOLE),
        "tool_search_call",
        "tool_search_output",
        "arguments",
        {},
        _searched_by_client,
    ),
)
BUILTIN: Mapping[str, Builtin] = {row.kind: row for row in _ROWS}
CALLS: Mapping[str, Builtin] = {row.call: row for row in _ROWS}
OUTPUTS: Mapping[str, Builtin] = {row.output: row for row in _ROWS}
