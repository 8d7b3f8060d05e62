"""router_settings, litellm_settings, general_settings, the top level."""

from __future__ import annotations

import pytest
from config_helpers import MODEL, Check, errors, lines

from penstock.config import Config, defaults
from penstock.config.spec_groups import RoutingGroup
from penstock.config.text import report

GROUPS = """\
model_list:
  - {model_name: fast, litellm_params: {model: openai/a}}
  - {model_name: slow, litellm_params: {model: openai/b}, model_info: {id: slow-1}}
  - {model_name: "anthropic/*", litellm_params: {model: "anthropic/*"}}
"""


def config(check: Check, text: str, env: dict[str, str] | None = None) -> Config:
    loaded = check(text, env)
    assert loaded.config is not None, lines(loaded)
    return loaded.config


def test_router_settings(check: Check) -> None:
    loaded = check(
        GROUPS
        + """\
router_settings:
  routing_strategy: simple-shuffle
  num_retries: "3"
  timeout: 30
  stream_timeout: 10
  retry_after: 1
  max_fallbacks: 2
  fallbacks: [{fast: [slow, anthropic/claude-x, slow-1]}, {slow: slow-1, "*": [slow]}]
  context_window_fallbacks: {fast: [slow]}
  content_policy_fallbacks: []
  default_fallbacks: [slow]
  model_group_alias: {gpt: fast, old: {model: slow, hidden: true}, claude: anthropic/claude-x}
"""
    )
    assert lines(loaded) == []
    assert loaded.config is not None
    router = loaded.config.router
    assert (router.num_retries, router.timeout, router.stream_timeout) == (3, 30.0, 10.0)
    assert (router.retry_after, router.max_fallbacks) == (1.0, 2)
    assert router.fallbacks == {"fast": ("slow", "anthropic/claude-x", "slow-1"), "slow": ("slow-1",), "*": ("slow",)}
    assert router.context_window_fallbacks == {"fast": ("slow",)}
    assert router.content_policy_fallbacks == {}
    assert router.default_fallbacks == ("slow",)
    assert router.model_group_alias == {"gpt": "fast", "old": "slow", "claude": "anthropic/claude-x"}
    assert router.hidden_aliases == {"old"}


def test_dangling_references_are_errors(check: Check) -> None:
    loaded = check(
        GROUPS
        + """\
router_settings:
  fallbacks:
    - fsat: [slow]
    - fast:
        - slwo
        - nothing-like-it
  context_window_fallbacks: [{slow: [alias]}]
  default_fallbacks: [fats]
  model_group_alias:
    alias: fast
    other: {model: slowly}
litellm_settings:
  content_policy_fallbacks: [{fast: [gone]}]
general_settings:
  completion_model: fest
"""
    )
    assert errors(loaded) == [
        "c.yaml:7: router_settings.fallbacks[0].fsat: no model named 'fsat' in model_list, did you mean 'fast'?",
        "c.yaml:9: router_settings.fallbacks[1].fast[0]: no model named 'slwo' in model_list, did you mean 'slow'?",
        "c.yaml:10: router_settings.fallbacks[1].fast[1]: no model named 'nothing-like-it' in model_list",
        ("c.yaml:12: router_settings.default_fallbacks[0]: no model named 'fats' in model_list, did you mean 'fast'?"),
        (
            "c.yaml:15: router_settings.model_group_alias.other.model: "
            "no model named 'slowly' in model_list, did you mean 'slow'?"
        ),
        "c.yaml:17: litellm_settings.content_policy_fallbacks[0].fast[0]: no model named 'gone' in model_list",
        "c.yaml:19: general_settings.completion_model: no model named 'fest' in model_list, did you mean 'fast'?",
    ]


def test_a_star_makes_every_name_exist(check: Check) -> None:
    loaded = check(
        'model_list:\n- {model_name: "*", litellm_params: {model: "*"}}\nrouter_settings: {fallbacks: [{a: [b]}]}\n'
    )
    assert lines(loaded) == []


def test_a_broken_model_is_not_also_a_dangling_reference(check: Check) -> None:
    loaded = check("model_list:\n- model_name: a\n  litellm_params: {}\nrouter_settings: {default_fallbacks: [a]}\n")
    assert [problem.path for problem in loaded.errors] == ["model_list[0].litellm_params.model"]


