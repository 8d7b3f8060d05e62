"""/v1/embeddings: texts or tokens in, vectors out, in the order asked, floats or base64 as the client likes.

Reference: platform.openai.com/docs/api-reference/embeddings. Vendors differ in three things: the name of
``dimensions``, whether they know base64, and how many inputs one request may have. What is asked of an upstream is
always what it is sure to know; the difference is made up here.
"""

from __future__ import annotations

import binascii
import struct
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from msgspec import Raw, Struct
from msgspec.json import Decoder, encode

from penstock.core.count import estimate
from penstock.core.dialects.openai_chat.errors import error_in_answer
from penstock.core.dialects.openai_chat.reading import (
    integer,
    items,
    needed,
    opens,
    present,
    text,
    wrong,
)
from penstock.core.envelope import BAD_JSON
from penstock.core.errors import GatewayError
from penstock.core.ir import Loss, Usage
from penstock.core.ops import embeddings_own as own_forms
from penstock.core.providers.operations import Form as Form
from penstock.core.providers.operations import embeddings_form

WANT = "a text, a list of texts, a list of tokens, or a list of such lists"
ENCODING = "encoding_format"
_BASE64 = Raw(b'"base64"')


PLAIN = Form()
OLLAMA = Form(ollama=True)
COHERE = Form(limit=96, own="cohere")


def form_of(provider: str, official: bool, dialects: Sequence[str], limit: int | None = None) -> Form:
    """Return the form of a target: its provider's, but where a dialect has an operation of its own. ``limit``: a
    deployment's own, instead of the table's."""
    form = embeddings_form(provider, official)
    if "ollama" in dialects:
        form = OLLAMA
    elif "cohere" in dialects:
        form = COHERE
    return form if limit is None else form._replace(limit=limit)


def check(fields: Mapping[str, Raw]) -> None:
    """Check the input. Raises "bad_request" for what no upstream could embed."""
    talk = messages(fields)
    if talk is not None and present(fields, "input") is not None:
        said = "'input' and 'messages' stand in one request: send texts, or a conversation that is embedded as one."
        raise GatewayError("bad_request", said, param="messages")
    raw = needed(fields, "input", "", WANT) if talk is None else talk
    if talk is not None:
        if not opens(talk, "[") or not items(talk, "messages"):
            raise wrong("messages", talk, "a list of messages with at least one")
    elif opens(raw, "["):
        if not items(raw, "input"):
            raise GatewayError("bad_request", "'input' is an empty list; it must be " + WANT + ".", param="input")
    elif not opens(raw, '"'):
        raise wrong("input", raw, WANT)
    else:
        text(raw, "input")
    wanted(fields)
    if (dims := present(fields, "dimensions")) is not None and integer(dims, "dimensions") < 1:
        raise GatewayError("bad_request", "'dimensions' must be 1 or more.", param="dimensions")


def messages(fields: Mapping[str, Raw]) -> Raw | None:
    """Return the conversation that is to be embedded as one, where a request has no input but that."""
    return present(fields, "messages")


def talk_request(fields: Mapping[str, Raw], form: Form, label: str) -> dict[str, Raw]:
    """Make the body that has a conversation embedded, but for its model. Raises "unsupported" where only texts are
    taken."""
    if not form.messages:
        said = f"{label} embeds texts: send them as 'input'. Only vLLM's servers embed 'messages'."
        raise GatewayError("unsupported", said, param="messages")
    out = request(fields, form, Raw(b"null"))
    del out["input"]
    return out


def wanted(fields: Mapping[str, Raw]) -> str:
    """Return the encoding that the client asked for, "float" where it did not say."""
    raw = present(fields, ENCODING)
    return "float" if raw is None else text(raw, ENCODING)


def batches(fields: Mapping[str, Raw], limit: int) -> list[Raw]:
    """Cut ``input`` to pieces of at most ``limit`` inputs, in order. One text, or one list of tokens, is one input."""
    raw = fields["input"]
    if limit <= 0 or not opens(raw, "["):
        return [raw]
    every = items(raw, "input")
    if len(every) <= limit or not (opens(every[0], '"') or opens(every[0], "[") or opens(every[0], "{")):
        return [raw]
    return [Raw(encode(every[at : at + limit])) for at in range(0, len(every), limit)]


