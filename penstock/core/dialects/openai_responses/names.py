"""Words of the Responses dialect that more than one of its files needs."""

from __future__ import annotations

from penstock.core.dialects.endings import is_other
from penstock.core.errors import GatewayError

NAME = "openai_responses"
FAMILY = "openai"

# ``Opaque.kind`` of what an item or a part holds beyond what the neutral form knows: it stands before its block, as a
# streamed block is opened with all its fields. A kind without such a lead is the ``type`` of a whole item.
ITEM_FIELDS = "@"  # "@phase", "@namespace,caller": fields of the item that the next block begins
PART_FIELDS = "+"  # "+prompt_cache_breakpoint": fields of the content part that follows
PART = "part."  # a whole content part of an unknown type: "part.computer_screenshot"

ENCRYPTED = "reasoning.encrypted_content"  # in ``include``
LOGPROBS = "message.output_text.logprobs"  # in ``include``: what Chat calls ``logprobs: true``

# Effort words and thinking budgets (tokens), for requests that give the one where this API has the other.
BUDGETS = (("high", 16384), ("medium", 4096), ("low", 1024))

_INCOMPLETE_IN = {"max_output_tokens": "length", "content_filter": "filter"}
_INCOMPLETE_OUT = {
    "length": "max_output_tokens",
    "context": "max_output_tokens",
    "filter": "content_filter",
    "other:max_messages": "max_messages",
    "other:steered": "steered",
}


def finish_in(status: str, reason: str, called: bool, refused: bool) -> str:
    """Return the neutral reason of an answer with this ``status`` and ``incomplete_details.reason``. A completed answer
    does not say why it ended: what it holds does. Raises "broken_answer" for one that is not at its end."""
    if status == "incomplete":
        return _INCOMPLETE_IN.get(reason) or (f"other:{reason}" if reason else "length")
    if status not in ("", "completed"):
        raise GatewayError("broken_answer", f'The upstream\'s answer is not complete: its status is "{status[:80]}".')
    return "tool_use" if called else "refusal" if refused else "stop"


def finish_out(reason: str, refused: bool) -> str:
    """Return ``incomplete_details.reason`` for a neutral reason; "" for an answer that is complete."""
    if reason == "refusal" and not refused:  # no words of refusal were given: a filter's doing
        return "content_filter"
    return _INCOMPLETE_OUT.get(reason) or ("max_output_tokens" if is_other(reason) else "")


def effort_of(budget: int) -> str:
    """Return the effort word for a thinking budget in tokens."""
    for word, least in BUDGETS:
        if budget >= least:
            return word
    return "minimal"