CIRCLES = [
    ("[{fast: [fast]}]", ["fallbacks[0].fast[0]: these fallbacks lead in a circle: 'fast' -> 'fast'"]),
    (
        "[{fast: [slow]}, {slow: [slow-1, fast]}]",
        ["fallbacks[1].slow[1]: these fallbacks lead in a circle: 'fast' -> 'slow' -> 'fast'"],
    ),
    (
        "[{fast: slow}, {slow: [alias]}]",
        ["fallbacks[1].slow[0]: these fallbacks lead in a circle: 'fast' -> 'slow' -> 'fast'"],
    ),
    ("[{fast: [slow, slow-1]}, {slow: [slow-1]}]", []),  # two ways to one place are no circle
    ('[{"*": [slow]}, {fast: [slow]}]', []),
    ("[{anthropic/claude-1: [fast]}, {anthropic/*: [slow]}]", []),
]


@pytest.mark.parametrize(("rows", "told"), CIRCLES)
def test_fallbacks_in_a_circle_are_errors_with_their_line_and_the_gateway_starts(
    check: Check, rows: str, told: list[str]
) -> None:
    loaded = check(GROUPS + f"router_settings:\n  model_group_alias: {{alias: fast}}\n  fallbacks: {rows}\n")
    line = GROUPS.count("\n") + 3
    assert errors(loaded) == [f"c.yaml:{line}: router_settings.{text}" for text in told]
    assert loaded.config is not None


def test_a_long_chain_and_many_circles_are_walked_once(check: Check) -> None:
    count = 2000
    entries = "".join(f"- {{model_name: m{n}, litellm_params: {{model: openai/x}}}}\n" for n in range(count))
    rows = ", ".join(f"{{m{n}: [m{(n + 1) % count}, m{(n * 7) % count}]}}" for n in range(count))
    loaded = check(f"model_list:\n{entries}router_settings: {{fallbacks: [{rows}]}}\n")
    assert loaded.config is not None and any("in a circle" in problem for problem in errors(loaded))


@pytest.mark.parametrize(
    ("group", "known"),
    [
        ("fast", True), ("anthropic/*", True), ("anthropic/anything", True), ("openai/fast", True), ("fast*", False),
        ("f*t", True), ("gpt-*", False), ("claude-x", False), ("azure/fast", False),
    ],
)  # fmt: skip
def test_whose_fallbacks_they_may_be(check: Check, group: str, known: bool) -> None:
    """A name of its own, with its provider before it, or a pattern that some name has."""
    loaded = check(GROUPS + f'router_settings: {{fallbacks: [{{"{group}": [slow]}}]}}\n')
    assert (errors(loaded) == []) == known


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("fallbacks: fast", "fallbacks: expected a list of mappings, each `group: [groups]`, got 'fast'"),
        ("fallbacks: [fast]", "fallbacks: expected a list of mappings, each `group: [groups]`, got a list"),
        ("fallbacks: [{fast: {a: b}}]", "fallbacks[0].fast: expected a list of texts, got a mapping"),
        ("model_group_alias: [a]", "model_group_alias: expected a mapping of aliases to groups, got a list"),
        ("model_group_alias: {a: {m: b}}", "model_group_alias.a: expected a group, or a mapping with `model`"),
        ("retry_after: -1", "retry_after: expected a number of seconds, 0 or more, got -1"),
        ("num_retries: two", "num_retries: expected a whole number, 0 or more, got 'two'"),
        ("timeout: abc", "timeout: expected a number of seconds above 0, got 'abc'"),
    ],
)
def test_wrong_router_settings(check: Check, line: str, message: str) -> None:
    loaded = check(GROUPS + f"router_settings:\n  {line}\n")
    assert errors(loaded) == [f"c.yaml:6: router_settings.{message}"]
    assert loaded.config is not None and not loaded.config.router.values.get(line.partition(":")[0])


def test_strategies(check: Check) -> None:
    for name in ("least-busy", "latency-based-routing", "usage-based-routing", "cost-based-routing", "lar1"):
        loaded = check(GROUPS + f"router_settings:\n  routing_strategy: {name}\n")
        assert lines(loaded) == [] and loaded.config is not None
        assert loaded.config.router.routing_strategy == name
    assert errors(check(GROUPS + "router_settings:\n  routing_strategy: least_busy\n")) == [
        (
            "c.yaml:6: router_settings.routing_strategy: expected one of simple-shuffle, least-busy, usage-based-routing, "
            "usage-based-routing-v2, latency-based-routing, cost-based-routing, lar1, got 'least_busy', "
            "did you mean 'least-busy'?"
        )
    ]


