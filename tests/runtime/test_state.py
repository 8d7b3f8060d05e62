"""Names to plans: groups, aliases, wildcards, fallbacks and what is said about a name that is not there."""

from __future__ import annotations

import pytest

from penstock.core.errors import GatewayError
from penstock.runtime.plans import DEFAULT_RETRIES
from penstock.runtime.state import KEEP_ALIVE
from penstock.runtime.wishes import Change, Wishes
from tests.runtime.made import state_of

MODELS = """
model_list:
  - {model_name: a, litellm_params: {model: openai/gpt-4o, api_key: k}}
  - {model_name: a, litellm_params: {model: anthropic/claude-3, api_key: k}}
  - {model_name: b, litellm_params: {model: openai/gpt-4o-mini, api_key: k}, model_info: {id: the-id}}
  - {model_name: "openai/*", litellm_params: {model: "openai/*", api_key: k}}
  - {model_name: "local-*", litellm_params: {model: "hosted_vllm/*", api_base: "http://127.0.0.1:9"}}
"""


def labels(state, name, group=None):
    plan = state.plan(name)
    return [target.label for target in plan.targets[group or plan.group]]


def test_a_plan_has_the_group_s_targets(tmp_path):
    state = state_of(tmp_path, MODELS)
    assert labels(state, "a") == ["openai/gpt-4o", "anthropic/claude-3"]
    assert labels(state, "the-id") == ["openai/gpt-4o-mini"]
    assert labels(state, "openai/o3") == ["openai/o3"]
    assert labels(state, "local-qwen") == ["hosted_vllm/qwen"]
    plan = state.plan("a")
    assert plan.group == "a" and plan.retries == DEFAULT_RETRIES and plan.fallbacks == {}
    assert state.plan("a") is plan and state.plan("openai/o3") is state.plan("openai/o3")
    assert state.keep_alive == KEEP_ALIVE and state.problems == []


def test_a_wildcard_s_target_is_made_once_and_has_its_own_model(tmp_path):
    state = state_of(tmp_path, MODELS)
    [one], [two] = state.plan("openai/o3").targets["openai/o3"], state.plan("openai/o4").targets["openai/o4"]
    assert bytes(one.model_raw) == b'"o3"' and bytes(two.model_raw) == b'"o4"' and one.id == two.id
    for number in range(1200):
        state.plan(f"openai/m{number}")
    assert len(state._stars._made) <= 1000


def test_a_bare_star_takes_the_provider_from_the_name(tmp_path):
    state = state_of(tmp_path, 'model_list: [{model_name: "*", litellm_params: {model: "*", api_key: k}}]')
    assert labels(state, "anthropic/claude-3") == ["anthropic/claude-3"]
    assert labels(state, "gpt-4o") == ["openai/gpt-4o"]
    with pytest.raises(GatewayError) as caught:
        state.plan("nobody-knows-this")
    assert caught.value.kind == "unknown_model"


ROUTED = (
    MODELS
    + """
router_settings:
  num_retries: 4
  retry_after: 1
  model_group_alias: {fast: b, smart: openai/o3, hushed: {model: a, hidden: true}}
  fallbacks: [{a: [b, openai/o3]}, {gpt-4o-mini: [a]}]
  context_window_fallbacks: [{b: [a]}]
  default_fallbacks: [b]
"""
)


def test_fallbacks_by_name_alias_prefix_and_default(tmp_path):
    state = state_of(tmp_path, ROUTED.replace("{gpt-4o-mini: [a]}", "{openai/o1: [a]}"))
    plan = state.plan("a")
    assert (plan.retries, plan.retry_after) == (4, 1.0)
    assert plan.fallbacks[""] == ["b", "openai/o3"]
    assert labels(state, "a", "openai/o3") == ["openai/o3"]
    assert state.plan("fast").fallbacks["context_window"] == ["a"], "an alias has its group's"
    assert state.plan("openai/o1").fallbacks[""] == ["a"]
    assert state.plan("openai/o7").fallbacks[""] == ["b"], "the default"
    assert state.plan("b").fallbacks[""] == [], "never itself"


def test_fallbacks_by_a_pattern_of_names(tmp_path):
    """What the stars of the pattern stand for stands in the row for its stars; the most specific pattern counts."""
    rows = '{"openai/*": ["local-*", b]}, {"openai/gpt-*": [a]}, {"local-*": ["openai/*"]}, {"a*": [b]}'
    state = state_of(tmp_path, MODELS + f"router_settings: {{fallbacks: [{rows}]}}")
    assert state.plan("openai/o3").fallbacks[""] == ["local-o3", "b"]
    assert labels(state, "openai/o3", "local-o3") == ["hosted_vllm/o3"]
    assert state.plan("openai/gpt-5").fallbacks[""] == ["a"]
    assert state.plan("local-qwen").fallbacks[""] == ["openai/qwen"]
    assert state.plan("a").fallbacks == {}, "a star stands for something"
    named = MODELS.replace("model_name: b,", "model_name: ab,")
    assert state_of(tmp_path, named + f"router_settings: {{fallbacks: [{rows}]}}").plan("ab").fallbacks[""] == ["b"]


