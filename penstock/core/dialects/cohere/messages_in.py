"""``messages`` of ``/v2/chat`` to turns, one ``Message`` each. Results of calls are messages of role ``tool``."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Raw

from penstock.core.dialects.cohere.citations import attached
from penstock.core.dialects.cohere.names import MESSAGE, NAME, plan_seal
from penstock.core.dialects.openai_chat.reading import (
    absent,
    items,
    mapping,
    mappings,
    needed,
    opens,
    optional_text,
    present,
    text,
)
from penstock.core.errors import GatewayError
from penstock.core.ir import Base64, Block, Image, Message, Opaque, Role, Text, Thinking, ToolResult, ToolUse, Url

_KNOWN: Mapping[str, frozenset[str]] = {
    "system": frozenset(("role", "content")),
    "user": frozenset(("role", "content")),
    "assistant": frozenset(("role", "content", "tool_plan", "tool_calls", "citations")),
    "tool": frozenset(("role", "content", "tool_call_id")),
}
_ROLES: Mapping[str, Role] = {"system": "system", "user": "user", "assistant": "assistant"}
_WANT = '"system", "user", "assistant" or "tool"'


def read_turns(raw: Raw) -> tuple[Message, ...]:
    """Read the whole ``messages`` array. Raises "bad_request" naming the place."""
    return tuple(_turn(fields, f"messages[{place}]") for place, fields in enumerate(mappings(raw, "messages")))


def _turn(fields: dict[str, Raw], path: str) -> Message:
    role = text(needed(fields, "role", path, _WANT), f"{path}.role")
    known = _KNOWN.get(role)
    if known is None:
        raise GatewayError("bad_request", f"'{path}.role' is {role!r}; it must be {_WANT}.", param=f"{path}.role")
    own: list[Block] = [
        Opaque(NAME, MESSAGE + key, bytes(raw)) for key, raw in fields.items() if key not in known and not absent(raw)
    ]
    content = read_content(present(fields, "content"), f"{path}.content")
    if role == "tool":
        id = text(needed(fields, "tool_call_id", path, "the id of the call"), f"{path}.tool_call_id")
        return Message("user", (ToolResult(id, (*own, *content)),))
    if role == "assistant":
        return Message("assistant", (*own, *read_said(fields, content, path)[0]))
    return Message(_ROLES[role], (*own, *content))


def read_said(fields: Mapping[str, Raw], content: list[Block], path: str) -> tuple[list[Block], list[Raw]]:
    """Read an assistant's blocks: the plan, the content with its citations, the calls; and the citations that are about
    no text."""
    out: list[Block] = []
    if plan := optional_text(fields, "tool_plan", path):
        out.append(Thinking(plan, plan_seal()))
    rest: list[Raw] = []
    if (raw := present(fields, "citations")) is not None:
        content, rest = attached(content, items(raw, f"{path}.citations"))
    out += content
    if (raw := present(fields, "tool_calls")) is not None:
        out += [
            read_call(call, f"{path}.tool_calls[{n}]")
            for n, call in enumerate(mappings(raw, f"{path}.tool_calls"))
        ]
    return out, rest


def read_content(raw: Raw | None, path: str) -> list[Block]:
    """Read a content: a text, or a list of parts. Empty texts are left out."""
    if raw is None:
        return []
    if opens(raw, '"'):
        body = text(raw, path)
        return [Text(body)] if body else []
    out: list[Block] = []
    for place, item in enumerate(items(raw, path)):
        out += _part(item, f"{path}[{place}]")
    return out


def _part(raw: Raw, path: str) -> list[Block]:
    if opens(raw, '"'):  # the client's own form for texts in a list
        body = text(raw, path)
        return [Text(body)] if body else []
    fields = mapping(raw, path)
    kind = text(needed(fields, "type", path, "the kind of part"), f"{path}.type")
    if kind == "text" and fields.keys() <= {"type", "text"}:
        body = optional_text(fields, "text", path)
        return [Text(body)] if body else []
    if kind == "thinking" and fields.keys() <= {"type", "thinking"}:
        body = optional_text(fields, "thinking", path)
        return [Thinking(body)] if body else []
    if kind == "image_url" and fields.keys() <= {"type", "image_url"}:
        inner = mapping(needed(fields, "image_url", path, "an object with a url"), f"{path}.image_url")
        if inner.keys() <= {"url", "detail"}:
            return [_image(inner, f"{path}.image_url")]
    return [Opaque(NAME, kind, bytes(raw))]


def _image(fields: dict[str, Raw], path: str) -> Image:
    url = text(needed(fields, "url", path, "an address or a data URI"), f"{path}.url")
    detail = optional_text(fields, "detail", path)
    if url.startswith("data:") and ";base64," in url:
        head, _, data = url[5:].partition(";base64,")
        return Image(Base64(head, data), detail)
    return Image(Url(url), detail)


def read_call(fields: Mapping[str, Raw], path: str) -> ToolUse:
    """Read an element of ``tool_calls``. Models write null for the arguments of a function that has none."""
    inner = mapping(needed(fields, "function", path, "an object with name and arguments"), f"{path}.function")
    name = text(needed(inner, "name", f"{path}.function", "the function's name"), f"{path}.function.name")
    return ToolUse(optional_text(fields, "id", path), name, whole_args(inner.get("arguments"), path))


def whole_args(raw: Raw | None, path: str) -> str:
    """Return the text of a call's arguments; an object where the text of one is wanted is taken as it stands."""
    if raw is None or absent(raw):
        return "{}"
    told = text(raw, f"{path}.function.arguments") if opens(raw, '"') else bytes(raw).decode()
    return "{}" if told in ("", "null") else told
