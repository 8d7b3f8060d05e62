from __future__ import annotations

import copy
import json
import pickle

import msgspec
import pytest
from config_helpers import Check, lines
from hypothesis import given
from hypothesis import strategies as st

from penstock.config import Secret
from penstock.config.problems import Problem

LONG = "sk-proj-0123456789abcdef"


@given(st.text(min_size=8))
def test_the_text_is_never_shown_whole(text: str) -> None:
    secret = Secret(text)
    shown = f"{secret} {secret!r} {[secret]} {secret!s:>4}"
    assert text not in shown or text in "Secret(sk-...abcd) ***"
    assert secret.reveal() == text


@given(st.text(), st.text())
def test_equality_is_that_of_the_texts(left: str, right: str) -> None:
    assert (Secret(left) == Secret(right)) == (left == right)
    assert (Secret(left) == right) == (left == right)
    assert (Secret(left) == left) and hash(Secret(left)) == hash(Secret(left))


def test_long_keys_show_their_ends_and_short_ones_nothing() -> None:
    assert str(Secret(LONG)) == "sk-...cdef"
    assert repr(Secret(LONG)) == "Secret(sk-...cdef)"
    assert str(Secret("short-key")) == "***"
    assert Secret("x") != 1


def test_a_secret_does_not_slip_into_pickle_or_json() -> None:
    secret = Secret(LONG)
    for dump in (pickle.dumps, json.dumps, msgspec.json.encode, msgspec.msgpack.encode):
        with pytest.raises(TypeError):
            dump(secret)
    assert copy.deepcopy(secret) is secret


@pytest.mark.parametrize("key", ["sk-1234", "sk-1234...", " SK-1234 ", "changeme"])
def test_well_known_keys(key: str) -> None:
    assert Secret(key).is_well_known()
    assert not Secret(LONG).is_well_known()


def test_no_problem_and_no_repr_shows_a_secret(check: Check) -> None:
    loaded = check(
        f"""
        model_list:
          - model_name: a
            litellm_params:
              model: openai/x
              api_key: {{x: {LONG}}}
              api_base: https://user:{LONG}@/v1
              client_secret: {{a: {LONG}}}
              timeout: os.environ/T
              extra_headers:
                Authorization: [{LONG}]
                x: "a\\nb {LONG}"
              rpm: ${{T}}
        general_settings:
          master_key: {{k: {LONG}}}
          database_url: [postgresql://u:{LONG}@h/d]
        """,
        {"T": LONG},
    )
    text = "\n".join(lines(loaded))
    assert (len(loaded.errors), len(loaded.warnings)) == (9, 0) and loaded.config is None
    assert LONG not in text
    assert "expected a number of seconds above 0, got 'os.environ/T'" in text
    assert "expected a URL such as http://localhost:8000/v1, got 'https://***@/v1'" in text


def test_text_in_place_of_headers_is_not_shown(check: Check) -> None:
    loaded = check(
        f"model_list: [{{model_name: a, litellm_params: {{model: openai/x, extra_headers: 'Bearer {LONG}'}}}}]\n"
    )
    assert lines(loaded) == [
        "c.yaml:1: model_list[0].litellm_params.extra_headers: expected a mapping of header names to texts, got text"
    ]


def test_repr_of_a_config_shows_no_secret(check: Check) -> None:
    loaded = check(
        f"""
        model_list:
          - model_name: a
            litellm_params:
              model: openai/x
              api_key: {LONG}
              aws_secret_access_key: {LONG}
              extra_headers: {{Authorization: Bearer {LONG}}}
              extra_body: {{key: {LONG}}}
        general_settings:
          master_key: os.environ/KEY
          database_url: postgresql://u:{LONG}@h/d
        """,
        {"KEY": LONG},
    )
    assert loaded.config is not None
    assert loaded.config.deployments[0].params["aws_secret_access_key"] == LONG
    assert LONG not in repr(loaded)


def test_a_problem_is_one_line() -> None:
    problem = Problem("c.yaml", 3, "a.b", "is wrong", "error")
    assert str(problem) == "c.yaml:3: a.b: is wrong"
    assert str(Problem("c.yaml", 0, "", "cannot be read", "error")) == "c.yaml: cannot be read"
