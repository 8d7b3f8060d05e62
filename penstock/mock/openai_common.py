"""What OpenAI's two dialects share: error bodies, headers, the model list, field checks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from penstock.mock import brain
from penstock.mock.reply import EPOCH, Exchange, Headers, Refused, Reply, encode

# status -> (type, code, message): the ones that api.openai.com sends
ERRORS: dict[int, tuple[str, str | None, str]] = {
    400: ("invalid_request_error", None, "The request is not right. (mock)"),
    401: ("invalid_request_error", "invalid_api_key", "Incorrect API key provided. (mock)"),
    403: ("invalid_request_error", "unsupported_country_region_territory", "Not allowed. (mock)"),
    404: (
        "invalid_request_error",
        "model_not_found",
        "The model does not exist or you do not have access to it. (mock)",
    ),
    408: ("timeout", None, "Request timed out. (mock)"),
    409: ("invalid_request_error", "conflict", "Conflict. (mock)"),
    413: ("invalid_request_error", "request_too_large", "Maximum content size limit exceeded. (mock)"),
    422: ("invalid_request_error", None, "Unprocessable entity. (mock)"),
    429: ("requests", "rate_limit_exceeded", "Rate limit reached for requests. (mock)"),
    500: ("server_error", None, "The server had an error while processing your request. (mock)"),
    502: ("server_error", None, "Bad gateway. (mock)"),
    503: ("server_error", "server_overloaded", "The engine is currently overloaded, please try again later. (mock)"),
}


def error_object(exc: Refused) -> dict[str, Any]:
    """Make `{message, type, param, code}`, with what the table says where the exception says nothing."""
    kind, code, message = ERRORS.get(exc.status, ERRORS[500 if exc.status >= 500 else 400])
    own = exc.type is not None or exc.code is not None
    return {
        "message": exc.message or message,
        "type": exc.type or kind,
        "param": exc.param,
        "code": exc.code if own else code,
    }


def error_reply(exchange: Exchange, exc: Refused) -> Reply:
    """Render the error as OpenAI sends it."""
    headers = headers_of(exchange) + list(exc.headers.items())
    return Reply(exc.status, headers, encode({"error": error_object(exc)}))


def headers_of(exchange: Exchange) -> Headers:
    """Make the headers of every OpenAI answer."""
    request_id = "req_" + brain.digest("request", exchange.script.seed, exchange.number)[:32]
    left = str(max(0, 10_000 - exchange.number))
    return [
        ("x-request-id", request_id),
        ("openai-version", "2020-10-01"),
        ("openai-organization", "penstock-mock"),
        ("openai-processing-ms", "1"),
        ("x-ratelimit-limit-requests", "10000"),
        ("x-ratelimit-limit-tokens", "2000000"),
        ("x-ratelimit-remaining-requests", left),
        ("x-ratelimit-remaining-tokens", "1999000"),
        ("x-ratelimit-reset-requests", "6ms"),
        ("x-ratelimit-reset-tokens", "0s"),
    ]


def read_body(exchange: Exchange) -> dict[str, Any]:
    """Read the request as a dict. Raises Refused 400 as OpenAI does for what is not a JSON object."""
    try:
        body = msgspec.json.decode(exchange.raw)
    except msgspec.DecodeError as exc:
        raise Refused(
            400,
            "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP"
            f" library correctly. The OpenAI API expects a JSON payload, but what was sent was not valid JSON: {exc})",
        ) from exc
    if not isinstance(body, dict):
        raise Refused(400, "Invalid type for request body: expected an object.", code="invalid_type")
    return body


def require(body: Mapping[str, Any], name: str, *types: type) -> Any:
    """Return the field's value. Raises Refused 400 in OpenAI's words when it is missing or of another type."""
    value = body.get(name)
    if value is None:
        raise Refused(
            400, f"Missing required parameter: '{name}'.", "invalid_request_error", "missing_required_parameter", name
        )
    if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
        names = {str: "a string", list: "an array", dict: "an object", int: "an integer", bool: "a boolean"}
        wanted = " or ".join(names.get(one, one.__name__) for one in types)
        raise Refused(
            400,
            f"Invalid type for '{name}': expected {wanted}, but got {_type_name(value)} instead.",
            "invalid_request_error",
            "invalid_type",
            name,
        )
    return value


def check_types(body: Mapping[str, Any], types: Mapping[str, tuple[type, ...]]) -> None:
    """Raise Refused 400 for a field that is there and of a type not in the table (null counts as absent)."""
    for name, wanted in types.items():
        if body.get(name) is not None:
            require(body, name, *wanted)


_NAME = re.compile(r"^[a-zA-Z0-9_-]+$")
LONGEST_NAME, LONGEST_ID, LONGEST_CALL_ID, MOST_STOPS, MOST_TOOLS = 64, 40, 64, 4, 128


def check_name(name: Any, param: str) -> None:
    """Raise Refused 400 for a function's name that OpenAI does not take."""
    if not isinstance(name, str):
        return
    check_length(name, LONGEST_NAME, param)
    if not _NAME.match(name):
        text = f"Invalid '{param}': string does not match pattern. Expected a string that matches the pattern"
        raise Refused(400, f"{text} '^[a-zA-Z0-9_-]+$'.", "invalid_request_error", "invalid_value", param)


