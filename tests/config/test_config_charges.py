"""Wrong discounts and margins are told with their place."""

from __future__ import annotations

import pytest
from config_helpers import Check

MODELS = "model_list: [{model_name: m, litellm_params: {model: openai/x}}]\nlitellm_settings:\n"


@pytest.mark.parametrize(
    ("setting", "place", "says"),
    [
        ("cost_discount_config: {openai: 5}", "cost_discount_config.openai", "from 0 to 1"),
        ("cost_discount_config: {openai: -0.1}", "cost_discount_config.openai", "from 0 to 1"),
        ("cost_discount_config: 0.1", "cost_discount_config", "mapping of providers"),
        ("cost_margin_config: {openai: {percent: 0.1}}", "cost_margin_config.openai.percent", "did you mean"),
        ("cost_margin_config: {openai: {fixed_amount: x}}", "cost_margin_config.openai.fixed_amount", "number"),
        ("cost_margin_config: {openai: ten}", "cost_margin_config.openai", "number"),
        ("cost_margin_config: [0.1]", "cost_margin_config", "mapping of providers"),
    ],
)
def test_what_is_wrong_is_said(check: Check, setting: str, place: str, says: str) -> None:
    loaded = check(MODELS + f"  {setting}\n")
    (problem,) = loaded.errors
    assert f"litellm_settings.{place}" in str(problem) and says in str(problem), str(problem)


def test_what_is_right_is_read(check: Check) -> None:
    loaded = check(
        MODELS
        + "  cost_discount_config: {openai: '0.05'}\n  cost_margin_config: {global: 0.1, groq: {fixed_amount: 1e-3}}\n"
    )
    assert loaded.config is not None and not loaded.problems
    values = loaded.config.litellm.values
    assert values["cost_discount_config"] == {"openai": 0.05}
    assert values["cost_margin_config"] == {"global": 0.1, "groq": {"fixed_amount": 0.001}}
