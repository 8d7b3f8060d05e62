"""Errors as the SDKs' own exceptions, and their retries, for every pair of dialects."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from penstock.mock import Step
from tests.e2e.clients.faces import Face
from tests.e2e.clients.upstreams import Upstream

# What an upstream answers -> (status at the client, exception of the openai package, of the anthropic package).
TYPED: dict[int, tuple[int, str, str]] = {
    400: (400, "BadRequestError", "BadRequestError"),
    401: (401, "AuthenticationError", "AuthenticationError"),
    403: (403, "PermissionDeniedError", "PermissionDeniedError"),
    404: (404, "NotFoundError", "NotFoundError"),
    413: (413, "APIStatusError", "RequestTooLargeError"),
    422: (422, "UnprocessableEntityError", "UnprocessableEntityError"),
    429: (429, "RateLimitError", "RateLimitError"),
    500: (500, "InternalServerError", "InternalServerError"),
    503: (503, "InternalServerError", "ServiceUnavailableError"),
}

LONG = "one two three four five six seven eight"  # at 100 tokens per second: the first is out before the fault comes


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("status", TYPED)
def test_an_upstreams_error_is_typed(face: Face, upstream: Upstream, stream: bool, status: int) -> None:
    upstream.always(status=status, error="It went wrong here.")
    told, openai_name, anthropic_name = TYPED[status]
    wanted = getattr(face.errors, anthropic_name if face.dialect == "anthropic" else openai_name)
    with pytest.raises(wanted) as caught:
        face.ask("hello", model=upstream.alias, stream=stream)
    error: Any = caught.value
    assert error.status_code == told
    assert "It went wrong here." in str(error)
    assert error.response.headers["content-type"] == "application/json"
    shape = error.response.json()
    if face.dialect == "anthropic":
        assert shape["type"] == "error" and shape["error"]["type"] in str(error)
    else:
        assert set(shape["error"]) >= {"message", "type", "param", "code"}
    assert face.statuses == [told] and len(upstream.mock.received) == 1
    if status == 429:
        assert error.response.headers["retry-after"] == "1"


def test_a_429_is_retried_by_the_sdk_after_what_the_upstream_said(
    face_of: Callable[..., Face], face: Face, upstream: Upstream
) -> None:
    patient = face_of(face.dialect, max_retries=2)
    upstream.mock.queue([Step(status=429, headers={"retry-after": "1"})])
    begun = time.monotonic()
    got = patient.ask("hello", model=upstream.alias)
    assert got.text == "mock/echo: hello"
    assert patient.statuses == [429, 200]
    assert len(upstream.mock.received) == 2
    assert 0.9 < time.monotonic() - begun < 5


def test_an_error_in_the_middle_of_a_stream_is_an_exception(face: Face, upstream: Upstream) -> None:
    upstream.always(error_event_after=6, text=LONG, error="Overloaded.", tokens_per_second=100)
    with pytest.raises(face.errors.APIError) as caught:
        face.ask("hello", model=upstream.alias, stream=True)
    assert "Overloaded." in str(caught.value)
    assert face.statuses == [200]


def test_a_stream_that_breaks_off_is_never_taken_for_a_whole_answer(face: Face, upstream: Upstream) -> None:
    upstream.always(cut_after_events=6, cut="end", text=LONG, tokens_per_second=100)
    with pytest.raises(face.errors.APIError):
        face.ask("hello", model=upstream.alias, stream=True)


def test_a_wrong_key_is_an_authentication_error(face_of: Callable[..., Face], face: Face, upstream: Upstream) -> None:
    stranger = face_of(face.dialect, key="sk-not-the-right-one")
    with pytest.raises(face.errors.AuthenticationError) as caught:
        stranger.ask("hello", model=upstream.alias)
    assert "sk-not-the-right-one" not in str(caught.value)
    assert upstream.mock.received == []


def test_an_unknown_model_is_named_with_its_nearest(face: Face, upstreams: dict[str, Upstream]) -> None:
    with pytest.raises(face.errors.APIStatusError) as caught:
        face.ask("hello", model="via-openai_chatt")
    assert caught.value.status_code in (400, 404)
    assert "via-openai_chat" in str(caught.value)


def test_a_loss_is_refused_where_the_deployment_says_so(face: Face, upstream: Upstream) -> None:
    if face.dialect == upstream.dialect:
        pytest.skip("nothing is lost in one's own dialect")
    field = {"openai_chat": "logit_bias", "openai_responses": "truncation", "anthropic": "inference_geo"}[face.dialect]
    value: Any = {"logit_bias": {"50": 1}, "truncation": "auto", "inference_geo": "eu"}[field]
    body = {"extra_body": {field: value}}
    got = face.ask("hello", model=upstream.alias, native=body)
    assert any(field in path for path in got.dropped), got.dropped
    with pytest.raises(face.errors.BadRequestError, match=field):
        face.ask("hello", model=f"strict-{upstream.dialect}", native=body)
