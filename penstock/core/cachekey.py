"""Under which name an answer is kept: a digest of what was asked, the same for all who ask the same.

A chat is digested in the neutral form, so that a Chat request and a Messages request that mean the same share an
answer. That costs 8 us for 600 bytes, canonical JSON 2: the price of sharing, and paid only where answers are kept.
Whoever asks again with the very same bytes pays neither (``runtime.cache`` remembers what they digest to), and whoever
asks what nobody has asked pays for a glance (``read_turns``).

What does not count: the order of keys, how a number is spelled, where turns of one role are cut, and whatever is for
the gateway alone. Everything else does: an answer to another question is worse than no cache.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from functools import lru_cache
from operator import attrgetter
from typing import Any

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from penstock.core.envelope import BAD_JSON, seal
from penstock.core.ir import Block, Citation, Message, Opaque, OutputFormat, Request, Text, Tool, ToolResult, ToolUse
from penstock.core.ir.fold import canon

# Of a ``Request``: who asks, what it is called, how it wants to be told. ``model`` is the group's, see ``name_entry``.
UNCOUNTED = frozenset(("model", "dialect", "user", "metadata", "stream", "stream_usage"))
# Fields of a body that say the same in requests that are not read into the neutral form.
UNCOUNTED_FIELDS = frozenset(("model", "user", "metadata", "stream", "stream_options"))
_WRITTEN_ANEW = ("messages", "tools", "output", "logit_bias", "extra")
_AMOUNTS = ("temperature", "top_p", "presence_penalty", "frequency_penalty")
_AS_THEY_ARE = tuple(name for name in Request.__struct_fields__ if name not in UNCOUNTED.union(_WRITTEN_ANEW, _AMOUNTS))
_plain_of = attrgetter(*_AS_THEY_ARE)
_amounts_of = attrgetter(*_AMOUNTS)
_WHOLE = 2**63
_ENCODE = msgspec.json.Encoder(order="deterministic").encode


class _Part(Struct, frozen=True, gc=False):
    """What is read of a part of a turn: its text. The type of a text counts as little as its other fields."""

    text: str | None = None
    content: str | tuple[_Part, ...] | None = None  # of a tool's result


class _Turn(Struct, frozen=True, gc=False):
    """What is read of a turn."""

    content: str | tuple[_Part, ...] | None = None
    parts: tuple[_Part, ...] | None = None  # Gemini's
    output: str | tuple[_Part, ...] | None = None  # of a tool, in Responses


class _Said(Struct, frozen=True, gc=False):
    """What is read of a turn where it may be in any dialect."""

    role: str | None = None
    type: str | None = None  # of an item, in Responses
    content: str | tuple[_Part, ...] | None = None
    parts: tuple[_Part, ...] | None = None


def _number(text: str) -> int | float | str:
    """Return the one form of a number that is no small integer: as the 64-bit float that every reader makes of it,
    whole ones as integers. What is beyond that stays as it is written."""
    value = float(text)
    if not math.isfinite(value) or text.lstrip("-").isdigit():
        return f"\0{text}"
    return int(value) if value.is_integer() and abs(value) < _WHOLE else value


_DECODE = msgspec.json.Decoder(float_hook=lru_cache(4096)(_number)).decode  # requests repeat their few figures
_READ_SAID: Callable[[Raw], str | list[_Said]] = msgspec.json.Decoder(str | list[_Said]).decode
_READ_TURNS: Callable[[Raw], Hashable] = msgspec.json.Decoder(str | tuple[_Turn, ...]).decode
_TURNS = ("messages", "input", "contents", "prompt")  # fields that hold the turns of a chat


def canonical(raw: bytes | Raw) -> bytes:
    """Write JSON in its one form: keys in order, numbers in one spelling, no white space; what is no JSON as it is."""
    try:
        return _ENCODE(_DECODE(raw))
    except BAD_JSON:
        return bytes(raw)


def read_turns(fields: Mapping[str, Raw]) -> Hashable:
    """Return what is said in a chat, None where there are no turns: the same for all bodies that ``digest_body`` finds
    the same, nearly always another for others, and for a fifth of its price."""
    for key in _TURNS:
        raw = fields.get(key)
        if raw is not None:
            try:
                return _READ_TURNS(raw)
            except BAD_JSON:  # a form of its own
                return canonical(raw)
    return None


def read_question(fields: Mapping[str, Raw]) -> str:
    """Return the last text of a user's, "" where there is none: the same for all chats that ``digest_request`` finds
    the same, whatever dialect they are in."""
    for key in _TURNS:
        raw = fields.get(key)
        if raw is not None:
            break
    else:
        return ""
    try:
        turns = _READ_SAID(raw)
    except BAD_JSON:
        return ""
    if isinstance(turns, str):
        return turns
    for turn in reversed(turns):
        if (turn.role is None and turn.type in (None, "message")) or turn.role == "user":
            said = turn.parts if turn.content is None else turn.content
            if isinstance(said, str):
                if said:
                    return said
                continue
            for part in reversed(said or ()):
                if part.text:
                    return part.text
    return ""


def digest_request(request: Request, ignored: Collection[str] = (), beside: Iterable[bytes] = ()) -> bytes:
    """Digest a chat. ``ignored``: fields for the gateway; ``beside``: whatever else decides about the answer."""
    request = canon(request)
    told: list[Any] = [
        *_plain_of(request),
        *(None if amount is None else float(amount) for amount in _amounts_of(request)),
        [_message(message) for message in request.messages],
    ]
    if request.tools:
        told.append([_tool(tool) for tool in request.tools])
    if request.output is not None:
        told.append(_output(request.output))
    if request.logit_bias:
        told.append({"bias": canonical(request.logit_bias)})
    extra = [_opaque(one) for one in request.extra if one.kind not in ignored]
    if extra:
        told.append({"extra": sorted(extra, key=attrgetter("kind", "raw"))})
    return _digest(b"chat", _ENCODE(told), *beside)


def digest_fields(kind: str, fields: Mapping[str, Raw], ignored: Collection[str] = (), *beside: bytes) -> bytes:
    """Digest a body's top level, of an operation that has no neutral form. ``kind``: the operation."""
    counted = {key: raw for key, raw in fields.items() if key not in ignored and key not in UNCOUNTED_FIELDS}
    return _digest(kind.encode(), canonical(seal(counted)), *beside)


