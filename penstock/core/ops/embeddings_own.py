"""Embeddings of upstreams that have words of their own for it: Cohere's, and Hugging Face's.

Cohere: https://docs.cohere.com/reference/embed. An ``input_type`` is required and is "search_document" where nobody
says otherwise; vectors come by type. Texts that are data URIs of images are embedded as images, one a request, which
is what every generation of its models takes; texts and images together go as ``inputs``.

Hugging Face: text-embeddings-inference's ``/embed`` (https://huggingface.github.io/text-embeddings-inference), and the
same body at the router's own inference, whose URL has the model (https://huggingface.co/docs/inference-providers/tasks/
feature-extraction). Both answer with the vectors and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Raw, Struct
from msgspec.json import Decoder, encode

from penstock.core.dialects.cohere.errors import parse_error
from penstock.core.dialects.openai_chat.errors import error_in_answer
from penstock.core.dialects.openai_chat.reading import items, opens, present, texts
from penstock.core.envelope import BAD_JSON
from penstock.core.errors import GatewayError
from penstock.core.ir import Loss, Usage

INPUT_TYPE = Raw(b'"search_document"')
# Fields that text-embeddings-inference reads at /embed and ignores at /v1/embeddings, where a client of OpenAI's asks.
TEI_ONLY = frozenset(("truncate", "truncation_direction", "normalize", "prompt_name"))
_IMAGE = "data:image/"
_TYPES = frozenset(("int8", "uint8", "binary", "ubinary"))


def listed(batch: Raw, where: str) -> list[Raw]:
    """Return the inputs of a batch. Raises "unsupported" for tokens, which neither vendor takes."""
    found = items(batch, "input") if opens(batch, "[") else [batch]
    if any(not opens(one, '"') and not opens(one, "{") for one in found):
        raise GatewayError("unsupported", f"{where} embeds texts, not tokens.", param="input")
    return found


def _is_image(raw: Raw) -> bool:
    return bytes(memoryview(raw)[: len(_IMAGE) + 1]) == b'"' + _IMAGE.encode()


# Cohere ---------------------------------------------------------------------------------------------------------------


def cohere_limit(fields: Mapping[str, Raw], limit: int) -> int:
    """Return how many inputs a request may have: images go one by one."""
    raw = fields["input"]
    found = items(raw, "input") if opens(raw, "[") else [raw]
    return 1 if found and all(map(_is_image, found)) else limit


def cohere_type(fields: Mapping[str, Raw], encoding: str) -> str:
    """Choose the one type of vectors to ask for: the client's ``encoding_format`` where it is one of the vendor's, else
    the first of its ``embedding_types``. base64 is made here, of floats."""
    if encoding in _TYPES:
        return encoding
    raw = present(fields, "embedding_types")
    asked = texts(raw, "embedding_types") if raw is not None else []
    return asked[0] if asked else "float"


def cohere_losses(fields: Mapping[str, Raw]) -> tuple[Loss, ...]:
    """Report more than one type of vectors, which has no place in OpenAI's answer."""
    raw = present(fields, "embedding_types")
    if raw is not None and len(texts(raw, "embedding_types")) > 1:
        return (Loss("embedding_types", "an answer has one vector for an input; the first type is told"),)
    return ()


def cohere_request(fields: Mapping[str, Raw], batch: Raw, encoding: str) -> dict[str, Raw]:
    """Make the body but for its model. Unknown fields pass."""
    ours = ("input", "encoding_format", "dimensions", "embedding_types", "user", "stream", "model")
    out = {key: raw for key, raw in fields.items() if key not in ours}
    found = listed(batch, "Cohere")
    images = [_is_image(one) for one in found]
    if all(images):
        out["images"] = Raw(encode(found))
    elif any(images) or any(opens(one, "{") for one in found):
        out["inputs"] = Raw(encode([_component(one, image) for one, image in zip(found, images, strict=True)]))
    else:
        out["texts"] = Raw(encode(found))
    out.setdefault("input_type", Raw(b'"image"') if all(images) else INPUT_TYPE)
    out["embedding_types"] = Raw(encode([cohere_type(fields, encoding)]))
    if (dims := present(fields, "dimensions")) is not None:
        out["output_dimension"] = dims
    return out


