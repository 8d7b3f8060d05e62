"""A name that stands in an address stays one segment of it, or is refused: for every provider and operation."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.errors import GatewayError
from penstock.core.providers import PROVIDERS
from penstock.core.providers.paths import in_path
from penstock.core.providers.replicate import path_of
from penstock.core.providers.spec import Provider
from penstock.core.providers.urls import SUFFIXES, endpoint

ENV = {
    "AWS_REGION_NAME": "us-east-1", "VERTEXAI_PROJECT": "p", "VERTEXAI_LOCATION": "us-central1", "WATSONX_REGION": "eu",
    "CLOUDFLARE_ACCOUNT_ID": "a", "SNOWFLAKE_ACCOUNT_ID": "s", "AICORE_DEPLOYMENT_ID": "d",
}  # fmt: skip
WHATS = (
    *SUFFIXES, "gemini", "gemini_stream", "gemini_count_tokens", "bedrock", "bedrock_stream", "hub_embed", "tei_embed",
    "sap",
)  # fmt: skip
# In front of a model where its provider wants something there.
FORMS = ("{}", "deployment/{}", "tunedModels/{}", "owner/{}")
HOSTILE = (
    "..", ".", "../x", "x/../y", "x/..", "./x", "..;a/x", "%2e%2e", "%2E./x", "a%2fb", "a%2Fb", "a%5Cb", "a\\b", "..\\x",
    "%252e%252e%252f", "%25252e", "a?b", "a?alt=sse", "a#b", "a\nb", "a\r\nx: y", "a\0b", "a\tb", "\x7f", "a%00b",
    "a%0d%0ab", "x/%2e%2e/y",
)  # fmt: skip
LEGITIMATE = (
    "anthropic.claude-3-5-sonnet-20241022-v2:0",
    "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-3-5-sonnet-20240620-v1:0",
    "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
    "meta-llama/Llama-3.2-3B-Instruct",
    "claude-sonnet-4@20250514",
    "gpt-4o-mini",
    "gemini-2.5-pro",
    "text-embedding-3..large",
    "model.v1...",
    "my deployment",
    "tunedModels/my-model-abc123",
    "org/sub/model",
    "qwen3:14b-q4_K_M",
    "~anthropic/claude",
)


def url_of(provider: Provider, what: str, model: str) -> str | None:
    """None where there is no such operation."""
    if provider.name == "replicate":
        return path_of(model)[0]
    base = provider.base or f"https://{provider.name}.example.com"
    try:
        return endpoint(provider, None if provider.base else base, ENV, what, model=model, api_version="2024-10-21")
    except (LookupError, ValueError):
        return None


def holds(provider: Provider) -> list[tuple[str, str]]:
    """The operations whose address has the model in it, and in which form."""
    found = []
    for what in WHATS:
        if what == "hub_embed" and provider.name != "huggingface":
            continue  # one address, whoever asks
        for form in FORMS:
            url = url_of(provider, what, form.format("sentinel"))
            if url is not None and "sentinel" in url:
                found.append((what, form))
    return found


HOLDING = {name: found for name, provider in PROVIDERS.items() if (found := holds(provider))}


def test_the_providers_with_the_model_in_the_address_are_known() -> None:
    assert {"azure", "bedrock", "gemini", "vertex_ai", "watsonx", "replicate"} <= set(HOLDING)


@pytest.mark.parametrize("name", HOLDING)
def test_a_name_that_leads_elsewhere_is_a_400_that_names_it(name: str) -> None:
    for what, form in HOLDING[name]:
        for model in HOSTILE:
            try:
                url = url_of(PROVIDERS[name], what, form.format(model))
            except GatewayError as error:
                assert error.status == 400 and error.param == "model" and repr(model)[1:-1] in error.message
            else:  # refused as something else, or a version of Replicate's, which stands in the body
                assert url in (None, "/predictions"), f"{name} {what} {form} {model!r}: {url}"


@pytest.mark.parametrize("name", HOLDING)
@pytest.mark.parametrize("model", LEGITIMATE)
def test_names_as_vendors_have_them_work(name: str, model: str) -> None:
    for what, form in HOLDING[name]:
        if form == "{}":
            url = url_of(PROVIDERS[name], what, model)
            if url is None and what == "hub_embed" and ":" in model:
                continue  # names another company behind the router
            assert url is not None and not any(part in (".", "..") for part in urlsplit(url).path.split("/"))


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40), st.sampled_from(["", "/", "@._-~"]))
def test_what_is_let_in_is_decoded_to_itself_and_ends_nothing(name: str, safe: str) -> None:
    try:
        quoted = in_path(name, safe)
    except GatewayError:
        return
    assert unquote(quoted) == name
    assert quoted.isascii() and not set(quoted) & set("?#\\ \r\n\t\0")
    assert ("/" in safe) or "/" not in quoted
    decoded = quoted
    for _ in range(4):
        decoded = unquote(decoded)
        assert not any(part in (".", "..") for part in decoded.replace("\\", "/").split("/"))
