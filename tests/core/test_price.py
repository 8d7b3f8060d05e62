"""Every rule of a price, one by one, with the figures that vendors publish."""

from __future__ import annotations

from decimal import Decimal as D
from typing import Any

import pytest

from penstock.core.capabilities import capabilities
from penstock.core.ir import Usage
from penstock.core.money import number
from penstock.core.price import FREE, Price, Units, plain
from penstock.core.pricelist import general, images, is_price, lookup, overlay, spellings

GPT4O = {"input_cost_per_token": 2.5e-06, "output_cost_per_token": 1e-05, "cache_read_input_token_cost": 1.25e-06}
MILLION = 1_000_000


def price(**entry: Any) -> Price:
    return Price("m", entry)


def test_the_check_values_of_the_contract() -> None:
    usage = Usage(fresh=6, cache_read=4, output=3)
    assert Price("gpt-4o", GPT4O).total(usage) == D("0.00005")
    own = overlay(GPT4O, {"input_cost_per_token": 0.001, "output_cost_per_token": 0.002})
    assert Price("gpt-4o", own).total(usage) == D("0.016")


def test_parts() -> None:
    cost = Price("gpt-4o", GPT4O).cost(Usage(fresh=6, cache_read=4, output=3, reasoning=1))
    assert (cost.input, cost.cache_read, cost.output, cost.reasoning) == (
        D("0.000015"),
        D("0.000005"),
        D("2e-5"),
        D("1e-5"),
    )
    assert cost.cache_write == cost.units == 0


def test_what_a_vendor_bills_goes_before_what_it_counts() -> None:
    usage = Usage(fresh=386, cache_read=1008, output=54, reasoning=30, billed=(8, 50))
    cost = Price("command", GPT4O).cost(usage)
    assert cost.total == Price("command", GPT4O).total(usage) == 8 * D("2.5e-6") + 50 * D("1e-5")
    assert cost.cache_read == cost.reasoning == 0 and usage.input == 1394


def test_a_cache_price_that_is_missing_is_the_input_price_and_a_zero_stays_a_zero() -> None:
    usage = Usage(cache_read=10, cache_write=10)
    assert price(input_cost_per_token=1e-6).total(usage) == D("2e-5")
    assert price(input_cost_per_token=1e-6, cache_read_input_token_cost=0).total(usage) == D("1e-5")
    assert price(input_cost_per_token=1e-6, cache_creation_input_token_cost=0.0).total(usage) == D("1e-5")


def test_cache_writes_of_five_minutes_and_of_an_hour() -> None:
    sonnet = price(
        input_cost_per_token=3e-6,
        cache_creation_input_token_cost=3.75e-6,
        cache_creation_input_token_cost_above_1hr=6e-6,
    )
    assert sonnet.total(Usage(cache_write=MILLION)) == D("3.75")
    assert sonnet.total(Usage(cache_write_1h=MILLION)) == 6
    assert price(input_cost_per_token=1e-6, cache_creation_input_token_cost=2e-6).total(Usage(cache_write_1h=5)) == D(
        "1e-5"
    )


def test_reasoning_has_its_own_price_or_that_of_output() -> None:
    usage = Usage(output=100, reasoning=40)
    assert price(output_cost_per_token=1e-6).total(usage) == D("1e-4")
    assert price(output_cost_per_token=1e-6, output_cost_per_reasoning_token=3e-6).total(usage) == D("1.8e-4")
    # A tier that prices output and says nothing of reasoning means both.
    tiered = price(output_cost_per_token=1e-6, output_cost_per_reasoning_token=3e-6, output_cost_per_token_flex=5e-7)
    assert tiered.total(usage, "flex") == D("5e-5")


def test_audio_in_and_out() -> None:
    spoken = price(input_cost_per_token=1e-6, output_cost_per_token=2e-6, input_cost_per_audio_token=1e-5,
                   output_cost_per_audio_token=2e-5)  # fmt: skip
    assert spoken.total(Usage(fresh=10, audio_in=4, output=10, audio_out=5)) == D("6e-6") + D("4e-5") + D("1e-5") + D(
        "1e-4"
    )
    assert price(input_cost_per_token=1e-6).total(Usage(fresh=10, audio_in=4)) == D("1e-5")


GEMINI = {
    "input_cost_per_token": 1.25e-6, "output_cost_per_token": 1e-5,
    "input_cost_per_token_above_200k_tokens": 2.5e-6, "output_cost_per_token_above_200k_tokens": 1.5e-5,
}  # fmt: skip


