"""watsonx.ai, as far as it differs from OpenAI (paths, the model's and the project's id in the body, a stream by its
URL, errors in a list), SAP's orchestration service (Chat in an envelope), and the embeddings of Snowflake Cortex.

Shapes: cloud.ibm.com/apidocs/watsonx-ai ("Infer text chat", "... event stream", "Generate embeddings", "Generate
rerank"), field lists of ibm-watsonx-ai 1.8; docs.snowflake.com ("Cortex REST API"); the
orchestration service's of sap-ai-sdk-gen 7.4 (orchestration_v2/models). What is not documented (which
unknown fields are refused) is not checked, but OpenAI's ``model``, ``stream`` and ``stream_options``, which have no
place at watsonx.ai, are."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs

import msgspec

from penstock.mock import brain, openai_chat, ops
from penstock.mock.embeddings import reply as embeddings
from penstock.mock.embeddings import vector
from penstock.mock.openai_common import read_body
from penstock.mock.reply import Exchange, Frame, MakeReply, Refused, Reply, encode

_PATH = re.compile(r".*/ml/v1(?:/deployments/(?P<deployment>[^/]+))?/text/(?P<what>chat|chat_stream|embeddings|rerank)")
_FOREIGN = ("model", "stream", "stream_options")
_SAP = re.compile(r".*/v2/inference/deployments/[^/]+/v2/(?P<what>completion|embeddings)")
_SEE = "https://cloud.ibm.com/apidocs/watsonx-ai"


def handler(path: str) -> MakeReply | None:
    """Find what answers a POST to `path`; None for a path of another service."""
    if path.endswith("/cortex/inference:embed"):
        return _cortex
    if _SAP.fullmatch(path):
        return _sap
    return _watsonx if _PATH.fullmatch(path) else None


def _watsonx(exchange: Exchange) -> Reply:
    found = _PATH.fullmatch(exchange.path)
    assert found is not None
    try:
        if not parse_qs(exchange.query).get("version"):
            raise Refused(400, "Required parameter version is missing", code="invalid_request_entity")
        body = read_body(exchange)
        for name in _FOREIGN:
            if name in body:
                message = f"Json document validation error: {name}: unknown property"
                raise Refused(400, message, code="json_validation_error")
        _check_account(body, found["deployment"])
        what = found["what"]
        if what == "embeddings":
            return _embeddings(exchange, body)
        return _rerank(exchange, body) if what == "rerank" else _chat(exchange, body, found)
    except Refused as exc:
        return error_reply(exc)


def _cortex(exchange: Exchange) -> Reply:
    """Answer Snowflake's embeddings: `text` is a list, each vector in a list of its own."""
    body = read_body(exchange)
    texts = body.get("text")
    if "input" in body or not isinstance(texts, list) or not all(isinstance(one, str) for one in texts):
        raise Refused(400, "text: expected an array of strings")
    rows = [{"object": "embedding", "index": at, "embedding": [vector(one, 8)]} for at, one in enumerate(texts)]
    count = sum(map(brain.count, texts))
    told = {"object": "list", "data": rows, "model": body.get("model"), "usage": {"total_tokens": count}}
    return Reply(200, [], encode(told), tokens=count)


def _sap(exchange: Exchange) -> Reply:
    """Answer for SAP's orchestration service: `config.modules` in, `final_result` out."""
    try:
        if "ai-resource-group" not in exchange.headers:
            raise Refused(400, "AI-Resource-Group header is missing")
        body = read_body(exchange)
        modules = (body.get("config") or {}).get("modules")
        unknown = set(body) - {"config", "placeholder_values", "messages_history", "input"}
        if not isinstance(modules, dict) or unknown:
            raise Refused(400, f"config.modules is missing, or there are unknown fields: {sorted(unknown)}")
        if exchange.path.endswith("/embeddings"):
            model = modules["embeddings"]["model"]
            inner = {**(model.get("params") or {}), "model": model["name"], "input": body["input"]["text"]}
            return _in_envelope(embeddings(replace(exchange, raw=encode(inner))))
        module = modules["prompt_templating"]
        prompt, model = module["prompt"], module["model"]
        inner = {**(model.get("params") or {}), "model": model["name"], "messages": prompt["template"]}
        inner |= {name: prompt[name] for name in ("tools", "response_format") if name in prompt}
        inner["stream"] = bool(((body["config"].get("stream")) or {}).get("enabled"))
        return _in_envelope(openai_chat.reply(replace(exchange, raw=encode(inner))))
    except Refused as exc:
        told = {"request_id": "mock", "code": exc.status, "message": exc.message, "location": "Mock Module"}
        return Reply(exc.status, [], encode({"error": {**told, "intermediate_results": {}}}))


