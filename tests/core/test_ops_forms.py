"""Laws of forms: every part is found where it is, and a body with its model replaced has everything else untouched."""

from __future__ import annotations

import json
from email.parser import BytesParser
from email.policy import HTTP

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from msgspec import Raw

from penstock.core.errors import GatewayError
from penstock.core.ops import forms

BOUNDARY = b"b0undary"
NAMES = st.sampled_from(["prompt", "language", "tags", "x[]", "temperature"])
DATA = st.one_of(
    st.binary(max_size=60),
    st.lists(st.sampled_from([b"\r\n", b"--", b"--b0undar", b"\r\n--b0undar", b"a", b"b0undary"]), max_size=8).map(b"".join),
)


@st.composite
def bodies(draw):
    parts = draw(st.lists(st.tuples(NAMES, st.none(), st.text(max_size=10).map(str.encode)), max_size=4))
    parts += draw(st.lists(st.tuples(st.just("file"), st.sampled_from(["a.wav", 'q"x', "ü.png", ""]), DATA), max_size=3))
    parts = draw(st.permutations(parts))
    assume(not any(b"\r\n--" + BOUNDARY in data or data.startswith(b"--" + BOUNDARY) for _, _, data in parts))
    parts.insert(draw(st.integers(0, len(parts))), ("model", None, b"alias"))
    body = draw(st.sampled_from([b"", b"preamble\r\n"]))
    for name, filename, data in parts:
        escaped = None if filename is None else filename.replace('"', '\\"')
        extra = b"" if escaped is None else b'; filename="%b"\r\nContent-Type: audio/wav' % escaped.encode()
        body += b'--%b\r\nContent-Disposition: form-data; name="%b"%b\r\n\r\n%b\r\n' % (BOUNDARY, name.encode(), extra, data)
    return parts, body + b"--" + BOUNDARY + b"--\r\n"


@given(bodies())
def test_every_part_is_found_with_its_bytes(made):
    parts, body = made
    found = forms.parts(body, BOUNDARY)
    assert [(one.name, one.filename, body[one.start : one.end]) for one in found] == parts


@given(bodies(), st.sampled_from([b"x", b"a-much-longer-model-name", b""]))
def test_only_the_model_changes_and_nothing_is_copied(made, model):
    parts, body = made
    leave = frozenset({"tags"})
    pieces = forms.rewritten(body, BOUNDARY, forms.parts(body, BOUNDARY), {"model": model}, leave)
    again = b"".join(pieces)
    got = [(one.name, one.filename, again[one.start : one.end]) for one in forms.parts(again, BOUNDARY)]
    wanted = [(n, f, model if n == "model" else d) for n, f, d in parts if not (n == "tags" and f is None)]
    assert got == wanted
    ours = 2 * sum(not data for _, _, data in parts)
    assert sum(len(piece) for piece in pieces if piece.obj is not body) <= len(model) + len(BOUNDARY) + 8 + ours
    assert b"".join(forms.chunks(pieces, 7)) == again


@given(bodies(), st.data())
def test_a_body_cut_short_is_never_a_form(made, data):
    _, body = made
    whole = body[: -len(b"--\r\n")]
    cut = whole[: data.draw(st.integers(0, len(whole)))]
    with pytest.raises(GatewayError) as caught:
        forms.parts(cut, BOUNDARY)
    assert caught.value.kind == "bad_request"


@given(bodies())
def test_pythons_own_reader_sees_the_same(made):
    parts, body = made
    if not body.startswith(b"--") or any(not data for _, _, data in parts):
        return
    if any(b"\r" in data or b"\n" in data for _, _, data in parts) or any(f and not f.isascii() for _, f, _ in parts):
        return
    message = BytesParser(policy=HTTP).parsebytes(b"Content-Type: multipart/form-data; boundary=" + BOUNDARY + b"\r\n\r\n" + body)
    assert [part.get_param("name", header="content-disposition") for part in message.iter_parts()] == [n for n, _, _ in parts]


def test_a_model_that_was_not_there_is_added():
    body = b'--b0undary\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nx\r\n--b0undary--\r\n'
    again = b"".join(forms.rewritten(body, BOUNDARY, forms.parts(body, BOUNDARY), {"model": b"real"}, frozenset()))
    found = forms.parts(again, BOUNDARY)
    assert forms.fields_of(again, found) == {"model": Raw(b'"real"')}


def test_a_part_without_content_may_lack_its_line_break():
    head = b'--b0undary\r\nContent-Disposition: form-data; name="%b"\r\n\r\n'
    body = head % b"prompt" + head % b"model" + b"m\r\n--b0undary--\r\n"
    again = b"".join(forms.rewritten(body, BOUNDARY, forms.parts(body, BOUNDARY), {"model": b"real"}, frozenset()))
    assert again == body.replace(b"\r\n\r\n--", b"\r\n\r\n\r\n--").replace(b"\r\nm\r\n", b"\r\nreal\r\n")


def test_fields_as_json():
    body = b""
    for name, value in (("model", "m"), ("stream", "true"), ("t[]", "a"), ("t[]", "b"), ("k", "1"), ("k", "2"), ("p", 'ü"')):
        body += f'--b0undary\r\ncontent-disposition:form-data;name="{name}"\r\n\r\n{value}\r\n'.encode()
    body += b"--b0undary--"
    fields = forms.fields_of(body, forms.parts(body, BOUNDARY))
    told = {key: json.loads(bytes(raw)) for key, raw in fields.items()}
    assert told == {"model": "m", "stream": True, "t[]": ["a", "b"], "k": ["1", "2"], "p": 'ü"'}


@pytest.mark.parametrize(
    ("said", "found"),
    [
        (b"multipart/form-data; boundary=abc", b"abc"),
        (b'Multipart/Form-Data; charset=utf-8; BOUNDARY="a b"', b"a b"),
        (b"multipart/form-data", None),
        (b"multipart/mixed; boundary=abc", None),
        (None, None),
        (b"multipart/form-data; boundary=" + b"x" * 71, None),
    ],
)
def test_boundaries(said, found):
    if found is None:
        with pytest.raises(GatewayError) as caught:
            forms.boundary_of(said)
        assert caught.value.kind == "media_type"
    else:
        assert forms.boundary_of(said) == found