def test_a_fallback_s_own_fallbacks(tmp_path):
    rows = "fallbacks: [{a: [b]}, {b: [openai/o3]}], context_window_fallbacks: [{b: [a, local-x]}]"
    plan = state_of(tmp_path, MODELS + f"router_settings: {{{rows}}}").plan("a")
    assert plan.fallbacks == {"": ["b"]} and plan.depth == 5
    assert plan.nested == {"b": {"": ["openai/o3"], "context_window": ["a", "local-x"]}}
    assert list(plan.targets) == ["a", "b", "openai/o3", "local-x"]


def test_a_deployment_s_own_tries(tmp_path):
    models = MODELS.replace("gpt-4o, api_key", "gpt-4o, num_retries: 4, max_retries: 9, api_key")
    models = models.replace("claude-3, api_key", "claude-3, max_retries: 1, api_key")
    plan = state_of(tmp_path, models).plan("a")
    first, second = plan.targets["a"]
    assert plan.own == {first: 4, second: 1}
    assert (plan.allowed("a", None, first), plan.allowed("a", None, second), plan.allowed("a", None)) == (4, 1, 2)


POLICY = "router_settings: {num_retries: 3, retry_policy: {TimeoutErrorRetries: 1}, fallbacks: [{a: [b]}]}"


def test_what_a_request_wishes_comes_before_all_of_the_config_s(tmp_path):
    state = state_of(tmp_path, MODELS.replace("gpt-4o, api_key", "gpt-4o, num_retries: 4, api_key") + POLICY)
    late = GatewayError("timeout", "late")
    first, second = state.plan("a").targets["a"]
    usual = state.plan("a")
    assert (usual.allowed("a", late, first), usual.allowed("a", late, second), usual.allowed("a", None)) == (4, 1, 3)
    plan = state.wished("a", Wishes(retries=0))
    assert {plan.allowed(group, error, one) for group in "ab" for error in (late, None) for one in (first, second)} == {
        0
    }
    assert plan.fallbacks == {"": ["b"]}
    assert state.wished("a", Wishes(timeout=3.0, patience=4.0)) is usual, "kept as it was made"
    alone = state.wished("a", Wishes(alone=True, fallbacks={"": {"a": ["openai/o3"]}}))
    assert list(alone.targets) == ["a"] and not alone.fallbacks and not alone.nested
    other = state.wished("a", Wishes(fallbacks={"": {"a": ["openai/o3", "again"]}}, changes={"again": Change("a", {})}))
    assert other.fallbacks == {"": ["openai/o3", "again"]} and other.targets["again"] == other.targets["a"]
    assert other.rules.keys() == {"a", "openai/o3", "again"}
    assert state.plan("a") is usual


def test_a_wished_fallback_that_does_not_exist_is_told_its_nearest(tmp_path):
    state = state_of(tmp_path, MODELS.replace("model_name: b,", "model_name: llama-3.3-70b,"))
    with pytest.raises(GatewayError) as caught:
        state.wished("a", Wishes(fallbacks={"": {"a": ["llama-3-70b"]}}, places={"llama-3-70b": "fallbacks[0]"}))
    error = caught.value
    assert error.status == 400 and error.param == "fallbacks"
    for group, known in (("openai/x", True), ("*", True), ("openai/a", True), ("o*", True), ("nobody", False)):
        wishes = Wishes(fallbacks={"": {group: ["a"]}}, places={"a": "fallbacks[0]"})
        if known:
            assert state.wished("a", wishes).group == "a"
            continue
        with pytest.raises(GatewayError, match="fallbacks names the model 'nobody', which does not exist"):
            state.wished("a", wishes)
    long = "x" * 100_000
    with pytest.raises(GatewayError) as caught:
        state.wished("a", Wishes(fallbacks={"": {"a": [long]}}, places={long: "fallbacks[0]"}))
    assert len(caught.value.message) < 500
    assert error.message.startswith(
        "fallbacks[0] names the model 'llama-3-70b', which does not exist. Nearest names here: llama-3.3-70b"
    )


