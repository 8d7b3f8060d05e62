"""The small operations: completions, rerank, moderations, images, speech, transcriptions.

Shapes: the `openai` package's `types/` (3.51); rerank as Cohere v2, Jina (also vLLM and llama.cpp), Voyage and Hugging
Face's server answer it. Everything is made from the request: the same input gives the same vector, score or sound."""

from __future__ import annotations

import base64
import io
import struct
import wave
from collections.abc import Callable, Iterator
from typing import Any

from penstock.mock import brain
from penstock.mock.brain import Ask
from penstock.mock.embeddings import inputs_of
from penstock.mock.embeddings import reply as embeddings
from penstock.mock.forms import Part, read_form
from penstock.mock.openai_common import (
    check_context,
    check_model,
    headers_of,
    logprobs_of,
    read_body,
    require,
    usage_as_told,
)
from penstock.mock.reply import Exchange, Frame, MakeReply, Refused, Reply, encode

PIXEL = base64.b64encode(
    base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")
).decode()


def handler(path: str) -> MakeReply | None:
    """Find what answers a POST to `path`; None for a path that is no operation."""
    return next((reply for end, reply in _PATHS if path.endswith(end)), None)


def _json(exchange: Exchange, value: Any, tokens: int = 0) -> Reply:
    if isinstance(value, dict):
        value = {**value, **(exchange.step.answer_fields or {})}
    return Reply(200, headers_of(exchange), encode(value), tokens=tokens)


def _bad(message: str, param: str, code: str | None = "invalid_value") -> Refused:
    return Refused(400, message, "invalid_request_error", code, param)


# ---- completions -----------------------------------------------------------------------------------------------------


def completions(exchange: Exchange) -> Reply:
    """Answer `POST /v1/completions`. A prompt of tokens is echoed as their numbers."""
    body = read_body(exchange)
    model = require(body, "model", str)
    check_model(model)
    prompts = inputs_of(body.get("prompt", "<|endoftext|>"), "prompt")
    check_context(exchange, sum(brain.count(prompt) for prompt in prompts), "prompt")
    answers = []
    for prompt in prompts:
        for index in range(body.get("n") or 1):
            ask = Ask(user=prompt, max_tokens=body.get("max_tokens"), stops=_stops(body))
            made = brain.answer(ask, exchange.step, exchange.new_id, index)
            answers.append((prompt if body.get("echo") else "", made))
    said = sum(made.tokens for _, made in answers)
    count = sum(brain.count(prompt) for prompt in prompts)
    usage = usage_as_told(
        exchange, {"prompt_tokens": count, "completion_tokens": said, "total_tokens": count + said}
    )
    head = {
        "id": exchange.new_id("cmpl-", 29),
        "object": "text_completion",
        "created": exchange.created,
        "model": exchange.model(model),
        "system_fingerprint": "fp_penstock_mock",
    }
    if body.get("stream"):
        frames = _completion_frames(exchange, body, head, answers, usage)
        return Reply(200, headers_of(exchange), content_type="text/event-stream; charset=utf-8", frames=frames)
    choices = [
        _completion_choice(exchange, body, at, echo, made.text, brain.pieces(echo + made.text), _finish(exchange, made))
        for at, (echo, made) in enumerate(answers)
    ]
    told = {**head, "choices": choices}
    if usage is not None:
        told["usage"] = usage
    return _json(exchange, told, said)


def _stops(body: dict[str, Any]) -> list[str]:
    stops = body.get("stop") or []
    return [stops] if isinstance(stops, str) else list(stops)


def _finish(exchange: Exchange, made: brain.Answer) -> str:
    return exchange.step.finish_reason or ("length" if made.stop == "length" else "stop")


def _completion_choice(
    exchange: Exchange, body: dict[str, Any], at: int, echo: str, text: str, parts: list[str], finish: str | None
) -> dict[str, Any]:
    return {
        "text": echo + text,
        "index": at,
        "logprobs": _logprobs(parts, body, exchange),
        "finish_reason": finish,
    }


