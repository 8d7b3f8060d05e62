"""The envelope: other keys keep their bytes, a key that stands twice is always found, bad JSON is always a 400."""

from __future__ import annotations

import json

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from msgspec import Raw

from penstock.core.envelope import open_body, seal
from penstock.core.errors import GatewayError
from tests.laws.strategies import json_text, spell_string

spaces = st.sampled_from(["", "", "", " ", "\n", "\t ", "\r\n  "])
key_names = st.sampled_from(["model", "m", "messages", "a", "é", "\u2028", 'q"', "b\\", "", "a b", "\x07"]) | st.text(
    max_size=3
)
values = json_text | st.sampled_from(
    ["12", "1", "1.0", "1e5", "-0", "1E+2", '"1"', "[]", "{}", "null", '{"a":1,"a":2}']
)


@st.composite
def objects(draw: st.DrawFn, twice: bool) -> tuple[bytes, list[tuple[str, str]]]:
    """JSON text of an object and its (key, value text) pairs in order; ``twice``: one key stands two times or more."""
    names = draw(st.lists(key_names, min_size=1 if twice else 0, max_size=5, unique=True))
    if twice:
        again = draw(st.lists(st.sampled_from(names), min_size=1, max_size=2))
        names = draw(st.permutations(names + again))
    pairs = [(name, draw(values)) for name in names]
    parts = []
    for name, value in pairs:
        spelled = draw(spell_string(name))
        parts.append(f"{draw(spaces)}{spelled}{draw(spaces)}:{draw(spaces)}{value}{draw(spaces)}")
    body = draw(spaces) + "{" + (",".join(parts) or draw(spaces)) + "}" + draw(spaces)
    return body.encode(), pairs


@given(objects(twice=False))
def test_every_value_is_kept_byte_for_byte(case: tuple[bytes, list[tuple[str, str]]]) -> None:
    body, pairs = case
    fields = open_body(body)
    assert [(key, bytes(value)) for key, value in fields.items()] == [(key, value.encode()) for key, value in pairs]


@given(objects(twice=False), st.data())
def test_editing_one_key_leaves_the_others_alone(
    case: tuple[bytes, list[tuple[str, str]]], data: st.DataObject
) -> None:
    body, pairs = case
    assume(pairs)
    name = data.draw(st.sampled_from([key for key, _ in pairs]))
    fields = open_body(body)
    fields[name] = Raw(b'"edited"')
    again = open_body(seal(fields))
    wanted = [(key, '"edited"' if key == name else value) for key, value in pairs]
    assert [(key, bytes(value).decode()) for key, value in again.items()] == wanted


@given(objects(twice=True))
@example((b'{"a":12,"a":1}', [("a", "12"), ("a", "1")]))
@example((b'{"model":"x" ,"mod\\u0065l":"x"}', [("model", '"x"'), ("model", '"x"')]))
@example((b'{"a":1e5,"b":2,"a":1}', [("a", "1e5"), ("b", "2"), ("a", "1")]))
def test_a_key_that_stands_twice_is_always_found(case: tuple[bytes, list[tuple[str, str]]]) -> None:
    body, pairs = case
    names = [key for key, _ in pairs]
    with pytest.raises(GatewayError) as caught:
        open_body(body)
    assert caught.value.kind == "bad_request"
    assert caught.value.param in {name for name in names if names.count(name) > 1}


def _valid(body: bytes) -> bool:
    """What Python's own parser says, made strict: an object in UTF-8, no NaN and no Infinity."""

    def refuse(word: str) -> None:
        raise ValueError(word)

    try:
        return isinstance(json.loads(body.decode("utf-8"), parse_constant=refuse), dict)
    except (ValueError, RecursionError):
        return False


@given(objects(twice=False), st.data())
def test_broken_json_is_a_400_and_nothing_else(case: tuple[bytes, list[tuple[str, str]]], data: st.DataObject) -> None:
    body = bytearray(case[0])
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, max(0, len(body) - 1)))
        body[at : at + data.draw(st.integers(0, 2))] = data.draw(
            st.sampled_from([b"", b'"', b"{", b"}", b"\xff", b"\\", b",", b"NaN", b"\x00", b"0", b"\xed\xa0\x80", b"'"])
        )
    try:
        fields = open_body(bytes(body))
    except GatewayError as error:
        assert error.status == 400 and error.message
    else:
        assert _valid(bytes(body)), "the envelope took what a strict parser refuses"
        assert list(fields) == list(json.loads(bytes(body)))


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (b"[]", "object"),
        (b'"x"', "object"),
        (b"null", "object"),
        (b'{"a":NaN}', "not valid JSON"),
        (b'{"a":Infinity}', "not valid JSON"),
        (b'{"a":1}x', "not valid JSON"),
        (b'{"a":1,}', "not valid JSON"),
        (b"{'a':1}", "not valid JSON"),
        (b'{"a":"\xff"}', "UTF-8"),
        (b'\xef\xbb\xbf{"a":1}', "not valid JSON"),
        (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
        (b'{"a":1,"a":1}', "'a' stands twice"),
    ],
)
def test_each_kind_of_bad_json_has_its_own_words(body: bytes, says: str) -> None:
    with pytest.raises(GatewayError, match=says) as caught:
        open_body(body)
    assert caught.value.kind == "bad_request"
