"""A ``generateContent`` body to the neutral ``Request``. Nothing is lost: what has no neutral place becomes ``extra``,
keyed by its path ("safetySettings", "generationConfig.speechConfig", "toolConfig.retrievalConfig").

``model`` and ``stream`` stand in the URL; the surface puts them into the body's fields. Sources as in ``wire``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

import msgspec
from msgspec import Raw, Struct, ValidationError
from msgspec.json import Decoder, encode
from msgspec.structs import replace

from penstock.core.dialects import guided
from penstock.core.dialects.gemini import schema, wire
from penstock.core.dialects.gemini.parts_in import TURN, UNNAMED, add_signature, beside, blocks_of, read_part
from penstock.core.dialects.gemini.reading import (
    bad,
    camel,
    flag,
    integer,
    is_null,
    items,
    mapping,
    needed_text,
    number,
    present,
    strings,
    text,
    verbatim,
)
from penstock.core.ir import (
    Block,
    Message,
    Opaque,
    OutputFormat,
    Reasoning,
    Request,
    Role,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
)

ENUM = "text/x.enum"


class _Enumeration(Struct, forbid_unknown_fields=True):
    enum: tuple[str, ...]
    type: str = ""
    format: str = ""


_ENUM = Decoder(_Enumeration).decode
_CONTENTS = Decoder(list[wire.Content]).decode
_KNOWN = frozenset(
    "model stream contents systemInstruction tools toolConfig generationConfig serviceTier".split() + [*guided.FIELDS]
)
_CONFIG = frozenset(
    """temperature topP topK maxOutputTokens stopSequences candidateCount presencePenalty frequencyPenalty seed
    responseLogprobs logprobs responseMimeType responseSchema responseJsonSchema _responseJsonSchema
    thinkingConfig""".split()
)
_ROLES: dict[str, Role] = {"user": "user", "model": "assistant", "function": "user", "": "user"}
_TIERS = {"standard": "default", "unspecified": ""}


def parse_request(fields: Mapping[str, Raw]) -> Request:
    """Read the body's top level as a ``Request``. Raises ``GatewayError("bad_request")`` with ``param`` for missing
    ``contents`` and for values of a wrong type."""
    fields = camel(dict(fields))
    extra = [
        Opaque(wire.NAME, key, bytes(raw)) for key, raw in fields.items() if key not in _KNOWN and not is_null(raw)
    ]
    config = _section(fields, "generationConfig", _CONFIG, extra)
    at = "generationConfig."
    tier = text(fields, "serviceTier").lower()
    return Request(
        model=text(fields, "model"),
        messages=_name_calls(_system(fields) + _contents(fields)),
        dialect=wire.NAME,
        tools=_tools(fields),
        tool_choice=_tool_choice(fields, extra),
        max_tokens=integer(config, "maxOutputTokens", at),
        temperature=number(config, "temperature", at),
        top_p=number(config, "topP", at),
        top_k=integer(config, "topK", at),
        presence_penalty=number(config, "presencePenalty", at),
        frequency_penalty=number(config, "frequencyPenalty", at),
        stop=strings(config, "stopSequences", at),
        seed=integer(config, "seed", at),
        n=integer(config, "candidateCount", at),
        logprobs=flag(config, "responseLogprobs", at),
        top_logprobs=integer(config, "logprobs", at),
        reasoning=_reasoning(config, extra),
        output=_output(fields, config, extra),
        service_tier=_TIERS.get(tier, tier),
        stream=bool(flag(fields, "stream")),
        extra=tuple(extra),
    )


def _section(fields: Mapping[str, Raw], key: str, known: frozenset[str], extra: list[Opaque]) -> dict[str, Raw]:
    """Read an object of settings; its unknown ones go to ``extra`` under "key.name"."""
    value = present(fields, key)
    if value is None:
        return {}
    inner = mapping(value, key)
    for name, raw in inner.items():
        if name not in known and not is_null(raw):
            extra.append(Opaque(wire.NAME, f"{key}.{name}", bytes(raw)))
    return inner


# Turns ----------------------------------------------------------------------------------------------------------------


def _system(fields: Mapping[str, Raw]) -> tuple[Message, ...]:
    value = present(fields, "systemInstruction")
    if value is None:
        return ()
    blocks = _read_content(value, "systemInstruction").blocks
    return (Message("system", blocks),) if blocks else ()


def _contents(fields: Mapping[str, Raw]) -> tuple[Message, ...]:
    value = present(fields, "contents")
    if value is None:
        bad("contents", None, "an array of contents")
    try:
        turns = _CONTENTS(value)
    except msgspec.ValidationError:
        turns = []
    out: list[Message] = []
    for turn in turns:
        role = _ROLES.get(turn.role or "")
        if role is None:
            break
        blocks: list[Block] = []
        for part in turn.parts or ():
            found = blocks_of_safely(part)
            if not found:
                break
            if part.thought:
                add_signature(blocks, found)
            else:
                blocks.extend(found)
        else:
            out.append(Message(role, tuple(blocks)))
            continue
        break
    if turns and len(out) == len(turns):
        return tuple(out)
    contents = items(value, "contents", "an array of contents")
    return tuple(_read_content(raw, f"contents.{at}") for at, raw in enumerate(contents))


_TRUE = Raw(b"true")


def blocks_of_safely(part: wire.Part) -> tuple[Block, ...]:
    """Return what ``blocks_of`` does; nothing for what has to be read slowly."""
    try:
        return blocks_of(part)
    except msgspec.ValidationError:
        return ()


def _read_content(raw: Raw, at: str) -> Message:
    """Read one content of whatever shape, part by part."""
    fields = mapping(raw, at, "an object with role and parts")
    word = text(fields, "role", f"{at}.")
    role = _ROLES.get(word.lower())
    if role is None and at != "systemInstruction":  # the API does not look at the role there
        bad(f"{at}.role", fields["role"], "user or model")
    blocks: list[Block] = []
    parts = present(fields, "parts")
    if parts is not None:
        for number, part in enumerate(items(parts, f"{at}.parts", "an array of parts")):
            found = read_part(part, f"{at}.parts.{number}")
            if mapping(part, f"{at}.parts.{number}").get("thought") == _TRUE:
                add_signature(blocks, found)
            else:
                blocks.extend(found)
    rest = {key: fields[key] for key in fields.keys() - {"role", "parts"} if not is_null(fields[key])}
    if rest:
        blocks.insert(0, beside(TURN, rest))
    return Message(role or "user", tuple(blocks))


def _name_calls(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """Give an id to calls and results without one: this API pairs them by name and order, every other one by id."""
    taken = {block.id for message in messages for block in message.blocks if isinstance(block, ToolUse)}
    if "" not in taken and not any(
        isinstance(block, ToolResult) and block.id[:1] == UNNAMED for message in messages for block in message.blocks
    ):
        return messages
    serial = 0
    waiting: dict[str, deque[str]] = {}
    out: list[Message] = []
    for message in messages:
        blocks: list[Block] = []
        for block in message.blocks:
            if isinstance(block, ToolUse):
                if not block.id:
                    serial += 1
                    while f"call_{serial}" in taken:
                        serial += 1
                    block = replace(block, id=f"call_{serial}")
                waiting.setdefault(block.name, deque()).append(block.id)
            elif isinstance(block, ToolResult) and block.id[:1] == UNNAMED:
                name = block.id[1:]
                queue = waiting.get(name)
                block = replace(block, id=queue.popleft() if queue else f"call_{name}")
            blocks.append(block)
        out.append(replace(message, blocks=tuple(blocks)))
    return tuple(out)


# Tools ----------------------------------------------------------------------------------------------------------------

_DECLARED = frozenset(("name", "description", "parameters", "parametersJsonSchema"))


def _tools(fields: Mapping[str, Raw]) -> tuple[Tool, ...]:
    """Read functions one by one; any other tool (``googleSearch``, ``codeExecution``, ...) whole, named by its key."""
    value = present(fields, "tools")
    if value is None:
        return ()
    out: list[Tool] = []
    for place, raw in enumerate(items(value, "tools")):
        inner = mapping(raw, f"tools.{place}")
        for key, told in inner.items():
            if is_null(told):
                continue
            at = f"tools.{place}.{key}"
            if key == "functionDeclarations":
                for nth, declared in enumerate(items(told, at)):
                    out.append(_function(declared, f"{at}.{nth}"))
            else:
                out.append(Tool(key, kind=key, opaque=Opaque(wire.NAME, key, encode({key: told}))))
    return tuple(out)


def _function(raw: Raw, at: str) -> Tool:
    """Read a declaration. One with fields that the neutral form lacks (``behavior``, ``response``) is also kept
    whole."""
    fields = mapping(raw, at)
    parameters = b""
    given = present(fields, "parametersJsonSchema")
    subset = present(fields, "parameters")
    if given is not None:
        parameters = verbatim(given, f"{at}.parametersJsonSchema", "a JSON schema object")
    elif subset is not None:
        verbatim(subset, f"{at}.parameters", "a schema object")
        parameters = schema.to_json(bytes(subset))
    whole = any(key not in _DECLARED and not is_null(value) for key, value in fields.items())
    opaque = Opaque(wire.NAME, "functionDeclarations", bytes(raw)) if whole else None
    return Tool(needed_text(fields, "name", f"{at}."), text(fields, "description", f"{at}."), parameters, opaque=opaque)


def _tool_choice(fields: Mapping[str, Raw], extra: list[Opaque]) -> ToolChoice | None:
    config = _section(fields, "toolConfig", frozenset(("functionCallingConfig",)), extra)
    value = present(config, "functionCallingConfig")
    if value is None:
        return None
    at = "toolConfig.functionCallingConfig"
    inner = mapping(value, at)
    for name, raw in inner.items():
        if name not in ("mode", "allowedFunctionNames") and not is_null(raw):
            extra.append(Opaque(wire.NAME, f"{at}.{name}", bytes(raw)))
    mode = text(inner, "mode", f"{at}.").upper()
    names = strings(inner, "allowedFunctionNames", f"{at}.")
    if mode == "NONE":
        return ToolChoice("none")
    if mode == "ANY":
        if len(names) == 1:
            return ToolChoice("named", names)
        return ToolChoice("allowed", names, True) if names else ToolChoice("required")
    if mode == "VALIDATED":
        if names:
            return ToolChoice("allowed", names)
        extra.append(Opaque(wire.NAME, f"{at}.mode", b'"VALIDATED"'))
        return ToolChoice("auto")
    if mode not in ("AUTO", "MODE_UNSPECIFIED", ""):
        bad(f"{at}.mode", inner["mode"], "AUTO, ANY, NONE or VALIDATED")
    return ToolChoice("auto") if mode == "AUTO" else None


# Reasoning and output -------------------------------------------------------------------------------------------------


def _reasoning(config: Mapping[str, Raw], extra: list[Opaque]) -> Reasoning | None:
    """Read ``thinkingConfig``: a budget of 0 switches thinking off, -1 leaves it to the model; a level is an effort."""
    value = present(config, "thinkingConfig")
    if value is None:
        return None
    at = "generationConfig.thinkingConfig"
    inner = mapping(value, at)
    for name, raw in inner.items():
        if name not in ("thinkingBudget", "thinkingLevel", "includeThoughts") and not is_null(raw):
            extra.append(Opaque(wire.NAME, f"{at}.{name}", bytes(raw)))
    budget = integer(inner, "thinkingBudget", f"{at}.")
    level = text(inner, "thinkingLevel", f"{at}.").lower()
    shown = flag(inner, "includeThoughts", f"{at}.")
    mode = {0: "disabled", -1: "adaptive"}.get(budget, "") if budget is not None else ""
    made = Reasoning(
        effort="" if level == "thinking_level_unspecified" else level,
        budget=None if mode else budget,
        mode=mode,
        display="" if shown is None else "summarized" if shown else "omitted",
    )
    return None if made == Reasoning() else made


def _choices(config: Mapping[str, Raw]) -> tuple[str, ...]:
    """Return the texts of a schema that is nothing but an enumeration; () for any other."""
    subset = present(config, "responseSchema") or present(config, "responseJsonSchema")
    if subset is None:
        return ()
    try:
        return _ENUM(subset).enum
    except ValidationError:
        return ()


def _output(fields: Mapping[str, Raw], config: Mapping[str, Raw], extra: list[Opaque]) -> OutputFormat | None:
    at = "generationConfig."
    kind = text(config, "responseMimeType", at)
    if kind == ENUM and (choices := _choices(config)):
        return OutputFormat("choice", choices=choices)
    if kind not in ("", "application/json", "text/plain"):  # whatever comes
        for key in ("responseMimeType", "responseSchema", "responseJsonSchema"):
            value = present(config, key)
            if value is not None:
                extra.append(Opaque(wire.NAME, at + key, bytes(value)))
        return None
    given = present(config, "responseJsonSchema") or present(config, "_responseJsonSchema")
    if given is not None:
        return OutputFormat("json_schema", schema=verbatim(given, f"{at}responseJsonSchema", "a JSON schema object"))
    subset = present(config, "responseSchema")
    if subset is not None:
        verbatim(subset, f"{at}responseSchema", "a schema object")
        return OutputFormat("json_schema", schema=schema.to_json(bytes(subset)))
    if kind:
        return OutputFormat("json_object" if kind == "application/json" else "text")
    return guided.read(fields)
