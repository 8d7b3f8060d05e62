"""How limits are told: header lines of every answer to a call that has some, and the refusal of one that is over."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from penstock.core.admit import amount
from penstock.core.errors import GatewayError
from penstock.core.price import plain
from penstock.runtime.outlet import safe

if TYPE_CHECKING:
    from penstock.core.admit.holders import Holder
    from penstock.core.admit.rates import Limit, Over, Rates


def limit_lines(rates: Rates, limits: Sequence[Limit], now: float, openai: bool) -> bytes:
    """Render what is left of each limit in LiteLLM's names, of the first of a kind; with ``openai`` also that of the
    tightest in OpenAI's, which clients pace themselves by."""
    lines: dict[str, int] = {}
    requests: tuple[int, int] | None = None  # (left, most) of the tightest
    tokens: tuple[int, int] | None = None
    for limit in limits:
        pace, name = limit.pace, f"x-ratelimit-{limit.kind}"
        left, tokens_left = rates.left(limit, now)
        if pace.requests is not None and left is not None:
            lines.setdefault(f"{name}-limit-requests", pace.requests)
            lines.setdefault(f"{name}-remaining-requests", left)
            requests = min(requests or (left, pace.requests), (left, pace.requests))
        if pace.tokens is not None and tokens_left is not None:
            lines.setdefault(f"{name}-limit-tokens", pace.tokens)
            lines.setdefault(f"{name}-remaining-tokens", tokens_left)
            tokens = min(tokens or (tokens_left, pace.tokens), (tokens_left, pace.tokens))
        if pace.parallel is not None:
            lines.setdefault(f"{name}-limit-max_parallel_requests", pace.parallel)
            lines.setdefault(f"{name}-remaining-max_parallel_requests", rates.room(limit))
    if openai:
        for word, found in (("requests", requests), ("tokens", tokens)):
            if found is not None:
                lines[f"x-ratelimit-limit-{word}"] = found[1]
                lines[f"x-ratelimit-remaining-{word}"] = found[0]
    return "".join([f"{name}: {value}\r\n" for name, value in lines.items()]).encode()


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
