"""Hugging Face's text-embeddings-inference: `/embed`, `/rerank`, and its way to refuse; `/v1/embeddings` is OpenAI's.

Shapes: https://huggingface.github.io/text-embeddings-inference (1.8). Its words, statuses and the limit of 32 inputs
(`--max-client-batch-size`) are those of the server's `router/src/http/server.rs`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from penstock.mock import brain, ops
from penstock.mock.embeddings import vector
from penstock.mock.reply import Exchange, Headers, Refused, Reply, encode

LIMIT = 32
LONGEST = 512  # tokens of one text
_EMBED = frozenset("inputs normalize truncate truncation_direction prompt_name dimensions model".split())
_RERANK = frozenset("query texts truncate truncation_direction raw_scores return_text model".split())
_TYPES = {413: "Validation", 422: "Validation", 424: "Backend", 429: "Overloaded", 503: "Unhealthy"}
_WORDS = {424: "Inference failed", 429: "Model is overloaded", 503: "unhealthy"}


def handler(path: str, body: bytes) -> Callable[[Exchange], Reply] | None:
    """Find what answers a POST to this path; None for other people's. The hub's own inference takes the body of
    `/embed`."""
    if path.endswith(("/embed", "/pipeline/feature-extraction")) and not path.startswith("/api/"):
        return embed
    return rerank if path.endswith("/rerank") and b'"texts"' in body else None


def error_reply(exchange: Exchange, exc: Refused) -> Reply:
    """Render an error as `{"error": ..., "error_type": ...}`."""
    words = exc.message or _WORDS.get(exc.status, "the request failed (mock)")
    told = {"error": words, "error_type": _TYPES.get(exc.status, "Backend")}
    return Reply(exc.status, list(exc.headers.items()), encode(told))


def headers_of(exchange: Exchange) -> Headers:
    """Make the headers in which the server tells of its work."""
    return [("x-compute-type", "mock"), ("x-compute-time", "1")]


def _read(exchange: Exchange, known: frozenset[str]) -> dict[str, Any]:
    try:
        body = msgspec.json.decode(exchange.raw)
    except msgspec.DecodeError as exc:
        raise Refused(400, f"Failed to parse the request body as JSON: {exc}") from exc
    if exchange.rejects_unknown(by_default=False) and (unknown := sorted(set(body) - known)):
        raise Refused(422, f"unknown field `{unknown[0]}`")
    return dict(body)


def check(texts: list[str], body: Mapping[str, Any]) -> None:
    """Raise Refused for a batch or a text that is too long."""
    if len(texts) > LIMIT:
        raise Refused(422, f"batch size {len(texts)} > maximum allowed batch size {LIMIT}")
    longest = max(map(brain.count, texts), default=0)
    if longest > LONGEST and not body.get("truncate"):
        text = f"Input validation error: `inputs` must have less than {LONGEST} tokens. Given: {longest}"
        raise Refused(413, text)


def embed(exchange: Exchange) -> Reply:
    """Answer `POST /embed`. Raises Refused."""
    body = _read(exchange, _EMBED)
    given = body.get("inputs")
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not texts:
        raise Refused(422, "Input validation error: `inputs` cannot be empty")
    rows = [one if isinstance(one, str) else " ".join(map(str, one)) for one in texts]
    check(rows, body)
    size = body.get("dimensions") or 8
    return Reply(200, headers_of(exchange), encode([vector(row, size) for row in rows]))


def rerank(exchange: Exchange) -> Reply:
    """Answer `POST /rerank`. Raises Refused."""
    body = _read(exchange, _RERANK)
    check([str(text) for text in body.get("texts") or ()], body)
    return ops.rerank(exchange)
