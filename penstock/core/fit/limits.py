"""What each API takes of names, ids, texts and numbers: facts, with their sources, one row per dialect.

A model's own limits hold wherever it is served: ``limits_of`` adds them to those of the API.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from msgspec import Struct
from msgspec.structs import replace

from penstock.core.models import ModelFacts


class Spelling(Struct, frozen=True):
    """What a name or an id may be made of. ``accepted``: the whole of one. ``refused``: a character that may not be in
    it. ``longest``: characters."""

    accepted: re.Pattern[str]
    refused: re.Pattern[str]
    longest: int


class Limits(Struct, frozen=True, kw_only=True):
    """The limits of one API. Nothing said is no limit.

    ``tool_names``, ``call_ids``, ``format_names``: how they are spelled, None where any is taken. ``tools``, ``stops``:
    how many. ``blanks``: whether texts, and stop sequences, of white space are taken; where they are not, an answer
    that has begun may not end in it either. ``opens``: whether the assistant may speak first. ``prefills``: whether an
    answer may have begun. ``system_ends``: whether a system message may stand last. ``warmest``: the highest
    temperature. ``user``, ``cache_key``: how long. ``metadata``: how many pairs. ``images``: their types. ``steers``:
    how hard to think is said by an effort alone.
    """

    tool_names: Spelling | None = None
    call_ids: Spelling | None = None
    format_names: Spelling | None = None
    tools: int = 0
    stops: int = 0
    blanks: bool = True
    opens: bool = True
    prefills: bool = True
    system_ends: bool = True
    warmest: float = 0.0
    user: int = 0
    cache_key: int = 0
    metadata: int = 0
    images: frozenset[str] = frozenset()
    steers: bool = False


def _spelling(letters: str, longest: int, first: str = "") -> Spelling:
    head = f"(?={first})" if first else ""
    return Spelling(re.compile(f"{head}[{letters}]{{1,{longest}}}"), re.compile(f"[^{letters}]"), longest)


_PLAIN = "a-zA-Z0-9_-"
_VISIBLE = "!-~"
_NONE = Limits()
_UNKNOWN = ModelFacts()
# The longest "user": "Invalid 'user': string too long"; Claude Code's has 140 characters and more. The cache's key and
# metadata: https://platform.openai.com/docs/api-reference/chat/create ("prompt_cache_key", "metadata": 16 pairs).
_OPENAI = Limits(
    tool_names=_spelling(_PLAIN, 64),
    format_names=_spelling(_PLAIN, 64),
    user=64,
    cache_key=64,
    metadata=16,
    steers=True,
)
# Names of tools: https://platform.openai.com/docs/api-reference/chat/create#chat-create-tools ("maximum length of 64"),
# https://docs.claude.com/en/docs/agents-and-tools/tool-use/implement-tool-use ("^[a-zA-Z0-9_-]{1,128}$"),
# https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ToolSpecification.html,
# https://ai.google.dev/api/caching#FunctionDeclaration. Servers that only speak OpenAI's dialects mostly take more, and
# lose nothing by less: the client sees its own names.
# Ids of calls: 40 characters in Chat (agno-agi/agno issue 5382), 64 in Responses (openai/codex issue 14355),
# "^[a-zA-Z0-9_-]+$" in Messages, and what API_runtime_ToolUseBlock.html says in Converse.
# Stop sequences: https://ai.google.dev/api/generate-content#generationconfig, https://docs.cohere.com/reference/chat.
# Blank texts: "text content blocks must contain non-whitespace text", "The text field in the ContentBlock object is
# blank" (anomalyco/opencode issue 31259). A temperature over 1: https://docs.claude.com/en/api/messages,
# https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InferenceConfiguration.html. Who speaks first
# and last: "first message must use the "user" role", "A conversation must start with a user message",
# https://docs.cohere.com/reference/chat#request.body.messages (the last one is a user's or a tool's).
_LIMITS: Mapping[str, Limits] = {
    "openai_chat": replace(_OPENAI, call_ids=_spelling(_VISIBLE, 40)),
    "sap": replace(_OPENAI, call_ids=_spelling(_VISIBLE, 40)),
    "openai_responses": replace(_OPENAI, call_ids=_spelling(_VISIBLE, 64)),
    "anthropic": Limits(
        tool_names=_spelling(_PLAIN, 128),
        call_ids=_spelling(_PLAIN, 256),
        blanks=False,
        opens=False,
        images=frozenset(("image/jpeg", "image/png", "image/gif", "image/webp")),
    ),
    "bedrock": Limits(
        tool_names=_spelling(_PLAIN, 64),
        call_ids=_spelling("a-zA-Z0-9_.:-", 64),
        blanks=False,
        opens=False,
        warmest=1.0,
    ),
    "gemini": Limits(tool_names=_spelling("a-zA-Z0-9_.:-", 64, "[a-zA-Z_]"), stops=5, opens=False),
    "cohere": Limits(stops=5, prefills=False, system_ends=False),
}
_OPENAIS = frozenset(("openai_chat", "openai_responses", "sap"))
_STOPS = 4  # https://platform.openai.com/docs/api-reference/chat/create#chat-create-stop
_TOOLS = 128  # "Invalid 'tools': array too long", zed-industries/zed issue 42393


def limits_of(dialect: str, model: ModelFacts = _UNKNOWN) -> Limits:
    """Return what an API takes that speaks ``dialect``, of a request to ``model``."""
    limits = _LIMITS.get(dialect, _NONE)
    if model.is_claude:
        return replace(limits, blanks=False, opens=False, prefills=model.takes_prefill, warmest=1.0)
    if model.is_openais and dialect in _OPENAIS:
        return replace(limits, stops=_STOPS, tools=_TOOLS)
    return limits
