"""Exceptions under LiteLLM's names, each also of the class that OpenAI's SDK has for it where that is installed.

The classes are made at the first use of one: that is when OpenAI's SDK is looked for, and loaded if it is there; else
it is never asked for. An error that another process or the mask of a log made is told by the same names, so one table
says which class a kind, a status or a message means.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from typing import Any, NamedTuple

from penstock.core.errors import TABLE


class _Row(NamedTuple):
    """A class. ``base``: ours that it is a kind of. ``openai``: the class of OpenAI's SDK. ``named``: the order of its
    arguments; ``status``: of one that is made without."""

    base: str
    openai: str
    status: int
    named: str = "message model llm_provider response"


_BY_PROVIDER = "message llm_provider model response"
_ROWS: dict[str, _Row] = {
    "OpenAIError": _Row("", "OpenAIError", 500),
    "BadRequestError": _Row("", "BadRequestError", 400),
    "UnsupportedParamsError": _Row("BadRequestError", "", 400, "message llm_provider model status_code response"),
    "ContextWindowExceededError": _Row("BadRequestError", "", 400),
    "ContentPolicyViolationError": _Row("BadRequestError", "", 400),
    "RejectedRequestError": _Row("BadRequestError", "", 400, "message model llm_provider request_data"),
    "ImageFetchError": _Row("BadRequestError", "", 400),
    "LiteLLMUnknownProvider": _Row("BadRequestError", "", 400, "model custom_llm_provider message"),
    "PaymentRequiredError": _Row("BadRequestError", "", 402),
    "AuthenticationError": _Row("", "AuthenticationError", 401, _BY_PROVIDER),
    "PermissionDeniedError": _Row("", "PermissionDeniedError", 403, _BY_PROVIDER),
    "NotFoundError": _Row("", "NotFoundError", 404),
    "Timeout": _Row("", "APITimeoutError", 408),
    "UnprocessableEntityError": _Row("", "UnprocessableEntityError", 422),
    "RateLimitError": _Row("", "RateLimitError", 429, _BY_PROVIDER),
    "InternalServerError": _Row("", "InternalServerError", 500, _BY_PROVIDER),
    "BadGatewayError": _Row("", "APIStatusError", 502, _BY_PROVIDER),
    "ServiceUnavailableError": _Row("", "APIStatusError", 503, _BY_PROVIDER),
    "MidStreamFallbackError": _Row("ServiceUnavailableError", "", 503, "message model llm_provider original_exception"),
    "APIConnectionError": _Row("", "APIConnectionError", 500, "message llm_provider model request"),
    "APIError": _Row("", "APIError", 500, "status_code message llm_provider model request"),
    "APIResponseValidationError": _Row("", "APIResponseValidationError", 500, "message llm_provider model"),
    "JSONSchemaValidationError": _Row(
        "APIResponseValidationError", "", 502, "model llm_provider raw_response schema message"
    ),
    "BudgetExceededError": _Row("", "", 422, "current_cost max_budget message llm_provider"),
    "GuardrailRaisedException": _Row("", "", 400, "guardrail_name message"),
    "BlockedPiiEntityError": _Row("", "", 400, "entity_type guardrail_name message"),
}
# The old name is the same class: who catches it means every 400 (S1-47).
_OTHER_NAMES = {"InvalidRequestError": "BadRequestError"}
NAMES = (*_ROWS, *_OTHER_NAMES)
_BY_STATUS = {
    row.status: name
    for name, row in reversed(_ROWS.items())
    if row.openai not in ("", "OpenAIError", "APIConnectionError", "APIError", "APIResponseValidationError")
} | {402: "PaymentRequiredError", 504: "Timeout", 529: "InternalServerError"}
_SAID = re.compile(r"litellm\.(\w+): ")


class SdkError(Exception):
    """What a call ended in. ``status_code``; ``message``; ``llm_provider``: who answered, "" for the gateway itself;
    ``model``; ``type``, ``code`` and ``param`` as OpenAI's errors have them; ``body``: the error as it was told;
    ``response``: an httpx.Response where OpenAI's SDK is there, which says that there is one."""

    _named: tuple[str, ...] = ("message", "model", "llm_provider", "response")
    _status = 500

    def __init__(self, *args: Any, **fields: Any) -> None:
        given = dict(zip(self._named, args, strict=False)) | fields
        self.message = str(given.pop("message", "") or type(self).__name__)
        Exception.__init__(self, self.message)
        self.status_code = int(given.pop("status_code", None) or self._status)
        self.llm_provider = given.pop("llm_provider", None) or ""
        self.model = given.pop("model", None) or ""
        self.body = given.pop("body", None)
        self.num_retries = given.pop("num_retries", None)
        self.max_retries = given.pop("max_retries", None)
        self.litellm_debug_info = given.pop("litellm_debug_info", None)
        told = self.body if isinstance(self.body, Mapping) else {}
        self.type = told.get("type")
        self.code = told.get("code")
        self.param = told.get("param")
        self.set_headers(given.pop("headers", None) or {}, given.pop("response", None))
        for name, value in given.items():
            setattr(self, name, value)

    def __str__(self) -> str:
        return self.message

    def set_headers(self, headers: Mapping[str, str], response: Any = None) -> None:
        """Note the head of the answer that it came in."""
        self.headers = headers
        self.request_id = headers.get("x-request-id")
        self.request, self.response = _exchanged(self.status_code, headers, response)

    def __reduce__(self) -> tuple[Any, ...]:
        kept = ("message", "status_code", "llm_provider", "model", "body", "headers")
        return _again, (type(self).__name__, {name: getattr(self, name) for name in kept})