def limit_of(fields: Mapping[str, Raw], form: Form) -> int:
    """Return how many inputs one request may have."""
    return own_forms.cohere_limit(fields, form.limit) if form.own == "cohere" else form.limit


def losses(fields: Mapping[str, Raw], form: Form) -> tuple[Loss, ...]:
    """Return what of a request the target's form, or OpenAI's answer, has no place for."""
    return own_forms.cohere_losses(fields) if form.own == "cohere" else ()


def request(fields: Mapping[str, Raw], form: Form, batch: Raw) -> dict[str, Raw]:
    """Make the body for an upstream but for its model. Unknown fields pass. Raises "unsupported" for tokens where only
    texts are taken."""
    if form.own == "cohere":
        return own_forms.cohere_request(fields, batch, wanted(fields))
    if form.own:
        return own_forms.tei_request(fields, batch)
    out = {key: raw for key, raw in fields.items() if key not in (ENCODING, "dimensions", "stream")}
    out["input"] = batch
    if (dims := present(fields, "dimensions")) is not None:
        out[form.dimensions] = dims
    encoding = wanted(fields)
    if encoding == "base64" and form.base64:
        out[ENCODING] = _BASE64
    elif encoding not in ("float", "base64"):
        out[ENCODING] = fields[ENCODING]  # a vendor's own, such as int8
    if form.input != "input":
        return _renamed(out, form.input, batch)
    if form.ollama:
        out.pop("user", None)
        first = items(batch, "input")[0] if opens(batch, "[") else batch
        if not opens(first, '"'):
            raise GatewayError("unsupported", "This model's server embeds texts, not tokens.", param="input")
    return out


def _renamed(out: dict[str, Raw], name: str, batch: Raw) -> dict[str, Raw]:
    """Restate a body in other vendors' words: a list of texts under a name of their own
    (https://cloud.ibm.com/apidocs/watsonx-ai, "Generate embeddings"; docs.snowflake.com, "Cortex REST API", EMBED)."""
    out.pop("user", None)
    every = items(batch, "input") if opens(batch, "[") else [batch]
    if not all(opens(one, '"') for one in every):
        raise GatewayError("unsupported", "This provider embeds texts, not tokens.", param="input")
    del out["input"]
    out[name] = Raw(encode(every))
    return out


class _Row(Struct, gc=False):
    embedding: Raw
    index: int | None = None


class _Counts(Struct, gc=False):
    prompt_tokens: int | None = None
    total_tokens: int | None = None


class _Own(Struct, gc=False):
    embeddings: list[Raw]
    prompt_eval_count: int = 0


class _Ibm(Struct, gc=False):
    results: list[_Row]
    input_token_count: int = 0


_TOP = Decoder(dict[str, Raw]).decode
_ROWS = Decoder(list[_Row]).decode
_COUNTS = Decoder(_Counts, strict=False).decode
_OLLAMA = Decoder(_Own, strict=False).decode
_IBM = Decoder(_Ibm, strict=False).decode
_FLOATS = Decoder(list[float]).decode
_NESTED = Decoder(list[list[float]]).decode


class Vectors(NamedTuple):
    """What one request brought: vectors in the order of its inputs (JSON lists, or base64 strings), the usage, and
    the whole answer's top level where it is of OpenAI's shape."""

    rows: list[Raw]
    usage: Usage | None
    top: dict[str, Raw]


def read(body: bytes, form: Form) -> Vectors:
    """Read an upstream's answer. Raises "broken_answer", and the error of a 200 that carries one."""
    if form.own == "cohere":
        return Vectors(*own_forms.cohere_read(body), {})
    if form.own:
        return Vectors(own_forms.tei_read(body), None, {})
    try:
        if form.ollama:
            own = _OLLAMA(body)
            return Vectors(own.embeddings, Usage(fresh=own.prompt_eval_count) if own.prompt_eval_count else None, {})
        if form.watsonx:
            told = _IBM(body)
            used = Usage(fresh=told.input_token_count) if told.input_token_count else None
            return Vectors([row.embedding for row in told.results], used, {})
        top = _TOP(body)
        if form.sap and "final_result" in top:
            top = _TOP(top["final_result"])
        if "data" not in top and (error := present(top, "error")) is not None:
            raise error_in_answer(error)
        found = _ROWS(top.get("data", Raw(b"null")))
    except BAD_JSON as error:
        text = f"The upstream's answer is no list of embeddings: {error}."
        raise GatewayError("broken_answer", text) from None
    found.sort(key=lambda row: row.index or 0)  # rows without an index keep their order
    return Vectors([row.embedding for row in found], _usage(top.get("usage")), top)


