"""The words of Converse.

Sources: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html and ConverseStream, and the
service model that botocore 1.44 carries (``data/bedrock-runtime/2023-09-30``), which is the exact list of fields. Bytes
stand as base64 in JSON.
"""

from __future__ import annotations

import re

from penstock.core.dialects.base import Wire
from penstock.core.dialects.endings import Words, own_word
from penstock.core.models import is_adaptive, publisher

NAME = "bedrock"
FAMILY = "bedrock"
_CLAUDES = "anthropic"  # the family of seals that is the same at every vendor

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
WORDS = Words(
    "stopReason",
    STOP_IN,
    {"malformed_model_output": "upstream_error", "malformed_tool_use": "upstream_error", "error": "upstream_error"},
)
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


def finish_in(word: str, said: bool) -> str:
    """Return the neutral reason for a ``stopReason``; see ``Words.read`` for what it raises."""
    return WORDS.read(word, said)


def finish_out(reason: str, sequence: str = "") -> str:
    """Return the ``stopReason`` for a neutral reason; for a word that is none that of an answer which was cut off."""
    if reason == "stop" and sequence:
        return "stop_sequence"
    word = own_word(reason, WORDS)
    return STOP_OUT.get(reason) or (word if _WORD.fullmatch(word) else "max_tokens")


def wire_of(model: str) -> Wire:
    """Return what a renderer must know of a model on Bedrock. Claude's signatures are the same wherever it runs
    (https://docs.claude.com/en/docs/build-with-claude/extended-thinking, "across different platforms")."""
    made = publisher(model)
    if made == _CLAUDES:
        return Wire(model=model, family=made, adaptive=is_adaptive(model))
    return Wire(model=model, family=f"{FAMILY}-{made}" if made else FAMILY)
