"""What a model's name tells: one rule each, however the name is spelled."""

from __future__ import annotations

import gzip
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.models import (
    ModelFacts,
    claude_version,
    completes_prompts,
    converse,
    facts,
    is_adaptive,
    is_closed_openai,
    is_titan_embedding,
    is_titan_of_images,
    searches_in_chat,
    searches_in_gemini,
    searches_in_messages,
    searches_in_responses,
    takes_schema,
    takes_schema_on_bedrock,
    takes_strict_on_bedrock,
)
from penstock.runtime.prices import DATA

OPUS = ["us.anthropic.claude-opus-4-6-v1:0", "claude-opus-4-6", "anthropic/claude-opus-4.6", "claude-opus-4-6@20260101"]
OPUS += ["databricks-claude-opus-4-6", "anthropic--claude-4.6-opus", "vertex_ai/claude-opus-4-6", "Claude-Opus-4-6"]
OPUS += ["publishers/anthropic/models/claude-opus-4-6@default", "openrouter/anthropic/claude-opus-4.6:thinking"]
OPUS += ["arn:aws:bedrock:us-east-1:1:inference-profile/us.anthropic.claude-opus-4-6-v1", "claude-opus-4-6[1m]"]


@pytest.mark.parametrize("model", OPUS)
def test_a_proxy_in_front_of_claude_is_still_claude(model: str) -> None:
    assert facts(model) == ModelFacts("anthropic", (4, 6), adaptive=True, native_schema=True)


@pytest.mark.parametrize(
    ("model", "version", "adaptive", "schema"),
    [
        ("anthropic/claude-sonnet-4-5", (4, 5), False, True),
        ("databricks-claude-sonnet-4-5", (4, 5), False, True),
        ("claude-opus-4-1-20250805", (4, 1), False, True),
        ("claude-sonnet-4-20250514", (4, 0), False, False),
        ("claude-4-sonnet", (4, 0), False, False),
        ("claude-sonnet-4@20250514", (4, 0), False, False),
        ("claude-3-7-sonnet-latest", (3, 7), False, False),
        ("anthropic.claude-3-haiku-20240307-v1:0", (3, 0), False, False),
        ("claude-opus-4-10", (4, 10), True, True),
        ("claude-opus-5", (5, 0), True, True),
        ("claude-v2", (0, 0), False, False),
        ("anthropic.claude-instant-v1", (0, 0), False, False),
    ],
)
def test_which_claude_it_is(model: str, version: tuple[int, int], adaptive: bool, schema: bool) -> None:
    assert facts(model) == ModelFacts("anthropic", version, adaptive=adaptive, native_schema=schema)


@pytest.mark.parametrize(
    ("model", "version", "generation"),
    [
        ("gemini-2.5-pro", (2, 5), 2.5),
        ("google/gemini-3-pro-preview", (3, 0), 3.0),
        ("databricks-gemini-2-5-flash", (2, 5), 2.5),
        ("vertex_ai/gemini-2.0-flash-001", (2, 0), 2.0),
        ("models/gemini-1.5-flash-8b", (1, 5), 1.5),
        ("gemini-flash-latest", (0, 0), 3.0),
    ],
)
def test_which_gemini_it_is(model: str, version: tuple[int, int], generation: float) -> None:
    assert facts(model) == ModelFacts("google", version, native_schema=True, generation=generation)