def _logprobs(parts: list[str], body: dict[str, Any], exchange: Exchange) -> dict[str, Any] | None:
    if body.get("logprobs") is None or not parts:
        return None
    rows = logprobs_of(parts, int(body["logprobs"]), exchange.script.seed)
    offsets = [sum(map(len, parts[:at])) for at in range(len(parts))]
    return {
        "tokens": parts,
        "token_logprobs": [row["logprob"] for row in rows],
        "top_logprobs": [{one["token"]: one["logprob"] for one in row["top_logprobs"]} for row in rows],
        "text_offset": offsets,
    }


def _completion_frames(
    exchange: Exchange, body: dict[str, Any], head: dict[str, Any], answers: list[Any], usage: Any
) -> Iterator[Frame]:
    asked = bool((body.get("stream_options") or {}).get("include_usage")) and usage is not None
    extra = {"usage": None} if asked else {}
    for at, (echo, made) in enumerate(answers):
        for part in [echo] * bool(echo) + brain.cut(made.text, exchange.step.chunk_size):
            choice = _completion_choice(exchange, body, at, "", part, [part], None)
            yield Frame({**head, "choices": [choice], **extra}, None, brain.count(part))
        last = _completion_choice(exchange, body, at, "", "", [], _finish(exchange, made))
        yield Frame({**head, "choices": [last], **extra})
    if asked:
        yield Frame({**head, "choices": [], "usage": usage})
    yield Frame(b"[DONE]")


# ---- rerank ----------------------------------------------------------------------------------------------------------