def test_beyond_a_threshold_the_whole_request_costs_more() -> None:
    pro = Price("gemini-2.5-pro", GEMINI)
    assert pro.total(Usage(fresh=200_000, output=10)) == D("0.2501")
    assert pro.total(Usage(fresh=200_001, output=10)) == 200_001 * D("2.5e-6") + 10 * D("1.5e-5")
    # What was read from a cache is a part of the prompt's length.
    assert pro.total(Usage(fresh=1, cache_read=200_000)) == 200_001 * D("2.5e-6")


def test_xai_counts_the_threshold_itself_as_above() -> None:
    entry = GEMINI | {"litellm_provider": "xai"}
    assert Price("grok", entry).total(Usage(fresh=200_000)) == D("0.5")
    assert Price("grok", entry).total(Usage(fresh=199_999)) == 199_999 * D("1.25e-6")


def test_two_thresholds_and_fields_that_name_only_one() -> None:
    two = price(input_cost_per_token=1e-6, output_cost_per_token=1e-6, input_cost_per_token_above_32k_tokens=2e-6,
                input_cost_per_token_above_256k_tokens=4e-6, output_cost_per_token_above_32k_tokens=3e-6)  # fmt: skip
    assert [two.rates(n).fresh for n in (32_000, 32_001, 256_001)] == [D("1e-6"), D("2e-6"), D("4e-6")]
    assert two.rates(256_001).output == D("3e-6")


def test_tiered_pricing_bills_all_tokens_at_one_row() -> None:
    qwen = price(tiered_pricing=[
        {"range": [0, 256000.0], "input_cost_per_token": 5e-8, "output_cost_per_token": 4e-7},
        {"range": [256000.0, 1e6], "input_cost_per_token": 2.5e-7, "output_cost_per_token": 2e-6},
    ])  # fmt: skip
    assert qwen.total(Usage(fresh=256_000, output=1000)) == 256_000 * D("5e-8") + 1000 * D("4e-7")
    assert qwen.total(Usage(fresh=256_001, output=1000)) == 256_001 * D("2.5e-7") + 1000 * D("2e-6")
    assert qwen.total(Usage(fresh=5 * MILLION)) == 5 * MILLION * D("2.5e-7"), "longer than the last row: the last row"
    assert qwen.total(Usage(cache_read=100)) == 100 * D("5e-8"), "what a row leaves out is its input price"
    assert qwen.by_token and qwen.known


def test_service_tiers_fall_back_to_the_usual_price() -> None:
    entry = GPT4O | {"input_cost_per_token_priority": 4.25e-06, "output_cost_per_token_flex": 5e-6}
    tiered, usage = Price("m", entry), Usage(fresh=MILLION, output=MILLION)
    assert tiered.total(usage) == D("12.5") == tiered.total(usage, "default")
    assert tiered.total(usage, "priority") == D("14.25")
    assert tiered.total(usage, "flex") == D("7.5")


def test_batches_have_their_price_or_half_of_the_usual_one() -> None:
    usage = Usage(fresh=MILLION, output=MILLION)
    named = Price("m", GPT4O | {"input_cost_per_token_batches": 1e-6, "output_cost_per_token_batches": 4e-6})
    assert named.total(usage, "batch") == 5
    assert named.total(Usage(cache_read=MILLION), "batch") == 1, (
        "cached tokens without a batch price are plain batch input"
    )
    assert Price("m", GPT4O).total(usage, "batch") == D("6.25")
    assert Price("m", GPT4O).total(Usage(cache_read=MILLION), "batch") == D("0.625")


DEEPSEEK = {
    "input_cost_per_token": 3e-7, "output_cost_per_token": 1.2e-6, "cache_read_input_token_cost": 6e-9,
    "off_peak_pricing": {
        "input_cost_per_token": 1.5e-7, "output_cost_per_token": 6e-7, "cache_read_input_token_cost": 3e-9,
        "windows": [
            {"hours_utc": ["00:00-01:00", "10:00-00:00"], "weekdays": [1, 2, 3, 4, 5]},
            {"hours_utc": "00:00-00:00", "weekdays": [6, 7]},
        ],
    },
}  # fmt: skip
WEDNESDAY = 1_794_960_000  # 2026-11-18 00:00 UTC


@pytest.mark.parametrize(
    ("hours", "cheap"),
    [(0, True), (0.99, True), (1, False), (9.99, False), (10, True), (23.99, True), (3 * 24 + 5, True)],
)
def test_off_peak_hours(hours: float, cheap: bool) -> None:
    found = Price("deepseek-flash", DEEPSEEK)
    assert found.depends_on_time
    assert found.total(Usage(fresh=MILLION), at=WEDNESDAY + hours * 3600) == (D("0.15") if cheap else D("0.3"))