def check_length(value: Any, longest: int, param: str) -> None:
    """Raise Refused 400 for a string that is too long."""
    if isinstance(value, str) and len(value) > longest:
        text = f"Invalid '{param}': string too long. Expected a string with maximum length {longest}, but got a string"
        code = "string_above_max_length"
        raise Refused(400, f"{text} with length {len(value)} instead.", "invalid_request_error", code, param)


def check_count(values: Any, most: int, param: str) -> None:
    """Raise Refused 400 for an array that is too long."""
    if isinstance(values, list) and len(values) > most:
        text = f"Invalid '{param}': array too long. Expected an array with maximum length {most}, but got an array"
        code = "array_above_max_length"
        raise Refused(400, f"{text} with length {len(values)} instead.", "invalid_request_error", code, param)


def _type_name(value: object) -> str:
    names = {str: "a string", list: "an array", dict: "an object", bool: "a boolean", int: "an integer"}
    return names.get(type(value), "null" if value is None else "a decimal")


def check_model(model: str) -> None:
    """Raise Refused 404 for the names that stand for a missing model (`missing/...`)."""
    if model.startswith("missing/"):
        raise Refused(
            404,
            f"The model `{model}` does not exist or you do not have access to it.",
            "invalid_request_error",
            "model_not_found",
        )


def check_unknown(exchange: Exchange, body: Mapping[str, Any], known: frozenset[str]) -> None:
    """Raise Refused 400 for an unknown top-level field when the script asks for that."""
    if exchange.rejects_unknown(by_default=False):
        for name in body:
            if name not in known:
                raise Refused(400, f"Unknown parameter: '{name}'.", "invalid_request_error", "unknown_parameter", name)


def check_context(exchange: Exchange, tokens: int, param: str) -> None:
    """Raise Refused 400 `context_length_exceeded` when the prompt is longer than the script's `context_tokens`."""
    limit = exchange.script.context_tokens
    if tokens > limit:
        raise Refused(
            400,
            f"This model's maximum context length is {limit} tokens. However, your messages resulted in {tokens}"
            " tokens. Please reduce the length of the messages.",
            "invalid_request_error",
            "context_length_exceeded",
            param,
        )


def models_reply(exchange: Exchange, model: str | None) -> Reply:
    """Answer `GET /v1/models`, with all models or one of them. Raises Refused 404 for a model that is not listed."""
    rows = [
        {"id": name, "object": "model", "created": EPOCH, "owned_by": "penstock-mock"}
        for name in exchange.script.models
    ]
    if model is None:
        return Reply(200, headers_of(exchange), encode({"object": "list", "data": rows}))
    for row in rows:
        if row["id"] == model:
            return Reply(200, headers_of(exchange), encode(row))
    raise Refused(404, f"The model '{model}' does not exist", "invalid_request_error", "model_not_found", "model")


def logprobs_of(parts: list[str], top: int, seed: int) -> list[dict[str, Any]]:
    """Invent log probabilities for each token, always the same, with `top` alternatives (the first is the token
    itself)."""
    rows = []
    for part in parts:
        value = -int(brain.digest(seed, part)[:4], 16) / 65536
        row: dict[str, Any] = {
            "token": part,
            "logprob": round(value, 6),
            "bytes": list(part.encode("utf-8", "replace")),
        }
        others = [f"~{rank}" for rank in range(1, top)]
        ranked = [dict(row)] if top else []
        for rank, other in enumerate(others, 1):
            ranked.append({"token": other, "logprob": round(value - rank, 6), "bytes": list(other.encode())})
        row["top_logprobs"] = ranked
        rows.append(row)
    return rows


def overlay(base: dict[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Lay `above` over `base`, in place, objects merged; a null removes a key."""
    for name, value in above.items():
        if value is None:
            base.pop(name, None)
        elif isinstance(value, Mapping) and isinstance(base.get(name), dict):
            overlay(base[name], value)
        else:
            base[name] = value
    return base


def zeroed(value: Any) -> Any:
    """Return the same shape with every number 0."""
    if isinstance(value, dict):
        return {name: zeroed(inner) for name, inner in value.items()}
    return 0 if isinstance(value, int) else value


def usage_as_told(exchange: Exchange, usage: dict[str, Any]) -> dict[str, Any] | None:
    """Return the usage as changed by the step's `usage` key; None when it must be absent."""
    told = exchange.step.usage
    if told == "absent":
        return None
    if told == "zero":
        zero: dict[str, Any] = zeroed(usage)
        return zero
    return overlay(usage, told) if isinstance(told, Mapping) else usage