def test_empty_fallbacks_are_none(check: Check) -> None:
    found = config(check, GROUPS + "router_settings: {fallbacks: [{fast: []}, {slow: null}, null]}\n")
    assert found.router.fallbacks == {}


def test_a_group_with_two_fallback_entries_is_a_warning(check: Check) -> None:
    loaded = check(GROUPS + "router_settings:\n  fallbacks:\n    - fast: [slow]\n    - fast: [fast]\n")
    assert lines(loaded) == [
        "c.yaml:8: router_settings.fallbacks[1].fast: the group has fallbacks above; these are not used"
    ]


def test_litellm_settings_lie_under_router_settings(check: Check) -> None:
    text = (
        GROUPS
        + "litellm_settings: {num_retries: 1, request_timeout: 9, fallbacks: [{fast: [slow]}], default_fallbacks: [slow]}\n"
    )
    router = config(check, text).router
    assert (router.num_retries, router.timeout) == (1, 9.0)
    assert (router.fallbacks, router.default_fallbacks) == ({"fast": ("slow",)}, ("slow",))
    router = config(check, text + "router_settings: {num_retries: 4, timeout: 8, fallbacks: [{slow: [fast]}]}\n").router
    assert (router.num_retries, router.timeout, router.fallbacks) == (4, 8.0, {"slow": ("fast",)})


def test_litellm_settings(check: Check) -> None:
    loaded = check(GROUPS + "litellm_settings: {drop_params: 'True', ssl_verify: no, callbacks: otel, max_budget: 0}\n")
    assert lines(loaded) == []
    assert loaded.config is not None
    assert loaded.config.litellm.drop_params is True
    assert loaded.config.litellm.ssl_verify is False
    assert loaded.config.litellm.callbacks == ("otel",)
    assert loaded.config.litellm.values["max_budget"] == 0


@pytest.mark.parametrize(
    ("litellm", "general", "expected"),
    [("", "", False), ("true", "", True), ("", "'True'", True), ("false", "true", False), ("true", "false", True)],
)
def test_log_switches_hold_in_both_sections_and_litellm_wins(
    check: Check, litellm: str, general: str, expected: bool
) -> None:
    for key in ("set_verbose", "json_logs"):
        found = config(check, MODEL + f"litellm_settings:\n  {key}: {litellm}\ngeneral_settings:\n  {key}: {general}\n")
        assert getattr(found.litellm, key) is expected
        assert getattr(found.general, key) is expected


def test_general_settings(check: Check) -> None:
    loaded = check(
        MODEL + "general_settings: {completion_model: fast, max_request_size_mb: 64, alerting: [slack], otel: false}\n"
    )
    assert lines(loaded) == []
    assert loaded.config is not None
    assert loaded.config.general.completion_model == "fast"
    assert loaded.config.general.max_request_size_mb == 64.0
    assert loaded.config.general.values["alerting"] == ("slack",)


def test_a_bound_for_all_that_is_below_the_one_for_each(check: Check) -> None:
    found = check(MODEL + "general_settings:\n  max_request_size_mb: 64\n  max_held_mb: 16\n")
    text = "is below max_request_size_mb (64): no request over 16 MB is ever served"
    assert lines(found) == [f"c.yaml:7: general_settings.max_held_mb: {text}"]
    assert not lines(check(MODEL + "general_settings: {max_request_size_mb: 64, max_held_mb: 64}\n"))
    assert lines(check(MODEL + "general_settings: {max_held_mb: 0}\n")), "a number above 0"


@pytest.mark.parametrize(
    ("text", "env", "key", "source"),
    [
        ("", {}, None, ""),
        ("", {"LITELLM_MASTER_KEY": "k-litellm"}, "k-litellm", "LITELLM_MASTER_KEY"),
        ("", {"PENSTOCK_MASTER_KEY": "k-penstock"}, "k-penstock", "PENSTOCK_MASTER_KEY"),
        ("", {"LITELLM_MASTER_KEY": "k1", "PENSTOCK_MASTER_KEY": "k2"}, "k1", "LITELLM_MASTER_KEY"),
        ("", {"LITELLM_MASTER_KEY": " ", "PENSTOCK_MASTER_KEY": "k2"}, "k2", "PENSTOCK_MASTER_KEY"),
        ("k-config", {"LITELLM_MASTER_KEY": "k-litellm"}, "k-config", "config"),
        ("os.environ/MINE", {"MINE": "k-mine"}, "k-mine", "config"),
        ("null", {"LITELLM_MASTER_KEY": "k-litellm"}, "k-litellm", "LITELLM_MASTER_KEY"),
    ],
)
def test_where_the_master_key_comes_from(
    check: Check, text: str, env: dict[str, str], key: str | None, source: str
) -> None:
    loaded = check(MODEL + f"general_settings:\n  master_key: {text}\n", env)
    assert lines(loaded) == []
    assert loaded.config is not None
    general = loaded.config.general
    assert (general.master_key and general.master_key.reveal(), general.master_key_source) == (key, source)


