"""A call's cost: which tier counts, what is noted in the call, and what is asked only once."""

from __future__ import annotations

import json
import time
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec import Raw

from penstock.core.ir import Usage
from penstock.core.price import Price, Units
from penstock.runtime.bill import settle
from penstock.runtime.prices import MAP, UNPRICED, TargetPrice, Unpriced, describe, supports

ENTRY = {
    "input_cost_per_token": 1, "input_cost_per_token_priority": 3, "input_cost_per_token_flex": 0.5,
    "output_cost_per_image": 0.04,
}  # fmt: skip


def call(usage: Usage | None, entry: dict[str, Any] | None = ENTRY, units: Units | None = None, **body: Any) -> Any:
    price = TargetPrice(Price("m", entry), "v", "m", entry) if entry is not None else TargetPrice(None, "", "", {})
    return SimpleNamespace(
        usage=usage,
        spent=None,
        units=units,
        cost=None,
        price_version=None,
        target=SimpleNamespace(price=price, label="openai/none", budgets=()),
        fields={key: Raw(json.dumps(value).encode()) for key, value in body.items()},
    )


@pytest.mark.parametrize(
    ("told", "asked", "cost"),
    [
        ("", None, "2"),
        ("", "priority", "6"),
        ("priority", None, "6"),
        ("default", "priority", "2"),
        ("standard", "flex", "2"),
        ("flex", "auto", "1.0"),
        ("", "auto", "2"),
        ("", 7, "2"),
    ],
)
def test_the_tier_that_answered_counts_before_the_one_that_was_asked_for(told: str, asked: Any, cost: str) -> None:
    body = {} if asked is None else {"service_tier": asked}
    found = call(Usage(fresh=2, tier=told), **body)
    assert settle(found) == Decimal(cost) == found.cost
    assert found.price_version == "v"


def test_a_call_is_settled_once() -> None:
    UNPRICED.counts.clear()
    unknown = call(Usage(fresh=2), entry=None)
    assert settle(unknown) is None is settle(unknown)
    assert UNPRICED.counts == {"openai/none": 1} and unknown.price_version == ""
    known = call(Usage(fresh=2))
    settle(known)
    known.usage = Usage(fresh=100)
    assert settle(known) == 2


def test_names_that_clients_make_up_do_not_fill_the_memory(caplog: pytest.LogCaptureFixture) -> None:
    unpriced = Unpriced(keep=2)
    for number in range(9):
        unpriced.count(f"openai/{number}")
    assert unpriced.counts == {"openai/0": 1, "openai/1": 1, "other": 7} and len(caplog.records) == 3


def test_nothing_counted_is_no_cost_and_no_warning() -> None:
    UNPRICED.counts.clear()
    assert settle(call(None)) is None and settle(call(None, entry=None)) is None
    assert not UNPRICED.counts


def test_units_are_added() -> None:
    assert settle(call(None, units=Units(images=3))) == Decimal("0.12")
    assert settle(call(Usage(fresh=1), units=Units(images=3))) == Decimal("1.12")


def test_the_clock_is_asked_where_the_hour_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    cheap = {"off_peak_pricing": {"hours_utc": "00:00-12:00", "input_cost_per_token": 0.25}}
    for hour, cost in ((1, "0.25"), (13, "1")):
        monkeypatch.setattr(time, "time", lambda hour=hour: 1_794_960_000 + hour * 3600)
        assert settle(call(Usage(fresh=1), entry=ENTRY | cheap)) == Decimal(cost)


def test_two_calls_for_one_answer_are_priced_each_by_itself() -> None:
    both = call(Usage(fresh=3, output=1))
    both.spent = Usage(fresh=5, output=2)
    apart = settle(call(Usage(fresh=3, output=1))), settle(call(Usage(fresh=5, output=2)))
    assert settle(both) == sum(apart) > 0
    cut_off = call(None)
    cut_off.spent = Usage(fresh=5, output=2)
    assert settle(cut_off) == apart[1] and cut_off.usage == Usage(fresh=5, output=2) and cut_off.spent is None


def test_abilities_by_name() -> None:
    assert supports("gpt-4o", "vision") and supports("openai/gpt-4o", "supports_function_calling")
    assert not supports("gpt-3.5-turbo", "vision") and not supports("no-such-model", "vision")
    assert supports("bedrock/us.anthropic.claude-sonnet-4-5-20250929-v1:0", "prompt_caching")
    assert supports("gemini-1.5-flash", "audio_input"), "a retired one"
    found = describe("text-embedding-3-small")
    assert found is not None and (found.mode, found.max_input_tokens) == ("embedding", 8191)
    family = describe("claude-newfamily-9")
    assert family is not None and family.supports("vision") and describe("zzz/unheard-of") is None
    assert MAP.get("no-such-model") is None
