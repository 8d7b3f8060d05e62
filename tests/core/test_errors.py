"""The error table: every kind is complete, in the words of the two vendors, and blames the right party."""

from __future__ import annotations

import json
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.dialects import DIALECTS
from penstock.core.errors import (
    CONTENT_POLICY_TEXTS,
    CONTEXT_WINDOW_TEXTS,
    TABLE,
    Fault,
    GatewayError,
    Retry,
    kind_of_status,
)
from penstock.server.doors.status import REASONS, STATUS_LINES

# https://docs.anthropic.com/en/api/errors; the SDK's ``types/shared`` has one class for each.
ANTHROPIC = {
    "invalid_request_error",
    "authentication_error",
    "billing_error",
    "permission_error",
    "not_found_error",
    "request_too_large",
    "rate_limit_error",
    "timeout_error",
    "api_error",
    "overloaded_error",
}
LITELLM = {
    "BadRequestError",
    "UnsupportedParamsError",
    "ContextWindowExceededError",
    "ContentPolicyViolationError",
    "AuthenticationError",
    "PermissionDeniedError",
    "NotFoundError",
    "Timeout",
    "APIConnectionError",
    "InternalServerError",
    "ServiceUnavailableError",
    "BadGatewayError",
    "BudgetExceededError",
    "JSONSchemaValidationError",
    "PaymentRequiredError",
    "UnprocessableEntityError",
    "RateLimitError",
}
# What every row must agree on: Anthropic's own pairs of status and type.
STATUS_OF = {
    "authentication_error": {401},
    "billing_error": {402},
    "permission_error": {403},
    "request_too_large": {413},
    "rate_limit_error": {429},
}


@pytest.mark.parametrize("kind", TABLE)
def test_a_row_is_complete_and_consistent(kind):
    row = TABLE[kind]
    assert 400 <= row.status <= 599 and row.status in STATUS_LINES
    assert row.openai and row.openai.isascii() and row.openai == row.openai.lower()
    assert row.anthropic in ANTHROPIC
    assert row.litellm in LITELLM
    assert row.retry in get_args(Retry)
    assert row.fault in get_args(Fault)
    assert row.status in STATUS_OF.get(row.anthropic, {row.status})
    if row.status in (401, 402, 403, 413, 429):
        assert row.status in STATUS_OF.get(row.anthropic, set())
    if row.status < 500:
        assert row.anthropic != "api_error" or row.status == 499
        assert row.openai != "internal_server_error"


@pytest.mark.parametrize("kind", TABLE)
def test_only_an_upstream_s_own_trouble_is_worth_asking_it_again(kind):
    row = TABLE[kind]
    if row.retry == "target":
        assert row.fault == "upstream"
    if row.fault in ("nobody",):
        assert row.retry == "no"
    if row.fault == "client" and row.retry != "no":
        assert kind in ("context_window", "content_policy", "unsupported"), "the client's fault ends it"


def test_statuses_that_clients_retry_are_those_that_may_pass():
    """The SDKs of both vendors retry 408, 409, 429 and 5xx by themselves: no final error of ours may look like one."""
    for kind, row in TABLE.items():
        if row.fault == "client" and kind != "request_timeout":
            assert row.status not in (408, 409, 429) and row.status < 500, kind


@pytest.mark.parametrize("status", range(400, 600))
def test_every_status_has_a_kind(status):
    kind = kind_of_status(status, "")
    row = TABLE[kind]
    assert kind.startswith("upstream_")
    assert row.fault == ("upstream" if status >= 500 else row.fault)
    assert (row.status >= 500) == (status >= 500)
    assert row.status == status or status not in {r.status for k, r in TABLE.items() if k.startswith("upstream_")}


@pytest.mark.parametrize("status", [100, 199, 204, 301, 304, 399, 600, 999])
def test_what_is_no_error_status_is_the_upstream_s_fault_and_is_not_repeated(status):
    kind = kind_of_status(status, "context_length_exceeded")
    assert TABLE[kind].fault == "upstream"
    assert GatewayError(kind, "x", status=status).status == TABLE[kind].status
    for dialect in DIALECTS.values():
        error = dialect.parse_error(status, {}, b"moved")
        told, body = dialect.render_error(error)
        assert told in STATUS_LINES and 400 <= told <= 599 and json.loads(body)
        assert error.row.fault == "upstream"


@pytest.mark.parametrize("mark", CONTEXT_WINDOW_TEXTS + CONTENT_POLICY_TEXTS)
def test_special_errors_are_told_by_their_text_in_any_case(mark):
    wanted = "context_window" if mark in CONTEXT_WINDOW_TEXTS else "content_policy"
    for status in (400, 413, 422):
        assert kind_of_status(status, f"Error: {mark.upper()}!") == wanted
    for status in (401, 404, 429, 500, 503):
        assert kind_of_status(status, mark) not in ("context_window", "content_policy")


@given(st.sampled_from(sorted(TABLE)), st.text(max_size=50), st.sampled_from(["", "openai", "hosted_vllm"]))
def test_every_kind_renders_in_every_dialect(kind, message, provider):
    error = GatewayError(kind, message, provider=provider, param="p", retry_after=1.5)
    row = TABLE[kind]
    for name, dialect in DIALECTS.items():
        status, body = dialect.render_error(error)
        told = json.loads(body)
        if name.startswith("ollama"):  # its clients take a 404 for a model that must be pulled
            assert status == (404 if kind == "unknown_model" else row.status) and told == {"error": error.text}
            continue
        assert status == row.status
        if name == "bedrock":
            assert told["__type"].endswith("Exception") and told["message"] == error.text
            continue
        if name == "cohere":
            assert told == {"message": error.text}
            continue
        if name == "gemini":
            assert told["error"]["status"].isupper() and told["error"]["code"] == row.status
        elif name == "anthropic":
            assert told["type"] == "error" and told["error"]["type"] == row.anthropic
        else:
            assert told["error"]["type"] and told["error"]["code"]
        assert told["error"]["message"] == error.text
    assert error.text.endswith(message)
    assert error.text.startswith(f"litellm.{row.litellm}: " if provider else message[:1])


def test_an_upstream_s_own_status_is_kept_where_it_is_an_error():
    assert GatewayError("upstream_bad_request", "teapot", status=418).status == 418
    assert GatewayError("upstream_error", "x", status=None).status == 500
    assert GatewayError("upstream_error", "x", status=0).status == 500


def test_an_unknown_kind_is_a_bug_at_once():
    with pytest.raises(KeyError):
        GatewayError("no_such_kind", "x")


def test_reasons_are_known_for_all_statuses_of_the_table():
    assert {row.status for row in TABLE.values()} - set(REASONS) <= {499}


@pytest.mark.parametrize(
    ("provider", "word"),
    [
        ("openai", "OpenAIException"),
        ("anthropic", "AnthropicException"),
        ("azure", "AzureException"),
        ("bedrock", "BedrockException"),
        ("gemini", "GeminiException"),
        ("vertex_ai", "VertexAIException"),
        ("ollama_chat", "Ollama_chatException"),
        ("hosted_vllm", "Hosted_vllmException"),
        ("Acme", "AcmeException"),
    ],
)
def test_log_rules_find_litellms_word_for_a_provider(provider: str, word: str) -> None:
    error = GatewayError("upstream_rate_limit", "Slow down.", provider=provider)
    assert error.text == f"litellm.RateLimitError: RateLimitError: {word} - Slow down."