def rerank(exchange: Exchange) -> Reply:
    """Answer `POST .../rerank`: `texts` in the request makes it Hugging Face's, `top_k` or a Voyage model Voyage's, a
    Cohere model or a path below /v2 Cohere's, everything else Jina's. A document scores by the words it shares with the
    query."""
    body = read_body(exchange)
    query = require(body, "query", str)
    if "texts" in body:
        rows = ranked(query, [str(text) for text in body["texts"]], None)
        told = [{"index": at, "score": score, "text": text} for at, score, text in rows]
        if not body.get("return_text"):
            for one in told:
                del one["text"]
        return Reply(200, headers_of(exchange), encode(told))
    model = require(body, "model", str)
    check_model(model)
    documents = [doc if isinstance(doc, str) else str(doc.get("text")) for doc in require(body, "documents", list)]
    voyage = "top_k" in body or model.startswith("rerank-2")
    cohere = not voyage and (model.startswith("rerank-") or "/v2/" in exchange.path)
    rows = ranked(query, documents, body.get("top_k" if voyage else "top_n"))
    tokens = brain.count(query) * len(documents) + sum(map(brain.count, documents))
    results: list[dict[str, Any]] = [{"index": at, "relevance_score": score} for at, score, _ in rows]
    if body.get("return_documents") and not cohere:
        for row, (_, _, text) in zip(results, rows, strict=True):
            row["document"] = text if voyage else {"text": text}
    if voyage:
        return _json(exchange, {"object": "list", "data": results, "model": model, "usage": {"total_tokens": tokens}})
    if cohere:
        meta = {"api_version": {"version": "2"}, "billed_units": {"search_units": -(-len(documents) // 100)}}
        return _json(exchange, {"id": exchange.new_id(""), "results": results, "meta": meta})
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return _json(exchange, {"model": exchange.model(model), "object": "list", "usage": usage, "results": results})


def ranked(query: str, documents: list[str], top: int | None) -> list[tuple[int, float, str]]:
    """Rank the documents by the share of the query's words that is in each: (index, score, text) of the `top` best."""
    words = set(query.lower().split())
    rows = []
    for at, text in enumerate(documents):
        own = set(text.lower().split())
        rows.append((at, round(len(words & own) / (len(words) or 1), 6), text))
    rows.sort(key=lambda row: (-row[1], row[0]))
    return rows[:top]


# ---- moderations, images ---------------------------------------------------------------------------------------------

CATEGORIES = ("harassment", "hate", "illicit", "self-harm", "sexual", "violence")


def moderations(exchange: Exchange) -> Reply:
    """Answer `POST /v1/moderations`: a text with the word "attack" is violence."""
    body = read_body(exchange)
    raw = body.get("input")
    if raw is None:
        raise _bad("Missing required parameter: 'input'.", "input", "missing_required_parameter")
    texts: list[Any] = [raw] if isinstance(raw, str) else raw
    if texts and isinstance(texts[0], dict):
        texts = [" ".join(part.get("text", "") for part in texts)]
    results = []
    for text in texts:
        violent = "attack" in text
        flags = {name: violent and name == "violence" for name in CATEGORIES}
        scores = {name: 0.97 if flags[name] else 0.01 for name in CATEGORIES}
        kinds = {name: ["text"] for name in CATEGORIES}
        results.append(
            {
                "flagged": violent,
                "categories": flags,
                "category_scores": scores,
                "category_applied_input_types": kinds,
            }
        )
    model = exchange.model(body.get("model") or "omni-moderation-latest")
    return _json(exchange, {"id": exchange.new_id("modr-"), "model": model, "results": results})


def images(exchange: Exchange) -> Reply:
    """Answer `POST /v1/images/generations` and `/v1/images/edits` (a form, or JSON): one pixel per image."""
    form = "multipart/form-data" in exchange.headers.get("content-type", "")
    body: dict[str, Any] = _form_fields(read_form(exchange)) if form else read_body(exchange)
    model = body.get("model") or "dall-e-2"
    prompt = require(body, "prompt", str)
    check_model(model)
    data: list[dict[str, Any]] = []
    for at in range(int(body.get("n") or 1)):
        if model.startswith("gpt-image") or body.get("response_format") == "b64_json":
            data.append({"b64_json": PIXEL})
        else:
            data.append({"url": f"https://images.example/{exchange.new_id('img-')}-{at}.png", "revised_prompt": prompt})
    told: dict[str, Any] = {"created": exchange.created, "data": data}
    if model.startswith("gpt-image"):
        count = brain.count(prompt)
        parts = {"text_tokens": count, "image_tokens": 0}
        out = 100 * len(data)
        told["usage"] = {
            "input_tokens": count,
            "input_tokens_details": parts,
            "output_tokens": out,
            "total_tokens": count + out,
        }
        if str(body.get("stream")).lower() == "true":
            return _image_stream(exchange, told)
    return _json(exchange, told)


def _image_stream(exchange: Exchange, told: dict[str, Any]) -> Reply:
    def frames() -> Iterator[Frame]:
        row = {"b64_json": PIXEL, "created_at": exchange.created, "size": "1024x1024"}
        kind = "image_edit" if exchange.path.endswith("/edits") else "image_generation"
        yield Frame({"type": f"{kind}.partial_image", "partial_image_index": 0, **row}, f"{kind}.partial_image")
        yield Frame({"type": f"{kind}.completed", **row, "usage": told["usage"]}, f"{kind}.completed")

    return Reply(200, headers_of(exchange), content_type="text/event-stream; charset=utf-8", frames=frames())


# ---- audio -----------------------------------------------------------------------------------------------------------

RATE = 8000  # samples a second
_TYPES = {"mp3": "audio/mpeg", **{kind: f"audio/{kind}" for kind in ("opus", "aac", "flac", "wav", "pcm")}}


def sound(text: str) -> bytes:
    """Make a WAV file of a twentieth of a second for each token."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE)
        for part in brain.pieces(text):
            level = int(brain.digest("sound", part)[:3], 16)
            out.writeframes(struct.pack("<h", level) * (RATE // 20))
    return file.getvalue()


def speech(exchange: Exchange) -> Reply:
    """Answer `POST /v1/audio/speech` with a WAV file, whatever format is asked for; only its label follows."""
    body = read_body(exchange)
    model, text = require(body, "model", str), require(body, "input", str)
    require(body, "voice", str, dict)
    check_model(model)
    data = sound(text)
    if body.get("stream_format") == "sse":
        return Reply(200, headers_of(exchange), content_type="text/event-stream", frames=_sounds(text, data))
    kind = _TYPES.get(body.get("response_format") or "mp3")
    if kind is None:
        raise _bad(f"Invalid 'response_format': {body['response_format']}.", "response_format")
    return Reply(200, headers_of(exchange), data, kind)


def _sounds(text: str, data: bytes) -> Iterator[Frame]:
    for at in range(0, len(data), 1024):
        part = base64.b64encode(data[at : at + 1024]).decode()
        yield Frame({"type": "speech.audio.delta", "audio": part})
    tokens = brain.count(text)
    usage = {"input_tokens": tokens, "output_tokens": 10, "total_tokens": tokens + 10}
    yield Frame({"type": "speech.audio.done", "usage": usage})


def transcriptions(exchange: Exchange) -> Reply:
    """Answer `POST /v1/audio/transcriptions` and `/translations`: tells how many bytes the file had."""
    parts = read_form(exchange)
    fields = _form_fields(parts)
    model = fields.get("model")
    if not model:
        raise _bad("you must provide a model parameter", "model", None)
    check_model(model)
    file = next((part for part in parts if part.name == "file"), None)
    if file is None:
        raise _bad("Missing required parameter: 'file'.", "file", "missing_required_parameter")
    text = exchange.step.text or f"mock heard {len(file.data)} bytes of {file.filename}"
    seconds = max(1, len(file.data) // (2 * RATE))
    kind = fields.get("response_format") or "json"
    if fields.get("stream") == "true":
        return Reply(200, headers_of(exchange), content_type="text/event-stream", frames=_heard(text))
    if kind in ("text", "srt", "vtt"):
        stamp = f"00:00:00,000 --> 00:00:{seconds:02d},000"
        whole = {
            "text": f"{text}\n",
            "srt": f"1\n{stamp}\n{text}\n\n",
            "vtt": f"WEBVTT\n\n{stamp.replace(',', '.')}\n{text}\n\n",
        }
        return Reply(200, headers_of(exchange), whole[kind].encode(), "text/plain; charset=utf-8")
    usage = {"type": "duration", "seconds": seconds}
    if kind == "verbose_json":
        told = {"task": "transcribe", "language": "english", "duration": float(seconds), "text": text, "segments": []}
        return _json(exchange, {**told, "usage": usage})
    if model.startswith("gpt-"):
        return _json(exchange, {"text": text, "usage": _token_usage(text)})
    return _json(exchange, {"text": text, "usage": usage})


def _token_usage(text: str) -> dict[str, Any]:
    said = brain.count(text)
    details = {"audio_tokens": 20, "text_tokens": 4}
    return {
        "type": "tokens",
        "input_tokens": 24,
        "input_token_details": details,
        "output_tokens": said,
        "total_tokens": 24 + said,
    }


def _heard(text: str) -> Iterator[Frame]:
    for part in brain.pieces(text):
        yield Frame({"type": "transcript.text.delta", "delta": part})
    yield Frame({"type": "transcript.text.done", "text": text, "usage": _token_usage(text)})


def _form_fields(parts: list[Part]) -> dict[str, str]:
    return {part.name: part.data.decode("utf-8", "replace") for part in parts if part.filename is None}


_PATHS: tuple[tuple[str, Callable[[Exchange], Reply]], ...] = (
    ("/completions", completions),
    ("/embeddings", embeddings),
    ("/rerank", rerank),
    ("/moderations", moderations),
    ("/images/generations", images),
    ("/images/edits", images),
    ("/audio/speech", speech),
    ("/audio/transcriptions", transcriptions),
    ("/audio/translations", transcriptions),
)
