"""Replicate's predictions: made, looked at, streamed, cancelled.

Shapes: https://replicate.com/docs/reference/http , https://replicate.com/docs/reference/streaming . With `Prefer: wait`
a prediction is over at once; without it the first look finds it running and the second one done. A model of an owner
`slow` is never done at once, and one of `stuck` never. A model's prompt is answered as any other: `mock/echo: ...`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from penstock.mock import brain
from penstock.mock.brain import Ask
from penstock.mock.openai_common import read_body
from penstock.mock.reply import Exchange, Frame, Headers, MakeReply, Refused, Reply, encode

CREATE = re.compile(r".*?/(?:(models|deployments)/([^/]+)/([^/]+)/)?predictions")
ONE = re.compile(r".*/predictions/(rp_[0-9a-f]+)(/cancel)?")
STREAM = re.compile(r".*/streams/(rp_[0-9a-f]+)")
PATH = re.compile("|".join(pattern.pattern for pattern in (CREATE, ONE, STREAM)))
TITLES = {401: "Unauthenticated", 402: "Insufficient credit", 404: "Not found", 422: "Input validation failed"}


def handler(method: str, path: str) -> MakeReply | None:
    """Find what answers `path`, which `PATH` fits; None: 404."""
    if method == "POST" and CREATE.fullmatch(path):
        return create
    if ONE.fullmatch(path):
        return cancel if path.endswith("/cancel") else look
    return events if method == "GET" and STREAM.fullmatch(path) else None


def headers_of(exchange: Exchange) -> Headers:
    """Return no headers: none matter."""
    return []


def error_reply(exchange: Exchange, exc: Refused) -> Reply:
    """Render an error by RFC 7807, as Replicate writes it."""
    title = TITLES.get(exc.status, "Request failed")
    told = {"title": title, "detail": exc.message or title, "status": exc.status}
    return Reply(exc.status, list(exc.headers.items()), encode(told), "application/problem+json")


def error_frame(exc: Refused) -> Frame:
    """Render an error inside a stream."""
    return Frame({"detail": exc.message or "An unexpected error occurred"}, "error")


def create(exchange: Exchange) -> Reply:
    """Answer `POST .../predictions`, `.../models/OWNER/NAME/predictions`, `.../deployments/OWNER/NAME/predictions`."""
    body = read_body(exchange)
    found = CREATE.fullmatch(exchange.path.rstrip("/"))
    assert found is not None
    given = body.get("input")
    if not isinstance(given, dict):
        raise Refused(422, "- input: Invalid type. Expected: object")
    if found[1] is None and not body.get("version"):
        raise Refused(422, "- version: version is required")
    if found[2] == "missing":
        raise Refused(404, "The requested resource could not be found.")
    if not isinstance(given.get("prompt"), str):
        raise Refused(422, "- input: prompt is required")
    id = exchange.new_id("rp_", 26)
    base = f"http://{exchange.headers.get('host', 'localhost')}/v1"
    made: dict[str, Any] = {
        "id": id,
        "model": f"{found[2]}/{found[3]}" if found[1] else "",
        "version": body.get("version") or "hidden",
        "input": given,
        "logs": "",
        "output": None,
        "error": None,
        "status": "starting",
        "urls": {"get": f"{base}/predictions/{id}", "cancel": f"{base}/predictions/{id}/cancel"},
        "metrics": {},
    }
    if body.get("stream"):
        made["urls"]["stream"] = f"{base}/streams/{id}"
    exchange.memory.store(id, {"told": made, "looks": 0, "step": exchange.step})
    if exchange.headers.get("prefer", "").startswith("wait") and found[2] not in ("slow", "stuck"):
        _finish(exchange, made)
    return _json(exchange, made, 201)


def look(exchange: Exchange) -> Reply:
    """Answer `GET .../predictions/ID`."""
    kept = _kept(exchange, ONE)
    told = kept["told"]
    kept["looks"] += 1
    if told["status"] in ("starting", "processing") and not told["model"].startswith("stuck/"):
        if kept["looks"] > 1:
            _finish(exchange, told)
        else:
            told["status"] = "processing"
    return _json(exchange, told)


def cancel(exchange: Exchange) -> Reply:
    """Answer `POST .../predictions/ID/cancel`."""
    told = _kept(exchange, ONE)["told"]
    if told["status"] in ("starting", "processing"):
        told["status"] = "canceled"
    return _json(exchange, told)


def events(exchange: Exchange) -> Reply:
    """Answer `GET .../streams/ID`: `output` events with pieces of text, then `done`."""
    told = _kept(exchange, STREAM)["told"]
    return Reply(200, headers_of(exchange), content_type="text/event-stream", frames=_frames(exchange, told))


def _frames(exchange: Exchange, told: dict[str, Any]) -> Iterator[Frame]:
    for piece in brain.cut(_text(exchange, told), exchange.step.chunk_size):
        yield Frame(piece.encode().replace(b"\n", b"\ndata: "), "output", 1)
    _finish(exchange, told)
    yield Frame({}, "done")


def _kept(exchange: Exchange, pattern: re.Pattern[str]) -> dict[str, Any]:
    found = pattern.fullmatch(exchange.path.rstrip("/"))
    kept: dict[str, Any] | None = exchange.memory.responses.get(found[1]) if found else None
    if kept is None:
        raise Refused(404, "The requested resource could not be found.")
    return kept


def _text(exchange: Exchange, told: dict[str, Any]) -> str:
    given = told["input"]
    ask = Ask(user=given["prompt"], max_tokens=given.get("max_tokens"))
    return brain.answer(ask, exchange.step, exchange.new_id).text


def _finish(exchange: Exchange, told: dict[str, Any]) -> None:
    """Finish the prediction: the step's `finish_reason` is its status; a failed one has the step's `error`, or a
    standard one."""
    told["status"] = exchange.step.finish_reason or "succeeded"
    if told["status"] != "succeeded":
        error = exchange.step.error
        told["error"] = error if isinstance(error, str) else "Prediction failed for an unknown reason. (mock)"
        return
    text = _text(exchange, told)
    told["output"] = brain.cut(text, exchange.step.chunk_size)
    told["metrics"] = {
        "predict_time": 0.5,
        "input_token_count": brain.count(told["input"]["prompt"]),
        "output_token_count": brain.count(text),
    }


def _json(exchange: Exchange, told: dict[str, Any], status: int = 200) -> Reply:
    return Reply(status, headers_of(exchange), encode({**told, **(exchange.step.answer_fields or {})}))
