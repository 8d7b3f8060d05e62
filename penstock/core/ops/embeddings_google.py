"""Google's ``:embedContent`` and ``:batchEmbedContents``, in terms of OpenAI's /v1/embeddings for targets that speak
that.

Source: https://ai.google.dev/api/embeddings. What is to be embedded is a content of parts; one vector for each. The
settings stand at the top of a request, or in ``embedContentConfig`` (google-genai sends both).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from msgspec import Raw, Struct
from msgspec.json import Decoder, encode

from penstock.core.dialects.gemini.reading import bad, camel, integer, items, mapping, present, text
from penstock.core.envelope import BAD_JSON
from penstock.core.errors import GatewayError
from penstock.core.ir import Loss, Usage

# Cohere's word for what a vector is for (docs.cohere.com/reference/embed); the only one of the others' that has any.
COHERE_TYPES: Mapping[str, str] = {
    "RETRIEVAL_QUERY": "search_query",
    "RETRIEVAL_DOCUMENT": "search_document",
    "CLASSIFICATION": "classification",
    "CLUSTERING": "clustering",
    "QUESTION_ANSWERING": "search_query",
    "CODE_RETRIEVAL_QUERY": "search_query",
}
_SETTINGS = ("taskType", "title", "outputDimensionality", "autoTruncate")
_NO_PLACE = ("title", "autoTruncate")


class Asked(NamedTuple):
    """A request in OpenAI's terms. ``fields``: its body but for the model."""

    fields: dict[str, Raw]
    losses: tuple[Loss, ...]


def requests_of(fields: Mapping[str, Raw], batch: bool) -> list[dict[str, Raw]]:
    """Return what is to be embedded, one by one, in lowerCamelCase. Raises "bad_request"."""
    if not batch:
        return [camel(dict(fields))]
    raw = present(fields, "requests")
    found = [] if raw is None else items(raw, "requests")
    if not found:
        bad("requests", raw, 'a list such as [{"content": {"parts": [{"text": "Hello"}]}}]')
    return [camel(mapping(one, f"requests[{at}]")) for at, one in enumerate(found)]


def check(fields: Mapping[str, Raw], batch: bool) -> None:
    """Raise "bad_request" unless every request has a content with something in it."""
    for at, one in enumerate(requests_of(fields, batch)):
        where = f"requests[{at}].content" if batch else "content"
        raw = present(one, "content")
        if raw is None:
            bad(where, raw, 'an object such as {"parts": [{"text": "Hello"}]}')
        if not _parts(raw, where):
            raise GatewayError("bad_request", f"`{where}` has no parts: there is nothing to embed.", param=where)


def own_body(fields: Mapping[str, Raw], batch: bool, model: str) -> bytes:
    """Make the body for Google itself: the client's own, under the upstream's name of the model."""
    named = Raw(encode(f"models/{model.removeprefix('models/')}"))
    made = [{**one, "model": named} for one in requests_of(fields, batch)]
    return encode({"requests": made} if batch else {k: v for k, v in made[0].items() if k != "stream"})


def to_openai(fields: Mapping[str, Raw], batch: bool, cohere: bool) -> Asked:
    """Make the body for /v1/embeddings. Raises "unsupported" for what is no text, and "bad_request" where the requests
    of a batch differ in what is one setting there."""
    found = requests_of(fields, batch)
    told = [_settings(one) for one in found]
    for name in ("outputDimensionality", *(("taskType",) if cohere else ())):
        if len({bytes(one.get(name, b"null")) for one in told}) > 1:
            said = f"`{name}` differs between the requests of the batch; this model embeds a batch in one way."
            raise GatewayError("bad_request", said, param=name)
    inputs = [_text_of(one, f"requests[{at}].content" if batch else "content") for at, one in enumerate(found)]
    out = {"input": Raw(encode(inputs)), "encoding_format": Raw(b'"float"')}
    losses = [Loss(name, "a setting of Google's only") for name in _NO_PLACE if any(name in one for one in told)]
    first = told[0]
    if (dimensions := integer(first, "outputDimensionality")) is not None:
        out["dimensions"] = Raw(encode(dimensions))
    if "taskType" in first:
        word = COHERE_TYPES.get(text(first, "taskType")) if cohere else None
        if word is not None:
            out["input_type"] = Raw(encode(word))
        else:
            losses.append(Loss("taskType", "this model makes no difference by what a vector is for"))
    return Asked(out, tuple(losses))


def _settings(one: Mapping[str, Raw]) -> dict[str, Raw]:
    raw = present(one, "embedContentConfig")
    inner = camel(mapping(raw, "embedContentConfig")) if raw is not None else {}
    return {name: found for name in _SETTINGS if (found := present(one, name) or present(inner, name)) is not None}


def _parts(content: Raw, where: str) -> list[Raw]:
    raw = present(mapping(content, where), "parts")
    if raw is None:
        return []
    return [raw] if bytes(memoryview(raw)[:1]) == b"{" else items(raw, f"{where}.parts")


def _text_of(one: Mapping[str, Raw], where: str) -> str:
    """Return the text of a content: its parts in order, each on a line of its own."""
    texts = []
    for at, raw in enumerate(_parts(one["content"], where)):
        part = camel(mapping(raw, f"{where}.parts[{at}]"))
        if present(part, "text") is None:
            kind = next(iter(part), "nothing")
            said = f"`{where}.parts[{at}]` is {kind!r}: this model embeds texts only."
            raise GatewayError("unsupported", said, param=f"{where}.parts[{at}]")
        texts.append(text(part, "text", f"{where}.parts[{at}]"))
    return "\n".join(texts)


def render(rows: list[Raw], usage: Usage, batch: bool) -> bytes:
    """Render the client's answer from vectors (JSON lists of floats) in order."""
    told = [{"values": row} for row in rows]
    counts = {"promptTokenCount": usage.fresh}
    if batch:
        return encode({"embeddings": told, "usageMetadata": counts})
    return encode({"embedding": told[0] if told else {"values": []}, "usageMetadata": counts})


class _Counts(Struct, rename="camel"):
    prompt_token_count: int = 0


class _Answer(Struct, rename="camel"):
    usage_metadata: _Counts | None = None


_ANSWER = Decoder(_Answer, strict=False).decode


def own_usage(body: bytes) -> Usage | None:
    """Read the usage of Google's own answer; None where it tells none."""
    try:
        told = _ANSWER(body).usage_metadata
    except BAD_JSON:
        return None
    return Usage(fresh=told.prompt_token_count) if told is not None and told.prompt_token_count else None
