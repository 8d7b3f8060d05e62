"""What is left of the limits of a group's deployments, as header lines: in OpenAI's names, as LiteLLM tells it.

Limits and use are summed over the deployments that have any. Only where some have; a key with limits of its own is told
those instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from penstock.core.route.quotas import MINUTE

if TYPE_CHECKING:
    from penstock.runtime.live import Lives
    from penstock.runtime.targets import Target

_SIDES = {"itpm": "input-tokens", "otpm": "output-tokens"}


def tells(target: Target) -> bool:
    """Tell whether a deployment has limits of a minute that clients are told of."""
    return bool(target.rpm or target.tpm or any(quota.key in _SIDES for quota in target.quotas))


def group_lines(targets: Sequence[Target], lives: Lives, now: float, told: bytes) -> bytes:
    """Render the lines of a group. ``told``: those that its answer has already, which are not told again."""
    sums: dict[str, tuple[int, int, float]] = {}  # word -> limit, used, seconds until the window ends
    for target in targets:
        if target.rpm or target.tpm:
            requests, tokens, _ = lives[target.live_id].standing.used(now)
            for word, most, used in (("requests", target.rpm, requests), ("tokens", target.tpm, tokens)):
                if most:
                    limit, before, _ = sums.get(word, (0, 0, 0.0))
                    sums[word] = limit + most, before + min(used, most), 0.0
        for quota in target.quotas:
            if quota.key in _SIDES and quota.span.seconds == MINUTE:
                word, used = _SIDES[quota.key], lives.quotas.used(target.live_id, quota)
                limit, before, _ = sums.get(word, (0, 0, 0.0))
                sums[word] = limit + quota.most, before + min(used, quota.most), quota.span.left(lives.quotas.wall())
    lines = b""
    for word, (limit, used, seconds) in sums.items():
        name = b"x-ratelimit-limit-%b: " % word.encode()
        if name not in told:
            lines += b"%b%d\r\nx-ratelimit-remaining-%b: %d\r\n" % (name, limit, word.encode(), limit - used)
            if seconds:
                lines += b"x-ratelimit-reset-%b: %d\r\n" % (word.encode(), int(seconds) + 1)
    return lines
