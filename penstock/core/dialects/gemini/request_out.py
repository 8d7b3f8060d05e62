"""The neutral ``Request`` as a ``generateContent`` body. ``model`` and ``stream`` are not in it: they stand in the URL.

Sources as in ``wire``. What the API has no field for is a ``Loss``; what it has under another name or unit (effort as a
budget or a level) is none.
"""

from __future__ import annotations

from typing import Any

from msgspec import Raw
from msgspec.json import encode

from penstock.core.dialects import guided, structured
from penstock.core.dialects.base import Rendered, Wire
from penstock.core.dialects.gemini import wire
from penstock.core.dialects.gemini.parts_out import Writer
from penstock.core.dialects.gemini.thinking import thinking_config
from penstock.core.dialects.gemini.turns import POLICY, build_turns, write_turn
from penstock.core.dialects.lacking import lose_lacking, put_back
from penstock.core.dialects.turns import split_system
from penstock.core.ir import Loss, OutputFormat, Request, Tool
from penstock.core.models import generation

_JSON_SCHEMA = 2.5  # the first generation that takes JSON Schema itself
_TIERS = {"auto": "", "default": "", "flex": "flex", "priority": "priority"}
_INNER = ("generationConfig.", "toolConfig.")
_TAKEN = frozenset("safetySettings safety_settings cachedContent cached_content labels".split())
_HAS = frozenset(("presence_penalty", "frequency_penalty", "seed", "n", "logprobs", "top_logprobs"))


def forced(request: Request, wire_: Wire) -> structured.Forced | None:
    """Plan the tool that stands in for a schema. Models before 3 answer 400 to JSON together with functions ("Function
    calling with a response mime type 'application/json' is unsupported")."""
    output = request.output
    if output is None or output.kind == "text" or output.kind in guided.CONSTRAINTS:
        return None
    if wire_.native_schema and (generation(wire_.model) >= 3 or not _functions(request)):
        return None
    return structured.plan(request, native_schema=False)


def _functions(request: Request) -> bool:
    return any(tool.kind == "function" for tool in request.tools)


def render_request(request: Request, wire_: Wire) -> Rendered:
    """Render the body for ``wire_``, and tell what it could not carry."""
    losses: list[Loss] = []
    own = request.dialect == wire.NAME
    stand_in = forced(request, wire_)
    output = None if stand_in is not None else request.output
    if stand_in is not None:
        request = structured.force(request, stand_in)
    version = generation(wire_.model)
    writer = Writer(wire_.family or wire.FAMILY, own, wire_.call_ids, version, losses)
    body: dict[str, Any] = {}
    _prompt(request, writer, body)
    _tools(request, writer, body)
    config = _config(request)
    thinking = None if request.reasoning is None else thinking_config(request.reasoning, wire_.model, version, writer)
    if thinking:
        config["thinkingConfig"] = thinking
    _output(output, version, writer, config)
    if config:
        body["generationConfig"] = config
    _account(request, writer, body)
    put_back(request, writer, body, wire.NAME, _INNER, _TAKEN)
    return Rendered({key: Raw(encode(value)) for key, value in body.items()}, tuple(losses))


def _prompt(request: Request, writer: Writer, body: dict[str, Any]) -> None:
    system, start = split_system(request.messages, writer, POLICY)
    parts = writer.parts(system)
    if parts:
        body["systemInstruction"] = {"parts": parts}
    contents = [write_turn(turn, writer) for turn in build_turns(request.messages, start, writer)]
    body["contents"] = [content for content in contents if content is not None]


# Tools ----------------------------------------------------------------------------------------------------------------


def _tools(request: Request, writer: Writer, body: dict[str, Any]) -> None:
    declared: list[Any] = []
    others: list[Any] = []
    for number, tool in enumerate(request.tools):
        at = f"tools.{number}"
        opaque = tool.opaque
        if opaque is not None and opaque.dialect == wire.NAME:
            (declared if tool.kind == "function" else others).append(Raw(opaque.raw))
        elif tool.kind != "function":
            writer.lose(at, f"a tool of kind {tool.kind} is not known here")
        else:
            if opaque is not None:
                writer.lose(f"{at}.opaque", f"fields that only {opaque.dialect} knows")
            declared.append(_function(tool, at, writer))
    tools = ([{"functionDeclarations": declared}] if declared else []) + others
    if tools:
        body["tools"] = tools
    _choice(request, bool(declared), writer, body)


