"""What Google's API refuses, in its words: unknown fields, roles, parts, pairs of calls and results, signatures.

Field lists: the `google-genai` package's types (3.3). Google's JSON is read in lowerCamelCase and in snake_case."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Any

from penstock.mock import brain
from penstock.mock.reply import Exchange, Refused

TOP = frozenset(
    "contents systemInstruction tools toolConfig safetySettings generationConfig cachedContent labels serviceTier store"
    " model".split()
)
CONFIG = frozenset(
    "temperature topP topK maxOutputTokens stopSequences candidateCount presencePenalty frequencyPenalty seed"
    " responseLogprobs logprobs responseMimeType responseSchema responseJsonSchema thinkingConfig mediaResolution"
    " responseModalities speechConfig imageConfig enableEnhancedCivicAnswers responseFormat".split()
)
PART = frozenset(
    "text thought thoughtSignature inlineData fileData functionCall functionResponse executableCode"
    " codeExecutionResult videoMetadata mediaResolution partMetadata toolCall toolResponse".split()
)
DATA = PART - {"thought", "thoughtSignature", "videoMetadata", "mediaResolution", "partMetadata"}
SCHEMA = frozenset(
    "type format title description nullable enum maxItems minItems properties required minProperties maxProperties"
    " minLength maxLength pattern example anyOf propertyOrdering default items minimum maximum".split()
)
# Words that pass for a signature of another model's history. The field is bytes, which JSON has in base64: the words
# are such as they stand, and clients that encode every signature send them encoded once more.
_SKIPS = frozenset(
    spelled
    for word in ("skip_thought_signature_validator", "context_engineering_is_the_way_to_go")
    for spelled in (word, base64.b64encode(word.encode()).decode())
)
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]*={0,2}")
_SNAKE = re.compile(r"_([a-z])")
_VERSION = re.compile(r"gemini-(?:[a-z]+-)*(\d+)")


def bad(message: str) -> Refused:
    """Make a 400 INVALID_ARGUMENT."""
    return Refused(400, message, "INVALID_ARGUMENT")


def camel(value: Any) -> Any:
    """Turn an object's own keys into lowerCamelCase; what it holds is left alone."""
    if not isinstance(value, Mapping):
        return value
    return {_SNAKE.sub(lambda m: m[1].upper(), key) if "_" in key else key: inner for key, inner in value.items()}


def listed(value: Any) -> list[Any]:
    """Return a list; one object in its place is a list of one, as Google's parser reads it."""
    return [value] if isinstance(value, Mapping) else list(value or [])


def is_new(model: str) -> bool:
    """Tell whether the model's version is 3 or later: those insist on their signatures."""
    found = _VERSION.search(model)
    return found is not None and int(found[1]) >= 3


def seal(seed: int, name: str) -> str:
    """Make the signature of a call of this function, or of a text ("")."""
    return brain.seal(seed, "gemini", name)


def normal(body: dict[str, Any]) -> dict[str, Any]:
    """Rewrite the body with its structural keys in lowerCamelCase, contents and parts as lists."""
    body = camel(body)
    body["generationConfig"] = camel(body.get("generationConfig") or {})
    for key in ("responseSchema",):
        body["generationConfig"].setdefault(key, None)
    body["contents"] = [_content(content) for content in listed(body.get("contents"))]
    if body.get("systemInstruction"):
        body["systemInstruction"] = _content(body["systemInstruction"])
    body["tools"] = [camel(tool) for tool in listed(body.get("tools"))]
    return body


def _content(content: Any) -> dict[str, Any]:
    content = dict(camel(content))
    parts = []
    for part in listed(content.get("parts")):
        part = dict(camel(part))
        for key in ("inlineData", "fileData", "functionCall", "functionResponse"):
            if key in part:
                part[key] = camel(part[key])
        parts.append(part)
    content["parts"] = parts
    return content


def check(exchange: Exchange, body: dict[str, Any], model: str) -> None:
    """Raise Refused for the first thing that the real API would refuse. ``body`` is ``normal``."""
    if exchange.rejects_unknown(by_default=True):
        _unknown(body, TOP, "")
        _unknown(
            {k: v for k, v in body["generationConfig"].items() if v is not None}, CONFIG, " at 'generation_config'"
        )
    if not body["contents"]:
        raise bad("* GenerateContentRequest.contents: contents is not specified\n")
    for at, content in enumerate(body["contents"]):
        if content.get("role") not in (None, "", "user", "model", "function"):
            raise bad("Please use a valid role: user, model.")
        for place, part in enumerate(content["parts"]):
            _check_part(part, f"contents[{at}].parts[{place}]", "/projects/" in exchange.path)
    _check_pairs(body["contents"])
    _check_signatures(exchange, body["contents"], model)
    _check_tools(body)
    _check_config(body, model)


