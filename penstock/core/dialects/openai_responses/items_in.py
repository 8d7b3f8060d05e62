"""``input`` items to turns, and ``output`` items to an answer's blocks.

Items are flat, turns are not: reasoning, an assistant's message and the calls that follow it are one assistant turn;
outputs of calls in a row are one user turn. An item's own ``id`` and ``status`` are bookkeeping of the vendor's store
and are not kept (a thought's id is: it stands for what the vendor stored). Every other unknown field is.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Raw

from penstock.core.dialects.carried import bound
from penstock.core.dialects.openai_chat.reading import (
    absent,
    items,
    mapping,
    needed,
    opens,
    present,
    text,
    wrong,
)
from penstock.core.dialects.openai_responses.compaction import KINDS as COMPACTIONS
from penstock.core.dialects.openai_responses.compaction import read_summary
from penstock.core.dialects.openai_responses.names import ITEM_FIELDS, NAME
from penstock.core.dialects.openai_responses.parts import beside, left_over, read_content
from penstock.core.dialects.openai_responses.reasoning import KNOWN, read_reasoning
from penstock.core.errors import GatewayError
from penstock.core.ir import Block, Message, Opaque, Role, Text, Thinking, ToolResult, ToolUse

ROLES: dict[str, Role] = {"user": "user", "assistant": "assistant", "system": "system", "developer": "developer"}
_USERS = frozenset(("mcp_approval_response", "compaction_trigger", "item_reference", "additional_tools"))


def read_input(raw: Raw) -> tuple[Message, ...]:
    """Read the ``input`` of a request: a string or an array of items."""
    if opens(raw, '"'):
        return (Message("user", (Text(text(raw, "input")),)),)
    if not opens(raw, "["):
        raise wrong("input", raw, "a string or an array of items")
    turns = _Turns()
    for place, item in enumerate(items(raw, "input")):
        turns.add(item, f"input[{place}]")
    return turns.done()


class _Turns:
    """Turns being gathered. ``_open``: the blocks of the turn that may still grow."""

    __slots__ = ("_joins", "_open", "_out", "_role")

    def __init__(self) -> None:
        self._out: list[Message] = []
        self._open: list[Block] = []
        self._role: Role = "user"
        self._joins = False

    def add(self, raw: Raw, path: str) -> None:
        item = mapping(raw, path)
        kind = item_type(item, path)
        if kind == "message":
            role = _role(item, path)
            self._put(role, read_message(item, path), role == "assistant")
            return
        reader = READERS.get(kind)
        blocks = None if reader is None else reader(item, path)
        user = kind in _USERS or kind.endswith("_output") or (blocks is not None and kind in COMPACTIONS)
        self._put("user" if user else "assistant", blocks or [Opaque(NAME, kind, bytes(raw))], True)

    def _put(self, role: Role, blocks: list[Block], joins: bool) -> None:
        if joins and self._joins and role == self._role:
            self._open.extend(blocks)
            return
        self._flush()
        self._role, self._open, self._joins = role, blocks, joins

    def _flush(self) -> None:
        if self._open:
            self._out.append(Message(self._role, tuple(bound(self._open))))

    def done(self) -> tuple[Message, ...]:
        self._flush()
        return tuple(self._out)


def item_type(item: dict[str, Raw], path: str) -> str:
    """Return an item's type. A message may leave it out; so may a reference, which then has an id alone."""
    raw = present(item, "type")
    if raw is not None:
        return text(raw, f"{path}.type")
    if "role" in item:
        return "message"
    if item.keys() == {"id"}:
        return "item_reference"
    needed(item, "type", path, 'the type of the item, such as "message" or "function_call_output"')
    return ""


def _role(item: dict[str, Raw], path: str) -> Role:
    word = text(needed(item, "role", path, '"user", "assistant", "system" or "developer"'), f"{path}.role")
    role = ROLES.get(word)
    if role is None:
        message = f'\'{path}.role\' is {word!r}; it must be "user", "assistant", "system" or "developer".'
        raise GatewayError("bad_request", message, param=f"{path}.role")
    return role


