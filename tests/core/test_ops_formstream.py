"""Laws of forms that are read as they come: any cut of the bytes gives the parts of the whole body, and the form that
is passed on is the one that a held body would have become."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from penstock.core.errors import GatewayError
from penstock.core.ops import forms
from penstock.core.ops import formstream as streams
from tests.core.test_ops_forms import BOUNDARY, bodies

CUTS = st.lists(st.integers(1, 40), max_size=60)


def cut(body: bytes, sizes: list[int]) -> list[bytes]:
    """The body in pieces of these sizes, the rest in one."""
    pieces, at = [], 0
    for size in sizes:
        pieces.append(body[at : at + size])
        at += size
    return [piece for piece in (*pieces, body[at:]) if piece]


def read(body: bytes, sizes: list[int]) -> tuple[list[forms.Part], list[tuple[str, str | None, bytes]]]:
    reader = streams.Reader(BOUNDARY)
    told: list[tuple[str, str | None, bytes]] = []
    for piece in cut(body, sizes):
        for event in reader.feed(piece):
            if isinstance(event, streams.Opened):
                told.append((event.name, event.filename, b""))
            elif isinstance(event, streams.Content):
                name, filename, data = told[-1]
                told[-1] = (name, filename, data + event.data)
    reader.close()
    return reader.parts, told


@given(bodies(), CUTS)
def test_any_cut_gives_the_same_parts(made, sizes):
    parts, body = made
    found, told = read(body, sizes)
    assert found == forms.parts(body, BOUNDARY) and told == parts


@given(st.lists(st.sampled_from([
    b"\r\n", b"--b0undary", b"--", b"\r\n\r\n", b'Content-Disposition: form-data; name="a"', b'; filename="f"', b" ", b"x", b"\r",
    b'--b0undary\r\nContent-Disposition: form-data; name="a"\r\n\r\n', b"\r\n--b0undary--", b"y" * 300,
]), max_size=12).map(b"".join), CUTS)  # fmt: skip
def test_what_is_a_form_to_one_is_a_form_to_the_other(body, sizes):
    try:
        wanted = forms.parts(body, BOUNDARY)
    except GatewayError as error:
        assert error.kind == "bad_request"
        with pytest.raises(GatewayError, match="not a multipart form"):
            read(body, sizes)
    else:
        found, told = read(body, sizes)
        assert found == wanted
        assert [data for _, _, data in told] == [body[one.start : one.end] for one in wanted]


@given(bodies(), CUTS)
def test_the_plain_fields_are_the_same(made, sizes):
    parts, body = made
    form = streams.Form(BOUNDARY)
    for piece in cut(body, sizes):
        form.feed(piece)
    try:
        wanted = forms.fields_of(body, forms.parts(body, BOUNDARY))
    except GatewayError as error:
        with pytest.raises(GatewayError, match=str(error)):
            form.fields()
    else:
        assert form.fields() == wanted
    first = next((data for name, filename, data in parts if name == "file" and filename is not None and data), b"")
    assert (form.file_head, form.file_size) == (first[: streams.HEAD_KEPT], len(first))


def pass_on(body: bytes, sizes: list[int], known: int | None, leave: frozenset[str], adds: dict[str, bytes]) -> tuple[int | None, bytes]:
    """``known``: after so many bytes the new length is asked for."""
    rewriter = streams.Rewriter(BOUNDARY, {"model": b"real-model"}, adds, leave)
    out, size = b"", None
    if known is not None:
        out += rewriter.feed(body[:known])
        size = rewriter.size(len(body))
        body = body[known:]
    for piece in cut(body, sizes):
        out += rewriter.feed(piece)
    return size, out + rewriter.finish(size)


@given(bodies(), CUTS, st.sampled_from([frozenset(), frozenset({"tags", "x[]"})]), st.booleans())
def test_the_form_passed_on_is_that_of_a_held_body(made, sizes, leave, add):
    _, body = made
    adds = {"temperature": b"0.5"} if add else {}
    _, out = pass_on(body, sizes, None, leave, adds)
    found = forms.parts(body, BOUNDARY)
    missing = {} if any(one.name == "temperature" and one.filename is None for one in found) else adds
    held = b"".join(forms.rewritten(body, BOUNDARY, found, {"model": b"real-model", **missing}, leave))

    def told(whole: bytes) -> list[tuple[str, str | None, bytes]]:
        return [(one.name, one.filename, whole[one.start : one.end]) for one in forms.parts(whole, BOUNDARY)]

    if missing:  # a held body has it in front
        first, *rest = told(held)
        assert told(out) == [*rest, first]
    else:
        assert out == held


@given(bodies(), CUTS, st.sampled_from([frozenset(), frozenset({"tags", "x[]", "language"})]), st.booleans(), st.data())
def test_the_length_is_told_before_the_file_has_come_and_is_kept(made, sizes, leave, add, data):
    _, body = made
    found = forms.parts(body, BOUNDARY)
    [model] = [one for one in found if one.name == "model"]
    known = data.draw(st.integers(model.end + 2 + len(BOUNDARY) + 2, len(body)))
    adds = {"temperature": b"0.5"} if add else {}
    size, out = pass_on(body, sizes, known, leave, adds)
    assert size == len(out)
    _, unknown = pass_on(body, [], None, leave, adds)
    assert forms.parts(out, BOUNDARY) == forms.parts(unknown, BOUNDARY), "what makes up the length is behind the end"


HEAD = b'--b0undary\r\nContent-Disposition: form-data; name="%b"%b\r\n\r\n'


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (HEAD % (b"prompt", b"") + b"x" * (1024 * 1024 + 100), "'prompt' is over 1048576 bytes long"),
        (b"".join(HEAD % (b"p%d" % n, b"") + b"x" * 1024 * 1024 + b"\r\n" for n in range(5)), "in all"),
        (b"--b0undary" + b" " * 200, "a boundary has no end"),
        (b"--b0undary\r\n" + b"x" * 17_000, "the head of a part is over 16384 bytes"),
        (b"".join(HEAD % (b"p%d" % n, b"") + b"x\r\n" for n in range(1001)), "over 1000 parts"),
        (b"--b0undary\r\nContent-Type: x\r\n\r\n", "a part has no name"),
    ],
)
def test_what_cannot_become_a_form_is_refused_at_once(body, says):
    form = streams.Form(BOUNDARY)
    with pytest.raises(GatewayError, match=says):
        for at in range(0, len(body), 50_000):
            form.feed(body[at : at + 50_000])


def test_a_file_is_not_held():
    form = streams.Form(BOUNDARY)
    form.feed(HEAD % (b"model", b"") + b"m\r\n" + HEAD % (b"file", b'; filename="a"'))
    assert form.file_open and form.names == {"model"}
    for _ in range(100):
        [event] = form.feed(b"x" * 100_000)
        assert len(event.data) >= 100_000 - 12 and form.reader.pending < 20
    assert len(form.file_head) == streams.HEAD_KEPT and form.fields() == {"model": Raw(b'"m"')}


def test_a_second_model_is_refused_before_the_end_is_passed_on():
    rewriter = streams.Rewriter(BOUNDARY, {"model": b"real"}, {}, frozenset())
    rewriter.feed(HEAD % (b"model", b"") + b"a\r\n" + HEAD % (b"model", b"") + b"b\r\n--b0undary--")
    with pytest.raises(GatewayError, match="stands twice"):
        rewriter.finish(None)
