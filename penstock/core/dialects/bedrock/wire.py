"""The words of Converse, and what the family of a model tells.

Sources: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html and ConverseStream, and the
service model that botocore 1.44 carries (``data/bedrock-runtime/2023-09-30``), which is the exact list of fields. Bytes
stand as base64 in JSON.
"""

from __future__ import annotations

import re

from penstock.core.dialects.base import Wire

NAME = "bedrock"
FAMILY = "bedrock"

IMAGES = {"png": "image/png", "jpeg": "image/jpeg", "gif": "image/gif", "webp": "image/webp"}
DOCUMENTS = {
    "pdf": "application/pdf",
    "csv": "text/csv",
    "doc": "application/msword",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "xls": "application/vnd.ms-excel",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "html": "text/html",
    "txt": "text/plain",
    "md": "text/markdown",
}
VIDEOS = {
    "mp4": "video/mp4",
    "mkv": "video/x-matroska",
    "mov": "video/quicktime",
    "webm": "video/webm",
    "flv": "video/x-flv",
    "mpeg": "video/mpeg",
    "mpg": "video/mpg",
    "wmv": "video/x-ms-wmv",
    "three_gp": "video/3gpp",
}
# Other spellings of a type -> the format.
FORMATS = {kind: word for table in (IMAGES, DOCUMENTS, VIDEOS) for word, kind in table.items()} | {
    "image/jpg": "jpeg",
    "application/csv": "csv",
    "text/x-markdown": "md",
    "application/json": "txt",
    "application/xml": "txt",
    "text/xml": "txt",
}

# https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html, stopReason
STOP_IN = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "tool_use",
    "max_tokens": "length",
    "guardrail_intervened": "filter",
    "content_filtered": "filter",
    "refusal": "refusal",
    "pause_turn": "pause",
    "model_context_window_exceeded": "context",
}
STOP_OUT = {
    "stop": "end_turn",
    "tool_use": "tool_use",
    "length": "max_tokens",
    "filter": "content_filtered",
    "refusal": "refusal",
    "pause": "pause_turn",
    "context": "model_context_window_exceeded",
}
_WORD = re.compile(r"[a-z][a-z_]+")


def finish_in(word: str) -> str:
    """The neutral reason for a ``stopReason``."""
    return STOP_IN.get(word) or f"other:{word}"


def finish_out(reason: str, sequence: str = "") -> str:
    """The ``stopReason`` for a neutral reason."""
    if reason == "stop" and sequence:
        return "stop_sequence"
    word = reason.removeprefix("other:")
    return STOP_OUT.get(reason) or (word if _WORD.fullmatch(word) else "end_turn")


# Models. The publisher stands in the id ("us.anthropic.claude-opus-4-6-v1", ".../amazon.nova-pro-v1:0"). An
# application's inference profile hides it: then everything is tried as asked.
_MAKER = re.compile(r"(?:^|[/.])([a-z0-9]+)\.[a-z]")
_BY_NAME = (("claude", "anthropic"), ("nova", "amazon"), ("llama", "meta"), ("gpt-oss", "openai"))
_PLACES = frozenset("us eu apac jp au ca global us-gov amer sa me af".split())
_ADAPTIVE = re.compile(r"claude-(?:[a-z]+-)?(?:4-(?:[6-9]|\d\d(?!\d))|[5-9])(?:$|[-@:])")
_CLAUDE_SCHEMAS = re.compile(r"claude-(?:[a-z]+-)?(?:4-(?:[5-9]|\d\d(?!\d))|[5-9])(?:$|[-@:])")
_STRICT = re.compile(r"claude-(?:[a-z]+-)?4-(?:[5-9]|\d\d(?!\d))(?:$|[-@:])")
_SCHEMA_MAKERS = frozenset("openai qwen google nvidia minimax moonshot moonshotai zai".split())
_SCHEMA_MODELS = re.compile(r"deepseek\.v3|mistral\.(?:ministral-3|magistral|voxtral|mistral-large-3|devstral)")


def maker(model: str) -> str:
    """Who made a model: "anthropic", "amazon", "meta", ...; "" where its id does not tell."""
    if model.startswith("arn:"):
        model = model.partition(":")[2].partition("/")[2]
    for found in _MAKER.finditer(model):
        if found[1] not in _PLACES:
            return found[1]
    head, dot, rest = model.partition(".")
    if dot and head in _PLACES:
        return maker(rest)
    return next((name for part, name in _BY_NAME if part in model), "")


def takes_schema(model: str) -> bool:
    """Whether a model enforces a JSON schema by ``outputConfig.textFormat``.
    https://docs.aws.amazon.com/bedrock/latest/userguide/structured-output.html"""
    if _CLAUDE_SCHEMAS.search(model):
        return True
    return maker(model) in _SCHEMA_MAKERS or bool(_SCHEMA_MODELS.search(model))


def takes_strict(model: str) -> bool:
    """Whether a model takes a tool's ``strict``. Claude's from 5 on answer 400 to it (vercel/ai issue 18199)."""
    return takes_schema(model) and (maker(model) != "anthropic" or _STRICT.search(model) is not None)


def wire_of(model: str) -> Wire:
    """What a renderer must know of a model on Bedrock. Claude's signatures are the same wherever it runs
    (https://docs.claude.com/en/docs/build-with-claude/extended-thinking, "across different platforms")."""
    made = maker(model)
    if made == "anthropic":
        return Wire(model=model, family=made, adaptive=_ADAPTIVE.search(model) is not None)
    return Wire(model=model, family=f"{FAMILY}-{made}" if made else FAMILY)
