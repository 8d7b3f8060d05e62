"""Parts of a content, of requests and answers alike, to neutral blocks.

Fast path: one typed decode. A part that holds something the neutral form has no place for is read key by key, and what
is left over stands *before* its block as a small ``Opaque`` whose kind begins with "+" ("+videoMetadata"):
``parts_out`` puts those fields back, every other dialect reports a loss. A part of an unknown kind (``executableCode``,
``codeExecutionResult``, ``toolCall``, ...) is an ``Opaque`` as a whole.

A signature belongs to the part that bears it: on a thought to that ``Thinking``, on a call to that ``ToolUse``; on
visible text it becomes a ``Thinking`` without words directly behind the text, for text has no seal.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw
from msgspec.json import Decoder, encode

from penstock.core.dialects.gemini import wire
from penstock.core.dialects.gemini.reading import bad, is_null, items, mapping, needed_text, present, text, verbatim
from penstock.core.ir import (
    Audio,
    Base64,
    Block,
    Document,
    FileId,
    Image,
    Opaque,
    Source,
    Text,
    Thinking,
    ToolResult,
    ToolUse,
    Url,
)

FIELDS = "+"  # kind prefix: fields of the part whose block follows
TURN = "@"  # kind prefix: fields of the content whose first block this is
UNNAMED = "\x00"  # begins the id of a result that came without one; the function's name follows

_STRICT = Decoder(wire.Part).decode
_STR = Decoder(str).decode
_STRS = Decoder(list[str]).decode
_RAWS = Decoder(dict[str, Raw]).decode
_KINDS = ("text", "inlineData", "fileData", "functionCall", "functionResponse")
_FILES_API = "https://generativelanguage.googleapis.com/"
# Sound that has one name in every dialect. https://ai.google.dev/gemini-api/docs/audio#supported-formats
_SOUNDS = {
    "audio/wav": "wav",
    "audio/x-wav": "wav",
    "audio/mp3": "mp3",
    "audio/mpeg": "mp3",
    "audio/aiff": "aiff",
    "audio/aac": "aac",
    "audio/ogg": "ogg",
    "audio/flac": "flac",
}


def read_part(raw: Raw | bytes, at: str) -> tuple[Block, ...]:
    """Read one part of whatever shape. ``at``: its path, for errors."""
    try:
        found = blocks_of(_STRICT(raw))
    except msgspec.ValidationError:
        found = ()
    return found or _read_slowly(raw, at)


def blocks_of(part: wire.Part) -> tuple[Block, ...]:
    """Return the blocks of a part that the strict struct understood; none when it holds none or several of the
    kinds."""
    sealed = part.thought_signature
    if part.text is not None:
        if part.inline_data or part.file_data or part.function_call or part.function_response:
            return ()
        return (Text(part.text),) if sealed is None and not part.thought else said(part.text, part.thought, sealed)
    if part.thought:
        return ()
    if part.function_call is not None:
        if part.inline_data or part.file_data or part.function_response:
            return ()
        return (_call(part.function_call, sealed),)
    if sealed is not None:
        return ()
    if part.function_response is not None:
        return () if part.inline_data or part.file_data else (_response(part.function_response),)
    if part.inline_data is not None:
        return () if part.file_data else (inline(part.inline_data),)
    # A file of the Files API has no place for its type in the neutral form: the slow path keeps it.
    file = part.file_data
    return () if file is None or _is_kept(file) else (_file(file),)


def said(text: str, thought: bool | None, sealed: str | None) -> tuple[Block, ...]:
    """Return the blocks of a text part: visible or thought, signed or not."""
    seal, redacted = wire.unpack(sealed) if sealed else (None, False)
    if thought:
        return (Thinking(text, seal, redacted),)
    if seal is None:
        return (Text(text),)
    mark = Thinking("", seal, redacted)
    return (Text(text), mark) if text else (mark,)


def add_signature(blocks: list[Block], found: tuple[Block, ...]) -> None:
    """Add the blocks of a part that is a thought. One without words signs the pieces of a thought before it: clients
    keep each piece of a stream as a part of its own."""
    sign = found[0] if len(found) == 1 else None
    if not isinstance(sign, Thinking) or sign.text or sign.redacted or sign.seal is None:
        blocks.extend(found)
        return
    pieces: list[str] = []
    while blocks and isinstance(last := blocks[-1], Thinking) and last.seal is None and not last.redacted:
        pieces.append(last.text)
        blocks.pop()
    blocks.append(Thinking("".join(reversed(pieces)), sign.seal))


def _call(call: wire.FunctionCall, sealed: str | None) -> ToolUse:
    args = "{}"
    if call.args and not is_null(call.args):
        args = bytes(call.args).decode()
        if args[0] == '"':  # some servers send the object as a JSON string
            args = _STR(call.args)
    return ToolUse(call.id or "", call.name, args, seal=wire.unpack(sealed)[0] if sealed else None)


def inline(blob: wire.Blob) -> Block:
    kind = blob.mime_type
    if kind.startswith("image/"):
        return Image(Base64(kind, blob.data))
    sound = _SOUNDS.get(kind)
    return Audio(blob.data, sound) if sound else Document(Base64(kind, blob.data))


def _is_kept(file: wire.FileData) -> bool:
    """Tell whether a file is one of the vendor's Files API: by its address, or by its bare name."""
    return file.file_uri.startswith(_FILES_API) or "://" not in file.file_uri


