"""The same-dialect lane: an answer's bytes pass as they are, but for its ``model`` and what the meter must see.

Each dialect has a module ``same`` with these names (``dialects.EDITORS`` is the table):

* ``answer(body, model) -> (bytes, Usage | None)``: a whole answer with its ``model`` replaced. Raises "broken_answer"
  when it is none, and the upstream's error when it carries one under status 200 (some servers do).
* ``Stream(model, want_usage)`` with ``feed(sse.Event) -> bytes`` (b"" when the event is for the meter alone),
  ``close() -> bytes`` (what is still owed at the upstream's end; raises ``Incomplete``), ``usage``, ``started`` (a part
  of the answer was seen) and ``chunks`` (how many, which counts tokens roughly where usage is never told).
* ``prepare(fields, stream, ask_usage)``: edits a request's top level for the wire.
* ``wants_usage(fields)``: whether the client asked for usage in the stream.

Edits touch the places of ``model`` only; everything else keeps the upstream's bytes.
"""

from __future__ import annotations

from msgspec import Raw
from msgspec.structs import replace

from penstock.core.errors import GatewayError
from penstock.core.ir import Usage


class Incomplete(GatewayError):
    """The upstream's stream ended before the answer did."""

    def __init__(self, detail: str = "the upstream closed the stream before the answer was complete") -> None:
        super().__init__("broken_stream", f"The answer is incomplete: {detail}.")


def in_tier(usage: Usage | None, tier: Raw | None) -> Usage | None:
    """Usage with the ``service_tier`` that an answer tells: it decides the price, not the one that was asked for, since
    vendors serve "priority" as "default" when they are short (platform.openai.com, "Priority processing")."""
    if usage is None or tier is None:
        return usage
    text = bytes(tier)
    return replace(usage, tier=text[1:-1].decode("utf-8", "replace")) if text[:1] == b'"' else usage
