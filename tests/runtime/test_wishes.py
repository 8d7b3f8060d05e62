"""What a request says about its own way: read, bounded, refused where it is wrong, and nothing where it says nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from penstock.core.errors import GatewayError
from penstock.runtime.call import WISH_FIELDS
from penstock.runtime.http import Timeouts
from penstock.runtime.timeouts import of_stream, of_whole
from penstock.runtime.wishes import MOST_RETRIES, ROUTING_HEADERS, Change, Wishes, read_wishes
from tests.runtime.made import target_of


def read(fields: dict[str, Raw], lines: Mapping[bytes, bytes], keep_alive: float = 10.0, check: Any = None) -> Any:
    """What is read of a request, for at most five fallbacks."""
    exchange, surface = SimpleNamespace(headers=lines), SimpleNamespace(check=check or (lambda fields: None))
    says = not WISH_FIELDS.isdisjoint(fields)
    call: Any = SimpleNamespace(fields=fields, exchange=exchange, surface=surface, model="m", says=says)
    return read_wishes(call, 5, keep_alive)


def fields_of(body: Mapping[str, Any]) -> dict[str, Raw]:
    return {key: Raw(json.dumps(value).encode()) for key, value in body.items()}


def wishes_of(body: Mapping[str, Any] | None = None, keep_alive: float = 10.0, **headers: str) -> Any:
    lines = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    return read(fields_of({"model": "m", **(body or {})}), lines, keep_alive)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6) | st.just("model"), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(
    st.dictionaries(st.sampled_from(sorted(WISH_FIELDS)), values),
    st.dictionaries(st.sampled_from(sorted(ROUTING_HEADERS)), st.text(max_size=9)),
)
def test_whatever_is_said_is_within_bounds_or_a_400_that_names_the_key(body, headers):
    """The law of all wishes."""
    lines = {name: value.encode("utf-8") for name, value in headers.items()}
    try:
        wishes = read(fields_of({"model": "m", **body}), lines)
    except GatewayError as error:
        assert error.kind == "bad_request" and error.param
        named = error.param.partition("[")[0].partition(".")[0]
        assert named in body or named.encode() in headers
        assert named in error.message and len(error.message) < 400
        return
    if wishes is None:
        return
    assert wishes.retries is None or 0 <= wishes.retries <= MOST_RETRIES
    for seconds in (wishes.timeout, wishes.stream_timeout):
        assert seconds is None or 0 < seconds < float("inf")
    for table in wishes.fallbacks.values():
        assert sum(len(names) for names in table.values()) <= 5
        for name in (name for names in table.values() for name in names):
            group = wishes.changes[name].group if name in wishes.changes else name
            assert group in wishes.places


@given(st.dictionaries(st.text(max_size=10), values))
def test_who_says_nothing_has_no_wishes_and_keeps_the_request(body):
    kept = fields_of(
        {key: value for key, value in body.items() if key not in WISH_FIELDS and not key.startswith("mock_")}
    )
    before = dict(kept)
    assert read(kept, {b"user-agent": b"x"}) is None
    assert kept == before


@pytest.mark.parametrize(
    ("body", "headers", "wanted"),
    [
        ({"num_retries": 3}, {}, Wishes(retries=3)),
        ({}, {"x_litellm_num_retries": "0"}, Wishes(retries=0)),
        ({"num_retries": 1}, {"x_litellm_num_retries": "7"}, Wishes(retries=1)),
        ({"num_retries": "2"}, {}, Wishes(retries=2)),  # forms have nothing but text
        ({"num_retries": None}, {"x_litellm_num_retries": "7"}, Wishes(retries=7)),
        ({"timeout": 0.5}, {"x_litellm_timeout": "9"}, Wishes(timeout=0.5)),
        ({"stream_timeout": 4}, {}, Wishes(stream_timeout=4.0)),
        ({}, {"x_litellm_stream_timeout": "4.5", "x_litellm_timeout": "3"}, Wishes(stream_timeout=4.5, timeout=3.0)),
        ({"disable_fallbacks": True}, {}, Wishes(alone=True)),
        ({"priority": 0}, {"x_penstock_priority": "5"}, Wishes(priority=0)),
        ({}, {"x_penstock_priority": "5", "x_litellm_priority": "6"}, Wishes(priority=5)),
        ({}, {"x_litellm_priority": "6"}, Wishes(priority=6)),
        ({}, {"x_stainless_read_timeout": "60"}, Wishes(patience=60.0)),
        ({}, {"x_stainless_timeout": "5"}, Wishes(patience=5.0, stream_patience=5.0)),
        ({}, {"x_stainless_timeout": "NOT_GIVEN"}, None),
        (
            {},
            {"x_stainless_timeout": "NOT_GIVEN", "x_stainless_read_timeout": "7.5"},
            Wishes(patience=7.5, stream_patience=7.5),
        ),
        ({}, {"x_stainless_read_timeout": "inf"}, None),
        ({"timeout": 9}, {"x_stainless_read_timeout": "60"}, Wishes(timeout=9.0, patience=60.0)),
        ({"fallbacks": None, "timeout": None}, {}, None),
    ],
)
def test_fields_come_before_headers(body, headers, wanted):
    assert wishes_of(body, **headers) == wanted


def test_without_signs_of_life_a_library_leaves_a_stream_as_well():
    assert wishes_of(keep_alive=0.0, x_stainless_read_timeout="60") == Wishes(patience=60.0, stream_patience=60.0)


def test_forms_of_fallbacks():
    said = [
        "b",
        {"model": "c"},
        {"model": "c", "messages": [1], "temperature": 0},
        {"m": ["d"], "b": ["e"]},
    ]
    wishes = wishes_of(
        {"fallbacks": said, "context_window_fallbacks": [{"m": ["long"]}], "content_policy_fallbacks": []}
    )
    assert wishes.fallbacks == {
        "": {"m": ["b", "c", "c (fallbacks[2])", "d"], "b": ["e"]},
        "context_window": {"m": ["long"]},
        "content_policy": {},
    }
    assert wishes.changes == {"c (fallbacks[2])": Change("c", fields_of({"messages": [1], "temperature": 0}))}
    assert wishes.places == {
        "b": "fallbacks[0]", "c": "fallbacks[1]", "d": "fallbacks[3].m[0]", "e": "fallbacks[3].b[0]",
        "long": "context_window_fallbacks[0].m[0]",
    }  # fmt: skip
    assert wishes_of({"fallbacks": {"m": ["d"]}}).fallbacks == {"": {"m": ["d"]}}


@pytest.mark.parametrize(
    ("body", "headers", "said"),
    [
        ({"num_retries": 21}, {}, "'num_retries' must be a whole number from 0 to 20, not 21."),
        ({"num_retries": 1.5}, {}, "'num_retries' must be a whole number from 0 to 20, not 1.5."),
        ({"num_retries": True}, {}, "'num_retries' must be a whole number from 0 to 20, not true."),
        ({}, {"x_litellm_num_retries": "-1"}, "'x-litellm-num-retries' must be a whole number from 0 to 20, not \"-1\"."),
        ({"timeout": 0}, {}, "'timeout' must be a number of seconds above 0, such as 30, not 0."),
        ({"timeout": "soon"}, {}, "'timeout' must be a number of seconds above 0, such as 30, not \"soon\"."),
        ({}, {"x_litellm_timeout": "nan"}, "'x-litellm-timeout' must be a number of seconds above 0, such as 30, not \"nan\"."),
        ({"disable_fallbacks": 1}, {}, "'disable_fallbacks' must be true or false, not 1."),
        ({"priority": "high"}, {}, "'priority' must be a whole number, lower for sooner, such as 0, not \"high\"."),
        ({"fallbacks": 5}, {}, "'fallbacks' must be a list of models, such as"),
        ({"fallbacks": [5]}, {}, "'fallbacks[0]' must be a model's name or an object with 'model', not 5."),
        ({"fallbacks": [{"model": 5}]}, {}, "'fallbacks[0].model' must be a model's name, not 5."),
        ({"fallbacks": [{"m": "b"}]}, {}, "'fallbacks[0].m' must be a list of models"),
        ({"fallbacks": ["a"] * 6}, {}, "'fallbacks' names more than 5 models, the most here (router_settings.max_fallbacks)."),
        ({"fallbacks": [{"model": "b", "timeout": 5}]}, {}, "fallbacks[0].timeout may not be set for one fallback"),
        ({"fallbacks": [{"model": "b", "stream": True}]}, {}, "fallbacks[0].stream may not be set for one fallback"),
        ({"fallbacks": [{"model": "b", "api_base": "http://x"}]}, {}, "'api_base' may not be set in a request"),
        ({"mock_testing_fallbacks": True}, {}, "'mock_testing_fallbacks' is for tests of a gateway"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_key_and_value(body, headers, said):
    with pytest.raises(GatewayError) as caught:
        wishes_of(body, **headers)
    assert caught.value.message.startswith(said) and caught.value.kind == "bad_request"


def test_a_number_that_no_float_holds_is_a_wrong_number():
    with pytest.raises(GatewayError, match="above 0, such as 30, not"):
        read({"timeout": Raw(b"1e999")}, {})


def test_a_changed_request_is_checked_like_the_client_s_own():
    seen = []
    body = {"messages": [1], "fallbacks": [{"model": "b", "messages": []}]}
    read(fields_of({"model": "m", **body}), {}, check=seen.append)
    assert [bytes(fields["messages"]) for fields in seen] == [b"[]"]


@pytest.mark.parametrize(
    ("metadata", "left", "tags"),
    [
        ({"tags": ["a"]}, None, ["a"]),
        ({"tags": ["a"], "user": "u"}, {"user": "u"}, ["a"]),
        ({"tags": "a,b"}, {"tags": "a,b"}, None),  # a vendor's own: its values are strings
        ({"user": "tags"}, {"user": "tags"}, None),
        ("x", "x", None),
    ],
)
def test_tags_of_the_gateway_s_leave_the_vendor_s_metadata(metadata, left, tags):
    fields = fields_of({"metadata": metadata})
    assert read(fields, {}) is None
    assert {key: json.loads(bytes(raw)) for key, raw in fields.items()} == {
        **({} if left is None else {"metadata": left}),
        **({} if tags is None else {"tags": tags}),
    }


# Timeouts -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wishes", "stream", "wanted"),
    [
        (Wishes(), False, of_whole(50)),
        (Wishes(timeout=3.0), False, of_whole(3)),
        (Wishes(timeout=90.0), False, of_whole(90)),
        (Wishes(stream_timeout=3.0), False, of_whole(50)),
        (Wishes(patience=20.0), False, Timeouts(10.0, 20.0, 50.0, 50.0, 50.0)),
        (Wishes(patience=200.0), False, of_whole(50)),
        (Wishes(), True, of_stream(30, 50)),
        (Wishes(timeout=3.0), True, of_stream(3, 3)),
        (Wishes(timeout=90.0), True, of_stream(30, 30)),  # 30 is said of streams alone
        (Wishes(stream_timeout=90.0, timeout=3.0), True, of_stream(90)),
        (Wishes(patience=20.0), True, of_stream(30)),
        (Wishes(stream_patience=20.0), True, Timeouts(10.0, 20.0, 30.0, None, 30.0)),
    ],
)
def test_the_request_comes_before_the_deployment(wishes, stream, wanted, tmp_path):
    target = target_of(tmp_path, api_key="k", timeout=50, stream_timeout=30)
    assert wishes.timeouts(target, stream) == wanted


def test_a_timeout_holds_for_streams_where_nothing_is_said_of_them(tmp_path):
    target = target_of(tmp_path, api_key="k", timeout=50)
    assert Wishes(timeout=90.0).timeouts(target, True) == of_stream(90)
