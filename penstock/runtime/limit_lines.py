"""How limits are told: header lines of every answer to a call that has some, and the refusal of one that is over."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from penstock.core.admit import amount
from penstock.core.admit.holders import UNBOUND
from penstock.core.errors import GatewayError
from penstock.runtime.outlet import safe

if TYPE_CHECKING:
    from penstock.core.admit.holders import Holder, Pace
    from penstock.core.admit.rates import Left, Limit, Over


class LimitLines:
    """The header lines of a set of limits, made once but for what is left: in LiteLLM's names of each, the first of a
    kind; and of the tightest in OpenAI's, which clients pace themselves by. ``counts_tokens``: some limit does."""

    def __init__(self, limits: Sequence[Limit]) -> None:
        self.counts_tokens = any(one.pace.tokens is not None or one.pace.a_day is not None for one in limits)
        lines, spots, kinds = "", list[tuple[int, int]](), set[str]()
        for number, limit in enumerate(limits):
            if limit.kind in kinds:
                continue
            kinds.add(limit.kind)
            more, which = _lines_of(f"x-ratelimit-{limit.kind}", limit.pace, 3)
            lines += more
            spots += [(number, one) for one in which]
        self._lines, self._spots = lines, spots
        bounds = [[_told(limit.pace.requests) for limit in limits], [_told(limit.pace.tokens) for limit in limits]]
        self._bounds = [
            (which, [(number, most) for number, most in enumerate(bounds[which]) if most is not None])
            for which in range(2)
            if any(most is not None for most in bounds[which])
        ]
        self._openai = lines + "".join(
            f"x-ratelimit-limit-{word}: %d\r\nx-ratelimit-remaining-{word}: %d\r\n"
            for word in (("requests", "tokens")[which] for which, _ in self._bounds)
        )

    def fill(self, left: Sequence[Left], openai: bool) -> bytes:
        """Render the lines. ``left``: of each limit. ``openai``: also in OpenAI's names."""
        told = [left[number][one] for number, one in self._spots]
        if not openai:
            return (self._lines % tuple(told)).encode()
        for which, bounds in self._bounds:
            number, most = bounds[0]
            some = left[number][which]
            for number, other in bounds:
                if left[number][which] < some or (left[number][which] == some and other < most):
                    some, most = left[number][which], other
            told += most, some
        return (self._openai % tuple(told)).encode()


def _told(most: int | None) -> int | None:
    """Return a bound that clients are told of: None for one that keeps nobody out."""
    return None if most == UNBOUND else most


def _lines_of(name: str, pace: Pace, count: int) -> tuple[str, list[int]]:
    """Make the lines of the first bounds of a pace, with places for what is left, and which of ``Left`` goes there."""
    words = (("requests", pace.requests), ("tokens", pace.tokens), ("max_parallel_requests", pace.parallel))[:count]
    there = [(number, word, most) for number, (word, most) in enumerate(words) if _told(most) is not None]
    text = "".join(f"{name}-limit-{word}: {most}\r\n{name}-remaining-{word}: %d\r\n" for _, word, most in there)
    return text, [number for number, _, _ in there]


def key_lines(key: Holder) -> bytes:
    """Render what a key may."""
    text = ""
    if key.pace.tokens is not None:
        text += f"x-litellm-key-tpm-limit: {key.pace.tokens}\r\n"
    if key.pace.requests is not None:
        text += f"x-litellm-key-rpm-limit: {key.pace.requests}\r\n"
    cap = next((cap for cap in key.caps if not cap.model), None)
    if cap is not None:
        text += f"x-litellm-key-max-budget: {amount.text(cap.most)}\r\n"
    return text.encode()


def spend_line(spent: int) -> bytes:
    """Render what a key has spent before a call (picodollars)."""
    return f"x-litellm-key-spend: {amount.text(spent)}\r\n".encode()


def over_lines(over: Over) -> bytes:
    """Render what LiteLLM's refusals say in headers beside Retry-After."""
    return b"rate_limit_type: %b\r\nreset_at: %b\r\n" % (over.what.encode(), _when(over).encode())


class OverModel(GatewayError):
    """A limit in one model is used up: another model may have room."""


def over_error(over: Over, tokens: int) -> GatewayError:
    """Make the refusal of a request that is over a limit, in LiteLLM's words, which clients match on. ``tokens``: that
    it may use."""
    limit = over.limit
    text = (
        f"Rate limit exceeded for {limit.kind}: {safe(limit.id).decode()[:200]}. Limit type: {over.what}. "
        f"Current limit: {over.most}, Remaining: {over.left}. Limit resets at: {_when(over)}"
    )
    text += too_many(over, tokens)
    made = OverModel if over.in_one_model else GatewayError
    return made("over_rate", text, retry_after=over.wait)


def too_many(over: Over, tokens: int) -> str:
    """Say what to do about a request that no waiting helps; "" for the others."""
    if over.what != "tokens" or tokens <= over.most:
        return ""
    return f". This request alone may use {tokens} tokens: a smaller max_tokens, or a shorter prompt, would fit"


def _when(over: Over) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(time.time() + over.wait))
