"""What holds for every price and every usage."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import assume, given
from hypothesis import strategies as st
from msgspec.structs import replace

from penstock.core.ir import Usage
from penstock.core.money import number
from penstock.core.price import ZERO, Cost, Price, Units, plain
from penstock.core.pricelist import overlay

amounts = st.one_of(st.just(0), st.sampled_from([1e-6, 2.5e-6, 3.0000000000000004e-07, 7.5e-05]), st.floats(1e-9, 1e-3))
counts = st.integers(0, 2_000_000)
tiers = st.sampled_from(["", "default", "flex", "priority", "batch", "never-heard-of"])
BASE = (
    "input_cost_per_token output_cost_per_token cache_read_input_token_cost cache_creation_input_token_cost "
    "cache_creation_input_token_cost_above_1hr output_cost_per_reasoning_token input_cost_per_audio_token "
    "output_cost_per_audio_token"
).split()
FIELDS = [base + tail for base in BASE for tail in ("", "_flex", "_priority", "_batches")]
FIELDS += [f"{base}_above_200k_tokens{tail}" for base in BASE[:5] for tail in ("", "_flex", "_batches")]
flat = st.dictionaries(st.sampled_from([field for field in FIELDS if "_above_200k" not in field]), amounts)
entries = st.dictionaries(st.sampled_from(FIELDS), amounts)
stepped = st.builds(
    lambda low, high: {"tiered_pricing": [low | {"range": [0, 1000]}, high | {"range": [1000, 1e6]}]},
    st.dictionaries(st.sampled_from(BASE), amounts).map(lambda row: {"input_cost_per_token": 1e-6} | row),
    st.dictionaries(st.sampled_from(BASE), amounts).map(lambda row: {"input_cost_per_token": 2e-6} | row),
)


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    fresh, output = draw(counts), draw(counts)
    reasoning = draw(st.integers(0, output))
    return Usage(
        fresh=fresh,
        cache_read=draw(counts),
        cache_write=draw(counts),
        cache_write_1h=draw(counts),
        output=output,
        reasoning=reasoning,
        audio_in=draw(st.integers(0, fresh)),
        audio_out=draw(st.integers(0, output - reasoning)),
    )


def add(a: Usage, b: Usage) -> Usage:
    counters = (field for field in Usage.__struct_fields__ if field not in ("estimated", "tier", "billed"))
    return Usage(**{field: getattr(a, field) + getattr(b, field) for field in counters})


@given(st.one_of(entries, stepped), usages(), tiers)
def test_total_is_the_sum_of_the_parts_and_no_part_is_negative(
    entry: dict[str, object], usage: Usage, tier: str
) -> None:
    price = Price("m", entry)
    cost = price.cost(usage, tier)
    parts = [getattr(cost, field) for field in Cost.__struct_fields__]
    assert price.total(usage, tier) == cost.total == sum(parts, ZERO)
    assert all(isinstance(part, Decimal) and part >= 0 for part in parts)


@given(flat, usages(), usages(), tiers)
def test_cost_is_additive_where_the_length_makes_no_difference(
    entry: dict[str, object], a: Usage, b: Usage, tier: str
) -> None:
    price = Price("m", entry)
    assert price.total(a, tier) + price.total(b, tier) == price.total(add(a, b), tier)


@given(flat, usages(), usages(), tiers)
def test_more_never_costs_less(entry: dict[str, object], a: Usage, b: Usage, tier: str) -> None:
    price = Price("m", entry)
    assert price.total(add(a, b), tier) >= price.total(a, tier)


@given(entries, usages(), tiers)
def test_disjoint_counters_are_priced_once_each(entry: dict[str, object], usage: Usage, tier: str) -> None:
    price = Price("m", entry)
    rates = price.rates(usage.input, tier)
    by_hand = (
        (usage.fresh - usage.audio_in) * rates.fresh
        + usage.audio_in * rates.audio_in
        + usage.cache_read * rates.cache_read
        + usage.cache_write * rates.cache_write
        + usage.cache_write_1h * rates.cache_write_1h
        + (usage.output - usage.reasoning - usage.audio_out) * rates.output
        + usage.audio_out * rates.audio_out
        + usage.reasoning * rates.reasoning
    )
    assert price.total(usage, tier) == by_hand


@given(entries, usages())
def test_an_unknown_tier_is_the_usual_one(entry: dict[str, object], usage: Usage) -> None:
    price = Price("m", entry)
    assert price.total(usage, "never-heard-of") == price.total(usage) == price.total(usage, "default")


@given(entries, usages(), amounts, amounts)
def test_own_prices_leave_nothing_of_the_listed_ones(
    entry: dict[str, object], usage: Usage, i: float, o: float
) -> None:
    own = {"input_cost_per_token": i, "output_cost_per_token": o}
    assume(not usage.audio_in and not usage.audio_out)
    price = Price("m", overlay(entry, own))
    assert price.total(usage) == usage.input * (number(i) or 0) + usage.output * (number(o) or 0)


@given(st.dictionaries(st.sampled_from(["output_cost_per_image", "input_cost_per_pixel", "input_cost_per_character",
       "input_cost_per_query", "input_cost_per_second", "ocr_cost_per_page", "input_cost_per_request"]), amounts),
       st.integers(0, 50), st.integers(0, 50))  # fmt: skip
def test_units_are_additive(entry: dict[str, object], a: int, b: int) -> None:
    def units(n: int) -> Units:
        return Units(images=n, size="1024x1024", seconds=Decimal(n), characters=n, queries=n, pages=n, requests=n)

    price = Price("m", entry)
    costs = [price.cost(units=units(n)).total for n in (a, b, a + b)]
    assert costs[0] + costs[1] == costs[2] >= 0


@given(st.decimals(0, 10**6, places=15, allow_nan=False))
def test_plain_says_the_same_without_an_exponent(amount: Decimal) -> None:
    text = plain(amount)
    assert Decimal(text) == amount and "E" not in text.upper()
    assert text == "0" or "." not in text or not text.endswith(("0", "."))


@given(usages(), st.sampled_from(["flex", "priority"]))
def test_the_tier_of_a_usage_changes_no_counter(usage: Usage, tier: str) -> None:
    assert replace(usage, tier=tier).total == usage.total
