"""What a renderer is told of a target: rules of a model hold wherever it is served, strictness is the vendor's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.config import Deployment
from penstock.core.providers import PROVIDERS
from penstock.core.providers.resolve import resolve
from penstock.core.providers.spec import NO_QUIRKS, Quirks
from penstock.core.providers.wires import guides_of, wire_in, wire_of
from penstock.runtime.building import build_target
from penstock.runtime.targets import Target
from tests.core.providers.quirks.vendor import vendor


def target_of(model: str, api_base: str | None = None, **fields: object) -> Target:
    provider, upstream_model = resolve(model, api_base)
    deployment = Deployment(
        id="1", model_name="m", model=model, provider=provider, upstream_model=upstream_model, api_base=api_base, **fields
    )  # type: ignore[arg-type]
    return build_target(deployment, {}, {"VERTEXAI_PROJECT": "p", "AWS_REGION": "eu-west-1"})


@pytest.mark.parametrize(
    ("model", "base"),
    [
        ("anthropic/claude-opus-4-6", None),
        ("anthropic/claude-opus-4-6", "http://proxy.test"),
        ("anthropic/claude-sonnet-5@20270101", "http://proxy.test/v1/messages"),
        ("openrouter/anthropic/claude-opus-4-6", None),
        ("openrouter/anthropic/claude-opus-4.6", None),
        ("vercel_ai_gateway/anthropic/claude-opus-4.6", None),
        ("litellm_proxy/claude-opus-4-6", "http://proxy.test"),
        ("openai/claude-opus-4-6", "http://proxy.test/v1/messages"),
        ("vertex_ai/claude-opus-4-6@20260101", None),
        ("azure_ai/claude-opus-4-6", "https://r.services.ai.azure.com/anthropic"),
        ("bedrock/eu.anthropic.claude-opus-4-6-v1", None),
    ],
)
def test_a_claude_thinks_by_effort_wherever_it_is_served(model: str, base: str | None) -> None:
    assert target_of(model, base).wire_for("anthropic").adaptive


@pytest.mark.parametrize(
    "model",
    [
        "claude-opus-4-5",
        "claude-opus-4.5",
        "claude-opus-4-20250514",
        "claude-3-opus-20240229",
        "claude-3.7-sonnet",
        "claude-3-5-sonnet-20241022",
        "gpt-5",
        "my-claude",
    ],
)
@pytest.mark.parametrize("provider", ["anthropic", "litellm_proxy"])
def test_older_and_other_models_take_a_budget(provider: str, model: str) -> None:
    assert not target_of(f"{provider}/{model}", "http://proxy.test").wire_for("anthropic").adaptive


def test_whose_name_is_the_user_s_own_is_told_by_its_base_model() -> None:
    base = "https://r.services.ai.azure.com/anthropic"
    assert not target_of("azure_ai/mine", base).wire.adaptive
    assert target_of("azure_ai/mine", base, info={"base_model": "azure_ai/claude-opus-4-6"}).wire.adaptive


@pytest.mark.parametrize(
    ("model", "base", "family", "official"),
    [
        ("openai/gpt-4o", None, "openai", True),
        ("openai/gpt-4o", "http://h", "openai", False),
        ("azure/gpt-4o", "https://r.openai.azure.com", "openai", True),
        ("anthropic/claude-opus-4-6", None, "anthropic", True),
        ("anthropic/claude-opus-4-6", "http://proxy.test", "anthropic", False),
        ("gemini/gemini-2.5-pro", None, "gemini", True),
        ("gemini/gemini-2.5-pro", "http://h/openai", "gemini", False),
        ("vertex_ai/claude-opus-4-6", None, "anthropic", True),
        ("vertex_ai/gemini-2.5-pro", None, "gemini", True),
        ("vertex_ai/meta/llama-4", None, "vertex_ai", False),
        ("azure_ai/claude-opus-4-6", "https://r.services.ai.azure.com/anthropic", "anthropic", True),
        ("azure_ai/phi-4", "https://r.services.ai.azure.com", "azure_ai", False),
        ("bedrock/eu.anthropic.claude-opus-4-6-v1", None, "anthropic", True),
        ("bedrock/meta.llama3-1-8b-instruct-v1:0", None, "bedrock-meta", True),
        ("cohere_chat/command-a", None, "cohere", False),
        ("openrouter/anthropic/claude-opus-4-6", None, "anthropic", False),
        ("litellm_proxy/claude-opus-4-6", "http://proxy.test", "anthropic", False),
        ("litellm_proxy/m", "http://proxy.test", "litellm_proxy", False),
    ],
)
def test_family_and_strictness(model: str, base: str | None, family: str, official: bool) -> None:
    wire = target_of(model, base).wire
    assert (wire.family, wire.official) == (family, official)


def test_ids_of_calls_are_refused_by_vertex_only() -> None:
    assert [row.name for row in PROVIDERS.values() if not row.call_ids] == ["vertex_ai", "vertex_ai_beta"]
    assert not target_of("vertex_ai/gemini-2.5-pro").wire.call_ids and target_of("gemini/gemini-2.5-pro").wire.call_ids


def test_quirks_of_the_row_are_told() -> None:
    row = PROVIDERS["litellm_proxy"]
    wire = wire_of(row, "m", "m", ("openai_chat",), at_home=True)
    assert wire.cache_marks and wire.stream_usage and not wire.official
    assert not wire_of(PROVIDERS["mistral"], "m", "m", ("openai_chat",), at_home=True).stream_usage


def test_schemas() -> None:
    """In Messages only Claude's own API enforces one; elsewhere what the row says holds."""
    row = PROVIDERS["anthropic"]
    own = wire_of(row, "claude-opus-4-5", "claude-opus-4-5", ("anthropic",), at_home=True)
    behind = wire_of(row, "claude-opus-4-5", "claude-opus-4-5", ("anthropic",), at_home=False)
    assert wire_in("anthropic", own, row, "claude-opus-4-5", NO_QUIRKS).native_schema
    assert not wire_in("anthropic", own, row, "claude-3-opus", NO_QUIRKS).native_schema
    assert not wire_in("anthropic", behind, row, "claude-opus-4-5", NO_QUIRKS).native_schema
    chat = PROVIDERS["openai"]
    wire = wire_of(chat, "m", "m", ("openai_chat",), at_home=True)
    assert wire_in("openai_chat", wire, chat, "m", NO_QUIRKS).native_schema
    refuses = Quirks(no_formats=frozenset({"json_schema"}))
    assert not wire_in("openai_chat", wire, chat, "m", refuses).native_schema


def test_a_vendor_s_rule_for_constraints_holds_at_its_own_host() -> None:
    openai = PROVIDERS["openai"]
    assert guides_of(openai, None, True) == openai.guides != ""
    assert guides_of(openai, None, False) == "" and guides_of(openai, "vllm", False) == "vllm"
    vllm = PROVIDERS["hosted_vllm"]
    assert guides_of(vllm, None, False) == guides_of(vllm, "", False) == vllm.guides


@pytest.mark.parametrize(("model", "thinking"), [("claude-opus-4-6", "adaptive"), ("claude-opus-4-5", "enabled")])
async def test_a_proxy_in_front_of_claude_is_asked_as_claude(tmp_path: Path, model: str, thinking: str) -> None:
    async with vendor(tmp_path, f"anthropic/{model}") as proxy:
        asked = await proxy.chat(reasoning_effort="high", max_completion_tokens=30_000)
        assert asked.path == "/v1/messages" and asked.wire["thinking"]["type"] == thinking