def _usage(raw: Raw | None) -> Usage | None:
    if raw is None:
        return None
    try:
        counts = _COUNTS(raw)
    except BAD_JSON:
        return None
    tokens = counts.prompt_tokens if counts.prompt_tokens is not None else counts.total_tokens
    return None if tokens is None else Usage(fresh=tokens)


def answer(fields: Mapping[str, Raw], parts: Sequence[Vectors], model: Raw) -> tuple[bytes, Usage]:
    """Make the client's answer: all parts in order, in the encoding it asked for, usage summed (counted here, and
    marked as an estimate, where an upstream told none)."""
    encoding = wanted(fields)
    rows = [row for part in parts for row in part.rows]
    told = [in_encoding(row, encoding) for row in rows]
    usage = total(fields, parts)
    only = parts[0]
    if len(parts) == 1 and "data" in only.top and all(a is b for a, b in zip(rows, told, strict=True)):
        out: dict[str, Any] = dict(only.top)  # nothing to change but the name: every byte of it stays
        out["model"] = model
    else:
        data = [{"object": "embedding", "index": at, "embedding": row} for at, row in enumerate(told)]
        out = {"object": "list", "data": data, "model": model}
    if only.usage is None or len(parts) > 1 or b'"prompt_tokens"' not in bytes(out.get("usage", b"")):
        out["usage"] = {"prompt_tokens": usage.fresh, "total_tokens": usage.fresh}
    out.setdefault("object", "list")
    return encode(out), usage


def total(fields: Mapping[str, Raw], parts: Sequence[Vectors]) -> Usage:
    """Sum what the parts used; estimate it when one of them did not say."""
    told = [part.usage.fresh for part in parts if part.usage is not None]
    return Usage(fresh=sum(told)) if len(told) == len(parts) else estimate(fields, 0)


def in_encoding(row: Raw, encoding: str) -> Raw:
    """Return a vector in the encoding asked for; the same object where it is in it already, or where it has no other
    form."""
    if encoding == "base64" and opens(row, "["):
        return to_base64(row)
    if encoding == "float" and opens(row, '"'):
        return to_floats(row)
    if encoding == "float" and opens(row, "["):
        return _flat(row)
    return row


def to_base64(row: Raw) -> Raw:
    """Pack a vector as little-endian 32-bit floats in base64, as api.openai.com sends them."""
    try:
        values = _FLOATS(_flat(row))
        packed = struct.pack(f"<{len(values)}f", *values)
    except (*BAD_JSON, OverflowError):
        return row  # a vector per token, or a number beyond 32 bits: base64 has no form for it
    return Raw(b'"' + binascii.b2a_base64(packed, newline=False) + b'"')


def to_floats(row: Raw) -> Raw:
    """Unpack a vector in base64. Raises "broken_answer" for what is no base64 of 32-bit floats."""
    try:
        packed = binascii.a2b_base64(msgspec.json.decode(row, type=str), strict_mode=True)
        return Raw(encode(struct.unpack(f"<{len(packed) // 4}f", packed)))
    except (*BAD_JSON, binascii.Error, struct.error, ValueError):
        raise GatewayError("broken_answer", "The upstream's answer holds a vector that cannot be read.") from None


def _flat(row: Raw) -> Raw:
    """Unwrap the one vector of a text, which llama-cpp-python puts into a list of its own."""
    if bytes(memoryview(row)[:2]) != b"[[":
        return row
    try:
        inner = _NESTED(row)
    except BAD_JSON:
        return row
    return Raw(encode(inner[0])) if len(inner) == 1 else row