def _unknown(fields: Mapping[str, Any], known: frozenset[str], where: str) -> None:
    for name in fields:
        if name not in known:
            raise bad(f'Invalid JSON payload received. Unknown name "{name}"{where}: Cannot find field.')


def _check_part(part: dict[str, Any], where: str, vertex: bool) -> None:
    _unknown(part, PART, f" at '{where}'")
    held = [key for key in part if key in DATA and part[key] is not None]
    if not held and "thoughtSignature" not in part:
        raise bad(
            f"* GenerateContentRequest.{where}.data: required oneof field 'data' must have one initialized field\n"
        )
    if len(held) > 1:
        raise bad(f"Invalid value at '{where}' (oneof), oneof field 'data' is already set. Cannot set '{held[1]}'")
    for key, snake in (("functionCall", "function_call"), ("functionResponse", "function_response")):
        told = part.get(key)
        if told is None:
            continue
        if not told.get("name"):
            raise bad(f"* GenerateContentRequest.{where}.{snake}.name: [FIELD_INVALID] Name cannot be empty.\n")
        if vertex and "id" in told:
            raise bad(f"Invalid JSON payload received. Unknown name \"id\" at '{where}.{snake}': Cannot find field.")
        inner = told.get("args" if key == "functionCall" else "response")
        if inner is not None and not isinstance(inner, Mapping):
            raise bad(f"Invalid value at '{where}.{snake}' (Map), {inner!r}")


def _check_pairs(contents: list[dict[str, Any]]) -> None:
    called = 0
    for content in contents:
        results = sum("functionResponse" in part for part in content["parts"])
        if results != called and (called or results):
            raise bad(
                "Please ensure that the number of function response parts is equal to the number of function call parts"
                " of the function call turn."
            )
        calls = sum("functionCall" in part for part in content["parts"])
        if calls and content.get("role") != "model":
            raise bad("Please ensure that function call turns are of the role model.")
        called = calls
    if called:
        raise bad("Please ensure that function call turn comes immediately after a user turn.")
    if contents[0].get("role") == "model" and any("functionCall" in part for part in contents[0]["parts"]):
        raise bad("Please ensure that function call turn comes immediately after a user turn.")


def _check_signatures(exchange: Exchange, contents: list[dict[str, Any]], model: str) -> None:
    """Check that signatures are ours wherever they stand; in the turn that goes on, new models miss one that is not
    there."""
    seed = exchange.script.seed
    start = max((at for at, one in enumerate(contents) if one.get("role") != "model" and not _results(one)), default=0)
    for at, content in enumerate(contents):
        first = True
        for place, part in enumerate(content["parts"]):
            call = part.get("functionCall")
            given = part.get("thoughtSignature")
            if given is not None and not _is_base64(given):
                where = f"contents[{at}].parts[{place}].thought_signature"
                raise bad(f"Invalid value at '{where}' (TYPE_BYTES), Base64 decoding failed for {given!r}")
            if isinstance(given, str) and given not in _SKIPS:  # both alphabets of base64 are read
                given = given.replace("-", "+").replace("_", "/")
            name = call["name"] if call else ""
            if given is not None and given not in _SKIPS and not brain.seal_fits(seed, "gemini", name, given):
                raise bad("Corrupted thought signature.")
            if call and first and given is None and at >= start and is_new(model):
                raise bad(
                    "Function call is missing a thought_signature in functionCall parts. This is required for tools to"
                    " work correctly, and missing thought_signature may lead to degraded model performance. Additional"
                    f" data, function call `default_api:{name}` , position {place + 1}."
                )
            first = first and not call


def _is_base64(value: Any) -> bool:
    """Tell whether protobuf's JSON reads the value as bytes: either alphabet of base64, with or without its padding."""
    if not isinstance(value, str) or not _BASE64.fullmatch(value):
        return False
    bare = value.rstrip("=")
    return len(bare) % 4 != 1 and ("=" not in value or len(value) % 4 == 0)