def _function(tool: Tool, at: str, writer: Writer) -> dict[str, Any]:
    out: dict[str, Any] = {"name": tool.name}
    if tool.description:
        out["description"] = tool.description
    if tool.strict:
        writer.lose(f"{at}.strict", "functions cannot be strict one by one here")
    if tool.cache is not None:
        writer.lose(f"{at}.cache", "the vendor caches by itself")
    if not tool.schema:
        return out
    if writer.version >= _JSON_SCHEMA:
        out["parametersJsonSchema"] = Raw(tool.schema)
        return out
    made, lost = writer.subset(tool.schema, f"{at}.schema")
    for path, why in lost:
        writer.lose(f"{at}.schema.{path}", why)
    if made.get("properties"):  # the older models refuse an object without properties
        out["parameters"] = made
    return out


def _choice(request: Request, has_functions: bool, writer: Writer, body: dict[str, Any]) -> None:
    choice = request.tool_choice
    if has_functions and request.parallel_tools is False:
        writer.lose("parallel_tools", "calls cannot be limited to one here")
    if choice is None:
        return
    if not has_functions:
        if choice.mode not in ("auto", "none"):
            writer.lose("tool_choice", "no functions are left to choose from")
        return
    mode = {"auto": "AUTO", "none": "NONE", "required": "ANY", "named": "ANY"}.get(choice.mode)
    if mode is None:  # some of the tools: a call is forced, or the answer may be words as well
        mode = "ANY" if choice.required else "VALIDATED"
    config: dict[str, Any] = {"mode": mode}
    if choice.names:
        config["allowedFunctionNames"] = list(choice.names)
    body["toolConfig"] = {"functionCallingConfig": config}


# Settings -------------------------------------------------------------------------------------------------------------


def _config(request: Request) -> dict[str, Any]:
    settings = {
        "temperature": request.temperature,
        "topP": request.top_p,
        "topK": request.top_k,
        "maxOutputTokens": request.max_tokens,
        "stopSequences": list(request.stop) or None,
        "seed": request.seed,
        "candidateCount": request.n,
        "presencePenalty": request.presence_penalty,
        "frequencyPenalty": request.frequency_penalty,
        "responseLogprobs": request.logprobs,
        "logprobs": request.top_logprobs,
    }
    return {key: value for key, value in settings.items() if value is not None}


def _output(output: OutputFormat | None, version: float, writer: Writer, config: dict[str, Any]) -> None:
    if output is None:
        return
    if output.kind == "text":
        config["responseMimeType"] = "text/plain"
        return
    if output.kind == "choice":  # ai.google.dev/api/generate-content, "responseMimeType": the answer is the bare text
        config["responseMimeType"] = "text/x.enum"
        config["responseSchema"] = {"type": "STRING", "enum": list(output.choices)}
        return
    if output.kind in guided.CONSTRAINTS:
        writer.lose(f"output.{output.kind}", "there is no such constraint here")
        return
    config["responseMimeType"] = "application/json"
    if output.description:
        writer.lose("output.description", "formats have no description here")
    if not output.schema:
        return
    if version >= _JSON_SCHEMA:
        config["responseJsonSchema"] = Raw(output.schema)
        return
    made, lost = writer.subset(output.schema, "output.schema")
    for path, why in lost:
        writer.lose(f"output.schema.{path}", why)
    config["responseSchema"] = made


def _account(request: Request, writer: Writer, body: dict[str, Any]) -> None:
    """Set who pays, and report the settings that this API has not."""
    if request.service_tier:
        tier = _TIERS.get(request.service_tier)
        if tier is None:
            writer.lose("service_tier", f"{request.service_tier} is not offered here")
        elif tier:
            body["serviceTier"] = tier
    lose_lacking(request, writer, _HAS)