def _file(file: wire.FileData) -> Block:
    """Read a file given by address. One of the vendor's Files API is of use to this family only."""
    kind = file.mime_type or ""
    source: Source = Url(file.file_uri, kind)
    if _is_kept(file):
        source = FileId(wire.FAMILY, file.file_uri)
    return Image(source) if kind.startswith("image/") else Document(source)


def _response(response: wire.FunctionResponse) -> ToolResult:
    content, failed = result_of(response.response)
    return ToolResult(response.id or UNNAMED + response.name, content, failed)


def result_of(raw: Raw) -> tuple[tuple[Block, ...], bool]:
    """Read what a ``response`` object says, and whether it says a failure: the reference names ``output`` and
    ``error``. Anything else is the tool's own JSON, kept as the text it is."""
    if bytes(memoryview(raw)[:4]) in (b"", b"{}", b"null"):
        return (), False
    fields = _RAWS(raw)
    if len(fields) == 1:
        for key, failed in (("output", False), ("error", True)):
            value = fields.get(key)
            if value is None:
                continue
            lead = bytes(memoryview(value)[:1])
            if lead == b'"':
                told = _STR(value)
                return ((Text(told),) if told else ()), failed
            if lead == b"[":
                try:
                    return tuple([Text(one) for one in _STRS(value)]), failed
                except msgspec.ValidationError:
                    break
    return (Text(bytes(raw).decode()),), False


# The slow path: key by key --------------------------------------------------------------------------------------------


def _read_slowly(raw: Raw | bytes, at: str) -> tuple[Block, ...]:
    fields = {key: value for key, value in mapping(raw, at).items() if not is_null(value)}
    if "text" in fields:
        text(fields, "text", f"{at}.")
    held = [key for key in _KINDS if key in fields]
    if len(held) > 1:
        bad(at, raw, f"a part with one of {', '.join(held)}")
    if not held:
        if not fields.keys() - {"thought", "thoughtSignature"}:
            return _only_a_seal(fields, at)
        kind = next(key for key in fields if key not in ("thought", "thoughtSignature"))
        return (Opaque(wire.NAME, kind, bytes(raw)),)
    rest = {key: fields[key] for key in fields.keys() - {held[0], "thought", "thoughtSignature"}}
    sealed = text(fields, "thoughtSignature", f"{at}.") or None
    kind = held[0]
    if kind == "text":
        blocks = said(text(fields, "text", f"{at}."), bytes(fields.get("thought", b"")) == b"true", sealed)
    else:
        blocks = (_READ[kind](mapping(fields[kind], f"{at}.{kind}"), f"{at}.{kind}", sealed, rest, fields[kind]),)
        if sealed and not isinstance(blocks[0], ToolUse):
            rest["thoughtSignature"] = fields["thoughtSignature"]
    return (beside(FIELDS, rest), *blocks) if rest else blocks


def _only_a_seal(fields: dict[str, Raw], at: str) -> tuple[Block, ...]:
    """Read a stream's last part, which may bear a signature and nothing else."""
    sealed = text(fields, "thoughtSignature", f"{at}.")
    return said("", bytes(fields.get("thought", b"")) == b"true", sealed) if sealed else (Text(""),)


def beside(prefix: str, rest: dict[str, Raw]) -> Opaque:
    ordered = dict(sorted(rest.items()))
    return Opaque(wire.NAME, prefix + ",".join(ordered), encode(ordered))


def _read_inline(fields: dict[str, Raw], at: str, sealed: str | None, rest: dict[str, Raw], raw: Raw) -> Block:
    blob = wire.Blob(needed_text(fields, "mimeType", f"{at}."), needed_text(fields, "data", f"{at}."))
    if fields.keys() - {"mimeType", "data"}:
        rest["inlineData"] = raw
    return inline(blob)


def _read_file(fields: dict[str, Raw], at: str, sealed: str | None, rest: dict[str, Raw], raw: Raw) -> Block:
    file = wire.FileData(needed_text(fields, "fileUri", f"{at}."), text(fields, "mimeType", f"{at}.") or None)
    kept = file.mime_type is not None and _is_kept(file)
    if kept or fields.keys() - {"mimeType", "fileUri"}:
        rest["fileData"] = raw
    return _file(file)


def _read_call(fields: dict[str, Raw], at: str, sealed: str | None, rest: dict[str, Raw], raw: Raw) -> Block:
    args = present(fields, "args") or Raw()
    if args:
        verbatim(args, f"{at}.args")
    call = wire.FunctionCall(needed_text(fields, "name", f"{at}."), text(fields, "id", f"{at}.") or None, args)
    if fields.keys() - {"name", "id", "args"}:
        rest["functionCall"] = raw
    return _call(call, sealed)


def _read_response(fields: dict[str, Raw], at: str, sealed: str | None, rest: dict[str, Raw], raw: Raw) -> Block:
    response = present(fields, "response") or Raw()
    if response:
        verbatim(response, f"{at}.response")
    content, failed = result_of(response)
    for number, part in enumerate(items(fields["parts"], f"{at}.parts") if present(fields, "parts") else ()):
        inner = mapping(part, f"{at}.parts.{number}")
        content += read_part(encode(inner), f"{at}.parts.{number}")
    if fields.keys() - {"name", "id", "response", "parts"}:
        rest["functionResponse"] = raw
    name = needed_text(fields, "name", f"{at}.")
    return ToolResult(text(fields, "id", f"{at}.") or UNNAMED + name, content, failed)


_READ = {
    "inlineData": _read_inline,
    "fileData": _read_file,
    "functionCall": _read_call,
    "functionResponse": _read_response,
}