def _again(name: str, fields: dict[str, Any]) -> SdkError:
    return class_of(name)(**fields)


def _exchanged(status: int, headers: Mapping[str, str], given: Any) -> tuple[Any, Any]:
    """Make request and response as OpenAI's errors carry them, where its SDK (and so httpx) is there."""
    if given is not None or _openai() is None:
        return getattr(given, "_request", None), given
    import httpx

    request = httpx.Request("POST", "http://penstock.invalid/")
    return request, httpx.Response(status, headers=dict(headers), request=request)


@cache
def _openai() -> Any:
    """Load OpenAI's SDK where it is installed; None where it is not."""
    if find_spec("openai") is None:
        return None
    try:
        import openai
    except ImportError:  # there, and lacks a part of its own
        return None
    return openai


@cache
def class_of(name: str) -> type[SdkError]:
    """Return the class of a name, made once. Raises KeyError for a name that is none."""
    row = _ROWS[_OTHER_NAMES.get(name, name)]
    if name in _OTHER_NAMES:
        return class_of(_OTHER_NAMES[name])
    sdk = _openai() if row.openai else None
    above = class_of(row.base) if row.base else SdkError
    bases = (above,) if sdk is None else (above, getattr(sdk, row.openai))
    # ``__init__`` and ``__str__`` come first in the order of methods: OpenAI's own want a response of httpx.
    fields = {
        "__doc__": f"A call ended as LiteLLM's {name} says; status {row.status} unless it is told another.",
        "__module__": __name__,
        "__qualname__": name,
        "_named": tuple(row.named.split()),
        "_status": row.status,
    }
    return type(name, bases, fields)


def __getattr__(name: str) -> Any:
    if name not in NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return class_of(name)


def __dir__() -> list[str]:
    return [*NAMES]


def error_of_kind(kind: str, message: str, *, status: int = 0, **fields: Any) -> SdkError:
    """Make the exception of an error of the engine, by its kind. ``fields``: as of the class."""
    row = TABLE[kind]
    status = status or row.status
    fields.setdefault("body", {"message": message, "type": row.openai, "param": None, "code": str(status)})
    return class_of(row.litellm)(message=message, status_code=status, **fields)


def error_told(told: Mapping[str, Any], status: int, **fields: Any) -> SdkError:
    """Make the exception of an error that somebody told: the class that the message names, else the one of its
    status. ``told``: the `error` object of an answer or of a stream's last event."""
    message = str(told.get("message") or "")
    said = _SAID.search(message)
    code = str(told.get("code") or "")
    status = status or (int(code) if code.isdigit() and 400 <= int(code) < 600 else 500)
    name = said[1] if said and said[1] in NAMES else _BY_STATUS.get(status)
    if name is None:
        name = "BadRequestError" if status < 500 else "InternalServerError"
    return class_of(name)(message=message, status_code=status, body=dict(told), **fields)