@pytest.mark.parametrize(
    ("model", "who"),
    [
        ("gpt-4.1-mini", "openai"),
        ("azure/gpt-5", "openai"),
        ("openai.gpt-oss-120b-1:0", "openai"),
        ("o3", "openai"),
        ("openrouter/openai/o4-mini", "openai"),
        ("google/gemma-3-27b-it", "google"),
        ("us.amazon.nova-pro-v1:0", "amazon"),
        ("us.meta.llama3-3-70b-instruct-v1:0", "meta"),
        ("meta-llama/Llama-3.3-70B-Instruct", "meta"),
        ("deepseek-r1-distill-llama-70b", "deepseek"),
        ("deepseek.v3-v1:0", "deepseek"),
        ("mistral.mistral-large-2402-v1:0", "mistral"),
        ("command-r-plus", "cohere"),
        ("qwen2.5-coder:7b", "qwen"),
        ("xai/grok-4", "xai"),
        ("kimi-k2", "moonshotai"),
        ("ai21.jamba-1-5-large-v1:0", "ai21"),
        ("us.amazon.nova-2-lite-v1:0", "amazon"),
        ("nova-2-general", ""),  # of Deepgram
        ("gpt-j-6b", ""),
        ("my-deployment", ""),
        ("arn:aws:bedrock:eu-west-1:1:application-inference-profile/abc", ""),
        ("", ""),
    ],
)
def test_who_made_it(model: str, who: str) -> None:
    told = facts(model)
    assert (told.maker, told.adaptive, told.generation) == (who, False, 0.0)
    assert told.native_schema is None


@given(
    st.sampled_from(OPUS[1:3] + ["gemini-2.5-pro", "gpt-5", "kimi-k2", "unheard-of"]),
    st.lists(st.sampled_from(["openrouter", "vertex_ai", "my-proxy", "eu", "models"]), max_size=3),
)
def test_what_stands_before_a_slash_changes_nothing(model: str, path: list[str]) -> None:
    assert facts("/".join([*path, model])) == facts(model)


@given(st.text(max_size=60))
def test_every_name_has_facts(model: str) -> None:
    told = facts(model)
    assert told.maker or told == ModelFacts()


def test_a_name_of_the_vendors_spelling_has_the_same_rules_alone() -> None:
    assert [is_adaptive(m) for m in ("claude-opus-4-6", "claude-opus-4-5", "claude-opus-4.6")] == [True, False, False]
    assert [takes_schema(m) for m in ("claude-opus-4-1", "claude-haiku-4-5", "claude-sonnet-4-1")] == [
        True,
        True,
        False,
    ]
    assert claude_version("gpt-5") == (0, 0)


def test_what_bedrock_says_of_its_models() -> None:
    assert not takes_schema_on_bedrock("anthropic.claude-opus-4-1-20250805-v1:0")
    strict = [
        "anthropic.claude-opus-4-6-v1",
        "anthropic.claude-opus-5-v1",
        "qwen.qwen3-32b-v1:0",
        "amazon.nova-pro-v1:0",
    ]
    assert [takes_strict_on_bedrock(model) for model in strict] == [True, False, True, False]
    thinks = ["anthropic.claude-opus-4-6-v1", "us.amazon.nova-2-lite-v1:0", "openai.gpt-5", "openai.gpt-oss-20b-1:0"]
    assert [converse(m).thinks for m in thinks] == ["thinking", "reasoningConfig", "reasoning", "reasoning_effort"]
    assert converse("deepseek.v3-v1:0").thinks == "" and converse("arn:aws:x/abc").caches


def test_models_of_single_operations() -> None:
    assert completes_prompts("gpt-3.5-turbo-instruct-0914") and not completes_prompts("gpt-3.5-turbo")
    assert is_titan_of_images("amazon.titan-embed-image-v1") and is_titan_embedding("amazon.titan-embed-text-v2:0")
    assert not is_titan_of_images("amazon.titan-embed-text-v2:0") and not is_titan_embedding("cohere.embed-image")


def test_who_searches_the_web() -> None:
    claudes = ["claude-sonnet-4-5", "claude-3-5-haiku-20241022", "claude-3-haiku-20240307", "qwen3-32b"]
    assert [searches_in_messages(facts(model)) for model in claudes] == [True, True, False, False]
    known = ["gpt-5.1", "gpt-4o", "o3", "grok-4", "gpt-oss-120b", "gpt-3.5-turbo", "llama-3.3-70b", "mine"]
    assert [searches_in_responses(m, False) for m in known] == [True, True, True, True, False, False, False, False]
    assert searches_in_responses("mine", True) and not searches_in_responses("deepseek-r1", True)
    assert [searches_in_chat(m) for m in ("gpt-4o-search-preview", "gpt-5-search-api", "gpt-5.1")] == [True, True, False]
    assert searches_in_gemini("gemini-2.0-flash") and not searches_in_gemini("gemma-3-27b-it")


