"""What a config reserves of models by priority, out of ``litellm_settings``, typed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from penstock.config.problems import described, shown
from penstock.core.admit.priorities import OF_REQUESTS, OF_TOKENS, PERCENT, Priorities, Reserved

RESERVATION, SETTINGS = "priority_reservation", "priority_reservation_settings"
KEYS = (RESERVATION, SETTINGS)
LIMITER = "dynamic_rate_limiter_v3"
"""The callback by which LiteLLM keeps models within their capacity, also where nothing is reserved."""
LIMITERS = frozenset((LIMITER, "dynamic_rate_limiter"))
_LISTS = ("callbacks", "success_callback", "failure_callback")
_FORM = '0.5, or {"type": "rpm", "value": 900} (types: percent, rpm, tpm)'
_NUMBERS = ("default_priority", "saturation_threshold")
_MOOT = "saturation_check_cache_ttl"  # what is in use is counted here, and not looked up


def read_priorities(values: Mapping[str, Any], problems: list[str]) -> Priorities | None:
    """Read what is reserved; None where nothing is and nobody asks for models to be kept within their capacity. Adds a
    sentence for each part that cannot be used to ``problems``."""
    said = values.get(RESERVATION)
    if said is None and not any(LIMITER in (values.get(name) or ()) for name in _LISTS):
        if values.get(SETTINGS):
            problems.append(f"litellm_settings.{SETTINGS} has no effect without {RESERVATION}.")
        return None
    if said is not None and not isinstance(said, Mapping):
        problems.append(f"litellm_settings.{RESERVATION} must be a mapping of priorities to shares: {_FORM}.")
        said = {}
    reserved = dict(_read_shares(said or {}, problems))
    numbers = dict(_read_numbers(values.get(SETTINGS), problems))
    found = Priorities(
        reserved=reserved,
        # Where nothing is reserved all of it is everybody's.
        default=numbers.get("default_priority", 0.25 if said else 1.0),
        threshold=numbers.get("saturation_threshold", 0.5),
    )
    _check_sum(found, "default_priority" in numbers, problems)
    return found


def _read_shares(said: Mapping[Any, Any], problems: list[str]) -> Iterator[tuple[str, Reserved]]:
    for name, share in said.items():
        place = f"litellm_settings.{RESERVATION}: {shown(str(name))}"
        value, of = share, PERCENT
        if isinstance(share, Mapping):
            value, of = share.get("value", 1.0), share.get("type", PERCENT)
        if not str(name):
            problems.append(f"litellm_settings.{RESERVATION} has a priority without a name, which is left out.")
        elif of not in (PERCENT, OF_REQUESTS, OF_TOKENS) or not _is_part(value, None if of != PERCENT else 1.0):
            text = f"{place} is left out: a share is a number from 0 to 1 such as {_FORM}"
            problems.append(f"{text}; got {described(value)}.")
        else:
            yield str(name), Reserved(float(value), of)


def _read_numbers(said: Any, problems: list[str]) -> Iterator[tuple[str, float]]:
    place = f"litellm_settings.{SETTINGS}"
    if said is not None and not isinstance(said, Mapping):
        problems.append(f"{place} must be a mapping, with {' and '.join(_NUMBERS)}.")
        return
    for name, value in (said or {}).items():
        if name not in _NUMBERS and name != _MOOT:
            problems.append(f"{place} has a key that is not used: known are {', '.join(_NUMBERS)}.")
        elif name in _NUMBERS and not _is_part(value, 1.0):
            text = f"{place}.{name} must be a number from 0 to 1, and counts as absent"
            problems.append(f"{text}; got {described(value)}.")
        elif name in _NUMBERS:
            yield name, float(value)


def _check_sum(found: Priorities, said: bool, problems: list[str]) -> None:
    total = sum(share.value for share in found.reserved.values() if share.of == PERCENT)
    if total > 1.0 + 1e-9:
        text = f"litellm_settings.{RESERVATION}: the shares are {total:.4g} together, and are cut to 1 in proportion"
        problems.append(f"{text}; who has no priority has no share.")
    elif said and found.default > 1.0 - total + 1e-9:
        text = f"litellm_settings.{SETTINGS}.default_priority is {found.default:.4g}, and {1.0 - total:.4g} is left"
        problems.append(f"{text} beside what is reserved: that is what who has no priority gets.")


def _is_part(value: Any, most: float | None) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return False
    return value >= 0 and (most is None or value <= most)
