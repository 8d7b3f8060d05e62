"""``messages`` to turns: one ``Message`` each, in their order, so that the places in messages and losses agree."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Raw
from msgspec.json import Decoder
from msgspec.structs import replace

from penstock.core.dialects.carried import bound
from penstock.core.dialects.openai_chat.names import (
    CALL,
    CALL_FAMILY,
    MESSAGE,
    NAME,
    THOUGHT_FAMILY,
    TOOL_CALL,
)
from penstock.core.dialects.openai_chat.parts import cache_mark, read_content
from penstock.core.dialects.openai_chat.reading import (
    absent,
    exactly,
    mapping,
    mappings,
    needed,
    opens,
    optional_text,
    present,
    text,
    wrong,
)
from penstock.core.envelope import BAD_JSON
from penstock.core.errors import GatewayError
from penstock.core.ir import (
    Block,
    CacheMark,
    Citation,
    Document,
    Image,
    Message,
    Opaque,
    Refusal,
    Role,
    Seal,
    Text,
    Thinking,
    ToolResult,
    ToolUse,
    unpack_seal,
)

_PLAIN = frozenset(("role", "content", "name", "cache_control"))
_ASSISTANT = _PLAIN | {
    "tool_calls",
    "function_call",
    "refusal",
    "reasoning_content",
    "reasoning",
    "thinking_blocks",
    "annotations",
    "index",
}
# ``name`` on a tool message says what its call says already; no current reference has it.
_TOOL = _PLAIN | {"tool_call_id"}
_PLAIN_ROLES: dict[str, Role] = {"user": "user", "system": "system", "developer": "developer"}
ROLES = ("developer", "system", "user", "assistant", "tool", "function")


def read_turns(raw: Raw) -> tuple[Message, ...]:
    """Read the whole ``messages`` array. Raises ``GatewayError("bad_request")`` naming the first place that is
    wrong."""
    reader = _Reader()
    turns = tuple(reader.turn(fields, place) for place, fields in enumerate(mappings(raw, "messages")))
    if not turns:
        raise GatewayError("bad_request", "'messages' is empty; it must hold at least one message.", param="messages")
    return turns


class _Reader:
    """A reader of turns; it remembers the calls seen so far: a result tells neither its call's kind nor, in the old
    form, its id."""

    __slots__ = ("_by_name", "_kinds")

    def __init__(self) -> None:
        self._kinds: dict[str, str] = {}
        self._by_name: dict[str, str] = {}

    def turn(self, fields: dict[str, Raw], place: int) -> Message:
        path = f"messages[{place}]"
        role = text(needed(fields, "role", path, "one of " + ", ".join(ROLES)), f"{path}.role")
        plain = _PLAIN_ROLES.get(role)
        if plain is not None:
            blocks = _unknown(fields, _PLAIN)
            blocks += read_content(needed(fields, "content", path, "a string or an array of parts"), f"{path}.content")
            _mark(fields, path, blocks)
            return Message(plain, tuple(blocks), optional_text(fields, "name", path))
        if role == "assistant":
            blocks = read_assistant(fields, path)
            for block in blocks:
                if isinstance(block, ToolUse):
                    self._kinds[block.id] = block.kind
            call = present(fields, "function_call")
            if call is not None:
                blocks.append(use := legacy_call(call, f"{path}.function_call", f"call_legacy_{place}"))
                self._by_name[use.name] = use.id
            _mark(fields, path, blocks)
            return Message("assistant", tuple(blocks), optional_text(fields, "name", path))
        if role == "tool":
            id = text(needed(fields, "tool_call_id", path, "the id of the call it answers"), f"{path}.tool_call_id")
            return Message("user", (self._result(fields, path, id, self._kinds.get(id, "function")),))
        if role == "function":
            name = text(needed(fields, "name", path, "the name of the function"), f"{path}.name")
            return Message(
                "user", (self._result(fields, path, self._by_name.get(name, f"call_legacy_{place}"), "function"),)
            )
        message = f"'{path}.role' is {role!r}; it must be one of {', '.join(ROLES)}."
        raise GatewayError("bad_request", message, param=f"{path}.role")

    def _result(self, fields: dict[str, Raw], path: str, id: str, kind: str) -> ToolResult:
        content = _unknown(fields, _TOOL)
        raw = present(fields, "content")
        if raw is not None:
            found = read_content(raw, f"{path}.content")
            if found != [Text("")]:
                content += found
        cache = present(fields, "cache_control")
        mark = None if cache is None else cache_mark(cache, f"{path}.cache_control")
        return ToolResult(id, tuple(content), kind=kind, cache=mark)


def _unknown(fields: Mapping[str, Raw], known: frozenset[str]) -> list[Block]:
    """Keep the message's own fields that nobody here knows, before its blocks."""
    if fields.keys() <= known:
        return []
    return [
        Opaque(NAME, MESSAGE + key, bytes(raw)) for key, raw in fields.items() if key not in known and not absent(raw)
    ]


