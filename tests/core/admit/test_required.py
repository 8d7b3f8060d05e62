"""What requests must say: names, with dots into objects; what cannot be read is no rule that everybody keeps."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.admit.caller import read_caller
from penstock.core.admit.holders import Bad
from penstock.core.admit.required import check_required, read_required
from penstock.core.envelope import open_body
from penstock.core.errors import GatewayError

WORDS = st.sampled_from(["user", "metadata", "a", "b", "litellm_metadata"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(0, 9) | st.text(max_size=3),
    lambda inner: st.dictionaries(WORDS, inner, max_size=3) | st.lists(inner, max_size=2),
    max_leaves=8,
)


def says(body: Any, path: list[str]) -> bool:
    """The same by plain dicts: an independent reading."""
    if not isinstance(body, dict):
        return False
    places = [path[0], "litellm_metadata"] if path[0] == "metadata" else [path[0]]
    found = [body[place] for place in places if body.get(place) is not None]
    return bool(found) if len(path) == 1 else any(says(value, path[1:]) for value in found)


@given(st.dictionaries(WORDS, VALUES, max_size=4), st.lists(WORDS, min_size=1, max_size=3))
def test_a_request_is_refused_exactly_when_it_does_not_say_a_name(body: dict[str, Any], path: list[str]) -> None:
    fields, name = open_body(msgspec.json.encode(body)), ".".join(path)
    if says(body, path):
        check_required(fields, [name])
        return
    with pytest.raises(GatewayError) as caught:
        check_required(fields, [name])
    error = caught.value
    assert error.kind == "bad_request" and error.param == name and error.row.status == 400
    shown = f"[{']['.join(path)}]" if len(path) > 1 else name
    assert error.message.startswith(f"BadRequest please pass param={shown} in request body.")


@pytest.mark.parametrize("value", ["user", ["user", 5], [""], ["x" * 201], ["a"] * 101, {"user": 1}, [["user"]]])
@pytest.mark.parametrize("within", [False, True])
def test_what_cannot_be_read_lets_nobody_in(value: Any, within: bool) -> None:
    body = {"metadata": {"enforced_params": value}} if within else {"enforced_params": value}
    with pytest.raises(Bad, match=r"enforced_params: must be a list"):
        read_required(body)
    with pytest.raises(Bad):
        read_caller("id", body, lambda kind, id_: None)


def test_a_key_must_say_what_it_and_its_team_demand() -> None:
    team = {"metadata": {"enforced_params": ["user", "metadata.x"]}}
    key = {"team_id": "t", "metadata": {"enforced_params": ["seed", "user"]}}
    assert read_caller("id", key, lambda kind, id_: team if kind == "team" else None).required == (
        "seed",
        "user",
        "metadata.x",
    )
