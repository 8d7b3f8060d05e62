"""`routing_groups`, the arguments of strategies, and the other names of models: LiteLLM's rules, told with a line."""

from __future__ import annotations

import pytest
from config_helpers import Check, lines

MODELS = """\
model_list:
  - {model_name: fast, litellm_params: {model: openai/a}}
  - {model_name: slow, litellm_params: {model: openai/b}}
  - {model_name: "openai/*", litellm_params: {model: "openai/*"}}
router_settings:
"""


def groups(*rows: str) -> str:
    return MODELS + "  routing_groups:\n" + "".join(f"    - {{{row}}}\n" for row in rows)


def test_groups_are_read_and_their_names_may_be_used(check: Check) -> None:
    text = groups(
        "group_name: quick, models: [fast, slow, fast], routing_strategy: latency-based-routing, routing_strategy_args: {ttl: 9}",
        "group_name: ranked, models: [fast, slow], routing_strategy: priority, model_priorities: {fast: 2, slow: 1}",
    )
    text += "  model_group_alias: {other: quick}\n  fallbacks: [{ranked: [quick]}, {fast: [ranked]}]\n"
    loaded = check(text)
    assert lines(loaded) == [] and loaded.config is not None
    quick, ranked = loaded.config.router.routing_groups
    assert quick.models == ("fast", "slow") and quick.args == {"ttl": 9.0} and quick.routes_members
    assert ranked.priorities == {"fast": 2, "slow": 1} and not ranked.routes_members


@pytest.mark.parametrize(
    ("rows", "wanted"),
    [
        (["group_name: default, models: [fast]"], "[0]: `group_name: default` is reserved"),
        (["group_name: '', models: [fast]"], "[0]: a routing group needs a `group_name`, and at least one model"),
        (["group_name: g, models: []"], "[0]: a routing group needs a `group_name`, and at least one model"),
        (["group_name: g, models: [fast]", "group_name: g, models: [slow]"], "[1]: there is a group named 'g' already"),
        (["group_name: g, models: [fast]", "group_name: h, models: [fast]"], "[1].models: 'fast' is in the group 'g' already"),
        (["group_name: g, models: [fast], routing_strategy: priority"], "[0]: a group by priority needs `model_priorities`"),
        (
            ["group_name: g, models: [fast], routing_strategy: priority, model_priorities: {fast: 1, slow: 2}"],
            "[0]: a group by priority needs `model_priorities` with each of its models",
        ),
        (
            ["group_name: g, models: [fast], routing_strategy: priority, model_priorities: {fast: 0}"],
            "[0]: `model_priorities` are whole numbers from 1",
        ),
        (
            ["group_name: g, models: [fast], routing_strategy: priority, model_priorities: {fast: true}"],
            "[0]: `model_priorities` are whole numbers from 1",
        ),
        (
            ["group_name: g, models: [fast], routing_strategy: priority, model_priorities: {fast: 1}, routing_strategy_args: {ttl: 1}"],
            "[0]: a group by priority has `model_priorities`, and no `routing_strategy_args`",
        ),
        (["group_name: g, models: [fast], model_priorities: {fast: 1}"], "[0]: `model_priorities` goes with"),
        (["group_name: g, models: [fast], strategy: x"], "[0].strategy: is no key of a routing group"),
        (["group_name: slow, models: [fast]"], "[0].group_name: 'slow' is the name of a model or an alias too"),
        (["group_name: g, models: [fats]"], "[0].models: no model named 'fats' in model_list, did you mean 'fast'?; 'g' does without"),
        (["group_name: g, models: ['openai/*']"], "[0].models: 'openai/*' is a pattern"),
    ],
)  # fmt: skip
def test_what_does_not_hold_is_told_with_its_line(check: Check, rows: list[str], wanted: str) -> None:
    [line] = lines(check(groups(*rows)))
    assert line.startswith(f"c.yaml:{6 + len(rows)}: router_settings.routing_groups{wanted}")


@pytest.mark.parametrize(
    ("args", "wanted"),
    [
        ("{ttl: soon}", ".ttl: expected a number of seconds above 0, got 'soon'"),
        ("{lowest_latency_bufer: 5}", ".lowest_latency_bufer: no strategy has this argument here, did you mean 'lowest_latency_buffer'?; ignored"),
        ("{confidence_threshold_low: 0.6}", ": confidence thresholds must rise from low to medium to high"),
        ("{confidence_threshold_high: 1.0}", ": confidence thresholds must rise from low to medium to high"),
        ("5", ": expected a mapping such as `ttl: 600`, got 5"),
    ],
)
def test_arguments_of_a_strategy_are_checked(check: Check, args: str, wanted: str) -> None:
    loaded = check(MODELS + f"  routing_strategy_args: {args}\n")
    [line] = lines(loaded)
    assert line.startswith(f"c.yaml:6: router_settings.routing_strategy_args{wanted}") and loaded.config is not None
    assert loaded.config.router.values.get("routing_strategy_args", {}) == {}


def test_other_names_of_models_lead_somewhere(check: Check) -> None:
    text = MODELS + "  num_retries: 1\nlitellm_settings:\n  model_alias_map: {gpt: fast, lost: nowhere}\n  model_fallbacks: [gpt, slwo]\n"
    loaded = check(text)
    assert [line.partition(", did")[0] for line in lines(loaded)] == [
        "c.yaml:8: litellm_settings.model_alias_map.lost: no model named 'nowhere' in model_list",
        "c.yaml:9: litellm_settings.model_fallbacks[1]: no model named 'slwo' in model_list",
    ]
    assert loaded.config is not None and loaded.config.router.model_alias_map == {"gpt": "fast", "lost": "nowhere"}
    assert loaded.config.router.default_fallbacks == ("gpt", "slwo")
    given = check(text + "  default_fallbacks: [slow]\n").config
    assert given is not None and given.router.default_fallbacks == ("slow",)