def _mark(fields: Mapping[str, Raw], path: str, blocks: list[Block]) -> None:
    """Mark the last block for the cache. LiteLLM also takes ``cache_control`` on a message whose content is a
    string."""
    raw = present(fields, "cache_control")
    if raw is None:
        return
    mark = cache_mark(raw, f"{path}.cache_control")
    if mark is not None and blocks and isinstance(last := blocks[-1], (Text, Image, Document, ToolUse)):
        blocks[-1] = replace(last, cache=mark)
    else:
        blocks.append(Opaque(NAME, MESSAGE + "cache_control", bytes(raw)))


def read_assistant(fields: Mapping[str, Raw], path: str, mint: list[int] | None = None) -> list[Block]:
    """Read the blocks of an assistant's message: thoughts, content, refusal, calls, in that order; also of an answer's.

    ``mint``: a counter, given for answers: a call without an id gets ``call_N`` instead of an error. An old
    ``function_call`` is left to the caller, who knows which id it gets."""
    blocks = _unknown(fields, _ASSISTANT)
    blocks += _thoughts(fields, path)
    raw = present(fields, "content")
    if raw is not None:
        content = read_content(raw, f"{path}.content")
        if content != [Text("")]:
            blocks += content
    if refusal := optional_text(fields, "refusal", path):
        blocks.append(Refusal(refusal))
    raw = present(fields, "annotations")
    if raw is not None:
        exact = exactly(raw)
        told = enumerate(mappings(raw, f"{path}.annotations"))
        cite(blocks, [citation(one, exact(place)) for place, one in told])
    raw = present(fields, "tool_calls")
    if raw is not None:
        exact = exactly(raw)
        for place, call in enumerate(mappings(raw, f"{path}.tool_calls")):
            if not _read_call(call, f"{path}.tool_calls[{place}]", mint, blocks):
                blocks.append(Opaque(NAME, TOOL_CALL, exact(place)))
    return list(bound(blocks))


def _thoughts(fields: Mapping[str, Raw], path: str) -> list[Block]:
    raw = present(fields, "thinking_blocks")
    if raw is not None:
        # LiteLLM's blocks hold the same text as reasoning_content, and the signatures besides.
        found = [thought(block, f"{path}.thinking_blocks[{n}]") for n, block in enumerate(mappings(raw, path))]
        if found:
            return list(found)
    for key in ("reasoning_content", "reasoning"):
        raw = present(fields, key)
        if raw is None:
            continue
        if not opens(raw, '"'):
            return [Opaque(NAME, MESSAGE + key, bytes(raw))]
        if body := text(raw, f"{path}.{key}"):
            return [Thinking(body)]
    return []


def thought(fields: Mapping[str, Raw], path: str) -> Block:
    """Read an element of ``thinking_blocks``."""
    kind = optional_text(fields, "type", path)
    if kind == "redacted_thinking":
        return Thinking("", unpack_seal(optional_text(fields, "data", path), THOUGHT_FAMILY), redacted=True)
    seal = unpack_seal(optional_text(fields, "signature", path), THOUGHT_FAMILY)
    return Thinking(optional_text(fields, "thinking", path), seal)


