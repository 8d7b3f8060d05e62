"""How limits are told: header lines of every answer to a call that has some, and the refusal of one that is over."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from penstock.core.admit import amount
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
        bounds = [[limit.pace.requests for limit in limits], [limit.pace.tokens for limit in limits]]
        self._bounds = [
            (word, which, [(number, most) for number, most in enumerate(bounds[which]) if most is not None])
            for which, word in enumerate(("requests", "tokens"))
        ]
        self._alone = len(limits) == 1
        if self._alone:
            more, which = _lines_of("x-ratelimit", limits[0].pace, 2)
            self._both, self._spots_of_both = lines + more, [*spots, *((0, one) for one in which)]

    def fill(self, left: Sequence[Left], openai: bool) -> bytes:
        """Render the lines. ``left``: of each limit. ``openai``: also in OpenAI's names."""
        if openai and self._alone:
            return (self._both % tuple([left[number][one] for number, one in self._spots_of_both])).encode()
        text = self._lines % tuple([left[number][one] for number, one in self._spots])
        return (text + self._tightest(left) if openai else text).encode()

    def _tightest(self, left: Sequence[Left]) -> str:
        text = ""
        for word, which, bounds in self._bounds:
            if bounds:
                some, most = min([(left[number][which], most) for number, most in bounds])
                text += f"x-ratelimit-limit-{word}: {most}\r\nx-ratelimit-remaining-{word}: {some}\r\n"
        return text


def _lines_of(name: str, pace: Pace, count: int) -> tuple[str, list[int]]:
    """Make the lines of the first bounds of a pace, with places for what is left, and which of ``Left`` goes there."""
    words = (("requests", pace.requests), ("tokens", pace.tokens), ("max_parallel_requests", pace.parallel))[:count]
    there = [(number, word, most) for number, (word, most) in enumerate(words) if most is not None]
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