def test_a_window_over_midnight() -> None:
    entry = {
        "input_cost_per_token": 1e-6,
        "off_peak_pricing": {"hours_utc": "16:30-00:30", "input_cost_per_token": 5e-7},
    }
    found = Price("m", entry)
    told = [found.total(Usage(fresh=MILLION), at=WEDNESDAY + minutes * 60) for minutes in (29, 30, 989, 990)]
    assert told == [D("0.5"), 1, 1, D("0.5")]
    # Cached tokens that cost what input costs go down with it.
    assert found.total(Usage(cache_read=MILLION), at=WEDNESDAY) == D("0.5")


@pytest.mark.parametrize(
    ("entry", "units", "amount"),
    [
        ({"output_cost_per_image": 0.04}, Units(images=3), "0.12"),
        ({"output_cost_per_image": 0.08, "output_cost_per_image_4K": 0.16}, Units(images=2, size="4K"), "0.32"),
        ({"input_cost_per_pixel": 3.81469e-08}, Units(images=1, size="1024x1024"), str(1024 * 1024 * D("3.81469e-8"))),
        ({"input_cost_per_second": 0.0001, "output_cost_per_second": 0.0001}, Units(seconds=D("2.5")), "0.00025"),
        ({"input_cost_per_second": 7.167e-05, "output_cost_per_second": 0.0}, Units(seconds=D(100)), "0.007167"),
        ({"output_cost_per_second": 0.1, "output_cost_per_second_1080p": 0.2},
         Units(seconds=D(8), resolution="1080p"), "1.6"),
        ({"input_cost_per_character": 1.5e-05}, Units(characters=1000), "0.015"),
        ({"input_cost_per_query": 0.001, "input_cost_per_token": 0.0}, Units(queries=3), "0.003"),
        ({"ocr_cost_per_page": 0.004, "annotation_cost_per_page": 0.005}, Units(pages=2, annotated_pages=1), "0.013"),
        ({"input_cost_per_request": 0.005}, Units(requests=1), "0.005"),
        ({"search_context_cost_per_query": {"search_context_size_high": 0.012, "search_context_size_medium": 0.008}},
         Units(searches=2), "0.016"),
        ({"search_context_cost_per_query": {"search_context_size_high": 0.012}},
         Units(searches=1, search_context="high"), "0.012"),
    ],
)  # fmt: skip
def test_what_is_not_tokens(entry: dict[str, Any], units: Units, amount: str) -> None:
    assert Price("m", entry).cost(units=units).total == D(amount)


def test_nothing_is_billed_by_two_measures() -> None:
    transcribe = price(input_cost_per_token=2.5e-6, output_cost_per_token=1e-5, input_cost_per_second=0.0001)
    assert transcribe.cost(Usage(fresh=100, output=10), units=Units(seconds=D(60))).total == D("0.00035")
    assert transcribe.cost(units=Units(seconds=D(60))).total == D("0.006")
    spoken = price(input_cost_per_token=1e-6, input_cost_per_character=1e-6)
    assert spoken.cost(Usage(fresh=100), units=Units(characters=400)).total == D("0.0004")


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (3e-07, "3e-7"), ("3e-7", "3e-7"), (0, "0"), ("0.25", "0.25"), (3.0000000000000004e-07, "3e-7"),
        (D("1e-6"), "1e-6"), (-1e-6, None), ("cheap", None), (None, None), (True, None), (float("nan"), None),
        (float("inf"), None), ([1], None),
    ],
)  # fmt: skip
def test_numbers(written: object, read: str | None) -> None:
    assert number(written) == (None if read is None else D(read))


def test_plain() -> None:
    assert [plain(D(text)) for text in ("5.0E-5", "0.016", "0E-7", "0", "12.50", "100", "1E+2")] == [
        "0.00005", "0.016", "0", "0", "12.5", "100", "100"]  # fmt: skip


def test_known_and_free() -> None:
    assert FREE.known and FREE.total(Usage(fresh=MILLION, output=MILLION)) == 0
    assert not price(mode="chat", max_tokens=4096).known
    assert not price(search_context_cost_per_query={"search_context_size_low": 0.01}).known
    assert price(output_cost_per_image=0.04).known and price(input_cost_per_token=0).known


# Look-up --------------------------------------------------------------------------------------------------------------

