"""What each API takes of names, ids and numbers: facts, with their sources, one row per dialect."""

from __future__ import annotations

import re
from collections.abc import Mapping

from msgspec import Struct


class Spelling(Struct, frozen=True):
    """What a name or an id may be made of. ``accepted``: the whole of one. ``refused``: a character that may not be in
    it. ``longest``: characters."""

    accepted: re.Pattern[str]
    refused: re.Pattern[str]
    longest: int


class Limits(Struct, frozen=True, kw_only=True):
    """The limits of one API. ``tool_names``: None where it takes any. ``asks_last``: the last message must be a user's
    or a tool's."""

    tool_names: Spelling | None = None
    asks_last: bool = False


def _spelling(letters: str, longest: int, first: str = "") -> Spelling:
    head = f"(?={first})" if first else ""
    return Spelling(re.compile(f"{head}[{letters}]{{1,{longest}}}"), re.compile(f"[^{letters}]"), longest)


_PLAIN = "a-zA-Z0-9_-"
_NONE = Limits()
# Tools' names: https://platform.openai.com/docs/api-reference/chat/create#chat-create-tools ("maximum length of 64"),
# https://docs.claude.com/en/docs/agents-and-tools/tool-use/implement-tool-use ("^[a-zA-Z0-9_-]{1,128}$"),
# https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ToolSpecification.html,
# https://ai.google.dev/api/caching#FunctionDeclaration. Servers that only speak OpenAI's dialects mostly take more, and
# lose nothing by less: the client sees its own names.
_LIMITS: Mapping[str, Limits] = {
    "openai_chat": Limits(tool_names=_spelling(_PLAIN, 64)),
    "openai_responses": Limits(tool_names=_spelling(_PLAIN, 64)),
    "anthropic": Limits(tool_names=_spelling(_PLAIN, 128)),
    "bedrock": Limits(tool_names=_spelling(_PLAIN, 64)),
    "cohere": Limits(asks_last=True),  # https://docs.cohere.com/reference/chat
    "gemini": Limits(tool_names=_spelling("a-zA-Z0-9_.:-", 64, "[a-zA-Z_]")),
}


def limits_of(dialect: str) -> Limits:
    """Return what an API takes that speaks ``dialect``."""
    return _LIMITS.get(dialect, _NONE)