def _in_envelope(reply: Reply) -> Reply:
    if reply.frames is not None:
        reply.frames = _enveloped(reply.frames)
        return reply
    told = {"request_id": "mock", "intermediate_results": {}, "final_result": msgspec.json.decode(reply.body)}
    return Reply(200, [], encode(told), tokens=reply.tokens)


def _enveloped(source: Iterable[Frame]) -> Iterator[Frame]:
    yield Frame({"request_id": "mock", "intermediate_results": {"templating": []}})  # modules before the model
    for frame in source:
        if isinstance(frame.data, dict):
            told = {"request_id": "mock", "intermediate_results": {}, "final_result": frame.data}
            yield Frame(told, None, frame.tokens)
        else:
            yield frame


def error_reply(exc: Refused) -> Reply:
    """Render an error in watsonx.ai's shape."""
    one = {"code": exc.code or "invalid_request_entity", "message": exc.message, "more_info": _SEE}
    told = {"errors": [one], "trace": "mock", "status_code": exc.status}
    return Reply(exc.status, [("server-timing", "mock")], encode(told))


def _check_account(body: dict[str, Any], deployment: str | None) -> None:
    given = [name for name in ("project_id", "space_id") if body.get(name)]
    if deployment:
        if given or "model_id" in body:
            raise Refused(400, "A deployment has its model and its space", code="invalid_request_entity")
    elif not isinstance(body.get("model_id"), str):
        raise Refused(400, "Missing required field: model_id", code="invalid_request_entity")
    elif len(given) != 1:
        message = "Exactly one of project_id and space_id must be given"
        raise Refused(400, message, code="invalid_request_entity")


def _chat(exchange: Exchange, body: dict[str, Any], found: re.Match[str]) -> Reply:
    """Answer a chat of watsonx.ai: as OpenAI's, with `model_id`, usage in a stream unasked, event names and no
    `[DONE]`."""
    streamed = found["what"] == "chat_stream"
    model = body.pop("model_id", found["deployment"])
    choice = body.pop("tool_choice_option", None)
    if isinstance(body.get("tool_choice"), str):
        raise Refused(400, "tool_choice: expected an object", code="json_type_error")
    if isinstance(body.get("stop"), str):
        raise Refused(400, "stop: expected an array", code="json_type_error")
    body["tool_choice"] = body.get("tool_choice") or choice or ("none" if "tools" in body else None)
    body.pop("project_id", None)
    body.pop("space_id", None)
    asked = {**body, "model": model, "stream": streamed, "stream_options": {"include_usage": True}}
    reply = openai_chat.reply(replace(exchange, raw=encode({k: v for k, v in asked.items() if v is not None})))
    extra = {"model_id": model, "created_at": "2026-01-01T00:00:00.000Z", "model_version": "mock"}
    if reply.frames is not None:
        reply.frames = _frames(reply.frames, extra)
        return reply
    told = {**msgspec.json.decode(reply.body), **extra}
    told.pop("object", None)
    return Reply(200, [], encode(told), tokens=reply.tokens)


def _frames(source: Iterable[Frame], extra: dict[str, Any]) -> Iterator[Frame]:
    for frame in source:
        if isinstance(frame.data, dict):
            yield Frame({**frame.data, **extra}, "message", frame.tokens)


def _embeddings(exchange: Exchange, body: dict[str, Any]) -> Reply:
    inputs = body.get("inputs")
    if not isinstance(inputs, list) or not inputs or not all(isinstance(one, str) for one in inputs):
        raise Refused(400, "inputs: expected an array of strings", code="json_type_error")
    count = sum(brain.count(one) for one in inputs)
    told = {
        "model_id": body["model_id"],
        "created_at": "2026-01-01T00:00:00.000Z",
        "results": [{"embedding": vector(one, 8)} for one in inputs],
        "input_token_count": count,
    }
    return Reply(200, [], encode(told), tokens=count)


def _rerank(exchange: Exchange, body: dict[str, Any]) -> Reply:
    inputs = body.get("inputs")
    if not isinstance(inputs, list) or not all(isinstance(one, dict) and "text" in one for one in inputs):
        raise Refused(400, "inputs: expected an array of objects with text", code="json_type_error")
    texts = [one["text"] for one in inputs]
    top = ((body.get("parameters") or {}).get("return_options") or {}).get("top_n")
    told = {
        "model_id": body["model_id"],
        "created_at": "2026-01-01T00:00:00.000Z",
        "results": [{"index": at, "score": score} for at, score, _ in ops.ranked(str(body.get("query")), texts, top)],
        "input_token_count": sum(map(brain.count, texts)),
    }
    return Reply(200, [], encode(told))
