"""Exceptions: LiteLLM's names and attributes, and OpenAI's classes where its SDK is installed."""

from __future__ import annotations

import pickle
import subprocess
import sys
from typing import Any

import openai
import pytest

from penstock import sdk
from penstock.core.errors import TABLE
from penstock.mock import Mock
from penstock.sdk import exceptions
from penstock.sdk.exceptions import NAMES, class_of, error_of_kind, error_told
from tests.sdk.conftest import ASKED, always

MODEL = "openai/gpt-4o-mini"
OPENAIS = {
    400: (sdk.BadRequestError, openai.BadRequestError),
    401: (sdk.AuthenticationError, openai.AuthenticationError),
    403: (sdk.PermissionDeniedError, openai.PermissionDeniedError),
    404: (sdk.NotFoundError, openai.NotFoundError),
    408: (sdk.Timeout, openai.APITimeoutError),
    422: (sdk.UnprocessableEntityError, openai.UnprocessableEntityError),
    429: (sdk.RateLimitError, openai.RateLimitError),
    500: (sdk.InternalServerError, openai.InternalServerError),
    502: (sdk.BadGatewayError, openai.APIStatusError),
    503: (sdk.ServiceUnavailableError, openai.APIStatusError),
}


@pytest.mark.parametrize("status", OPENAIS)
def test_each_status_is_its_class_and_openai_s(status: int, to: dict[str, Any], mock: Mock) -> None:
    mock.script = always(status=status, error="the vendor's own words")
    ours, theirs = OPENAIS[status]
    with pytest.raises(theirs) as caught:
        sdk.completion(MODEL, ASKED, num_retries=0, **to)
    error: Any = caught.value
    assert type(error) is ours and isinstance(error, exceptions.SdkError)
    assert (error.status_code, error.llm_provider, error.model) == (status, "openai", MODEL)
    assert "the vendor's own words" in error.message and str(error) == error.message
    assert f"litellm.{ours.__name__}: {ours.__name__}: OpenAIException - " in error.message
    assert error.response.status_code == status and error.body["message"] == error.message
    assert "sk-of-the-call" not in repr(error) + str(error.__dict__)


def test_the_old_name_catches_every_400(to: dict[str, Any], mock: Mock) -> None:
    """S1-47: `except InvalidRequestError`."""
    mock.script = always(status=400, error="this model's maximum context length is 10 tokens")
    with pytest.raises(sdk.InvalidRequestError) as caught:
        sdk.completion(MODEL, ASKED, **to)
    assert type(caught.value) is sdk.ContextWindowExceededError


def test_a_limit_says_when_to_come_again(to: dict[str, Any], mock: Mock) -> None:
    mock.script = always(status=429, headers={"retry-after": "7"})
    with pytest.raises(openai.RateLimitError) as caught:
        sdk.completion(MODEL, ASKED, num_retries=0, **to)
    assert caught.value.response.headers["retry-after"] == "7" and caught.value.request_id


def test_a_wrong_word_about_the_deployment_is_named(to: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(sdk.BadRequestError, match="api_base"):
        sdk.completion(MODEL, ASKED, api_base="nonsense", api_key="k")
    sdk.completion(MODEL, ASKED, drop_params="perhaps", **to)
    assert "drop_params" in caplog.text and "sk-of-the-call" not in caplog.text


def test_nobody_there_is_a_connection_error() -> None:
    with pytest.raises(openai.APIConnectionError) as caught:
        sdk.completion(MODEL, ASKED, api_base="http://127.0.0.1:9/v1", api_key="k", num_retries=0)
    assert type(caught.value) is sdk.APIConnectionError


def test_an_unknown_provider_is_told_in_litellm_s_words() -> None:
    with pytest.raises(sdk.BadRequestError, match="LLM Provider NOT provided.*You passed model=nobody/x"):
        sdk.completion("nobody/x", ASKED)


@pytest.mark.parametrize("kind", TABLE)
def test_every_kind_of_the_engine_has_its_class(kind: str) -> None:
    error = error_of_kind(kind, "words", model="m", llm_provider="p")
    assert type(error).__name__ == TABLE[kind].litellm and error.status_code == TABLE[kind].status
    assert (error.message, error.model, error.llm_provider) == ("words", "m", "p")


@pytest.mark.parametrize("name", NAMES)
def test_every_class_can_be_made_pickled_and_caught(name: str) -> None:
    made = class_of(name)(message="words", model="m", llm_provider="p", body={"code": "c", "param": "q", "type": "t"})
    again = pickle.loads(pickle.dumps(made))
    assert type(again) is type(made) is getattr(sdk, name)
    assert (str(again), again.model, again.code, again.param) == ("words", "m", "c", "q")
    assert again.status_code == made.status_code == class_of(name)._status


def test_arguments_have_litellm_s_order() -> None:
    limited = sdk.RateLimitError("words", "p", "m")
    bad = sdk.BadRequestError("words", "m", "p")
    plain = sdk.APIError(502, "words", "p", "m")
    over = sdk.BudgetExceededError(current_cost=2.0, max_budget=1.0, message="words")
    for error in (limited, bad, plain):
        assert (error.message, error.llm_provider, error.model) == ("words", "p", "m")
    assert plain.status_code == 502 and (over.current_cost, over.max_budget) == (2.0, 1.0)


def test_what_a_gateway_tells_is_the_class_that_its_message_names() -> None:
    text = "litellm.ContextWindowExceededError: ContextWindowExceededError: OpenAIException - too long"
    assert type(error_told({"message": text}, 400)) is sdk.ContextWindowExceededError
    assert type(error_told({"message": "x", "code": "429"}, 0)) is sdk.RateLimitError
    assert type(error_told({"message": "x"}, 418)) is sdk.BadRequestError
    assert type(error_told({"message": "x"}, 599)) is sdk.InternalServerError


ABSENT = """
import sys
class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("openai", "httpx"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Hide())
import importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *more: None if name == "openai" else find(name, *more)
from penstock import sdk
try:
    sdk.completion("openai/x", [{"role": "user", "content": "x"}], mock_response="litellm.RateLimitError")
except sdk.RateLimitError as error:
    print(type(error).__mro__[1].__name__, error.status_code, error.response, "openai" in sys.modules)
"""


def test_without_openai_s_sdk_it_is_never_asked_for() -> None:
    done = subprocess.run([sys.executable, "-c", ABSENT], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["SdkError", "429", "None", "False"], done.stderr