def test_fallbacks_without_and_with_the_provider_s_prefix(tmp_path):
    models = """
model_list:
  - {model_name: "openai/*", litellm_params: {model: "openai/*", api_key: k}}
  - {model_name: gpt-4o, litellm_params: {model: openai/gpt-4o, api_key: k}}
  - {model_name: claude, litellm_params: {model: anthropic/claude-3, api_key: k}}
router_settings: {fallbacks: [{KEY: [claude]}]}
"""
    assert state_of(tmp_path, models.replace("KEY", "gpt-4o")).plan("openai/gpt-4o").fallbacks[""] == ["claude"]
    assert state_of(tmp_path, models.replace("KEY", "openai/gpt-4o")).plan("gpt-4o").fallbacks[""] == ["claude"]
    assert state_of(tmp_path, models.replace("KEY", "gpt-4o")).plan("openai/o3").fallbacks == {}


def test_aliases_of_groups_and_of_what_a_wildcard_serves(tmp_path):
    state = state_of(tmp_path, ROUTED.replace("{gpt-4o-mini: [a]}", "{b: [a]}"))
    assert labels(state, "fast") == ["openai/gpt-4o-mini"]
    assert labels(state, "smart") == ["openai/o3"]
    assert labels(state, "hushed") == labels(state, "a")
    names = state.catalog.names()
    assert {"fast", "smart"} <= set(names) and "hushed" not in names


def test_max_fallbacks(tmp_path):
    rows = "".join(f"  - {{model_name: m{n}, litellm_params: {{model: openai/m{n}, api_key: k}}}}\n" for n in range(9))
    settings = "router_settings: {fallbacks: [{m0: [m1, m2, m3, m4, m5, m6, m7, m8]}], max_fallbacks: 3}"
    listed = state_of(tmp_path, "model_list:\n" + rows + settings).plan("m0")
    assert listed.fallbacks[""] == [f"m{n}" for n in range(1, 9)], "it bounds the depth and not the length"
    chain = ", ".join(f"{{m{n}: [m{n + 1}]}}" for n in range(8))
    settings = f"router_settings: {{fallbacks: [{chain}], max_fallbacks: 3}}"
    plan = state_of(tmp_path, "model_list:\n" + rows + settings).plan("m0")
    assert list(plan.targets) == ["m0", "m1", "m2", "m3"] and plan.depth == 3
    assert plan.nested == {"m1": {"": ["m2"]}, "m2": {"": ["m3"]}}
    none = state_of(tmp_path, "model_list:\n" + rows + settings.replace(": 3", ": 0")).plan("m0")
    assert list(none.targets) == ["m0"] and none.fallbacks == {}


def test_an_unknown_name_is_told_its_nearest(tmp_path):
    state = state_of(tmp_path, MODELS.replace("model_name: a,", "model_name: llama-3.3-70b,"))
    with pytest.raises(GatewayError) as caught:
        state.plan("llama-3-70b")
    error = caught.value
    assert error.kind == "unknown_model" and error.status == 400 and error.param == "model"
    assert "model=llama-3-70b" in error.message and "Nearest names here: llama-3.3-70b" in error.message
    with pytest.raises(GatewayError) as caught:
        state.plan("x" * 1000)
    assert len(caught.value.message) < 500
    assert not [name for name in state._plans if name.startswith("x")], "a wrong name is not remembered"


def test_an_empty_config_says_so(tmp_path):
    with pytest.raises(GatewayError, match="No model is configured here"):
        state_of(tmp_path, "model_list: []").plan("m")


def test_plans_are_kept_in_a_bounded_number(tmp_path, monkeypatch):
    state = state_of(tmp_path, MODELS)
    for number in range(10_050):
        state._plans[f"x{number}"] = state.plan("a")
        if number > 10_000:
            break
    before = len(state._plans)
    assert labels(state, "openai/new") == ["openai/new"] and len(state._plans) == before


def test_a_broken_address_in_the_environment_is_one_deployment_s_problem(tmp_path):
    yaml = """
model_list:
  - {model_name: l, litellm_params: {model: ollama/llama3}}
  - {model_name: b, litellm_params: {model: openai/gpt-4o, api_key: k}}
"""
    state = state_of(tmp_path, yaml, {"OLLAMA_API_BASE": "http://[oops"})
    assert len(state.problems) == 1 and "'l'" in state.problems[0] and "ollama" in state.problems[0]
    assert labels(state, "b") == ["openai/gpt-4o"]


def test_keep_alive_from_the_config(tmp_path):
    settings = MODELS + "\nlitellm_settings: {sse_keepalive_ping_interval_seconds: 0}"
    assert state_of(tmp_path, settings).keep_alive == 0.0