def test_doubtful_master_keys_are_warnings(check: Check) -> None:
    def found(text: str, env: dict[str, str] | None = None) -> list[str]:
        return lines(check(MODEL + text, env))

    assert found("general_settings:\n  master_key: sk-1234\n") == [
        "c.yaml:6: general_settings.master_key: is a key that everybody knows from samples; choose a random one"
    ]
    assert found("", {"LITELLM_MASTER_KEY": "sk-1234"}) == [
        (
            "c.yaml: general_settings.master_key: "
            "the master key in LITELLM_MASTER_KEY is a key that everybody knows from samples; choose a random one"
        )
    ]
    assert found("general_settings:\n  master_key: ''\n") == [
        "c.yaml:6: general_settings.master_key: is empty; counts as absent"
    ]
    assert found("general_settings:\n  master_key: os.environ/K\n", {"K": "abcdefgh\n"}) == [
        "c.yaml:6: general_settings.master_key: has spaces around it; they are left out"
    ]
    assert found("general_settings:\n  master_key: ' '\n") == [
        "c.yaml:6: general_settings.master_key: is empty; counts as absent"
    ]
    assert config(check, MODEL + "general_settings: {master_key: ' abcdefgh '}\n").general.master_key == "abcdefgh"
    assert found("general_settings:\n  master_key: [a]\n") == [
        "c.yaml:6: general_settings.master_key: expected text, got a list"
    ]


def test_numeric_keys_keep_their_text(check: Check) -> None:
    found = config(check, MODEL + "general_settings:\n  master_key: 0012345678901\n")
    assert found.general.master_key == "0012345678901"


@pytest.mark.parametrize(
    ("text", "url", "is_null"),
    [
        ("database_url: null", None, True),
        ("database_url:", None, True),
        ("database_url: ~", None, True),
        ("store_model_in_db: false", "postgresql://env/db", False),
        ("database_url: os.environ/NOT_SET", "postgresql://env/db", False),
        ("database_url: sqlite:///x.db", "sqlite:///x.db", False),
    ],
)
def test_database_url(check: Check, text: str, url: str | None, is_null: bool) -> None:
    general = config(check, MODEL + f"general_settings:\n  {text}\n", {"DATABASE_URL": "postgresql://env/db"}).general
    assert (general.database_url, general.database_url_is_null) == (url, is_null)


def test_top_level(check: Check) -> None:
    loaded = check(
        MODEL
        + """\
x-anchors: {a: 1}
guardrails: [{guardrail_name: g}]
callback_settings: {}
prompts:
modle_list: []
drop_params: true
whatever: 1
router_settings: [a]
"""
    )
    assert lines(loaded) == [
        "c.yaml:6: guardrails[0].litellm_params: is missing: a mapping with guardrail (which one) and mode (when it "
        "runs); requests that it would judge are refused",
        "c.yaml:9: modle_list: unknown key, did you mean 'model_list'?; ignored",
        "c.yaml:10: drop_params: unknown key, it belongs in litellm_settings; ignored",
        "c.yaml:11: whatever: unknown key; ignored",
        "c.yaml:12: router_settings: expected a mapping, got a list",
    ]


def test_null_sections_are_absent(check: Check) -> None:
    text = "".join(
        f"{name}:\n"
        for name in (
            "router_settings",
            "litellm_settings",
            "general_settings",
            "environment_variables",
            "credential_list",
        )
    )
    loaded = check(MODEL + text)
    assert lines(loaded) == []
    assert loaded.config is not None and not loaded.config.general.database_url_is_null


def test_defaults_have_no_models_and_the_master_key_of_the_environment() -> None:
    found = defaults({"PENSTOCK_MASTER_KEY": "k-penstock\n", "DATABASE_URL": "postgresql://foreign/db"})
    assert found.deployments == ()
    assert found.general.master_key == "k-penstock"
    assert found.general.database_url == "postgresql://foreign/db"
    # Many a shell has one for something else; only beside a master key is it meant for a gateway.
    assert defaults({"DATABASE_URL": "postgresql://foreign/db"}).general.database_url is None
    assert found.environment["DATABASE_URL"] == "postgresql://foreign/db"


