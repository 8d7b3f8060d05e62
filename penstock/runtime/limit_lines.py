"""How limits are told: header lines of every answer to a call that has some, and the refusal of one that is over."""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING

from penstock.core.admit import amount
from penstock.core.errors import GatewayError
from penstock.core.price import plain
from penstock.runtime.outlet import safe

if TYPE_CHECKING:
    from penstock.core.admit.holders import Holder, Pace
    from penstock.core.admit.rates import Left, Limit, Over


def limit_lines(found: Iterable[tuple[Limit, Left]], openai: bool) -> bytes:
    """Render what is left of each limit in LiteLLM's names, of the first of a kind; with ``openai`` also that of the
    tightest in OpenAI's, which clients pace themselves by."""
    text, kinds = b"", []
    tightest: list[tuple[int, int] | None] = [None, None]  # (left, most) of requests and of tokens
    for limit, left in found:
        pace, kind = limit.pace, limit.kind
        if kind not in kinds:
            kinds.append(kind)
            text += _template(kind, pace) % tuple([one for one in left if one >= 0])
        for which, most in enumerate((pace.requests, pace.tokens)):
            if openai and most is not None:
                one = (left[which], most)
                if (before := tightest[which]) is None or one < before:
                    tightest[which] = one
    for word, told in zip((b"requests", b"tokens"), tightest, strict=True):
        if told is not None:
            text += b"x-ratelimit-limit-%b: %d\r\nx-ratelimit-remaining-%b: %d\r\n" % (word, told[1], word, told[0])
    return text


@lru_cache(1024)
def _template(kind: str, pace: Pace) -> bytes:
    """Make the lines of a limit, with a place for what is left of each of its bounds."""
    words = (("requests", pace.requests), ("tokens", pace.tokens), ("max_parallel_requests", pace.parallel))
    name = f"x-ratelimit-{kind}"
    lines = (f"{name}-limit-{w}: {most}\r\n{name}-remaining-{w}: %d\r\n" for w, most in words if most is not None)
    return "".join(lines).encode()


def key_lines(key: Holder, spent: int | None) -> bytes:
    """Render what a key may, and what it has spent before this call (picodollars)."""
    text = ""
    if spent is not None:
        text += f"x-litellm-key-spend: {plain(amount.decimal(spent))}\r\n"
    if key.pace.tokens is not None:
        text += f"x-litellm-key-tpm-limit: {key.pace.tokens}\r\n"
    if key.pace.requests is not None:
        text += f"x-litellm-key-rpm-limit: {key.pace.requests}\r\n"
    cap = next((cap for cap in key.caps if not cap.model), None)
    if cap is not None:
        text += f"x-litellm-key-max-budget: {plain(amount.decimal(cap.most))}\r\n"
    return text.encode()


def over_lines(over: Over) -> bytes:
    """Render what LiteLLM's refusals say in headers beside Retry-After."""
    return b"rate_limit_type: %b\r\nreset_at: %b\r\n" % (over.what.encode(), _when(over).encode())


def over_error(over: Over, tokens: int) -> GatewayError:
    """Make the refusal of a request that is over a limit, in LiteLLM's words, which clients match on. ``tokens``: that
    it may use."""
    limit = over.limit
    text = (
        f"Rate limit exceeded for {limit.kind}: {safe(limit.id).decode()[:200]}. Limit type: {over.what}. "
        f"Current limit: {over.most}, Remaining: {over.left}. Limit resets at: {_when(over)}"
    )
    if over.what == "tokens" and tokens > over.most:
        text += f". This request alone may use {tokens} tokens: a smaller max_tokens, or a shorter prompt, would fit"
    return GatewayError("over_rate", text, retry_after=over.wait)


def _when(over: Over) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(time.time() + over.wait))