def test_which_models_only_openai_runs() -> None:
    assert [is_closed_openai(m) for m in ("gpt-5.1", "o3", "gpt-oss-20b", "qwen3", "")] == [True, True, False, False, False]
# Every model that has a price: a name in anybody's spelling tells who made it, and its version.
LISTED = [
    name
    for name, entry in json.loads(gzip.decompress((DATA / "prices.json.gz").read_bytes())).items()
    if isinstance(entry, dict) and entry.get("mode") in ("chat", "responses")
]
UNVERSIONED = re.compile(
    r"claude-(?:instant|v\d|mythos)|-latest|gemini-(?:omni|pro$)|exp-\d{4}|gpt-oss|gpt-audio|gpt-[a-z]"
)
OTHERS = re.compile(r"learnlm|lyria|deep-research|robotics")  # Google's, and no Gemini


def test_facts_are_told_of_every_listed_model() -> None:
    assert len(LISTED) > 3000
    for word, maker in (("claude", "anthropic"), ("gemini-", "google"), ("gpt-4", "openai"), ("gpt-5", "openai")):
        found = [name for name in LISTED if word in name.lower().rpartition("/")[2] and not OTHERS.search(name)]
        assert len(found) > 50
        assert [name for name in found if facts(name).maker != maker] == []
        unknown = [name for name in found if facts(name).version == (0, 0)]
        assert [name for name in unknown if not UNVERSIONED.search(name.lower())] == []


def test_of_listed_models_what_reasons_is_told() -> None:
    o_series = [name for name in LISTED if re.search(r"(?:^|/)o[134](?:-|$)", name)]
    assert len(o_series) > 30 and all(facts(name).reasons and facts(name).thinks for name in o_series)
    silent = [name for name in LISTED if re.search(r"gpt-(?:4|3\.5)", name)]
    assert len(silent) > 100 and not any(facts(name).reasons or facts(name).thinks for name in silent)


@pytest.mark.parametrize(
    ("model", "sampling", "both", "prefill", "budget", "unasked"),
    [
        ("claude-sonnet-4-20250514", True, True, True, True, False),
        ("claude-opus-4-1", True, False, True, True, False),
        ("claude-haiku-4-5", True, False, True, True, False),
        ("claude-opus-4-6", True, False, False, True, False),
        ("us.anthropic.claude-opus-4-7-v1", False, False, False, False, False),
        ("openrouter/anthropic/claude-sonnet-5", False, False, False, False, True),
        ("claude-v2", True, True, True, True, False),
        ("a-tuned-model", True, True, True, True, False),
        ("gpt-5", True, True, True, True, False),
    ],
)
def test_what_a_claude_takes(
    model: str, sampling: bool, both: bool, prefill: bool, budget: bool, unasked: bool
) -> None:
    told = facts(model)
    assert (told.takes_sampling, told.takes_both_samplers, told.takes_prefill) == (sampling, both, prefill)
    assert (told.takes_budget, told.thinks_unasked) == (budget, unasked)


@pytest.mark.parametrize(
    ("model", "version", "reasons", "stops"),
    [
        ("gpt-4.1-mini", (4, 1), False, True),
        ("azure/gpt-35-turbo", (3, 5), False, True),
        ("gpt-4-0613", (4, 0), False, True),
        ("gpt-5-2025-08-07", (5, 0), True, False),
        ("databricks-gpt-5-1", (5, 1), True, False),
        ("gpt-5-chat-latest", (5, 0), False, True),
        ("openai.gpt-oss-120b-1:0", (0, 0), False, True),
        ("o1-pro", (0, 0), True, True),
        ("o4-mini", (0, 0), True, False),
    ],
)
def test_which_gpt_it_is(model: str, version: tuple[int, int], reasons: bool, stops: bool) -> None:
    told = facts(model)
    assert (told.version, told.reasons, told.takes_stop) == (version, reasons, stops)
