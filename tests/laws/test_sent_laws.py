"""Whatever is sent as an entry of ``model_list``, it is read or refused with words, and reads nothing of ours."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from penstock.config import Config, keys
from penstock.config.sent import Sent, read_sent
from penstock.core.providers.resolve import resolve
from penstock.runtime.building import settings_of
from penstock.runtime.state import build
from penstock.stores.base import StoredModel

VARIABLE = "sk-of-the-environment-4711"
CONFIG = Config(environment={"SECRET_VARIABLE": VARIABLE, "OPENAI_API_KEY": VARIABLE})
SETTINGS = settings_of(CONFIG)
READING = ["os.environ/SECRET_VARIABLE", "x${SECRET_VARIABLE}", "${SECRET_VARIABLE:-d}", "oidc/env/SECRET_VARIABLE"]
PLACES = st.sampled_from([name for name in keys.params.rows if "*" not in name])
WORDS = st.sampled_from(
    ["openai/gpt-4o", "azure/x", "vertex_ai/g", "bedrock/a", "*", "", " ", "http://h/v1", "http://[", "{", '{"a": 1}', "true"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6) | PLACES, inner, max_size=3),
    max_leaves=6,
)
PARAMS = st.dictionaries(PLACES | st.text(max_size=8), VALUES, max_size=5)
INFO = st.dictionaries(st.sampled_from(sorted(keys.info.names())) | st.text(max_size=8), VALUES, max_size=4)
ENTRIES = st.fixed_dictionaries(
    {"model_name": WORDS | VALUES, "litellm_params": PARAMS.map(lambda p: {"model": "openai/x", **p}) | VALUES},
    optional={"model_info": INFO | VALUES, "rpm": VALUES, "unheard_of": VALUES},
)


def read(entry: dict[str, Any]) -> Sent:
    return read_sent(entry, CONFIG, resolve)


@given(ENTRIES)
def test_an_entry_is_read_or_refused_with_words(entry) -> None:
    sent = read(entry)
    assert (sent.deployment is None) is bool(sent.errors)
    assert all(problem.message and VARIABLE not in str(problem) for problem in sent.problems)
    if sent.deployment is not None:
        assert sent.deployment.stored and build(sent.deployment, SETTINGS, CONFIG.environment).deployment is sent.deployment


def put(value: Any, secret: str, at: list[int]) -> Any:
    """Put a text somewhere into a value: at the end of a way of numbers."""
    if isinstance(value, dict) and value and at:
        key = list(value)[at[0] % len(value)]
        return {**value, key: put(value[key], secret, at[1:])}
    if isinstance(value, list) and value and at:
        place = at[0] % len(value)
        return [*value[:place], put(value[place], secret, at[1:]), *value[place + 1 :]]
    return secret


@given(ENTRIES, st.sampled_from(READING[:3]), st.lists(st.integers(0, 5), min_size=1, max_size=5))
def test_a_variable_is_read_from_nowhere_in_an_entry(entry, reading, way) -> None:
    sent = read(put(entry, reading, way))
    assert sent.deployment is None
    assert any("names the variable" in problem.message for problem in sent.errors)
    assert VARIABLE not in repr(sent)


@given(PLACES, st.sampled_from(READING), st.integers(0, 2))
def test_nor_by_any_parameter_however_deep_in_json(key, reading, depth) -> None:
    value: Any = reading
    for _ in range(depth):
        value = json.dumps({"a": value})
    row = keys.params.get(key)
    if reading.startswith("oidc/") and (key == "extra_body" or (row is not None and row.status == "sent")):
        return  # a client's words, which nothing reads
    sent = read({"model_name": "m", "litellm_params": {"model": "openai/x", key: value}})
    assert sent.deployment is None and VARIABLE not in repr(sent)


@given(ENTRIES)
def test_what_was_read_is_read_alike_from_the_store(entry) -> None:
    stored = StoredModel("i", json.dumps(entry).encode(), 1, 0, "", 0, "")
    first, again = read(json.loads(stored.entry)), read(json.loads(stored.entry))
    assert (first.deployment, first.problems) == (again.deployment, again.problems)
