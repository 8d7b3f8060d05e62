"""How bodies and parameters of management calls are read: what is wrong is told with its name, and no secret is."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st
from msgspec import UNSET

from penstock.admin.customers import Customer
from penstock.admin.forms import convert, flag_of, given, number_of
from penstock.admin.keyforms import ChangedKey, NewKey, Rotated
from penstock.admin.userforms import NewUser
from penstock.core.errors import GatewayError

FORMS = (NewKey, ChangedKey, Rotated, NewUser, Customer)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)


@pytest.mark.parametrize("form", FORMS)
@drawn(data=st.data())
def test_a_body_is_read_or_refused_by_name(form: type[msgspec.Struct], data: st.DataObject) -> None:
    fields = data.draw(st.dictionaries(st.sampled_from(form.__struct_fields__), JSON, max_size=3))
    try:
        made = convert(fields, form)
    except GatewayError as error:
        assert error.status == 422 and (error.param or "").partition("[")[0].partition(".")[0] in form.__struct_fields__
    else:
        assert given(made).keys() == fields.keys()


def test_what_was_not_sent_is_neither_null_nor_empty():
    form = convert({"max_budget": None, "models": []}, NewKey)
    assert form.max_budget is None and form.models == [] and form.user_id is UNSET
    assert given(form) == {"max_budget": None, "models": []}


@pytest.mark.parametrize("name", ["key", "new_key", "password"])
def test_no_secret_is_told_back(name):
    form = NewUser if name == "password" else Rotated
    with pytest.raises(GatewayError) as caught:
        convert({name: ["hunter2-hunter2"]}, form)
    assert caught.value.param == name and "hunter2" not in caught.value.message


def test_a_field_that_is_missing_is_named():
    with pytest.raises(GatewayError) as caught:
        convert({}, Customer)
    assert (caught.value.param, caught.value.message) == ("user_id", "user_id: is missing.")


def test_parameters_of_the_query():
    assert number_of({"n": "7"}, "n", 1) == 7 and number_of({}, "n", 1) == number_of({"n": ""}, "n", 1) == 1
    assert flag_of({"f": "True"}, "f") and not flag_of({"f": "0"}, "f") and flag_of({}, "f", True)
    for text in ("-1", "1.5", "x", "9" * 12, "2000", "١"):
        with pytest.raises(GatewayError) as caught:
            number_of({"n": text}, "n", 1)
        assert (caught.value.status, caught.value.param) == (422, "n")
    with pytest.raises(GatewayError):
        flag_of({"f": "maybe"}, "f")
