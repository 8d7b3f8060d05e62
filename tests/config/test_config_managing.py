"""What the config says of new keys and users: what cannot be read is told, and a ceiling that cannot is the lowest."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from penstock.config.managing import KEYS, read_managing


def test_what_is_right_is_taken_as_it_stands():
    problems: list[str] = []
    read = read_managing(
        {
            "default_key_generate_params": {"max_budget": 1.5, "models": ("m",), "duration": "10d", "team_id": "t"},
            "upperbound_key_generate_params": {"max_budget": 100, "rpm_limit": 5, "budget_duration": "30d"},
            "key_generation_settings": {"team_key_generation": {"required_params": ["tags"]}},
            "default_internal_user_params": {"user_role": "internal_user", "teams": [{"team_id": "t"}]},
            "max_internal_user_budget": 3,
            "internal_user_budget_duration": "7d",
            "key_alias_pattern": "[a-z]+",
        },
        problems,
    )
    assert problems == [] and read.key_defaults["models"] == ["m"] and read.key_ceilings["rpm_limit"] == 5
    assert read.key_rules["team_key_generation"] == {"required_params": ["tags"]}
    assert read.user_defaults["teams"] == [{"team_id": "t"}] and (read.user_budget, read.user_period) == (3, "7d")
    assert read.alias is not None and read.alias.fullmatch("abc") and not read.alias.fullmatch("a1")


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("default_key_generate_params", {"max_budget": "much"}, "default_key_generate_params.max_budget"),
        ("default_key_generate_params", {"max_budgets": 1}, "default_key_generate_params.max_budgets is not used"),
        ("default_key_generate_params", {"something": 1}, "default_key_generate_params has a key that is not used"),
        ("upperbound_key_generate_params", {"rpm_limit": -1}, "upperbound_key_generate_params.rpm_limit"),
        ("upperbound_key_generate_params", [1], "must be a mapping"),
        ("key_generation_settings", {"both": {}}, "key_generation_settings"),
        ("key_generation_settings", {"team_key_generation": {"required_params": 1}}, "required_params"),
        ("default_internal_user_params", {"user_role": "king"}, "user_role"),
        ("max_internal_user_budget", "much", "max_internal_user_budget"),
        ("internal_user_budget_duration", "often", "internal_user_budget_duration"),
        ("key_alias_pattern", "[", "key_alias_pattern"),
        ("key_alias_pattern", "a" * 500, "key_alias_pattern"),
    ],
)
def test_what_is_wrong_is_told_with_its_name(key, value, says):
    problems: list[str] = []
    read_managing({key: value}, problems)
    assert len(problems) == 1 and says in problems[0]


def test_a_ceiling_that_cannot_be_read_is_the_lowest():
    problems: list[str] = []
    values = {"upperbound_key_generate_params": {"max_budget": "much", "duration": "long", "rpm_limit": None}}
    read = read_managing({**values, "key_alias_pattern": "(", "max_internal_user_budget": "x"}, problems)
    assert read.key_ceilings == {"max_budget": 0, "duration": "1s", "rpm_limit": 0} and read.user_budget == 0
    assert read.alias is not None and not read.alias.fullmatch("") and not read.alias.fullmatch("a")


ANY: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(KEYS), ANY))
@example({"max_internal_user_budget": 1e48})
def test_nothing_that_a_file_can_hold_breaks_it(values):
    problems: list[str] = []
    read_managing(values, problems)
    assert all(isinstance(problem, str) and problem for problem in problems)
