"""What of a request an API may have no field for, and the fields of its own that go back to where they stood."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Raw

from penstock.core.dialects.turns import Writer
from penstock.core.ir import Request

# Name of a field -> whether a request asks for something by it: False, 0 and "" ask for what happens anyway.
_ASKS: Mapping[str, Callable[[Request], object]] = {
    "presence_penalty": lambda request: request.presence_penalty,
    "frequency_penalty": lambda request: request.frequency_penalty,
    "seed": lambda request: request.seed is not None,
    "n": lambda request: request.n not in (None, 1),
    "logprobs": lambda request: request.logprobs,
    "top_logprobs": lambda request: request.top_logprobs,
    "logit_bias": lambda request: request.logit_bias not in (b"", b"{}"),
    "verbosity": lambda request: request.verbosity not in ("", "medium"),
    "user": lambda request: request.user,
    "metadata": lambda request: request.metadata not in (b"", b"{}"),
    "store": lambda request: request.store,
    "cache_key": lambda request: request.cache_key,
    "previous_id": lambda request: request.previous_id,
    "include": lambda request: any(name != "reasoning.encrypted_content" for name in request.include),
}


def lose_lacking(request: Request, writer: Writer, has: frozenset[str] = frozenset()) -> None:
    """Report as losses what a request asks for by the fields above, but for those that the API ``has``."""
    for path, asks in _ASKS.items():
        if path not in has and asks(request):
            writer.lose(path, "there is no such field here")


def put_back(
    request: Request,
    writer: Writer,
    body: dict[str, Any],
    dialect: str,
    inner: tuple[str, ...],
    taken: frozenset[str] = frozenset(),
) -> None:
    """Put fields that only ``dialect`` knows back to where they stood: a kind that begins with one of ``inner`` is a
    path. ``taken``: its words that are taken at the top from clients of other dialects as well, as LiteLLM's users
    write them."""
    for opaque in request.extra:
        if opaque.dialect != dialect and opaque.kind in taken:
            body.setdefault(opaque.kind, Raw(opaque.raw))
            continue
        if opaque.dialect != dialect:
            writer.lose(f"extra.{opaque.kind}", f"a field of {opaque.dialect} only")
            continue
        head, *steps = opaque.kind.split(".") if opaque.kind.startswith(inner) else [opaque.kind]
        holder = body
        for step in steps:
            holder = holder.setdefault(head, {})
            head = step
        holder[head] = Raw(opaque.raw)
