"""Embeddings: a vector that depends on the text alone, and OpenAI's `POST /v1/embeddings`."""

from __future__ import annotations

import base64
import struct
from typing import Any

from penstock.mock import brain
from penstock.mock.openai_common import check_context, check_model, headers_of, read_body, require, usage_as_told
from penstock.mock.reply import Exchange, Refused, Reply, encode


def vector(text: str, size: int) -> list[float]:
    """Make a unit vector of `size` numbers: the same text gives the same one, another text another. Each number has 32
    bits, so that base64 carries it exactly."""
    raw = [int(brain.digest("embedding", text, at)[:8], 16) / 2**31 - 1 for at in range(size)]
    length = sum(number * number for number in raw) ** 0.5 or 1.0
    return list(struct.unpack(f"<{size}f", struct.pack(f"<{size}f", *(number / length for number in raw))))


def inputs_of(raw: Any, param: str) -> list[str]:
    """Turn a text, texts, tokens or lists of tokens into texts; tokens are told by their numbers. Raises Refused
    400."""
    if isinstance(raw, str):
        return [raw]
    if isinstance(raw, list) and raw:
        if all(isinstance(one, int) for one in raw):
            return [" ".join(map(str, raw))]
        if all(isinstance(one, (str, list)) for one in raw):
            return [one if isinstance(one, str) else " ".join(map(str, one)) for one in raw]
    raise Refused(400, f"'$.{param}' is invalid.", "invalid_request_error", None, param)


def _said(content: Any) -> str:
    return content if isinstance(content, str) else " ".join(str(part.get("text", "")) for part in content or ())


def reply(exchange: Exchange) -> Reply:
    """Answer `POST /v1/embeddings`. Raises Refused."""
    body = read_body(exchange)
    model = require(body, "model", str)
    check_model(model)
    if "messages" in body and "input" not in body:  # vLLM's: one vector for the conversation
        talk = require(body, "messages", list)
        texts = [" ".join(_said(message.get("content")) for message in talk)]
    else:
        texts = inputs_of(require(body, "input", str, list), "input")
    counts = [brain.count(text) for text in texts]
    check_context(exchange, max(counts), "input")
    size = body.get("dimensions") or body.get("output_dimension") or 8
    rows: list[dict[str, Any]] = []
    for at, text in enumerate(texts):
        told: Any = vector(text, size)
        if body.get("encoding_format") == "base64":
            told = base64.b64encode(struct.pack(f"<{size}f", *told)).decode()
        rows.append({"object": "embedding", "index": at, "embedding": told})
    usage = usage_as_told(exchange, {"prompt_tokens": sum(counts), "total_tokens": sum(counts)})
    answer: dict[str, Any] = {"object": "list", "data": rows, "model": exchange.model(model)}
    if usage is not None:
        answer["usage"] = usage
    answer.update(exchange.step.answer_fields or {})
    return Reply(200, headers_of(exchange), encode(answer), tokens=sum(counts))