def citation(fields: Mapping[str, Raw], raw: bytes) -> Citation:
    """Read an element of ``annotations``; one of an unknown type, or with more in it, is kept whole besides."""
    inner = fields.get("url_citation")
    if inner is None or optional_text(fields, "type", "annotations") != "url_citation":
        return Citation(opaque=Opaque(NAME, "annotation", raw))
    try:
        known = _URL_CITATION(inner)
    except BAD_JSON:
        return Citation(opaque=Opaque(NAME, "annotation", raw))
    start, end = known.get("start_index", -1), known.get("end_index", -1)
    return Citation(
        url=str(known.get("url") or ""),
        title=str(known.get("title") or ""),
        quote=str(known.get("content") or ""),
        start=start if isinstance(start, int) else -1,
        end=end if isinstance(end, int) else -1,
    )


_URL_CITATION = Decoder(dict[str, str | int | float | None]).decode


def cite(blocks: list[Block], citations: list[Citation]) -> None:
    """Put citations on the last text, or on an empty one."""
    if not citations:
        return
    for place in range(len(blocks) - 1, -1, -1):
        block = blocks[place]
        if isinstance(block, Text):
            blocks[place] = replace(block, citations=block.citations + tuple(citations))
            return
    blocks.append(Text("", citations=tuple(citations)))


def _read_call(call: dict[str, Raw], path: str, mint: list[int] | None, out: list[Block]) -> bool:
    """Read a call into ``out``; False for one of an unknown type."""
    kind = optional_text(call, "type", path) or "function"
    if kind not in ("function", "custom"):
        return False
    if mint is None:
        id = text(needed(call, "id", path, "the id of the call"), f"{path}.id")
    else:
        id = optional_text(call, "id", path) or f"call_{mint[0]}"
        mint[0] += 1
    inner = mapping(needed(call, kind, path, "an object with a name"), f"{path}.{kind}")
    name = text(needed(inner, "name", f"{path}.{kind}", "the name of the tool"), f"{path}.{kind}.name")
    raw = inner.get("arguments" if kind == "function" else "input")
    args = arguments(raw, f"{path}.{kind}.arguments")
    seal, cache, more = _call_extras(call, path)
    out.append(ToolUse(id, name, args, kind, cache, seal))
    out += more
    if not inner.keys() <= {"name", "arguments", "input"}:
        out.append(Opaque(NAME, CALL + kind, bytes(call[kind])))
    return True


def _call_extras(call: dict[str, Raw], path: str) -> tuple[Seal | None, CacheMark | None, list[Block]]:
    seal, cache = None, None
    more: list[Block] = []
    for key, raw in call.items():
        if key in ("id", "type", "function", "custom", "index") or absent(raw):
            continue
        if key == "extra_content":
            seal = thought_signature(raw)
            if seal is not None:
                continue
        elif key == "cache_control":
            cache = cache_mark(raw, f"{path}.cache_control")
            if cache is not None:
                continue
        more.append(Opaque(NAME, CALL + key, bytes(raw)))
    return seal, cache, more


_SIGNATURE = Decoder(dict[str, dict[str, str]]).decode


def thought_signature(raw: Raw | bytes) -> Seal | None:
    """Return the seal in Google's ``extra_content: {"google": {"thought_signature": ...}}``, None for any other
    content."""
    try:
        found = _SIGNATURE(raw)
    except BAD_JSON:
        return None
    google = found.get("google", {})
    if len(found) != 1 or google.keys() != {"thought_signature"}:
        return None
    return unpack_seal(google["thought_signature"], CALL_FAMILY)


def arguments(raw: Raw | None, path: str) -> str:
    """Return the text of a call's arguments. Some servers give the object itself instead of its text."""
    if raw is None or absent(raw):
        return ""
    if opens(raw, '"'):
        return text(raw, path)
    if opens(raw, "{"):
        return bytes(raw).decode()
    raise wrong(path, raw, "a string of JSON")


def legacy_call(raw: Raw, path: str, id: str) -> ToolUse:
    """Read the ``function_call`` of 2023, which has no id."""
    fields = mapping(raw, path)
    name = text(needed(fields, "name", path, "the name of the function"), f"{path}.name")
    return ToolUse(id, name, arguments(fields.get("arguments"), f"{path}.arguments"))
