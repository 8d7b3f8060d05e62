"""Words of Cohere's chat API that more than one file needs.

Sources for the whole package: https://docs.cohere.com/reference/chat, https://docs.cohere.com/reference/chat-stream,
https://docs.cohere.com/docs/streaming, https://docs.cohere.com/docs/reasoning, and the types of the ``cohere`` client
7.3, which are generated from the vendor's own definition of the API.
"""

from __future__ import annotations

import re

from penstock.core.dialects.endings import Words, is_other
from penstock.core.ir import Seal, Thinking

NAME = "cohere"
FAMILY = "cohere"

# A message's ``tool_plan`` is reasoning before calls, apart from the ``thinking`` of models that reason. It is told as
# a thought whose seal says where it came from: clients send seals back, and it is a plan again at this vendor.
PLAN = "tool_plan"

# ``Opaque.kind`` of a message's own unknown field, and of a citation's further sources, which the first one tells.
MESSAGE = "message."
SOURCE = "source"
CITATIONS = "citations"  # of an answer: those that are about no text (a plan, a thought)

TOP = frozenset("documents citation_options safety_mode strict_tools priority k p stop_sequences".split())
"""Own fields that are understood from clients of other dialects as well, as LiteLLM's users write them."""

# https://docs.cohere.com/reference/chat ("finish_reason"); the last two, and USER_CANCEL below, are v1's, still seen
# behind proxies.
FINISH_IN = {
    "COMPLETE": "stop",
    "STOP_SEQUENCE": "stop",
    "MAX_TOKENS": "length",
    "TOOL_CALL": "tool_use",
    "ERROR_LIMIT": "context",
    "ERROR_TOXIC": "filter",
}
FAILED = frozenset(("ERROR", "TIMEOUT"))
WORDS = Words(
    "finish_reason",
    FINISH_IN,
    {"ERROR": "upstream_error", "TIMEOUT": "upstream_gateway_timeout", "USER_CANCEL": "upstream_error"},
)
_FINISH_OUT = {"length": "MAX_TOKENS", "context": "ERROR_LIMIT", "tool_use": "TOOL_CALL", "filter": "ERROR_TOXIC"}
_FINISH_OUT["refusal"] = "ERROR_TOXIC"

# Models from before reasoning, a list that grows no more: https://docs.cohere.com/docs/models. Every other name may be
# one that thinks.
_PLAIN = re.compile(r"(?:^|[/.])(?:command(?:-r|-light|-nightly|-a-(?:03|vision|translate)|$)|c4ai-|aya)")


def plan_seal() -> Seal:
    """Make the seal of a thought that is a ``tool_plan``."""
    return Seal(FAMILY, PLAN)


def is_plan(block: Thinking, family: str = FAMILY) -> bool:
    """Tell whether a thought is a ``tool_plan`` of this family's."""
    return block.seal is not None and block.seal.data == PLAN and block.seal.family == family


def thinks(model: str) -> bool:
    """Tell whether a model takes ``thinking``: any but those that are known not to."""
    return _PLAIN.search(model) is None


def finish_in(word: str, called: bool, said: bool) -> str:
    """Return the neutral reason for a ``finish_reason``; see ``Words.read`` for what it raises."""
    reason = WORDS.read(word, said)
    return "tool_use" if reason == "stop" and called else reason


def finish_out(reason: str, sequence: str, called: bool) -> str:
    """Return the nearest ``finish_reason``. An answer with calls never says COMPLETE here, nor does one that ended with
    a word that nobody knows."""
    if reason == "stop":
        return "TOOL_CALL" if called else "STOP_SEQUENCE" if sequence else "COMPLETE"
    return "MAX_TOKENS" if is_other(reason) else _FINISH_OUT.get(reason, "COMPLETE")
