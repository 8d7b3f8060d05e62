"""From the model a user writes to (provider, upstream model), keys and headers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.providers import PROVIDERS, get
from penstock.core.providers.names import PROVIDER_ALIASES, SHORT
from penstock.core.providers.resolve import (
    BadKey,
    UnknownProvider,
    auth_headers,
    credential,
    default_headers,
    needs_key,
    resolve,
    upstream_model,
)

plain_names = st.text(st.characters(codec="ascii", categories=("L", "N"), include_characters="._-:@/"), min_size=1)
plain_rows = st.sampled_from(
    sorted(name for name, p in PROVIDERS.items() if not p.model_prefix and name not in SHORT and name != "huggingface")
)


@given(plain_rows, plain_names)
def test_only_the_prefix_is_taken_off(name: str, model: str) -> None:
    assert resolve(f"{name}/{model}") == (name, model)
    assert resolve(f"{name}/{model}", "http://localhost:1/v1") == (name, model)
    assert resolve(f"{name}/{model}", custom_provider=name) == (name, model)


@given(plain_rows, plain_names)
def test_an_explicit_provider_takes_the_name_as_it_is(name: str, model: str) -> None:
    if get(model.partition("/")[0]) is not PROVIDERS[name]:
        assert resolve(model, custom_provider=name) == (name, model)


@given(st.text())
def test_any_text_resolves_or_is_refused_by_name(model: str) -> None:
    try:
        provider, _ = resolve(model)
    except UnknownProvider as error:
        assert error.model == model.strip()
        assert repr(model.strip()) in str(error) or not model.strip()
    else:
        assert provider in PROVIDERS or provider == ""


@given(st.text(min_size=1).filter(str.strip))
def test_with_an_api_base_any_name_goes_somewhere(model: str) -> None:
    head, slash, rest = model.strip().partition("/")
    if not (slash and not rest and get(head)):
        assert resolve(model, "http://localhost:8000")[0] in {*PROVIDERS, ""}


SEEDS = [
    # S1-13 to S1-24
    ("ollama/llama3.2", "ollama", "llama3.2"),
    ("openai/gpt-4o", "openai", "gpt-4o"),
    ("anthropic/claude-3-5-sonnet-20241022", "anthropic", "claude-3-5-sonnet-20241022"),
    ("gemini/gemini-2.0-flash-exp", "gemini", "gemini-2.0-flash-exp"),
    ("gemini/gemini-1.5-pro", "gemini", "gemini-1.5-pro"),
    ("groq/llama-3.3-70b-versatile", "groq", "llama-3.3-70b-versatile"),
    ("openrouter/anthropic/claude-3.5-sonnet", "openrouter", "anthropic/claude-3.5-sonnet"),
    ("huggingface/meta-llama/Llama-3.2-3B-Instruct", "huggingface", "meta-llama/Llama-3.2-3B-Instruct"),
    ("together_ai/meta-llama/Llama-3.3-70B-Instruct-Turbo", "together_ai", "meta-llama/Llama-3.3-70B-Instruct-Turbo"),
    ("deepseek/deepseek-chat", "deepseek", "deepseek-chat"),
    ("azure/gpt-4", "azure", "gpt-4"),
    ("bedrock/anthropic.claude-3-sonnet", "bedrock", "anthropic.claude-3-sonnet-20240229-v1:0"),
    ("bedrock/anthropic.claude-9-unheard", "bedrock", "anthropic.claude-9-unheard"),
    ("vllm/model-name", "hosted_vllm", "model-name"),
    # S2-25
    ("gpt-4", "openai", "gpt-4"),
    ("gpt-4-turbo", "openai", "gpt-4-turbo"),
    ("gpt-3.5-turbo", "openai", "gpt-3.5-turbo"),
    ("text-embedding-ada-002", "openai", "text-embedding-ada-002"),
    ("text-embedding-3-small", "openai", "text-embedding-3-small"),
    # S2-26
    ("claude-3-opus", "anthropic", "claude-3-opus-20240229"),
    ("claude-3-sonnet", "anthropic", "claude-3-sonnet-20240229"),
    ("claude-3-haiku", "anthropic", "claude-3-haiku-20240307"),
    ("claude-2.1", "anthropic", "claude-2.1"),
    ("claude-2", "anthropic", "claude-2.0"),
    ("claude-instant", "anthropic", "claude-instant-1.2"),
    # S2-27
    ("gemini-pro", "gemini", "gemini-pro"),
    ("gemini-pro-vision", "gemini", "gemini-pro-vision"),
    ("palm-2", "gemini", "palm-2"),
    ("chat-bison", "gemini", "chat-bison"),
    # S2-28
    ("bedrock/claude-3-opus", "bedrock", "anthropic.claude-3-opus-20240229-v1:0"),
    ("bedrock/claude-3-sonnet", "bedrock", "anthropic.claude-3-sonnet-20240229-v1:0"),
    ("bedrock/llama2-70b", "bedrock", "meta.llama2-70b-chat-v1"),
    ("bedrock/mistral-7b", "bedrock", "mistral.mistral-7b-instruct-v0:2"),
    # S2-29
    ("together_ai/llama-3-70b", "together_ai", "meta-llama/Llama-3-70b-chat-hf"),
    ("together_ai/mixtral-8x7b", "together_ai", "mistralai/Mixtral-8x7B-Instruct-v0.1"),
    ("together_ai/qwen-72b", "together_ai", "Qwen/Qwen2.5-72B-Instruct-Turbo"),
    ("together_ai/deepseek-coder", "together_ai", "deepseek-ai/deepseek-coder-33b-instruct"),
    # S3-12 to S3-17
    ("openai/gpt-4o-mini", "openai", "gpt-4o-mini"),
    ("gemini/gemini-1.5-flash", "gemini", "gemini-1.5-flash"),
    ("anthropic/claude-3-5-haiku-20241022", "anthropic", "claude-3-5-haiku-20241022"),
    ("huggingface/mistralai/Mistral-7B-Instruct-v0.3", "huggingface", "mistralai/Mistral-7B-Instruct-v0.3"),
    ("ollama/llama3.2:70b", "ollama", "llama3.2:70b"),
    # further spellings
    ("openai//models/GLM-FP8", "openai", "/models/GLM-FP8"),
    ("vllm/openai/gpt-oss-20b", "hosted_vllm", "openai/gpt-oss-20b"),
    ("bedrock/converse/us.anthropic.x-v1:0", "bedrock", "converse/us.anthropic.x-v1:0"),
    ("huggingface/together/deepseek-ai/DeepSeek-R1", "huggingface", "deepseek-ai/DeepSeek-R1:together"),
    ("huggingface/openai/gpt-oss-120b:groq", "huggingface", "openai/gpt-oss-120b:groq"),
    ("fireworks_ai/llama-v3p1-8b-instruct", "fireworks_ai", "accounts/fireworks/models/llama-v3p1-8b-instruct"),
    ("fireworks_ai/accounts/me/models/x", "fireworks_ai", "accounts/me/models/x"),
    ("fireworks_ai/m#accounts/me/deployments/d", "fireworks_ai", "m#accounts/me/deployments/d"),
    ("openai/*", "openai", "*"),
    ("fireworks_ai/*", "fireworks_ai", "*"),
    ("*", "", "*"),
    # bare names
    ("o1", "openai", "o1"),
    ("o3-mini", "openai", "o3-mini"),
    ("ft:gpt-4o-mini:org::id", "openai", "ft:gpt-4o-mini:org::id"),
    ("text-embedding-004", "gemini", "text-embedding-004"),
    ("claude-sonnet-4-5", "anthropic", "claude-sonnet-4-5"),
    ("command-r-plus", "cohere", "command-r-plus"),
    ("mistral-large-latest", "mistral", "mistral-large-latest"),
    ("codestral-latest", "mistral", "codestral-latest"),
    ("deepseek-reasoner", "deepseek", "deepseek-reasoner"),
    ("grok-4", "xai", "grok-4"),
    ("sonar-pro", "perplexity", "sonar-pro"),
    ("anthropic.claude-3-haiku-20240307-v1:0", "bedrock", "anthropic.claude-3-haiku-20240307-v1:0"),
    ("us.amazon.nova-pro-v1:0", "bedrock", "us.amazon.nova-pro-v1:0"),
    ("accounts/fireworks/models/x", "fireworks_ai", "accounts/fireworks/models/x"),
]


@pytest.mark.parametrize(("model", "provider", "upstream"), SEEDS)
def test_resolve(model: str, provider: str, upstream: str) -> None:
    assert resolve(model) == (provider, upstream)


@pytest.mark.parametrize(
    ("model", "api_base", "expected"),
    [
        ("openai/local-model", "http://localhost:1234/v1", ("openai", "local-model")),  # S3-16
        ("ollama/llama3.2", "http://localhost:11434", ("ollama", "llama3.2")),  # S3-11
        ("my-model", "http://gpu:8000", ("openai", "my-model")),
        ("meta-llama/Llama-3.1-8B", "http://gpu:8000/v1", ("openai", "meta-llama/Llama-3.1-8B")),
        ("llama3.2:70b", "http://localhost:11434", ("ollama", "llama3.2:70b")),
        ("moonshotai/kimi-k2", "https://api.groq.com/openai/v1", ("groq", "moonshotai/kimi-k2")),
        ("gpt-4o", "https://openrouter.ai/api/v1", ("openrouter", "gpt-4o")),
        ("gpt-4o", "http://gpu:8000", ("openai", "gpt-4o")),
        ("claude-3-opus", "http://gpu:8000", ("anthropic", "claude-3-opus")),
        ("fireworks_ai/m", "http://gpu:8000", ("fireworks_ai", "m")),
        ("*", "http://gpu:8000", ("", "*")),
    ],
)
def test_resolve_with_api_base(model: str, api_base: str, expected: tuple[str, str]) -> None:
    assert resolve(model, api_base) == expected


@pytest.mark.parametrize(
    ("model", "custom", "expected"),
    [
        ("gpt-4o", "openai", ("openai", "gpt-4o")),
        ("openai/gpt-oss-20b", "hosted_vllm", ("hosted_vllm", "openai/gpt-oss-20b")),
        ("openai/gpt-oss-20b", "vllm", ("hosted_vllm", "openai/gpt-oss-20b")),
        ("vllm/m", "hosted_vllm", ("hosted_vllm", "vllm/m")),
        ("hosted_vllm/m", "vllm", ("hosted_vllm", "m")),
        ("azure/*", "azure", ("azure", "*")),
        ("claude-3-opus", "bedrock", ("bedrock", "anthropic.claude-3-opus-20240229-v1:0")),
    ],
)
def test_resolve_with_explicit_provider(model: str, custom: str, expected: tuple[str, str]) -> None:
    assert resolve(model, custom_provider=custom) == expected


@pytest.mark.parametrize("alias", sorted(PROVIDER_ALIASES))
def test_aliases(alias: str) -> None:
    assert resolve(f"{alias}/*") == (PROVIDER_ALIASES[alias], "*")


@pytest.mark.parametrize(
    ("model", "nearest"),
    [
        ("opnai/gpt-4o", "openai/gpt-4o"),
        ("OpenAI/gpt-4o", "openai/gpt-4o"),
        ("togetherai/x", "together_ai/x"),
        ("antropic/claude", "anthropic/claude"),
        ("cluade-3-opus", "claude-3-opus"),
        ("gtp-4o", "gpt-4o"),
        ("groq", "groq/..."),
    ],
)
def test_unknown_names_what_may_be_meant(model: str, nearest: str) -> None:
    with pytest.raises(UnknownProvider) as caught:
        resolve(model)
    assert caught.value.nearest[0] == nearest
    assert repr(nearest) in str(caught.value) and repr(model) in str(caught.value)


def test_unknown_says_what_to_write() -> None:
    with pytest.raises(UnknownProvider, match=r"provider/model.*api_base"):
        resolve("my-finetune")
    with pytest.raises(UnknownProvider, match="custom_llm_provider 'opena'"):
        resolve("gpt-4o", custom_provider="opena")
    with pytest.raises(UnknownProvider, match="names a provider and no model"):
        resolve("openai/")
    with pytest.raises(UnknownProvider, match="o10-tiny"):
        resolve("o10-tiny")
    with pytest.raises(UnknownProvider, match="empty"):
        resolve("  ")


def test_star_is_filled_at_request_time() -> None:
    assert upstream_model(PROVIDERS["fireworks_ai"], "qwen3") == "accounts/fireworks/models/qwen3"


def test_anthropic_headers() -> None:
    anthropic = PROVIDERS["anthropic"]
    assert auth_headers(anthropic, "sk-ant-api03-x", "anthropic") == [(b"x-api-key", b"sk-ant-api03-x")]
    assert auth_headers(anthropic, "sk-ant-oat01-x", "anthropic") == [(b"authorization", b"Bearer sk-ant-oat01-x")]
    assert default_headers("anthropic") == [(b"anthropic-version", b"2023-06-01")]
    assert default_headers("openai_chat") == []


def test_compatible_provider_gets_both_headers_in_anthropic_dialect() -> None:
    assert auth_headers(PROVIDERS["deepseek"], "k", "anthropic") == [
        (b"authorization", b"Bearer k"),
        (b"x-api-key", b"k"),
    ]
    assert auth_headers(PROVIDERS["deepseek"], "k", "openai_chat") == [(b"authorization", b"Bearer k")]


def test_other_headers() -> None:
    assert auth_headers(PROVIDERS["azure"], "k") == [(b"api-key", b"k")]
    assert auth_headers(PROVIDERS["azure"], "eyJ0.eyJz.sig") == [(b"authorization", b"Bearer eyJ0.eyJz.sig")]
    assert auth_headers(PROVIDERS["gemini"], "k", "gemini") == [(b"x-goog-api-key", b"k")]
    assert auth_headers(PROVIDERS["gemini"], "k", "openai_chat") == [(b"authorization", b"Bearer k")]
    assert auth_headers(PROVIDERS["bedrock"], None, "bedrock") == []
    assert auth_headers(PROVIDERS["bedrock"], "k", "bedrock") == [(b"authorization", b"Bearer k")]


def test_a_server_of_the_users_needs_no_key() -> None:
    # S3-16: `openai/local-model` with an api_base, no api_key, no OPENAI_API_KEY
    openai = PROVIDERS["openai"]
    assert needs_key(openai, None, {})
    assert not needs_key(openai, "http://localhost:1234/v1", {})
    assert not needs_key(openai, None, {"OPENAI_BASE_URL": "http://localhost:1234/v1"})
    assert auth_headers(openai, None) == [(b"authorization", b"Bearer dummy")]
    assert needs_key(PROVIDERS["azure"], "https://r.openai.azure.com", {})


def test_env_key_goes_to_the_provider() -> None:
    # S3-15, S1-17
    env = {"HUGGINGFACE_API_KEY": "hf", "GROQ_API_KEY": "gsk\n"}
    assert credential(PROVIDERS["huggingface"], None, env) == "hf"
    assert credential(PROVIDERS["groq"], "", env) == "gsk"
    assert auth_headers(PROVIDERS["groq"], " gsk\n") == [(b"authorization", b"Bearer gsk")]


@pytest.mark.parametrize("key", ["a\r\nx-evil: 1", "a\nb", "schlüssel", "a\x00b"])
def test_a_key_that_no_header_carries_is_refused_without_being_shown(key: str) -> None:
    with pytest.raises(BadKey) as caught:
        auth_headers(PROVIDERS["groq"], key)
    assert "groq" in str(caught.value) and key not in str(caught.value)
