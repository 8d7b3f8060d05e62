"""Usage that the ledger keeps says all that its price needed: worked out again it costs the same."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from penstock.core.charge import Terms
from penstock.core.ir import Usage
from penstock.core.price import NOTHING, Price, Units
from penstock.core.repricing import read_usage, write_usage

COUNTS = st.integers(0, 10**6)
TIERS = st.sampled_from(["", "flex", "priority", "batch"])
USAGES = st.builds(
    Usage, fresh=COUNTS, cache_read=COUNTS, cache_write=COUNTS, cache_write_1h=COUNTS, output=COUNTS, reasoning=COUNTS,
    audio_in=COUNTS, audio_out=COUNTS, estimated=st.booleans(), tier=TIERS, billed=st.none() | st.tuples(COUNTS, COUNTS),
)  # fmt: skip
UNITS = st.builds(
    Units, images=st.integers(0, 9), size=st.sampled_from(["", "1024x1024"]), characters=COUNTS, queries=st.integers(0, 9),
    seconds=st.decimals(0, 1000, places=3), searches=st.integers(0, 3), pages=st.integers(0, 9),
)  # fmt: skip
PRICE = Price("m", {
    "input_cost_per_token": 1e-6, "output_cost_per_token": 7e-6, "cache_read_input_token_cost": 3e-7,
    "input_cost_per_token_flex": 5e-7, "output_cost_per_token_priority": 9e-6, "output_cost_per_reasoning_token": 8e-6,
    "input_cost_per_token_above_200k_tokens": 2e-6, "output_cost_per_image": 0.04, "input_cost_per_second": 0.0001,
    "input_cost_per_query": 0.001, "ocr_cost_per_page": 0.004, "input_cost_per_audio_token": 4e-6,
})  # fmt: skip
TERMS = st.none() | st.just(Terms(Decimal("0.05"), Decimal("0.1"), Decimal("0.0005")))


@given(usage=st.none() | USAGES, units=st.none() | UNITS, asked=TIERS, terms=TERMS)
def test_what_is_kept_costs_what_it_cost(usage: Usage | None, units: Units | None, asked: str, terms: Terms | None):
    kept = read_usage(write_usage(usage, units, asked))
    if usage is None and units is None:
        assert kept is None
        return
    assert kept is not None and not kept.mixed
    used = usage or NOTHING
    tier = used.tier or asked
    cost = PRICE.total(used, tier) if units is None else PRICE.cost(used, tier, units).total
    assert kept.cost(PRICE, terms, 0.0) == (cost if terms is None else terms.charge(cost).total)


@given(raw=st.binary(max_size=40) | st.just(b'{"fresh": "x"}') | st.just(b"[" * 5000))
def test_what_cannot_be_read_is_nothing(raw: bytes):
    kept = read_usage(raw)
    assert kept is None or raw.strip().startswith(b"{")
