"""Laws of embeddings: cutting and joining keeps the order, encodings keep the numbers."""

from __future__ import annotations

import json
import struct

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from penstock.core.errors import GatewayError
from penstock.core.ops import embeddings as ops

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
VECTORS = st.lists(FLOATS, max_size=20)
INPUTS = st.one_of(
    st.text(max_size=8),
    st.lists(st.text(max_size=8), min_size=1, max_size=30),
    st.lists(st.integers(0, 9), min_size=1, max_size=30),
    st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=4), min_size=1, max_size=30),
)


def fields(**values: object) -> dict[str, Raw]:
    return {key: Raw(msgspec.json.encode(value)) for key, value in values.items()}


def raw(value: object) -> Raw:
    return Raw(json.dumps(value).encode())


@given(INPUTS, st.integers(0, 7))
def test_batches_joined_are_the_input_and_none_is_over_the_limit(value, limit):
    parts = [json.loads(bytes(part)) for part in ops.batches(fields(input=value), limit)]
    several = isinstance(value, list) and not isinstance(value[0], int)
    if len(parts) == 1:
        assert parts == [value]
    else:
        assert [item for part in parts for item in part] == value
    if several and limit:
        assert max(len(part) for part in parts) <= limit


@given(VECTORS)
def test_base64_and_back_is_the_same_vector(vector):
    packed = ops.to_base64(raw(vector))
    assert json.loads(bytes(ops.to_floats(packed))) == vector
    assert ops.to_base64(ops.to_floats(packed)) == packed


@given(st.lists(st.lists(FLOATS, min_size=2, max_size=2), min_size=1, max_size=12), st.integers(1, 5), st.sampled_from(["float", "base64"]), st.booleans(), st.randoms())
def test_any_batching_and_any_spelling_upstream_gives_the_same_answer(rows, limit, encoding, packed, dice):
    asked = fields(input=[str(n) for n in range(len(rows))], encoding_format=encoding)
    parts = []
    for at in range(0, len(rows), limit):
        data = [
            {"object": "embedding", "index": n, "embedding": json.loads(bytes(ops.to_base64(raw(row)))) if packed else row}
            for n, row in enumerate(rows[at : at + limit])
        ]
        dice.shuffle(data)  # the index counts, not the place
        body = json.dumps({"object": "list", "data": data, "model": "real", "usage": {"prompt_tokens": 3, "total_tokens": 3}})
        parts.append(ops.read(body.encode(), ops.PLAIN))
    body, usage = ops.answer(asked, parts, raw("alias"))
    told = json.loads(body)
    assert told["model"] == "alias" and usage.fresh == 3 * len(parts) == told["usage"]["total_tokens"]
    by_index = {row["index"]: row["embedding"] for row in told["data"]}
    if encoding == "base64":
        by_index = {n: list(struct.unpack("<2f", __import__("base64").b64decode(row))) for n, row in by_index.items()}
    assert [by_index[n] for n in range(len(rows))] == rows


def test_fields_that_nobody_knows_pass():
    out = ops.request(fields(input="x", user="u", input_type="query"), ops.PLAIN, raw("x"))
    assert out == fields(input="x", user="u", input_type="query")


@pytest.mark.parametrize(
    ("provider", "official", "sent"),
    [
        ("openai", True, {"input": "x", "dimensions": 4, "encoding_format": "base64"}),
        ("openai", False, {"input": "x", "dimensions": 4}),
        ("voyage", False, {"input": "x", "output_dimension": 4}),
        ("groq", False, {"input": "x", "dimensions": 4}),
    ],
)
def test_each_vendor_is_asked_what_it_knows(provider, official, sent):
    form = ops.form_of(provider, official, ())
    out = ops.request(fields(input="x", dimensions=4, encoding_format="base64"), form, raw("x"))
    assert {key: json.loads(bytes(value)) for key, value in out.items()} == sent


def test_a_vector_wrapped_twice_is_unwrapped():
    assert ops.in_encoding(raw([[1.0, 2.0]]), "float") == Raw(b"[1.0,2.0]")
    assert ops.in_encoding(raw([[1.0], [2.0]]), "base64") == raw([[1.0], [2.0]])


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"data": 5}', b'{"data":[{}]}', b"<html>"])
def test_what_is_no_list_of_embeddings(body):
    with pytest.raises(GatewayError) as caught:
        ops.read(body, ops.PLAIN)
    assert caught.value.kind == "broken_answer"


def test_an_error_under_status_200_is_an_error():
    with pytest.raises(GatewayError) as caught:
        ops.read(b'{"error":{"message":"no","code":429}}', ops.PLAIN)
    assert "no" in caught.value.message


def test_usage_in_voyages_words_is_told_in_openais():
    part = ops.read(b'{"data":[{"embedding":[1.0],"index":0}],"usage":{"total_tokens":7}}', ops.PLAIN)
    body, usage = ops.answer(fields(input="x"), [part], raw("m"))
    assert usage.fresh == 7 and json.loads(body)["usage"] == {"prompt_tokens": 7, "total_tokens": 7}