def digest_body(kind: str, body: bytes, ignored: Collection[str] = (), *beside: bytes) -> bytes:
    """Digest a body that is a JSON object: the same as ``digest_fields`` of its top level, read in one step."""
    try:
        whole = _DECODE(body)
    except BAD_JSON:
        return _digest(kind.encode(), body, *beside)
    for key in [key for key in whole if key in ignored or key in UNCOUNTED_FIELDS]:
        del whole[key]
    return _digest(kind.encode(), _ENCODE(whole), *beside)


def name_entry(digest: bytes, group: str, tenant: str, namespace: str = "") -> str:
    """Name an entry: by what was asked, of which group of models, by whom. ``tenant`` "": of everybody."""
    hashed = hashlib.blake2b(_whose(group, tenant) + digest, digest_size=32).hexdigest()
    return f"{namespace}:{hashed}" if namespace else hashed


@lru_cache(1024)
def _whose(group: str, tenant: str) -> bytes:
    return _digest(group.encode(), tenant.encode())


def _digest(*parts: bytes) -> bytes:
    """Hash parts in turn, each behind its length: no two lists of parts read the same."""
    return hashlib.blake2b(b"".join([b"%d:%b" % (len(part), part) for part in parts]), digest_size=32).digest()


def _message(message: Message) -> Message:
    blocks = message.blocks
    for block in blocks:
        if type(block) is not Text or block.citations:
            return replace(message, blocks=tuple([_block(block) for block in blocks]))
    return message


def _block(block: Block) -> Any:
    if isinstance(block, ToolUse):
        args = block.args if block.kind == "custom" else canonical(block.args.encode()).decode("utf-8", "replace")
        return replace(block, args=args)
    if isinstance(block, ToolResult):
        return replace(block, content=tuple([_block(inner) for inner in block.content]))
    if isinstance(block, Opaque):
        return _opaque(block)
    if isinstance(block, Text) and block.citations:
        return replace(block, citations=tuple([_citation(one) for one in block.citations]))
    return block


def _citation(citation: Citation) -> Citation:
    return citation if citation.opaque is None else replace(citation, opaque=_opaque(citation.opaque))


def _opaque(opaque: Opaque) -> Opaque:
    return replace(opaque, raw=canonical(opaque.raw))


def _tool(tool: Tool) -> Tool:
    opaque = None if tool.opaque is None else _opaque(tool.opaque)
    return replace(tool, schema=canonical(tool.schema), opaque=opaque)


def _output(output: OutputFormat) -> OutputFormat:
    return replace(output, schema=canonical(output.schema), options=canonical(output.options))
