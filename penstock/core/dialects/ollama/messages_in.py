"""``messages`` of /api/chat to turns, one ``Message`` each.

Calls had no ids for years, and results told at most the name of their tool: both get ids here, the same for the same
request, so that dialects which want them can be served.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping

from msgspec import Raw

from penstock.core.dialects.ollama.names import MESSAGE, NAME, media_type
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
    wrong,
)
from penstock.core.errors import GatewayError
from penstock.core.ir import Base64, Block, Image, Message, Opaque, Role, Text, Thinking, ToolResult, ToolUse

_KNOWN = frozenset(("role", "content", "thinking", "images", "tool_calls", "tool_name", "tool_call_id"))
_ROLES: dict[str, Role] = {"user": "user", "system": "system", "assistant": "assistant", "developer": "developer"}


def read_turns(raw: Raw) -> tuple[Message, ...]:
    """Read the whole ``messages`` array; an empty one loads a model and is allowed. Raises "bad_request" naming the
    place."""
    reader = _Reader()
    return tuple(reader.turn(fields, place) for place, fields in enumerate(mappings(raw, "messages")))


class _Reader:
    """A reader of turns; it remembers the calls that wait for their results, in order, by id and by name. A call is
    taken out of one table at a time, so that a turn of many costs no search through all of them: ``_open`` tells."""

    __slots__ = ("_by_id", "_by_name", "_open", "_order")

    def __init__(self) -> None:
        self._wait(())

    def _wait(self, calls: Iterable[ToolUse]) -> None:
        self._open: set[int] = set()  # places in the turn of the calls that still wait
        self._order: deque[tuple[int, str]] = deque()
        self._by_id: dict[str, deque[tuple[int, str]]] = {}
        self._by_name: dict[str, deque[tuple[int, str]]] = {}
        for place, call in enumerate(calls):
            waits = (place, call.id)
            self._open.add(place)
            self._order.append(waits)
            self._by_id.setdefault(call.id, deque()).append(waits)
            self._by_name.setdefault(call.name, deque()).append(waits)

    def _take(self, queue: deque[tuple[int, str]] | None) -> str | None:
        """Take the first call of a queue that still waits, and return its id."""
        while queue:
            place, id = queue.popleft()
            if place in self._open:
                self._open.discard(place)
                return id
        return None

    def turn(self, fields: dict[str, Raw], place: int) -> Message:
        path = f"messages[{place}]"
        role = text(needed(fields, "role", path, '"system", "user", "assistant" or "tool"'), f"{path}.role")
        if role == "tool":
            return Message("user", (self._result(fields, path, place),))
        known = _ROLES.get(role)
        if known is None:
            message = f'\'{path}.role\' is {role!r}; it must be "system", "user", "assistant" or "tool".'
            raise GatewayError("bad_request", message, param=f"{path}.role")
        blocks = _unknown(fields)
        if thought := optional_text(fields, "thinking", path):
            blocks.append(Thinking(thought))
        blocks += _content(fields, path)
        if (raw := present(fields, "tool_calls")) is not None:
            calls = [read_call(call, f"{path}.tool_calls[{n}]", f"call_{place}_{n}") for n, call in _each(raw, path)]
            self._wait(calls)
            blocks += calls
        return Message(known, tuple(blocks))

    def _result(self, fields: dict[str, Raw], path: str, place: int) -> ToolResult:
        """Read a result, and find the call it answers: by id, else the first that waits under its name, else the first
        that waits."""
        id, name = optional_text(fields, "tool_call_id", path), optional_text(fields, "tool_name", path)
        if id:
            self._take(self._by_id.get(id))
        else:
            found = self._take(self._by_name.get(name))
            id = (self._take(self._order) if found is None and not name else found) or ""
        return ToolResult(id or f"call_{place}", (*_unknown(fields), *_content(fields, path)))


def _each(raw: Raw, path: str) -> list[tuple[int, dict[str, Raw]]]:
    return list(enumerate(mappings(raw, f"{path}.tool_calls")))


def _unknown(fields: Mapping[str, Raw]) -> list[Block]:
    if fields.keys() <= _KNOWN:
        return []
    return [
        Opaque(NAME, MESSAGE + key, bytes(raw)) for key, raw in fields.items() if key not in _KNOWN and not absent(raw)
    ]


def _content(fields: Mapping[str, Raw], path: str) -> list[Block]:
    out: list[Block] = []
    if body := optional_text(fields, "content", path):
        out.append(Text(body))
    if (raw := present(fields, "images")) is not None:
        out += read_images(raw, f"{path}.images")
    return out


def read_images(raw: Raw, path: str) -> list[Block]:
    """Read a list of base64 texts; a data URI is taken for what it holds."""
    out: list[Block] = []
    for place, item in enumerate(items(raw, path)):
        data = text(item, f"{path}[{place}]")
        if data.startswith("data:") and ";base64," in data:
            head, _, data = data[5:].partition(";base64,")
            out.append(Image(Base64(head, data)))
        else:
            out.append(Image(Base64(media_type(data), data)))
    return out


def read_call(call: Mapping[str, Raw], path: str, id: str) -> ToolUse:
    """Read an element of ``tool_calls``; ``id`` is for one that brings none. Arguments are an object; its text is
    kept."""
    inner = mapping(needed(call, "function", path, "an object with name and arguments"), f"{path}.function")
    name = text(needed(inner, "name", f"{path}.function", "the name of the function"), f"{path}.function.name")
    return ToolUse(
        optional_text(call, "id", path) or id, name, arguments(inner.get("arguments"), f"{path}.function.arguments")
    )


def arguments(raw: Raw | None, path: str) -> str:
    """Return the text of the arguments' object; OpenAI's form, a string that holds it, is understood too."""
    if raw is None or absent(raw):
        return "{}"
    if opens(raw, "{"):
        return bytes(raw).decode()
    if opens(raw, '"'):
        return text(raw, path) or "{}"
    raise wrong(path, raw, "an object")