TABLE: dict[str, dict[str, Any]] = {
    "gpt-4o": {"litellm_provider": "openai", "n": 1},
    "azure/gpt-4o": {"litellm_provider": "azure", "n": 2},
    "groq/llama3": {"litellm_provider": "groq", "n": 3},
    "anthropic.claude-sonnet-4-5-v1:0": {"litellm_provider": "bedrock_converse", "n": 4},
    "us.anthropic.claude-sonnet-4-5-v1:0": {"litellm_provider": "bedrock_converse", "n": 5},
    "claude-3-opus-20240229": {"litellm_provider": "anthropic", "n": 6},
    "ft:gpt-4o-mini-2024-07-18": {"litellm_provider": "openai", "n": 7},
    "gemini/gemini-2.5-pro": {"litellm_provider": "gemini", "n": 8},
    "gemini-2.5-pro": {"litellm_provider": "vertex_ai-language-models", "n": 9},
    "vertex_ai/claude-opus-4": {"litellm_provider": "vertex_ai-anthropic_models", "n": 10},
}


@pytest.mark.parametrize(
    ("provider", "model", "base", "n"),
    [
        ("openai", "gpt-4o", None, 1),
        ("azure", "gpt-4o", None, 2),
        ("azure", "my-deployment", "azure/gpt-4o", 2),
        ("azure", "my-deployment", "gpt-4o", 2),
        ("azure", "my-deployment", None, None),
        ("groq", "llama3", None, 3),
        ("groq", "gpt-4o", None, None),
        ("openai_like", "gpt-4o", None, 1),
        ("bedrock", "us.anthropic.claude-sonnet-4-5-v1:0", None, 5),
        ("bedrock", "eu.anthropic.claude-sonnet-4-5-v1:0", None, 4),
        ("bedrock", "converse/us-west-2/anthropic.claude-sonnet-4-5-v1:0", None, 4),
        ("bedrock", "arn:aws:bedrock:us-east-1:1:inference-profile/us.anthropic.claude-sonnet-4-5-v1:0", None, 5),
        ("anthropic", "claude-3-opus", None, 6),
        ("openai", "ft:gpt-4o-mini-2024-07-18:my-org::abc123", None, 7),
        ("gemini", "gemini-2.5-pro", None, 8),
        ("vertex_ai", "gemini-2.5-pro", None, 9),
        ("vertex_ai", "claude-opus-4@20250514", None, 10),
        ("openai", "gpt-4o", "no-such-base", 1),
        ("openai", "no-such-model", None, None),
    ],
)
def test_lookup(provider: str, model: str, base: str | None, n: int | None) -> None:
    found = lookup(TABLE.get, provider, model, base)
    assert (found and found[1]["n"]) == n


def test_spellings_name_each_once() -> None:
    assert list(spellings("openai", "gpt-4o")) == ["gpt-4o"]
    assert list(spellings("bedrock", "us.x.y")) == ["us.x.y", "x.y"]


def test_names_of_images() -> None:
    assert list(images("azure", "dall-e-3", "1024x1024", "hd"))[0] == "azure/hd/1024-x-1024/dall-e-3"
    assert list(images("openai", "gpt-image-1")) == ["openai/gpt-image-1", "gpt-image-1"] * 2


def test_own_prices_replace_a_direction_and_leave_facts() -> None:
    entry = GPT4O | {"max_tokens": 5, "input_cost_per_token_priority": 1e-5, "output_cost_per_token_batches": 1e-6}
    assert overlay(entry, {"input_cost_per_token": 1e-6}) == {
        "input_cost_per_token": 1e-6, "output_cost_per_token": 1e-5, "max_tokens": 5,
        "output_cost_per_token_batches": 1e-6}  # fmt: skip
    assert overlay(entry, {"cache_read_input_token_cost": 0})["input_cost_per_token"] == 2.5e-6
    assert is_price("tiered_pricing") and is_price("cost_per_second") and not is_price("max_tokens")


def test_rules_for_families() -> None:
    rules = {"rules": [{"pattern": "^claude-", "model_info": {"mode": "chat", "supports_vision": True}},
                       {"pattern": "opus", "model_info": {"mode": "other", "supports_reasoning": True}}]}  # fmt: skip
    assert general(rules, "claude-opus-9") == {"mode": "chat", "supports_vision": True, "supports_reasoning": True}
    assert general(rules, "gpt-9") == {} == general(None, "claude-opus-9")


def test_capabilities() -> None:
    found = capabilities("m", {"supports_vision": True, "supports_function_calling": False, "mode": "chat",
                               "max_tokens": "4096", "max_input_tokens": 128000.0,
                               "supported_modalities": ["text", "image"]})  # fmt: skip
    assert found.supports("vision") and found.supports("supports_vision") and not found.supports("function_calling")
    assert (found.max_input_tokens, found.max_output_tokens, found.mode) == (128000, 4096, "chat")
    assert not capabilities("m", {}).supports("vision") and capabilities("m", {}).max_input_tokens is None
