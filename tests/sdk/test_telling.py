"""Callbacks: who is told, with what, and that nobody waits for them."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from penstock import sdk
from penstock.mock import Mock
from penstock.sdk.telling import takes_one
from tests.sdk.conftest import ASKED, always

MODEL = "openai/gpt-4o-mini"


class Log(sdk.CustomLogger):
    def __init__(self) -> None:
        self.heard: list[tuple[str, Any, Any]] = []

    def log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        self.heard.append(("ok", kwargs, response_obj))

    def log_failure_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        self.heard.append(("failed", kwargs, kwargs["exception"]))


def test_a_function_of_one_argument_gets_the_answer(to: dict[str, Any]) -> None:
    """S1-49."""
    heard: list[Any] = []
    sdk.success_callback = [lambda response: heard.append((response.model, response.usage.total_tokens))]
    answer = sdk.completion(MODEL, ASKED, **to)
    sdk.flush()
    assert heard == [(answer.model, answer.usage.total_tokens)]


def test_a_function_of_four_gets_litellm_s(to: dict[str, Any]) -> None:
    heard: list[Any] = []

    def log(kwargs: Any, completion_response: Any, start_time: Any, end_time: Any) -> None:
        heard.append((kwargs, completion_response, end_time - start_time))

    sdk.success_callback = [log]
    answer = sdk.completion(MODEL, ASKED, temperature=0.5, metadata={"who": "me", "tags": ["a"]}, user="u", **to)
    sdk.flush()
    [(kwargs, response, took)] = heard
    assert response is answer and took.total_seconds() > 0
    assert kwargs["model"] == MODEL and kwargs["messages"] == ASKED
    assert kwargs["response_cost"] == answer._hidden_params["response_cost"]
    assert kwargs["litellm_params"]["metadata"]["who"] == "me"
    shown = kwargs["standard_logging_object"]
    assert (
        shown["model_parameters"]["temperature"] == 0.5 and shown["request_tags"] == ["a"] and shown["end_user"] == "u"
    )
    assert shown["total_tokens"] == answer.usage.total_tokens and shown["status"] == "success"
    assert "sk-of-the-call" not in repr(kwargs)


async def test_an_object_hears_of_good_and_bad(to: dict[str, Any], mock: Mock) -> None:
    log = Log()
    client = sdk.AsyncClient(callbacks=[log])
    await client.completion(MODEL, ASKED, **to)
    mock.script = always(status=429)
    with pytest.raises(sdk.RateLimitError) as caught:
        await client.completion(MODEL, ASKED, num_retries=0, **to)
    with pytest.raises(sdk.BadRequestError):
        await client.completion("nobody/x", ASKED)
    sdk.flush()
    assert [kind for kind, _, _ in log.heard] == ["ok", "failed", "failed"]
    assert log.heard[1][2] is caught.value
    shown = log.heard[1][1]["standard_logging_object"]
    assert shown["error_information"]["error_class"] == "RateLimitError" and shown["status"] == "failure"


async def test_async_methods_are_for_async_calls(to: dict[str, Any]) -> None:
    heard: list[str] = []

    class Both(sdk.CustomLogger):
        def log_success_event(self, *_: Any) -> None:
            heard.append("plain")

        async def async_log_success_event(self, *_: Any) -> None:
            heard.append("async")

    sdk.callbacks = [Both()]
    await sdk.acompletion(MODEL, ASKED, **to)
    sdk.completion(MODEL, ASKED, **to)
    sdk.flush()
    assert heard == ["async", "plain"]


@pytest.mark.parametrize("how", ["read", "left"])
def test_a_stream_is_told_once_as_a_whole(how: str, to: dict[str, Any], mock: Mock) -> None:
    log = Log()
    sdk.success_callback = [log]
    mock.script = always(text="one two three", **({} if how == "read" else {"stall_after_events": 4}))
    stream = sdk.completion(MODEL, ASKED, stream=True, **to)
    if how == "read":
        list(stream)
    else:
        for _ in range(3):
            next(stream)
        stream.close()
    deadline = time.monotonic() + 10
    while not log.heard and time.monotonic() < deadline:
        sdk.flush()
        time.sleep(0.01)
    [(kind, kwargs, answer)] = log.heard
    assert kind == "ok" and kwargs["stream"] is True and isinstance(answer, sdk.ModelResponse)
    text = answer.choices[0].message.content
    assert text == "one two three" if how == "read" else "one two three".startswith(text) and text
    assert kwargs["response_cost"] > 0 and kwargs["standard_logging_object"]["completion_tokens"] > 0


def test_nobody_waits_for_a_callback_and_its_faults_are_its_own(to: dict[str, Any]) -> None:
    go, heard = threading.Event(), threading.Event()

    def slow(response: Any) -> None:
        assert go.wait(30)

    def broken(response: Any) -> None:
        raise ZeroDivisionError("mine")

    sdk.success_callback = [slow, broken, lambda response: heard.set()]
    began = time.monotonic()
    sdk.completion(MODEL, ASKED, **to)
    assert time.monotonic() - began < 10 and not heard.is_set()
    go.set()
    assert heard.wait(10)


def test_a_name_is_told_to_be_none(to: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    sdk.success_callback = ["some-service"]
    sdk.completion(MODEL, ASKED, **to)
    sdk.flush()
    assert "'some-service' is not called: it is no service that is known here" in caplog.text


def test_a_router_has_callbacks_of_its_own(mock: Mock, to: dict[str, Any]) -> None:
    log = Log()
    params = {"model": MODEL, **to}
    router = sdk.Router([{"model_name": "m", "litellm_params": params}], success_callback=[log])
    router.completion("m", ASKED)
    sdk.completion(MODEL, ASKED, **to)
    sdk.flush()
    assert [kwargs["model"] for _, kwargs, _ in log.heard] == ["m"]


@pytest.mark.parametrize(
    ("function", "one"),
    [
        (lambda response: None, True),
        (lambda response, more=None: None, True),
        (lambda kwargs, response, start, end: None, False),
        (lambda *given: None, False),
        (lambda a, b, c=None, d=None: None, False),
        (Log().log_success_event, False),
        (print, False),
    ],
)
def test_arguments_are_counted(function: Any, one: bool) -> None:
    assert takes_one(function) is one
