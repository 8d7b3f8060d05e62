"""An upstream's errors as the official client's own exceptions, and what its own retries make of them."""

from __future__ import annotations

import openai
import pytest

from penstock.mock import Script, Step

MODEL = "extraction-model-lmstudio"  # the one name of the config without a fallback
ASK = [{"role": "user", "content": "Say something about water."}]

KINDS = [
    (400, openai.BadRequestError, "invalid_request_error"),
    (401, openai.AuthenticationError, "authentication_error"),
    (403, openai.PermissionDeniedError, "permission_error"),
    (404, openai.NotFoundError, "invalid_request_error"),
    (409, openai.ConflictError, "invalid_request_error"),
    (422, openai.UnprocessableEntityError, "invalid_request_error"),
    (429, openai.RateLimitError, "rate_limit_error"),
    (500, openai.InternalServerError, "internal_server_error"),
    (503, openai.InternalServerError, "internal_server_error"),
    (529, openai.InternalServerError, "overloaded_error"),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("status", "kind", "type_"), KINDS)
def test_each_status_is_its_exception(plain_line, mock, status, kind, type_, stream):
    mock.script = Script.always(status=status, error="Their very words.", headers={"retry-after": "7"})
    with pytest.raises(kind) as caught:
        plain_line.client().chat.completions.create(model=MODEL, messages=ASK, stream=stream)
    error = caught.value
    assert error.status_code == status and error.code == str(status) and error.type == type_
    assert "Their very words." in error.message and error.request_id == error.response.headers["x-request-id"]
    if status in (429, 503):
        assert error.response.headers["retry-after"] == "7"
    assert len(mock.received) == 1


async def test_the_asynchronous_client_raises_the_same(plain_line, mock):
    mock.script = Script.always(status=429, headers={"retry-after": "7"})
    async with plain_line.asynchronous() as client:
        for stream in (False, True):
            with pytest.raises(openai.RateLimitError) as caught:
                await client.chat.completions.create(model=MODEL, messages=ASK, stream=stream)
            assert caught.value.response.headers["retry-after"] == "7"


def test_an_error_in_mid_stream_is_an_exception_and_no_end(plain_line, mock):
    mock.script = Script.always(text="one two three four five", tokens_per_second=100, cut_after_events=4)
    text = ""
    with pytest.raises(openai.APIError) as caught:
        for chunk in plain_line.client().chat.completions.create(model=MODEL, messages=ASK, stream=True):
            text += chunk.choices[0].delta.content or ""
    assert text.startswith("one two") and caught.value.code == "502"


@pytest.mark.parametrize("stream", [False, True])
def test_the_clients_own_retries_get_through(plain_line, mock, stream):
    """The official client retries 429 and 5xx by itself: each of its tries is a call of its own here."""
    mock.queue([Step(status=429, headers={"retry-after": "0"}), Step(status=500)])
    answer = plain_line.client(max_retries=2).chat.completions.create(model=MODEL, messages=ASK, stream=stream)
    assert list(answer) if stream else answer.choices
    assert len(mock.received) == 3
