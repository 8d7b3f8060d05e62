"""What Converse refuses: shapes by the service's own model (botocore 1.44, ``bedrock-runtime/2023-09-30``), and the
rules that its documentation and its error messages tell."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any

from penstock.mock import brain, claude_rules
from penstock.mock.reply import Exchange, Refused, encode

_ID = re.compile(r"[a-zA-Z0-9_.:-]{1,64}")
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_DOCUMENT_NAME = re.compile(r"(?!.*\s\s)[a-zA-Z0-9\s\-()\[\]]{1,200}")
_METADATA = re.compile(r"[a-zA-Z0-9\s:_@$#=/+,\-.]{0,256}")

# A shape: {"member": shape}; "!" before a name: required. A word: a scalar (or a named shape). [shape]: a list.
# "|a|b": one of these words. A union is marked by "": it has exactly one member.
SHAPES: dict[str, Any] = {
    "request": {
        "!messages": ["message"],
        "system": ["system"],
        "inferenceConfig": "limits",
        "toolConfig": {"!tools": ["tool"], "toolChoice": "choice"},
        "guardrailConfig": {
            "guardrailIdentifier": "str",
            "guardrailVersion": "str",
            "trace": "|enabled|disabled|enabled_full",
            "streamProcessingMode": "|sync|async",
        },
        "additionalModelRequestFields": "doc",
        "promptVariables": "doc",
        "additionalModelResponseFieldPaths": ["str"],
        "requestMetadata": "doc",
        "performanceConfig": {"latency": "|standard|optimized"},
        "serviceTier": {"!type": "|priority|default|flex|reserved"},
        "outputConfig": {
            "textFormat": {
                "!type": "|json_schema",
                "!structure": {"": 1, "jsonSchema": {"!schema": "str", "name": "str", "description": "str"}},
            },
            "effort": "str",
        },
    },
    "message": {"!role": "|user|assistant|system", "!content": ["block"]},
    "limits": {"maxTokens": "int", "temperature": "unit", "topP": "unit", "stopSequences": ["full"]},
    "point": {"!type": "|default", "ttl": "|5m|1h"},
    "system": {"": 1, "text": "full", "cachePoint": "point", "guardContent": "guard"},
    "guard": {"": 1, "text": {"!text": "str", "qualifiers": ["str"]}, "image": "image"},
    "tool": {
        "": 1,
        "toolSpec": {"!name": "name", "description": "full", "!inputSchema": {"": 1, "json": "doc"}, "strict": "bool"},
        "systemTool": {"!name": "name"},
        "cachePoint": "point",
    },
    "choice": {"": 1, "auto": {}, "any": {}, "tool": {"!name": "name"}},
    "s3": {"!uri": "s3uri", "bucketOwner": "str"},
    "image": {"!format": "|png|jpeg|gif|webp", "!source": {"": 1, "bytes": "blob", "s3Location": "s3"}},
    "document": {
        "format": "|pdf|csv|doc|docx|xls|xlsx|html|txt|md",
        "!name": "str",
        "!source": {"": 1, "bytes": "blob", "s3Location": "s3", "text": "str", "content": [{"": 1, "text": "str"}]},
        "context": "str",
        "citations": {"!enabled": "bool"},
    },
    "video": {
        "!format": "|mkv|mov|mp4|webm|flv|mpeg|mpg|wmv|three_gp",
        "!source": {"": 1, "bytes": "blob", "s3Location": "s3"},
    },
    "audio": {
        "!format": "|mp3|opus|wav|aac|flac|mp4|ogg|mkv|mka|x-aac|m4a|mpeg|mpga|pcm|webm",
        "!source": {"": 1, "bytes": "blob", "s3Location": "s3"},
    },
    "search": {"!source": "str", "!title": "str", "!content": [{"!text": "str"}], "citations": {"!enabled": "bool"}},
    "block": {
        "": 1,
        "text": "str",
        "image": "image",
        "document": "document",
        "video": "video",
        "audio": "audio",
        "toolUse": {"!toolUseId": "id", "!name": "name", "!input": "doc", "type": "|server_tool_use"},
        "toolResult": {
            "!toolUseId": "id",
            "!content": ["result"],
            "status": "|success|error",
            "type": "str",
        },
        "guardContent": "guard",
        "cachePoint": "point",
        "reasoningContent": {
            "": 1,
            "reasoningText": {"!text": "str", "signature": "str"},
            "redactedContent": "blob",
        },
        "citationsContent": {"content": [{"": 1, "text": "str"}], "citations": ["doc"]},
        "searchResult": "search",
    },
    "result": {
        "": 1,
        "json": "any",
        "text": "str",
        "image": "image",
        "document": "document",
        "video": "video",
        "searchResult": "search",
    },
}
_KINDS: dict[str, tuple[type | tuple[type, ...], str]] = {
    "str": (str, "a string"),
    "int": (int, "an integer"),
    "bool": (bool, "a boolean"),
    "doc": (Mapping, "an object"),
}


def bad(message: str, status: int = 400, kind: str = "ValidationException") -> Refused:
    """Make an exception of the service."""
    return Refused(status, message, kind)


def check(exchange: Exchange, body: dict[str, Any], model: str) -> None:
    """Raise Refused for the first thing that the real API would refuse."""
    _shape(body, "request", "", exchange.rejects_unknown(by_default=True))
    turns = body["messages"]
    if not turns or turns[0]["role"] != "user":
        raise bad(
            "A conversation must start with a user message. Try again with a conversation that starts with a user "
            "message."
        )
    for at, turn in enumerate(turns):
        if at and turn["role"] == turns[at - 1]["role"]:
            raise bad(f'messages.{at}: roles must alternate between "user" and "assistant".')
        _check_turn(exchange, turn, at, model)
    _check_pairs(turns)
    _check_tools(body, turns)
    _check_model(body, model)
    for key, value in (body.get("requestMetadata") or {}).items():
        if not _METADATA.fullmatch(key) or not isinstance(value, str) or not _METADATA.fullmatch(value):
            raise bad(f"Value at 'requestMetadata' failed to satisfy constraint: {key!r}")


# Shapes ---------------------------------------------------------------------------------------------------------------


def _shape(value: Any, shape: Any, where: str, strict: bool) -> None:
    if isinstance(shape, str) and shape in SHAPES:
        shape = SHAPES[shape]
    if isinstance(shape, list):
        if not isinstance(value, list):
            raise bad(f"Expected a list at {where or 'the top'}.")
        for at, item in enumerate(value):
            _shape(item, shape[0], f"{where}.{at}", strict)
    elif isinstance(shape, str):
        _scalar(value, shape, where)
    else:
        _object(value, shape, where, strict)


def _object(value: Any, shape: Mapping[str, Any], where: str, strict: bool) -> None:
    if not isinstance(value, Mapping):
        raise bad(f"Expected an object at {where or 'the top'}.")
    members = {key.lstrip("!"): inner for key, inner in shape.items() if key}
    union = "" in shape
    unknown = [key for key in value if key not in members]
    if unknown and (strict or union):
        raise bad(f"The member {unknown[0]!r} at {where or 'the top'} is not known.")
    if union and len(value) != 1:
        raise bad(f"Exactly one member must be set at {where}, got {sorted(value)}.")
    for key in shape:
        if key[:1] == "!" and value.get(key[1:]) is None:
            place = f"{where}.{key[1:]}".lstrip(".")
            raise bad(f"Value at '{place}' failed to satisfy constraint: Member must not be null")
    for key, inner in members.items():
        if value.get(key) is not None:
            _shape(value[key], inner, f"{where}.{key}" if where else key, strict)


def _scalar(value: Any, kind: str, where: str) -> None:
    if kind == "any":
        return
    if kind[0] == "|":
        if value not in kind[1:].split("|"):
            words = kind[1:].replace("|", ", ")
            raise bad(
                f"Value '{value}' at '{where}' failed to satisfy constraint: Member must satisfy enum value set: "
                f"[{words}]"
            )
    elif kind == "unit":
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
            raise bad(f"The value at '{where}' must be between 0 and 1.")
    elif kind == "blob":
        _blob(value, where)
    elif kind in ("id", "name", "full", "s3uri"):
        pattern = {"id": _ID, "name": _NAME, "full": re.compile(r"(?s).+"), "s3uri": re.compile(r"s3://\S+")}[kind]
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise bad(
                f"Value {value!r} at '{where}' failed to satisfy constraint: Member must satisfy regular expression "
                "pattern"
            )
    else:
        wanted, words = _KINDS[kind]
        low = kind == "int" and (isinstance(value, bool) or not isinstance(value, int) or value < 1)
        if low or not isinstance(value, wanted):
            raise bad(f"Value {value!r} at '{where}' must be {words}.")


def _blob(value: Any, where: str) -> None:
    try:
        good = isinstance(value, str) and base64.b64decode(value, validate=True)
    except binascii.Error:
        good = False
    if not good:
        raise bad(f"Value at '{where}' failed to satisfy constraint: Member must be bytes in base64, at least one.")


# Rules ----------------------------------------------------------------------------------------------------------------


def _check_turn(exchange: Exchange, turn: dict[str, Any], at: int, model: str) -> None:
    if not turn["content"]:
        raise bad(f"The content field in the Message object at messages.{at} is empty. Add a ContentBlock object.")
    kinds = [next(iter(block)) for block in turn["content"]]
    names: list[str] = []
    for place, block in enumerate(turn["content"]):
        where = f"messages.{at}.content.{place}"
        kind = kinds[place]
        if kind == "text" and not block["text"].strip():
            raise bad(
                f"The text field in the ContentBlock object at {where} is blank. Add text to the text field, and try "
                "again."
            )
        if kind in ("image", "document", "video", "audio", "toolResult") and turn["role"] != "user":
            raise bad(f"{where}: {kind} blocks are for messages of the user.")
        if kind in ("toolUse", "reasoningContent") and turn["role"] != "assistant":
            raise bad(f"{where}: {kind} blocks are for messages of the assistant.")
        if kind == "document":
            names.append(block["document"]["name"])
        if kind == "toolResult":
            names += _check_result(block["toolResult"], where)
        if kind == "reasoningContent" and "claude" in model:
            _check_seal(exchange, block["reasoningContent"], where)
    if "document" in kinds and "text" not in kinds:
        raise bad(f"messages.{at}: a text block is required when using documents.")
    for name in names:
        if not _DOCUMENT_NAME.fullmatch(name):
            raise bad(
                "The document file name can only contain alphanumeric characters, whitespace characters, hyphens, "
                "parentheses, and square brackets. The name can't contain more than one consecutive whitespace "
                "character."
            )
    if len(names) != len(set(names)):
        raise bad("The provided request contains duplicate document names.")


def _check_result(result: dict[str, Any], where: str) -> list[str]:
    if result.get("status") == "error" and not result["content"]:
        raise bad(f"The content field at {where}.toolResult cannot be empty when status value is error.")
    for block in result["content"]:
        if "text" in block and not block["text"].strip():
            raise bad(f"The text field in the ContentBlock object at {where}.toolResult is blank.")
    return [block["document"]["name"] for block in result["content"] if "document" in block]


def _check_seal(exchange: Exchange, block: dict[str, Any], where: str) -> None:
    """Check that Claude's signatures are its own; they are the same as at its maker's."""
    seed = exchange.script.seed
    if "redactedContent" in block:
        if not brain.seal_fits(seed, "redacted", "", block["redactedContent"]):
            raise bad(f"{where}: Invalid `data` in `redacted_thinking` block")
        return
    told = block["reasoningText"]
    if not brain.seal_fits(seed, "thinking", told["text"], told.get("signature")):
        raise bad(f"{where}: Invalid `signature` in `thinking` block")


def _check_pairs(turns: list[dict[str, Any]]) -> None:
    called: list[str] = []
    for at, turn in enumerate(turns):
        results = [block["toolResult"]["toolUseId"] for block in turn["content"] if "toolResult" in block]
        missing = [id for id in called if id not in results]
        if missing:
            raise bad(
                f"Expected toolResult blocks at messages.{at}.content for the following Ids: {', '.join(missing)}"
            )
        if len(results) > len(called) or set(results) - set(called):
            raise bad(
                f"The number of toolResult blocks at messages.{at}.content exceeds the number of toolUse blocks of "
                "previous turn."
            )
        called = [block["toolUse"]["toolUseId"] for block in turn["content"] if "toolUse" in block]
        if len(called) != len(set(called)):
            raise bad(f"The toolUse blocks at messages.{at}.content contain duplicate Ids.")


def _check_tools(body: dict[str, Any], turns: list[dict[str, Any]]) -> None:
    config = body.get("toolConfig")
    if config is None:
        if any("toolUse" in block or "toolResult" in block for turn in turns for block in turn["content"]):
            raise bad("The toolConfig field must be defined when using toolUse and toolResult content blocks.")
        return
    names = [tool["toolSpec"]["name"] for tool in config["tools"] if "toolSpec" in tool]
    if not config["tools"]:
        raise bad(
            "Value at 'toolConfig.tools' failed to satisfy constraint: Member must have length greater than or equal "
            "to 1"
        )
    if len(names) != len(set(names)):
        raise bad("The toolConfig contains duplicate tool names.")
    for at, tool in enumerate(config["tools"]):
        if "toolSpec" in tool and tool["toolSpec"]["inputSchema"]["json"].get("type") != "object":
            raise bad(
                f"The value at toolConfig.tools.{at}.toolSpec.inputSchema.json.type must be one of the following: "
                "object."
            )
    named = (config.get("toolChoice") or {}).get("tool")
    if named and named["name"] not in names:
        raise bad(f"The tool {named['name']} of toolConfig.toolChoice is not in toolConfig.tools.")


_CLAUDES = frozenset("top_k thinking reasoning_config anthropic_beta output_config tool_choice".split())
_NOVAS = frozenset("inferenceConfig reasoningConfig".split())
_SCHEMAS = re.compile(r"claude-(opus|sonnet|haiku)-4-[5-9]|claude-\w+-[5-9]|gpt-oss|qwen|deepseek\.v3|gemma")


def _check_model(body: dict[str, Any], model: str) -> None:
    more = body.get("additionalModelRequestFields") or {}
    limits = body.get("inferenceConfig") or {}
    claude, nova = "claude" in model, "nova" in model
    known = _CLAUDES if claude else _NOVAS if nova else None
    strange = sorted(set(more) - known) if known is not None else []
    if strange:
        raise bad(
            f"The model returned the following errors: Malformed input request: #: extraneous key [{strange[0]}] is "
            "not permitted, please reformat your input and try again."
        )
    if not claude and not nova and "arn:" not in model and '"cachePoint"' in _text(body):
        raise bad(
            "You invoked an unsupported model or your request did not allow prompt caching. See the documentation "
            "for more information.", 403, "AccessDeniedException"
        )
    if body.get("outputConfig", {}).get("textFormat") and not _SCHEMAS.search(model) and "arn:" not in model:
        raise bad("This model doesn't support the outputConfig.textFormat field.")
    choice = (body.get("toolConfig") or {}).get("toolChoice") or {}
    thinking = more.get("thinking") or {}
    if claude:
        sampling = {"temperature": limits.get("temperature"), "top_p": limits.get("topP"), "top_k": more.get("top_k")}
        told = claude_rules.refusal_of_model(model, sampling, thinking)
        if told:
            raise bad(f"The model returned the following errors: {told}")
        if body["messages"][-1]["role"] == "assistant" and claude_rules.refuses_prefill(model):
            raise bad(f"The model returned the following errors: {claude_rules.PREFILL}")
    if claude and thinking.get("type") in ("enabled", "adaptive"):
        _check_thinking(thinking, limits, more, choice)
    effort = (more.get("reasoningConfig") or {}).get("maxReasoningEffort")
    if nova and effort == "high" and {"maxTokens", "temperature", "topP"} & set(limits):
        raise bad("Inference parameters maxTokens, temperature and topP must be unset when maxReasoningEffort is high.")
    if ("tool" in choice or "any" in choice) and re.search(r"llama|jamba|command", model):
        raise bad(
            "This model doesn't support the toolConfig.toolChoice field. Remove toolConfig.toolChoice and try again."
        )


def _check_thinking(thinking: Any, limits: dict[str, Any], more: dict[str, Any], choice: dict[str, Any]) -> None:
    budget, limit = thinking.get("budget_tokens"), limits.get("maxTokens")
    if thinking["type"] == "enabled" and (not isinstance(budget, int) or budget < 1024):
        raise bad("thinking.enabled.budget_tokens: Input should be greater than or equal to 1024")
    if budget is not None and limit is not None and limit <= budget:
        raise bad("`max_tokens` must be greater than `thinking.budget_tokens`.")
    if limits.get("temperature", 1) != 1:
        raise bad("`temperature` may only be set to 1 when thinking is enabled.")
    if limits.get("topP", 1) < 0.95 or "top_k" in more:
        raise bad("`top_k` must be unset and `top_p` at least 0.95 when thinking is enabled.")
    if "tool" in choice or "any" in choice:
        raise bad("Thinking may not be enabled when tool_choice forces tool use.")


def _text(body: dict[str, Any]) -> str:
    return encode([body.get("system"), body["messages"], body.get("toolConfig")]).decode()
