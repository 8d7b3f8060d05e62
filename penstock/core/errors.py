"""One table of errors: what each kind means to every party.

Tree::

    GatewayError            everything that a client of the gateway can be told; carries a ``kind`` of the table below

Sources: OpenAI's error guide (types ``invalid_request_error``, ``rate_limit_error``...), Anthropic's errors page (the
nine ``error.type`` values), and the LiteLLM proxy's own mapping, which its users' tools match on: ``code`` is the
status as a string and an upstream's message is prefixed ``litellm.<Class>: <Class>: <Provider>Exception - ``.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

Retry = Literal["no", "target", "other", "fallback"]
Fault = Literal["client", "upstream", "gateway", "nobody"]


class Row(NamedTuple):
    """What follows from an error of one kind. ``retry``: "target" = try another deployment (or this one again), then
    the fallbacks; "other" = another deployment, never this one again (a wrong key stays wrong), then the fallbacks;
    "fallback" = straight to the fallbacks; "no" = final. ``fault`` decides who is cooled or counted: only the culprit
    pays."""

    status: int
    openai: str
    anthropic: str
    litellm: str
    retry: Retry
    fault: Fault


_BAD = "invalid_request_error"

TABLE: dict[str, Row] = {
    # kind: status, OpenAI type, Anthropic type, LiteLLM class, retry, fault
    "bad_request": Row(400, _BAD, _BAD, "BadRequestError", "no", "client"),
    "unsupported": Row(400, _BAD, _BAD, "UnsupportedParamsError", "other", "client"),
    "unknown_model": Row(400, _BAD, "not_found_error", "BadRequestError", "no", "client"),
    "context_window": Row(400, _BAD, _BAD, "ContextWindowExceededError", "fallback", "client"),
    "content_policy": Row(400, _BAD, _BAD, "ContentPolicyViolationError", "fallback", "client"),
    "unauthorized": Row(401, "auth_error", "authentication_error", "AuthenticationError", "no", "client"),
    # a virtual key: one that is over, one that is none; types are LiteLLM's, which clients match on
    "key_expired": Row(401, "expired_key", "authentication_error", "AuthenticationError", "no", "client"),
    "key_unknown": Row(401, "token_not_found_in_db", "authentication_error", "AuthenticationError", "no", "client"),
    **{
        f"{who}_model_denied": Row(
            403, f"{who}_model_access_denied", "permission_error", "PermissionDeniedError", "no", "client"
        )
        for who in ("key", "team", "user", "org", "project", "customer")
    },
    # 422 as LiteLLM has it now; litellm_settings.budget_exceeded_status_code says another
    "over_budget": Row(422, "budget_exceeded", _BAD, "BudgetExceededError", "no", "client"),
    # what requests cost cannot be written down, so none is sent
    "no_ledger": Row(503, "service_unavailable_error", "api_error", "ServiceUnavailableError", "no", "gateway"),
    "over_rate": Row(429, "rate_limit_error", "rate_limit_error", "RateLimitError", "no", "nobody"),
    # what is managed: nothing of that id (for this caller), somebody has it already, its database is away
    "no_object": Row(404, "not_found_error", "not_found_error", "NotFoundError", "no", "client"),
    "exists": Row(400, _BAD, _BAD, "BadRequestError", "no", "client"),
    "outdated": Row(409, _BAD, _BAD, "BadRequestError", "no", "nobody"),
    "no_database": Row(503, "no_db_connection", "api_error", "ServiceUnavailableError", "no", "gateway"),
    "forbidden": Row(403, "permission_error", "permission_error", "PermissionDeniedError", "no", "client"),
    "no_route": Row(404, _BAD, "not_found_error", "NotFoundError", "no", "client"),
    "method": Row(405, _BAD, _BAD, "BadRequestError", "no", "client"),
    "request_timeout": Row(408, "timeout_error", "timeout_error", "Timeout", "no", "client"),
    "too_large": Row(413, _BAD, "request_too_large", "BadRequestError", "no", "client"),
    # files that are kept: a key's or a team's quota, and the gateway's own disk
    "over_storage": Row(413, _BAD, "request_too_large", "BadRequestError", "no", "client"),
    "disk_full": Row(507, "internal_server_error", "api_error", "InternalServerError", "no", "gateway"),
    "media_type": Row(415, _BAD, _BAD, "BadRequestError", "no", "client"),
    "content_coding": Row(415, _BAD, _BAD, "BadRequestError", "no", "client"),
    "upgrade": Row(426, _BAD, _BAD, "BadRequestError", "no", "client"),
    "headers_too_large": Row(431, _BAD, _BAD, "BadRequestError", "no", "client"),
    "client_gone": Row(499, "client_disconnected", "api_error", "APIConnectionError", "no", "nobody"),
    "gateway_bug": Row(500, "internal_server_error", "api_error", "InternalServerError", "no", "gateway"),
    "draining": Row(503, "service_unavailable_error", "overloaded_error", "ServiceUnavailableError", "no", "gateway"),
    # the gateway itself has no more of something (memory, descriptors): no upstream's fault, and soon over
    "overloaded": Row(503, "service_unavailable_error", "overloaded_error", "ServiceUnavailableError", "no", "gateway"),
    "not_configured": Row(
        401, "authentication_error", "authentication_error", "AuthenticationError", "other", "gateway"
    ),
    "not_installed": Row(501, "internal_server_error", "api_error", "InternalServerError", "other", "gateway"),
    "no_dialect": Row(501, _BAD, "api_error", "BadRequestError", "other", "gateway"),
    # where answers are kept: nowhere, or at a place that does not answer whoever asks for it
    "no_cache": Row(503, "service_unavailable_error", "api_error", "ServiceUnavailableError", "no", "gateway"),
    # all deployments of a group rest, or are over their limits
    "no_deployment": Row(429, "rate_limit_error", "rate_limit_error", "RateLimitError", "fallback", "gateway"),
    # all deployments of a group have as many requests as they may, and nobody waits longer for a place
    "no_room": Row(429, "rate_limit_error", "rate_limit_error", "RateLimitError", "fallback", "gateway"),
    # a local engine did not come in time, or does not come at all: another deployment, or a fallback, may answer
    "engine_busy": Row(
        503, "service_unavailable_error", "overloaded_error", "ServiceUnavailableError", "other", "gateway"
    ),
    "engine_failed": Row(503, "service_unavailable_error", "api_error", "ServiceUnavailableError", "other", "gateway"),
    # a guard that blocks what it was shown, and one that could not judge it
    "guardrail": Row(400, _BAD, _BAD, "BadRequestError", "no", "client"),
    "guard_failed": Row(500, "internal_server_error", "api_error", "InternalServerError", "no", "gateway"),
    # what an upstream said
    "upstream_bad_request": Row(400, _BAD, _BAD, "BadRequestError", "no", "client"),
    "upstream_auth": Row(
        401, "authentication_error", "authentication_error", "AuthenticationError", "other", "upstream"
    ),
    "upstream_payment": Row(402, "billing_error", "billing_error", "PaymentRequiredError", "other", "upstream"),
    "upstream_forbidden": Row(
        403, "permission_error", "permission_error", "PermissionDeniedError", "other", "upstream"
    ),
    "upstream_not_found": Row(404, _BAD, "not_found_error", "NotFoundError", "fallback", "upstream"),
    "upstream_timeout_status": Row(408, "timeout_error", "timeout_error", "Timeout", "target", "upstream"),
    "upstream_conflict": Row(409, _BAD, _BAD, "BadRequestError", "target", "upstream"),
    "upstream_too_large": Row(413, _BAD, "request_too_large", "BadRequestError", "no", "client"),
    "upstream_unprocessable": Row(422, _BAD, _BAD, "UnprocessableEntityError", "no", "client"),
    "upstream_rate_limit": Row(429, "rate_limit_error", "rate_limit_error", "RateLimitError", "target", "upstream"),
    "upstream_error": Row(500, "internal_server_error", "api_error", "InternalServerError", "target", "upstream"),
    "upstream_bad_gateway": Row(502, "internal_server_error", "api_error", "BadGatewayError", "target", "upstream"),
    "upstream_unavailable": Row(
        503, "internal_server_error", "api_error", "ServiceUnavailableError", "target", "upstream"
    ),
    "upstream_gateway_timeout": Row(504, "internal_server_error", "timeout_error", "Timeout", "target", "upstream"),
    "upstream_overloaded": Row(
        529, "overloaded_error", "overloaded_error", "InternalServerError", "target", "upstream"
    ),
    # what happened on the way to it
    "connect": Row(500, "internal_server_error", "api_error", "APIConnectionError", "target", "upstream"),
    "timeout": Row(408, "timeout_error", "timeout_error", "Timeout", "target", "upstream"),
    "broken_answer": Row(502, "internal_server_error", "api_error", "BadGatewayError", "target", "upstream"),
    # the answer is whole, and not in the form that was asked for (``checked``)
    "invalid_output": Row(502, "internal_server_error", "api_error", "JSONSchemaValidationError", "no", "nobody"),
    "broken_stream": Row(502, "internal_server_error", "api_error", "BadGatewayError", "no", "upstream"),
}

_BY_STATUS = {
    400: "upstream_bad_request",
    401: "upstream_auth",
    402: "upstream_payment",
    403: "upstream_forbidden",
    404: "upstream_not_found",
    408: "upstream_timeout_status",
    409: "upstream_conflict",
    413: "upstream_too_large",
    422: "upstream_unprocessable",
    429: "upstream_rate_limit",
    500: "upstream_error",
    502: "upstream_bad_gateway",
    503: "upstream_unavailable",
    504: "upstream_gateway_timeout",
    529: "upstream_overloaded",
}

# Texts by which a 400 is known to be about length or policy. Lower case; seen in vendors' and engines' answers.
CONTEXT_WINDOW_TEXTS = (
    "exceed context limit",
    "this model's maximum context length is",
    "model's maximum context limit",
    "string too long. expected",
    "is longer than the model's context length",
    "input tokens exceed the configured limit",
    "`inputs` tokens + `max_new_tokens` must be",
    "exceeds the available context size",
    "exceeds the maximum number of tokens allowed",
    "prompt is too long",
    "context_length_exceeded",
    "exceed_context_size_error",
)
CONTENT_POLICY_TEXTS = (
    "content_policy_violation",
    "responsibleaipolicyviolation",
    "the response was filtered due to the prompt triggering",
    "the model produced invalid content",
    "content_filter_policy",
    "safety system",
)


class GatewayError(Exception):
    """An error that the client is told. ``kind`` is a key of ``TABLE``.

    ``message``: one or two plain sentences, no secrets. ``param``: the request field at fault. ``provider``: who
    answered, for upstream errors. ``retry_after``: seconds. ``status``: overrides the table's (an upstream's own).
    ``upstream_type`` / ``upstream_code``: the vendor's words, kept for records. ``details``: Anthropic's
    ``error.details``, a raw JSON object by which its clients recover; no other dialect shows it.
    """

    def __init__(
        self,
        kind: str,
        message: str,
        *,
        param: str | None = None,
        provider: str = "",
        retry_after: float | None = None,
        status: int | None = None,
        upstream_type: str = "",
        upstream_code: str = "",
        details: bytes = b"",
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.row = TABLE[kind]
        self.message = message
        self.param = param
        self.provider = provider
        self.retry_after = retry_after
        # An upstream's own status is told only where it is an error: clients and doors know 400 to 599.
        self.status = status if status is not None and 400 <= status <= 599 else self.row.status
        self.upstream_type = upstream_type
        self.upstream_code = upstream_code
        self.details = details

    def __reduce__(self) -> tuple[Any, ...]:
        """Say how it is made again in another process."""
        named = ("param", "provider", "retry_after", "status", "upstream_type", "upstream_code", "details")
        return _again, (type(self), self.kind, self.message, {name: getattr(self, name) for name in named})

    @property
    def text(self) -> str:
        """Return the message as LiteLLM's callers match on it: class and provider first when an upstream is the
        source."""
        if not self.provider:
            return self.message
        name = self.row.litellm
        return f"litellm.{name}: {name}: {exception_name(self.provider)} - {self.message}"


class OverSession(GatewayError):
    """The budget of a session is used up. Agents take an error for something to try again: a chat is told it as an
    answer that ends the turn."""


# Where LiteLLM does not just write the provider's first letter large (its exception_mapping_utils.py).
_SPELLED = {"openai": "OpenAI", "vertex_ai": "VertexAI", "vertex_ai_beta": "VertexAI"}


def exception_name(provider: str) -> str:
    """Return the word by which LiteLLM's messages name a provider, and rules over logs match: OpenAIException,
    AnthropicException, Hosted_vllmException."""
    return f"{_SPELLED.get(provider) or provider[:1].upper() + provider[1:]}Exception"


def _again(made: type[GatewayError], kind: str, message: str, named: dict[str, Any]) -> GatewayError:
    error = made.__new__(made)
    GatewayError.__init__(error, kind, message, **named)
    return error


def shed(error: BaseException) -> None:
    """Cut an error off from the frames that it came through, and from the errors before it. Frames hold whoever caught
    it; who keeps an error would be in a circle with all of them."""
    error.__traceback__ = error.__context__ = error.__cause__ = None


def kind_of_status(status: int, text: str) -> str:
    """Return the kind of a non-2xx upstream answer: by status, and for 400/413/422 also by its lower-cased ``text``."""
    if not 400 <= status <= 599:
        return "upstream_bad_gateway"  # a redirect, a 204, a 999: no answer, and nothing that the client did
    kind = _BY_STATUS.get(status)
    if (
        kind in ("upstream_bad_request", "upstream_too_large", "upstream_unprocessable")
        or kind is None
        and status < 500
    ):
        lower = text.lower()
        if any(mark in lower for mark in CONTEXT_WINDOW_TEXTS):
            return "context_window"
        if any(mark in lower for mark in CONTENT_POLICY_TEXTS):
            return "content_policy"
    if kind is None:
        kind = "upstream_error" if status >= 500 else "upstream_bad_request"
    return kind
