"""Where requests go: one URL however `api_base` is spelt."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.providers import PROVIDERS
from penstock.core.providers.spec import Provider, row
from penstock.core.providers.urls import (
    SUFFIXES,
    BadBase,
    MissingBase,
    at_own_host,
    dialects_at,
    endpoint,
    provider_of_host,
)

OPENAI = PROVIDERS["openai"]
OLLAMA = PROVIDERS["ollama"]

hosts = st.sampled_from(
    ["http://localhost:8000", "http://127.0.0.1:1234", "http://[::1]:9", "https://api.test", "https://u:p@gw.test:8443"]
)
prefixes = st.sampled_from(["", "/llm", "/team-a/openai", "/openai"])
versions = st.sampled_from(["/v1", "/v2", "/v4", "/v1beta"])
openai_ops = st.sampled_from([op for op, path in SUFFIXES.items() if not path.startswith(("/v1", "/api"))])
tails = st.sampled_from(["/chat/completions", "/completions", "/embeddings", "/responses", "/messages", "/rerank"])


@given(hosts, prefixes, openai_ops, st.sampled_from(["", "/", "/v1", "/v1/", "/v1/v1", "/v1//"]))
def test_one_url_for_every_spelling(host: str, prefix: str, op: str, end: str) -> None:
    assert endpoint(OPENAI, host + prefix + end, {}, op) == f"{host}{prefix}/v1{SUFFIXES[op]}"


@given(hosts, prefixes, st.sampled_from(["", "/", "/v1", "/v1/", "/rerank", "/v1/embeddings"]))
def test_what_stands_at_the_root_has_no_version(host: str, prefix: str, end: str) -> None:
    for name in ("tei", "huggingface"):
        assert endpoint(PROVIDERS[name], host + prefix + end, {}, "tei_rerank") == f"{host}{prefix}/rerank"
    assert endpoint(PROVIDERS["tei"], None, {}, "tei_rerank") == "http://localhost:8080/rerank"


@given(hosts, prefixes, versions, openai_ops, st.sampled_from(["", "/"]))
def test_a_version_of_the_user_is_kept(host: str, prefix: str, version: str, op: str, end: str) -> None:
    assert endpoint(OPENAI, f"{host}{prefix}{version}{end}", {}, op) == f"{host}{prefix}{version}{SUFFIXES[op]}"


@given(hosts, prefixes, versions, tails, openai_ops)
def test_the_full_path_of_any_operation_will_do(host: str, prefix: str, version: str, tail: str, op: str) -> None:
    assert endpoint(OPENAI, host + prefix + version + tail, {}, op) == f"{host}{prefix}{version}{SUFFIXES[op]}"


@given(hosts, prefixes, openai_ops)
def test_a_full_path_without_version_stays_as_it_is(host: str, prefix: str, op: str) -> None:
    if op in ("models", "files", "cohere"):
        return  # a base may end in these words
    url = host + prefix + SUFFIXES[op]
    assert endpoint(OPENAI, url, {}, op) == url


@given(
    hosts, prefixes, st.sampled_from(["", "/", "/v1", "/v1/", "/v1/messages", "/v1/messages/", "/v1/chat/completions"])
)
def test_anthropic_base_with_or_without_version_or_path(host: str, prefix: str, end: str) -> None:
    for provider in (PROVIDERS["anthropic"], PROVIDERS["hosted_vllm"], PROVIDERS["lm_studio"]):
        assert endpoint(provider, host + prefix + end, {}, "anthropic") == f"{host}{prefix}/v1/messages"
        counted = endpoint(provider, host + prefix + end, {}, "anthropic_count_tokens")
        assert counted == f"{host}{prefix}/v1/messages/count_tokens"


@given(
    st.sampled_from(sorted(PROVIDERS)), st.sampled_from(["openai_chat", "openai_responses", "anthropic", "embeddings"])
)
def test_an_endpoint_given_back_as_base_is_the_same_endpoint(name: str, op: str) -> None:
    provider = PROVIDERS[name]
    if provider.base is None or "{" in provider.base:
        return
    url = endpoint(provider, None, {}, op)
    assert endpoint(provider, url, {}, op) == url


@given(st.sampled_from([p for p in PROVIDERS.values() if p.base and p.version and "{" not in p.base]), st.data())
def test_any_leading_part_of_the_own_base_is_completed(provider: Provider, data: st.DataObject) -> None:
    scheme, _, rest = (provider.base or "").partition("://")
    segments = rest.split("/")
    kept = data.draw(st.integers(1, len(segments)))
    part = f"{scheme}://{'/'.join(segments[:kept])}"
    slash = data.draw(st.sampled_from(["", "/"]))
    assert endpoint(provider, part + slash, {}, "embeddings") == f"{provider.base}/embeddings"


@given(st.text(max_size=40))
def test_no_text_breaks_it(text: str) -> None:
    try:
        url = endpoint(OPENAI, text, {}, "openai_chat")
    except BadBase:
        return
    assert "/chat/completions" in url


@pytest.mark.parametrize(
    ("name", "api_base", "url"),
    [
        ("deepseek", "https://api.deepseek.com", "https://api.deepseek.com/chat/completions"),
        ("deepseek", "https://api.deepseek.com/v1", "https://api.deepseek.com/v1/chat/completions"),
        ("perplexity", "http://127.0.0.1:9/", "http://127.0.0.1:9/chat/completions"),
        ("groq", "https://api.groq.com", "https://api.groq.com/openai/v1/chat/completions"),
        ("gemini", "https://generativelanguage.googleapis.com/v1beta", PROVIDERS["gemini"].base + "/chat/completions"),
        ("zai", "https://api.z.ai", "https://api.z.ai/api/paas/v4/chat/completions"),
        (
            "databricks",
            "https://x.cloud.databricks.com",
            "https://x.cloud.databricks.com/serving-endpoints/chat/completions",
        ),
        (
            "databricks",
            "https://x.cloud.databricks.com/serving-endpoints/",
            "https://x.cloud.databricks.com/serving-endpoints/chat/completions",
        ),
        (
            "datarobot",
            "https://app.datarobot.com/api/v2/genai/llmgw",
            "https://app.datarobot.com/api/v2/genai/llmgw/chat/completions/",
        ),
        (
            "datarobot",
            "https://app.datarobot.com/api/v2/genai/llmgw/chat/completions/",
            "https://app.datarobot.com/api/v2/genai/llmgw/chat/completions/",
        ),
        ("lemonade", "http://localhost:8000", "http://localhost:8000/api/v1/chat/completions"),
        ("docker_model_runner", "http://localhost:12434", "http://localhost:12434/engines/v1/chat/completions"),
        ("lm_studio", "http://localhost:1234/", "http://localhost:1234/v1/chat/completions"),
        ("hosted_vllm", "http://gpu:8000", "http://gpu:8000/v1/chat/completions"),
        ("openai", "https://r.openai.azure.com/openai/v1/", "https://r.openai.azure.com/openai/v1/chat/completions"),
        ("openai", "https://gw.test/v1?tenant=a", "https://gw.test/v1/chat/completions?tenant=a"),
        (
            "openai",
            "https://gw.test/chat/completions?api-version=1",
            "https://gw.test/chat/completions?api-version=1",
        ),
    ],
)
def test_chat_url(name: str, api_base: str, url: str) -> None:
    assert endpoint(PROVIDERS[name], api_base, {}, "openai_chat") == url


@pytest.mark.parametrize(
    ("name", "api_base", "url"),
    [
        ("deepseek", "https://api.deepseek.com/v1", "https://api.deepseek.com/anthropic/v1/messages"),
        ("deepseek", "https://api.deepseek.com/anthropic", "https://api.deepseek.com/anthropic/v1/messages"),
        ("zai", "https://api.z.ai/api/anthropic", "https://api.z.ai/api/anthropic/v1/messages"),
        ("moonshot", "https://proxy.test/anthropic/v1", "https://proxy.test/anthropic/v1/messages"),
        ("openrouter", "https://openrouter.ai/api", "https://openrouter.ai/api/v1/messages"),
        ("docker_model_runner", "http://box:12434/engines/v1", "http://box:12434/anthropic/v1/messages"),
        ("ollama", "http://localhost:11434/v1", "http://localhost:11434/v1/messages"),
    ],
)
def test_anthropic_url(name: str, api_base: str, url: str) -> None:
    assert endpoint(PROVIDERS[name], api_base, {}, "anthropic") == url


def test_ollama_address_order() -> None:
    # C-21: per-model api_base > OLLAMA_API_BASE > OLLAMA_BASE_URL > http://localhost:11434
    env = {"OLLAMA_API_BASE": "http://a:1", "OLLAMA_BASE_URL": "http://b:2/"}
    assert endpoint(OLLAMA, "http://m:3", env, "openai_chat") == "http://m:3/v1/chat/completions"
    assert endpoint(OLLAMA, None, env, "openai_chat") == "http://a:1/v1/chat/completions"
    del env["OLLAMA_API_BASE"]
    assert endpoint(OLLAMA, None, env, "openai_chat") == "http://b:2/v1/chat/completions"
    assert endpoint(OLLAMA, None, {}, "openai_chat") == "http://localhost:11434/v1/chat/completions"
    assert endpoint(OLLAMA, None, env, "ollama_tags") == "http://b:2/api/tags"
    env["OLLAMA_API_BASE"] = "http://a:1/v1/"
    assert endpoint(OLLAMA, "http://m:3", env, "ollama") == "http://m:3/api/chat"
    assert endpoint(OLLAMA, None, env, "ollama") == "http://a:1/api/chat"
    del env["OLLAMA_API_BASE"]
    assert endpoint(OLLAMA, None, env, "ollama") == "http://b:2/api/chat"
    assert endpoint(OLLAMA, None, {}, "ollama") == "http://localhost:11434/api/chat"


@pytest.mark.parametrize(
    "base", ["http://gpu:11434", "http://gpu:11434/", "http://gpu:11434/v1", "http://gpu:11434/api/chat"]
)
def test_an_ollama_elsewhere_has_both_its_ways(base: str) -> None:
    assert dialects_at(OLLAMA, base, {}) == ("ollama", "ollama_generate")
    assert endpoint(OLLAMA, base, {}, "ollama") == "http://gpu:11434/api/chat"
    assert endpoint(OLLAMA, base, {}, "ollama_generate") == "http://gpu:11434/api/generate"
    assert endpoint(OLLAMA, base, {}, "ollama_embed") == "http://gpu:11434/api/embed"
    assert endpoint(OLLAMA, base, {}, "anthropic") == "http://gpu:11434/v1/messages"


def test_vllm_address_order() -> None:
    # C-22
    vllm = PROVIDERS["hosted_vllm"]
    env = {"VLLM_API_BASE": "http://b:2", "HOSTED_VLLM_API_BASE": "http://a:1"}
    assert endpoint(vllm, None, env, "openai_chat") == "http://a:1/v1/chat/completions"
    del env["HOSTED_VLLM_API_BASE"]
    assert endpoint(vllm, None, env, "openai_chat") == "http://b:2/v1/chat/completions"


def test_missing_base_names_the_variable_and_the_key() -> None:
    with pytest.raises(MissingBase, match=r"HEROKU_API_BASE.*api_base"):
        endpoint(PROVIDERS["heroku"], None, {}, "openai_chat")
    with pytest.raises(MissingBase, match="api_base"):
        endpoint(PROVIDERS["custom_openai"], None, {}, "openai_chat")
    with pytest.raises(MissingBase, match="CLOUDFLARE_ACCOUNT_ID"):
        endpoint(PROVIDERS["cloudflare"], None, {}, "openai_chat")
    with pytest.raises(MissingBase, match=r"AWS_REGION_NAME \(or AWS_REGION, AWS_DEFAULT_REGION\)"):
        endpoint(PROVIDERS["bedrock_mantle"], None, {"AWS_REGION_NAME": " "}, "openai_chat")


def test_region_is_the_first_variable_that_is_set() -> None:
    env = {"AWS_REGION": "b", "AWS_DEFAULT_REGION": "c"}
    assert endpoint(PROVIDERS["bedrock_mantle"], None, env, "models") == "https://bedrock-mantle.b.api.aws/v1/models"


def test_a_base_without_scheme_is_told_how_to_write_it() -> None:
    with pytest.raises(BadBase, match="http://localhost:1234/v1"):
        endpoint(OPENAI, "localhost:1234/v1", {}, "openai_chat")


def test_an_unknown_operation_is_named() -> None:
    with pytest.raises(LookupError, match="'dreams' of provider 'openai'"):
        endpoint(OPENAI, None, {}, "dreams")


def test_a_path_may_stand_for_an_operation() -> None:
    assert endpoint(OPENAI, None, {}, "/threads/t1/runs") == "https://api.openai.com/v1/threads/t1/runs"
    assert endpoint(OPENAI, "http://h", {}, "/threads") == "http://h/v1/threads"


def test_dialects_that_are_sure() -> None:
    def at(name: str, api_base: str | None, **env: str) -> tuple[str, ...]:
        return dialects_at(PROVIDERS[name], api_base, env)

    assert at("openai", None) == ("openai_chat", "openai_responses")
    assert at("openai", "https://eu.api.openai.com/v1") == ("openai_chat", "openai_responses")
    # LM Studio, llama.cpp and the like behind `openai/`: only chat is sure.
    assert at("openai", "http://localhost:1234/v1") == ("openai_chat",)
    assert at("openai", None, OPENAI_BASE_URL="http://localhost:1234/v1") == ("openai_chat",)
    assert at("openai", "https://gw.test/v1/responses") == ("openai_responses",)
    assert at("deepseek", "https://api.deepseek.com/anthropic") == ("anthropic",)
    assert at("openai", "https://gw.test/v1/messages/") == ("anthropic",)
    assert at("anthropic", "http://localhost:9") == ("anthropic",)
    assert at("gdc", "https://any.test") == ("openai_chat",)


def test_own_host() -> None:
    assert at_own_host(OPENAI, None)
    assert at_own_host(OPENAI, "https://API.openai.com/v1")
    assert not at_own_host(OPENAI, "https://api.openai.com.evil.test/v1")
    assert not at_own_host(PROVIDERS["groq"], "https://notapi.groq.com/openai/v1")
    assert not at_own_host(OPENAI, None, {"OPENAI_API_BASE": "http://localhost:1"})
    assert at_own_host(PROVIDERS["bedrock"], "https://bedrock-runtime.us-east-1.amazonaws.com")
    assert at_own_host(row("mine", None, "MINE_API_KEY"), "https://anything.test")


@pytest.mark.parametrize(
    ("api_base", "name"),
    [
        ("https://api.groq.com/openai/v1", "groq"),
        ("https://API.GROQ.com", "groq"),
        ("https://api.openai.com/v1", "openai"),
        ("https://dashscope.aliyuncs.com/compatible-mode/v1", "dashscope"),
        ("https://api.z.ai/api/anthropic", "zai"),
        ("https://api.cohere.com/v2", "cohere"),
        ("https://r.openai.azure.com", "azure"),
        ("https://bedrock-runtime.eu-west-1.amazonaws.com", "bedrock"),
        ("http://localhost:11434", "ollama"),
        ("http://127.0.0.1:11434/v1", "ollama"),
        ("http://127.0.0.1:1234/v1", "lm_studio"),
        ("http://localhost:8000", None),
        ("http://localhost:8080", None),
        ("http://localhost:7860", None),
        ("http://localhost:30000/v1", "sglang"),
        ("https://example.com", None),
        ("nonsense", None),
    ],
)
def test_provider_of_host(api_base: str, name: str | None) -> None:
    found = provider_of_host(api_base)
    assert (found.name if found else None) == name


@given(
    st.sampled_from(["azure", "azure_ai", "watsonx", "sap", "snowflake", "databricks", "cloudflare"]),
    st.sampled_from(["openai_chat", "anthropic", "embeddings", "rerank", "openai_responses", "sap"]),
    st.text(max_size=40) | st.from_regex(r"https://[a-z]{1,5}(\.services\.ai\.azure\.com)?(:8)?/[a-z0-9/:.?=]{0,40}", fullmatch=True),
)
def test_no_base_breaks_a_cloud(name: str, op: str, text: str) -> None:
    env = {"AICORE_DEPLOYMENT_ID": "d", "SNOWFLAKE_ACCOUNT_ID": "a", "CLOUDFLARE_ACCOUNT_ID": "a", "WATSONX_REGION": "r"}
    try:
        url = endpoint(PROVIDERS[name], text, env, op, model="m/x y")
    except (BadBase, LookupError):
        return
    assert url.startswith(("http://", "https://")) and url.count("://") >= 1
