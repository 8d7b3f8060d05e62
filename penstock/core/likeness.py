"""Which part of a chat may be said in other words and still have the same answer.

What is compared is the text of the last turn, if that is the user's. All else must be equal: instructions, the turns
before, tools and what they returned, pictures, every parameter. LiteLLM compares the text of all turns in one, system
prompt included, and says itself that this replays stale answers to agents and long conversations: they send the same
text again with a little more at its end, and whoever goes back and asks something else differs by a few words in
thousands (docs.litellm.ai, "Semantic Caching and Multi-Turn Agentic Traffic").
"""

from __future__ import annotations

from typing import NamedTuple

from msgspec.structs import replace

from penstock.core.ir import Request, Text
from penstock.core.ir.fold import canon


class Question(NamedTuple):
    """A chat in two parts. ``text``: what is compared; ``rest``: the chat without it."""

    text: str
    rest: Request


def split_question(request: Request) -> Question | None:
    """Split a chat into the text that is compared and all else; None where it does not end in words of the user's."""
    messages = canon(request).messages
    if not messages or messages[-1].role != "user":
        return None
    last = messages[-1]
    text = "\n".join([block.text for block in last.blocks if isinstance(block, Text)]).strip()
    if not text:
        return None
    blocks = tuple([replace(block, text="") if isinstance(block, Text) else block for block in last.blocks])
    return Question(text, replace(request, messages=(*messages[:-1], replace(last, blocks=blocks))))