def _results(content: dict[str, Any]) -> bool:
    return any("functionResponse" in part for part in content["parts"])


def _check_tools(body: dict[str, Any]) -> None:
    names: set[str] = set()
    for at, tool in enumerate(body["tools"]):
        for place, given in enumerate(listed(tool.get("functionDeclarations"))):
            declared = camel(given)
            where = f"tools[{at}].function_declarations[{place}]"
            if not re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_.:-]{0,127}", str(declared.get("name", ""))):
                raise bad(f"* GenerateContentRequest.{where}.name: Invalid function name.\n")
            if declared["name"] in names:
                raise bad(f"Duplicate function declaration found: {declared['name']}")
            names.add(declared["name"])
            if declared.get("parameters") is not None and declared.get("parametersJsonSchema") is not None:
                raise bad(f"{where}: only one of parameters and parameters_json_schema can be set.")
            check_schema(declared.get("parameters"), f"{where}.parameters")
    calling = camel(camel(body.get("toolConfig") or {}).get("functionCallingConfig") or {})
    mode = str(calling.get("mode") or "AUTO").upper()
    if mode not in ("AUTO", "ANY", "NONE", "VALIDATED", "MODE_UNSPECIFIED"):
        raise bad(f"Invalid value at 'tool_config.function_calling_config.mode' (TYPE_ENUM), \"{mode}\"")
    allowed = calling.get("allowedFunctionNames") or []
    if allowed and mode not in ("ANY", "VALIDATED"):
        raise bad("Allowed function names can be set only when the mode is ANY or VALIDATED.")
    if set(allowed) - names:
        raise bad(f"Allowed function name {sorted(set(allowed) - names)[0]} is not declared.")
    if calling and not names:
        raise bad("Function calling config is set without function_declarations.")


def check_schema(schema: Any, where: str) -> None:
    """Check a schema against Google's subset: any other keyword is an unknown field."""
    if not isinstance(schema, Mapping):
        return
    schema = camel(schema)
    _unknown(schema, SCHEMA, f" at '{where}'")
    kind = str(schema.get("type", "")).upper()
    if schema.get("enum") is not None and kind != "STRING":
        raise bad(f"* GenerateContentRequest.{where}.enum: only allowed for STRING type\n")
    if kind == "OBJECT" and schema.get("properties") == {}:
        raise bad(f"* GenerateContentRequest.{where}.properties: should be non-empty for OBJECT type\n")
    for name, inner in (schema.get("properties") or {}).items():
        check_schema(inner, f"{where}.properties[{name}]")
    check_schema(schema.get("items"), f"{where}.items")
    for at, inner in enumerate(schema.get("anyOf") or []):
        check_schema(inner, f"{where}.any_of[{at}]")


def _check_config(body: dict[str, Any], model: str) -> None:
    config = body["generationConfig"]
    if len(config.get("stopSequences") or []) > 5:
        raise bad("* GenerateContentRequest.generation_config.stop_sequences: at most 5 stop sequences.\n")
    count = config.get("candidateCount")
    if count is not None and not 1 <= count <= 8:
        raise bad("* GenerateContentRequest.generation_config.candidate_count: must be within the range [1,8].\n")
    thinking = camel(config.get("thinkingConfig") or {})
    if thinking.get("thinkingLevel") and thinking.get("thinkingBudget") is not None:
        raise bad("You can only set only one of thinking budget and thinking level.")
    if thinking.get("thinkingLevel") and not is_new(model):
        raise bad("Thinking level is not supported for this model.")
    check_schema(config.get("responseSchema"), "generation_config.response_schema")
    wants_json = config.get("responseMimeType") == "application/json"
    wants_one = config.get("responseMimeType") == "text/x.enum"
    if wants_one and not (config.get("responseSchema") or {}).get("enum"):
        raise bad("* GenerateContentRequest.generation_config.response_schema: must be an enum for text/x.enum.\n")
    if (config.get("responseSchema") or config.get("responseJsonSchema")) and not (wants_json or wants_one):
        raise bad(
            "* GenerateContentRequest.generation_config.response_mime_type: must be application/json with a schema\n"
        )
    declared = any(tool.get("functionDeclarations") for tool in body["tools"])
    if wants_json and declared and not is_new(model):
        raise bad("Function calling with a response mime type: 'application/json' is unsupported")