def test_report(check: Check) -> None:
    text = MODEL + "      timeout: x\n      rpm: y\nfoo: 1\n"
    assert report(check(text)) == (
        "c.yaml:5: model_list[0].litellm_params.timeout: error: expected a number of seconds above 0, got 'x'\n"
        "c.yaml:6: model_list[0].litellm_params.rpm: error: expected a whole number, 0 or more, got 'y'\n"
        "c.yaml:7: foo: warning: unknown key; ignored\n"
        "2 errors, 1 warning"
    )
    assert report(check(MODEL)) == "0 errors, 0 warnings"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("hedge_after: 800ms", 0.8),
        ("hedge_after: 1.5", 1.5),
        ("hedge_after: 2s", 2.0),
        ("hedge_after: p95", 0.0),
        ("retry_policy: {RateLimitErrorRetries: 3, DefaultRetries: 1}", {"RateLimitError": 3, "": 1}),
        ("allowed_fails_policy: {TimeoutErrorAllowedFails: 5}", {"Timeout": 5}),
        ("model_group_retry_policy: {fast: {NotFoundErrorRetries: 0}}", {"fast": {"NotFoundError": 0}}),
        ("optional_pre_call_checks: session_affinity", ("session_affinity",)),
        ("provider_budget_config: {openai: {budget_limit: 5, time_period: 1d}}", {"openai": (5.0, 86400.0)}),
        ("provider_budget_config: {a: {max_budget: 0.5, budget_duration: 30s}}", {"a": (0.5, 30.0)}),
        (
            "routing_groups: [{group_name: g, models: [fast], routing_strategy: least-busy}]",
            (RoutingGroup(name="g", models=("fast",), strategy="least-busy"),),
        ),
    ],
)
def test_what_only_the_router_has(check: Check, text: str, wanted: object) -> None:
    loaded = check(GROUPS + f"router_settings:\n  {text}\n")
    assert lines(loaded) == [] and loaded.config is not None
    assert loaded.config.router.values[text.partition(":")[0]] == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("hedge_after: soon", "hedge_after: expected a time such as 800ms, 1.5s or p95, got 'soon'"),
        ("retry_policy: 3", "retry_policy: expected a mapping such as `RateLimitErrorRetries: 3`, got 3"),
        ("retry_policy: {RateLimitErrorRetry: 3}", "retry_policy[...]: is no class of errors, did you mean 'RateLimitErrorRetries'?; ignored"),
        ("retry_policy: {TimeoutErrorRetries: x}", "retry_policy[...]: expected a whole number, 0 or more, got 'x'"),
        ("routing_groups: [{group_name: g, models: [fast], routing_strategy: leastbusy}]", "routing_groups[0].routing_strategy: expected one of"),
        ("provider_budget_config: {a: {budget_limit: 5, time_period: soon}}", "provider_budget_config.a.time_period: expected a period such as"),
        ("provider_budget_config: 5", "provider_budget_config: expected a mapping of providers to"),
        ("model_list: [1]", "model_list: is not read here: use the section model_list"),
        ("alerting_config: {webhook_url: x}", "alerting_config: is not read here: use failure_callback, which tells"),
        ("plugins: [x]", "plugins: is not read here: use routing_groups; plugins are objects of Python"),
        ("default_litellm_params: {temperature: hot}", "default_litellm_params.temperature: expected a number"),
        ("routing_groups: [fast]", "routing_groups[0]: expected a mapping with `group_name`, `models` and `routing_strategy`"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_it_is_told(check: Check, text: str, wanted: str) -> None:
    [line] = lines(check(GROUPS + f"router_settings:\n  {text}\n"))
    assert line.startswith(f"c.yaml:6: router_settings.{wanted}")


@pytest.mark.parametrize("key", ["enable_health_check_routing", "health_check_ignore_transient_errors"])
def test_what_general_settings_say_of_health_is_the_routers(check: Check, key: str) -> None:
    general, both = f"general_settings: {{{key}: true}}\n", f"router_settings: {{{key}: false}}\n"
    for text, value in ((general, True), (general + both, False), ("", None)):
        loaded = check(MODEL + text)
        assert loaded.config is not None and loaded.problems == ()
        assert loaded.config.router.values.get(key) is value