_MESSAGE = ("id", "status", "role", "content")


def read_message(item: dict[str, Raw], path: str) -> list[Block]:
    """Read the blocks of a message item, its own unknown fields (``phase``) before them."""
    raw = item.get("content")
    if raw is None:
        needed(item, "content", path, "a string or an array of content parts")
    blocks = [] if raw is None or absent(raw) else read_content(raw, f"{path}.content")
    return _with_fields(item, _MESSAGE, blocks)


def _with_fields(item: dict[str, Raw], known: tuple[str, ...], blocks: list[Block]) -> list[Block]:
    rest = left_over(item, known)
    return [beside(ITEM_FIELDS, rest), *blocks] if rest else blocks


_WANT_ID = "the call_id of the call"


def _call(item: dict[str, Raw], path: str) -> list[Block] | None:
    return _use(item, path, "arguments", "function")


def _custom(item: dict[str, Raw], path: str) -> list[Block] | None:
    return _use(item, path, "input", "custom")


def _use(item: dict[str, Raw], path: str, key: str, kind: str) -> list[Block]:
    if absent(item.get("call_id")) and not absent(item.get("id")):
        item = {**item, "call_id": item["id"]}  # servers whose items have one id
    id = text(needed(item, "call_id", path, _WANT_ID), f"{path}.call_id")
    name = text(needed(item, "name", path, "the name of the tool"), f"{path}.name")
    raw = present(item, key)
    # Some servers give the arguments as the object they are.
    args = "" if raw is None else text(raw, f"{path}.{key}") if opens(raw, '"') else bytes(raw).decode()
    block = ToolUse(id, name, args, kind)
    known = ("id", "status", "call_id", "name", key)
    return [block] if len(item) <= 4 else _with_fields(item, known, [block])


def _output(item: dict[str, Raw], path: str) -> list[Block] | None:
    return _result(item, path, "function")


def _custom_output(item: dict[str, Raw], path: str) -> list[Block] | None:
    return _result(item, path, "custom")


def _result(item: dict[str, Raw], path: str, kind: str) -> list[Block] | None:
    if absent(item.get("call_id")) and not absent(item.get("name")):
        return None  # the new form without a call: of this dialect only
    id = text(needed(item, "call_id", path, _WANT_ID), f"{path}.call_id")
    raw = needed(item, "output", path, "a string or an array of content parts")
    content = read_content(raw, f"{path}.output")
    if content == [Text("")]:
        content = []
    block = ToolResult(id, tuple(content), kind=kind)
    return [block] if len(item) == 3 else _with_fields(item, ("id", "status", "call_id", "output"), [block])


def _reasoning(item: dict[str, Raw], path: str) -> list[Block] | None:
    return _with_fields(item, KNOWN, list(read_reasoning(item, path)))


READERS: dict[str, Callable[[dict[str, Raw], str], list[Block] | None]] = {
    "function_call": _call,
    "custom_tool_call": _custom,
    "function_call_output": _output,
    "custom_tool_call_output": _custom_output,
    "reasoning": _reasoning,
    **dict.fromkeys(COMPACTIONS, read_summary),
}


def read_output(raw: Raw, path: str = "output") -> list[Block]:
    """Read the blocks of an answer's items. Thoughts without a text and without a seal say nothing and are left out."""
    out: list[Block] = []
    for place, one in enumerate(items(raw, path)):
        out.extend(read_output_item(one, f"{path}[{place}]"))
    return list(bound(out))


def read_output_item(raw: Raw, path: str) -> list[Block]:
    item = mapping(raw, path)
    kind = item_type(item, path)
    if kind == "message":
        return read_message(item, path)
    reader = READERS.get(kind)
    blocks = None if reader is None else reader(item, path)
    if blocks is None:
        return [Opaque(NAME, kind, bytes(raw))]
    if kind == "reasoning":
        thoughts = [block for block in blocks if isinstance(block, Thinking) and (block.text or block.seal)]
        return [*(block for block in blocks if isinstance(block, Opaque)), *thoughts] if thoughts else []
    return blocks
