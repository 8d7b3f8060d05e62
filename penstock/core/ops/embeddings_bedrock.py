"""/v1/embeddings in the words of the models on Amazon Bedrock, asked by InvokeModel: the model stands in the URL.

Sources, all under https://docs.aws.amazon.com/bedrock/latest/userguide/: model-parameters-titan-embed-text.html (one
text a request), model-parameters-titan-embed-mm.html, and model-parameters-embed.html (Cohere's: up to 96 texts, and
what they are for). Other models there are asked in Cohere's words.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Raw, Struct
from msgspec.json import Decoder, encode

from penstock.core.dialects.openai_chat.reading import integer, items, opens, present, text
from penstock.core.envelope import BAD_JSON
from penstock.core.errors import GatewayError
from penstock.core.ir import Usage
from penstock.core.models import is_titan_embedding, is_titan_of_images
from penstock.core.ops.embeddings import ENCODING, Form, Vectors

ONE = Form(limit=1)
MANY = Form(limit=96)
_PURPOSE = "search_document"
_DONE = frozenset(("model", "input", "dimensions", "user", "stream", ENCODING))


def form_of(model: str) -> Form:
    """Return the form of a model: how many inputs a request may have."""
    return ONE if is_titan_embedding(model) else MANY


def request(fields: Mapping[str, Raw], batch: Raw, model: str) -> bytes:
    """Make the body for one batch. Unknown fields are the model's. Raises "unsupported" for tokens."""
    texts = items(batch, "input") if opens(batch, "[") else [batch]
    if not all(opens(item, '"') for item in texts):
        raise GatewayError("unsupported", "Models on Bedrock embed texts, not tokens.", param="input")
    rest: dict[str, Any] = {key: raw for key, raw in fields.items() if key not in _DONE}
    dims = present(fields, "dimensions")
    size = None if dims is None else integer(dims, "dimensions")
    if is_titan_embedding(model):
        out: dict[str, Any] = {"inputText": text(texts[0], "input"), **rest}
        if size is not None and is_titan_of_images(model):
            out.setdefault("embeddingConfig", {"outputEmbeddingLength": size})
        elif size is not None:
            out["dimensions"] = size
        return encode(out)
    out = {"texts": texts, "input_type": _PURPOSE, **rest}
    if size is not None:
        out["output_dimension"] = size
    return encode(out)


class _Answer(Struct, rename="camel"):
    embedding: Raw = Raw()
    embeddings: Raw = Raw()
    input_text_token_count: int | None = None


_ANSWER = Decoder(_Answer).decode
_ROWS = Decoder(list[Raw]).decode
_KINDS = Decoder(dict[str, list[Raw]]).decode


def read(body: bytes) -> Vectors:
    """Read an upstream's answer. Raises "broken_answer"."""
    try:
        told = _ANSWER(body)
        if told.embedding:
            tokens = told.input_text_token_count
            return Vectors([told.embedding], None if tokens is None else Usage(fresh=tokens), {})
        if opens(told.embeddings, "{"):  # by kinds of numbers: the first that was asked for
            return Vectors(next(iter(_KINDS(told.embeddings).values())), None, {})
        return Vectors(_ROWS(told.embeddings), None, {})
    except (*BAD_JSON, IndexError, StopIteration) as error:
        raise GatewayError("broken_answer", f"The upstream's answer has no embeddings: {error}.") from None