def _component(raw: Raw, image: bool) -> Any:
    if opens(raw, "{"):
        return raw  # the vendor's own form
    if image:
        return {"content": [{"type": "image_url", "image_url": {"url": raw}}]}
    return {"content": [{"type": "text", "text": raw}]}


class _Units(Struct):
    input_tokens: float | None = None
    text_tokens: float | None = None
    image_tokens: float | None = None
    images: float | None = None


class _Meta(Struct):
    billed_units: _Units | None = None
    tokens: _Units | None = None


class _Answer(Struct):
    embeddings: dict[str, list[Raw] | None] | list[Raw]
    meta: _Meta | None = None


_COHERE = Decoder(_Answer, strict=False).decode


def cohere_read(body: bytes) -> tuple[list[Raw], Usage | None]:
    """Read the vectors of an answer (of the one type that was asked for), and what is billed."""
    try:
        if b'"embeddings"' not in body and b'"message"' in body:
            raise parse_error(500, {}, body)
        told = _COHERE(body)
    except BAD_JSON as error:
        raise _broken(error) from None
    rows = told.embeddings  # v1 has a bare list
    if isinstance(rows, dict):
        rows = next((found for found in rows.values() if found), [])
    units = (told.meta.billed_units or told.meta.tokens) if told.meta else None
    return rows, _usage(units)


def _usage(units: _Units | None) -> Usage | None:
    if units is None:
        return None
    parts = [units.input_tokens, units.image_tokens]
    if units.input_tokens is None:
        parts.append(units.text_tokens)
    told = [int(part) for part in parts if part is not None]
    return Usage(fresh=sum(told)) if told or units.images is not None else None


# Hugging Face ---------------------------------------------------------------------------------------------------------


def tei_wanted(fields: Mapping[str, Raw]) -> bool:
    """Tell whether a request has a field that only ``/embed`` reads."""
    return not TEI_ONLY.isdisjoint(fields)


def tei_request(fields: Mapping[str, Raw], batch: Raw) -> dict[str, Raw]:
    """Make the body. There is no model in it: a server has one. Unknown fields pass."""
    ours = ("input", "encoding_format", "user", "stream", "model")
    out = {key: raw for key, raw in fields.items() if key not in ours}
    found = items(batch, "input") if opens(batch, "[") else [batch]
    if not any(opens(found[0], sign) for sign in '"[{'):
        found = [batch]  # one list of tokens
    if any(not opens(one, '"') and not opens(one, "[") for one in found):
        raise GatewayError("unsupported", "Hugging Face's servers embed texts, or lists of tokens.", param="input")
    return {"inputs": Raw(encode(found)), **out}


_ROWS = Decoder(list[Raw]).decode
_TOP = Decoder(dict[str, Raw]).decode


def tei_read(body: bytes) -> list[Raw]:
    """Read the vectors. Raises "broken_answer" for what is none, such as a vector for each token of a text."""
    try:
        if body.lstrip()[:1] == b"{":
            error = present(_TOP(body), "error")
            raise error_in_answer(error if error is not None else Raw(body))
        rows = _ROWS(body)
    except BAD_JSON as error:
        raise _broken(error) from None
    for row in rows:
        if bytes(memoryview(row)[:2]) == b"[[" and len(_ROWS(row)) > 1:
            text = "The model answers with a vector for each token and not for the text: it is none for embeddings."
            raise GatewayError("broken_answer", text)
    return rows


def _broken(error: Exception) -> GatewayError:
    return GatewayError("broken_answer", f"The upstream's answer is no list of embeddings: {error}.")

