"""Vectors that are kept input by input: an answer taken apart, and put together again from old vectors and new."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from msgspec import Raw, Struct
from msgspec.json import Decoder, encode

from penstock.core.envelope import BAD_JSON


class _Row(Struct, gc=False):
    embedding: Raw
    index: int | None = None


class _Counts(Struct, gc=False):
    prompt_tokens: int = 0


_INPUTS = Decoder(list[Raw]).decode
_TOP = Decoder(dict[str, Raw]).decode
_ROWS = Decoder(list[_Row]).decode
_COUNTS = Decoder(_Counts, strict=False).decode
_NUMBER = b"0123456789-"


class Rows(NamedTuple):
    """The vectors of an answer, in the order of its inputs, the tokens that all of them took, and its top level."""

    vectors: list[Raw]
    tokens: int
    top: dict[str, Raw]


def inputs_of(raw: Raw) -> list[Raw] | None:
    """List the inputs of the field ``input``, each by itself; None where it is one: a text, or a list of tokens."""
    if bytes(memoryview(raw)[:1]) != b"[":
        return None
    every = _INPUTS(raw)
    return None if not every or bytes(memoryview(every[0])[:1]) in _NUMBER else every


def read_rows(body: bytes) -> Rows | None:
    """Take an answer of OpenAI's form apart; None for one that is none."""
    try:
        top = _TOP(body)
        rows = _ROWS(top.get("data", Raw(b"null")))
        tokens = _COUNTS(top.get("usage", Raw(b"{}"))).prompt_tokens
    except BAD_JSON:
        return None
    rows.sort(key=lambda row: row.index or 0)
    return Rows([row.embedding for row in rows], tokens, top)


def share_tokens(tokens: int, inputs: Sequence[Raw]) -> list[int]:
    """Divide the tokens of a request among its inputs, by their length; the sum is what was told."""
    sizes = [len(memoryview(raw)) for raw in inputs]
    whole, shares, given = sum(sizes), [], 0
    seen = 0
    for size in sizes:
        seen += size
        upto = tokens * seen // whole if whole else 0
        shares.append(upto - given)
        given = upto
    return shares


def join_rows(vectors: Sequence[Raw], tokens: int, model: Raw, top: Mapping[str, Raw] | None = None) -> bytes:
    """Make an answer of vectors in the order of their inputs. ``top``: an answer's top level, of which the rest
    stays."""
    data = [{"object": "embedding", "index": at, "embedding": vector} for at, vector in enumerate(vectors)]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return encode({**(top or {"object": "list"}), "data": data, "model": model, "usage": usage})
