"""model_list and credential_list."""

from __future__ import annotations

import pytest
from config_helpers import MODEL, Check, errors, lines

from penstock.config import Deployment, Secret


def one(check: Check, block: str, **more: object) -> Deployment:
    body = "\n".join(f"      {line}" for line in block.splitlines())
    loaded = check(f"model_list:\n  - model_name: a\n    litellm_params:\n{body}\n", **more)
    assert loaded.config is not None, lines(loaded)
    return loaded.config.deployments[0]


def test_every_field(check: Check) -> None:
    deployment = one(
        check,
        """\
model: openai/gpt-4o-mini
api_key: sk-upstream
api_base: https://example.com/v1
api_version: 2024-10-21
organization: org-1
timeout: "60"
stream_timeout: 5
max_retries: 1
num_retries: "2"
rpm: "100"
tpm: 1e5
weight: 0.5
order: 1
tags: [free, 2]
extra_headers: {X-One: 1, X-Two: two, X-None: null}
headers: {X-One: 0, X-Three: "3"}
drop_params: "True"
additional_drop_params: [logit_bias]
allowed_openai_params: [tools]
on_unsupported: warn
ssl_verify: /etc/ca.pem
temperature: 0.5
max_tokens: 10
stop: null
extra_body: {a: {b: null}}""",
    )
    assert deployment.model_name == "a"
    assert deployment.api_key == Secret("sk-upstream")
    assert deployment.api_base == "https://example.com/v1"
    assert deployment.api_version == "2024-10-21"
    assert deployment.organization == "org-1"
    assert (deployment.timeout, deployment.stream_timeout) == (60.0, 5.0)
    assert (deployment.max_retries, deployment.num_retries) == (1, 2)
    assert (deployment.rpm, deployment.tpm, deployment.weight, deployment.order) == (100, 100_000, 0.5, 1)
    assert deployment.tags == ("free", "2")
    assert deployment.extra_headers == {"X-One": "1", "X-Two": "two", "X-Three": "3"}
    assert deployment.drop_params is True
    assert deployment.additional_drop_params == ("logit_bias",)
    assert deployment.allowed_openai_params == ("tools",)
    assert deployment.on_unsupported == "warn"
    assert deployment.ssl_verify == "/etc/ca.pem"
    assert deployment.defaults == {"temperature": 0.5, "max_tokens": 10}
    assert deployment.extra_body == {"a": {"b": None}}
    assert deployment.params["api_key"] == "sk-upstream" and deployment.params["temperature"] == 0.5
    assert (deployment.file, deployment.line) == ("c.yaml", 2)
    assert not deployment.is_wildcard


def test_absent_fields_are_none_or_empty(check: Check) -> None:
    deployment = one(check, "model: openai/x\napi_key: null\ntimeout:\ndrop_params: ~")
    assert (deployment.api_key, deployment.timeout, deployment.drop_params) == (None, None, None)
    assert (deployment.tags, deployment.defaults, deployment.info) == ((), {}, {})
    assert (deployment.provider, deployment.upstream_model) == ("", "openai/x")


def test_other_spellings(check: Check) -> None:
    assert one(check, "model: openai/x\nbase_url: http://h/v1").api_base == "http://h/v1"
    assert one(check, "model: openai/x\nbase_url: http://h/v1\napi_base: http://i/v1").api_base == "http://i/v1"
    assert one(check, "model: openai/x\nrequest_timeout: 3").timeout == 3.0
    assert one(check, "model: openai/x\nssl_verify: 'false'").ssl_verify is False
    assert one(check, "model: openai/x\nssl_verify: ' /ca.pem '").ssl_verify == "/ca.pem"
    assert one(check, "model: openai/x\napi_base: ' http://h/v1 '").api_base == "http://h/v1"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("timeout: abc", "timeout: expected a number of seconds above 0, got 'abc'"),
        ("timeout: 0", "timeout: expected a number of seconds above 0, got 0"),
        ("timeout: true", "timeout: expected a number of seconds above 0, got true"),
        ("timeout: .nan", "timeout: expected a number of seconds above 0, got .nan"),
        ("timeout: .inf", "timeout: expected a number of seconds above 0, got .inf"),
        ("timeout: [1]", "timeout: expected a number of seconds above 0, got a list"),
        ("weight: -1", "weight: expected a number, 0 or more, got -1"),
        ("rpm: 1.5", "rpm: expected a whole number, 0 or more, got 1.5"),
        ("rpm: -3", "rpm: expected a whole number, 0 or more, got -3"),
        ("max_retries: '-1'", "max_retries: expected a whole number, 0 or more, got '-1'"),
        ("api_base: localhost:8000", "api_base: expected a URL such as http://localhost:8000/v1, got 'localhost:8000'"),
        ("api_base: http://h:99999/", "api_base: expected a URL such as http://localhost:8000/v1, got 'http://h:99999/'"),
        ("api_base: ftp://h/", "api_base: expected a URL such as http://localhost:8000/v1, got 'ftp://h/'"),
        ("api_key: {a: b}", "api_key: expected text, got a mapping"),
        ("additional_drop_params: a", "additional_drop_params: expected a list of texts, got 'a'"),
        ("additional_drop_params: [[a]]", "additional_drop_params[0]: expected text, got a list"),
        ("on_unsupported: drp", "on_unsupported: expected one of drop, warn, reject, got 'drp', did you mean 'drop'?"),
        ("extra_headers: [a]", "extra_headers: expected a mapping of header names to texts, got a list"),
        ("extra_headers: {'a b': c}", 'extra_headers["a b"]: is not a header name; use letters, digits and -'),
        ('extra_headers: {a: "b\\nc"}', "extra_headers.a: holds a line break or control character, no header may"),
        ("ssl_verify: []", "ssl_verify: expected true, false or the path of a CA file, got a list"),
    ],
)  # fmt: skip
def test_wrong_types_are_errors(check: Check, line: str, message: str) -> None:
    loaded = check(MODEL + f"      {line}\n")
    assert errors(loaded) == [f"c.yaml:5: model_list[0].litellm_params.{message}"]
    assert loaded.config is not None and loaded.config.deployments == ()


def test_one_bad_entry_is_left_out_and_the_others_serve(check: Check) -> None:
    """As in LiteLLM's proxy, whose router ignores invalid deployments unless told not to."""
    text = MODEL + "  - model_name: bad\n    litellm_params: {model: openai/x, timeout: soon}\n"
    text += "  - {model_name: last, litellm_params: {model: openai/x}}\n"
    text += "router_settings:\n  fallbacks: [{fast: [bad, gone]}]\n  num_retries: two\n"
    loaded = check(text)
    assert [problem.path for problem in loaded.errors] == [
        "model_list[1].litellm_params.timeout",
        "router_settings.fallbacks[0].fast[1]",
        "router_settings.num_retries",
    ]
    assert loaded.config is not None
    assert loaded.config.model_names == ("fast", "last") and loaded.config.router.num_retries is None
    strict = check(text + "  ignore_invalid_deployments: false\n")
    assert strict.config is None and strict.errors == loaded.errors


def test_what_is_wrong_where_it_has_no_effect_is_a_warning(check: Check) -> None:
    loaded = check(
        MODEL
        + "      fallbacks: free\n      temperature: hot\n      encoding_format: [float]\n      drop_params: [a]\n"
        + "litellm_settings:\n  callbacks: [{websearch_interception: {}}]\n"
    )
    assert lines(loaded) == [
        "c.yaml:5: model_list[0].litellm_params.fallbacks: expected a list, got 'free'; counts as absent",
        "c.yaml:6: model_list[0].litellm_params.temperature: expected a number, got 'hot'; counts as absent",
        "c.yaml:7: model_list[0].litellm_params.encoding_format: expected one of float, base64, got a list; counts as absent",
        (
            "c.yaml:8: model_list[0].litellm_params.drop_params: expected true or false, got a list; counts as absent; "
            "for a list of parameters write additional_drop_params"
        ),
        "c.yaml:10: litellm_settings.callbacks[0]: expected text, got a mapping; counts as absent",
    ]
    assert loaded.config is not None
    deployment = loaded.config.deployments[0]
    assert deployment.defaults == {} and deployment.drop_params is None


def test_request_parameters_may_come_from_the_environment(check: Check) -> None:
    text = (
        MODEL
        + "      temperature: os.environ/T\n      max_tokens: os.environ/M\n      seed: '7'\n      stop: os.environ/S\n"
    )
    loaded = check(text, {"T": "0.5", "M": "10", "S": "x"})
    assert loaded.config is not None and lines(loaded) == []
    assert loaded.config.deployments[0].defaults == {"temperature": 0.5, "max_tokens": 10, "seed": 7, "stop": "x"}


def test_second_spellings_of_google_s_account(check: Check) -> None:
    loaded = check(MODEL + "      vertex_ai_project: p\n      vertex_ai_location: eu\n      vertex_location: us\n")
    assert loaded.config is not None and lines(loaded) == []
    params = loaded.config.deployments[0].params
    assert (params["vertex_project"], params["vertex_location"]) == ("p", "us")


def test_an_address_with_a_name_and_a_password_is_told(check: Check) -> None:
    loaded = check(MODEL + "      api_base: http://user:a-password@h/v1\n")
    [line] = lines(loaded)
    assert "holds a user name or password" in line and "a-password" not in line and loaded.config is not None


def test_unknown_parameters(check: Check) -> None:
    loaded = check(
        MODEL + "      temprature: 1\n      api_bsae: x\n      zzz: 1\n      zz2: null\n      thinking: {}\n"
    )
    sent = "not sent upstream. A parameter of the model's own goes into extra_body"
    assert lines(loaded) == [
        f"c.yaml:5: model_list[0].litellm_params.temprature: unknown key, did you mean 'temperature'?; {sent}",
        f"c.yaml:6: model_list[0].litellm_params.api_bsae: unknown key, did you mean 'api_base'?; {sent}",
        f"c.yaml:7: model_list[0].litellm_params.zzz: unknown key; {sent}",
    ]
    assert loaded.config is not None
    deployment = loaded.config.deployments[0]
    assert deployment.defaults == {"thinking": {}} and not {"temprature", "zzz"} & {*deployment.params}


def test_known_keys_are_warnings_unless_they_ask_for_nothing(check: Check) -> None:
    loaded = check(
        MODEL
        + "      hf_model_name: eu\n      mock_delay: 0.1\n      cost_per_query: 1\n      caching: false\n"
        + "      guardrails: []\n      mock_response:\n    model_info:\n      team_id: x\n      tier: free\n"
    )
    known = "known LiteLLM key, not acted on yet"
    assert [line.partition(" (")[0] for line in lines(loaded)] == [
        f"c.yaml:5: model_list[0].litellm_params.hf_model_name: {known}",
        f"c.yaml:6: model_list[0].litellm_params.mock_delay: {known}",
        f"c.yaml:7: model_list[0].litellm_params.cost_per_query: {known}",
        f"c.yaml:12: model_list[0].model_info.team_id: {known}",
        f"c.yaml:13: model_list[0].model_info.tier: {known}",
    ]
    assert loaded.config is not None
    assert loaded.config.deployments[0].defaults == {}


def test_missing_names_are_errors(check: Check) -> None:
    loaded = check(
        """\
        model_list:
          - litellm_params: {model: openai/x}
          - model_name: ""
            litellm_params: {model: openai/x}
          - model_name: c
          - model_name: d
            litellm_params:
              api_key: k
          - model_name: e
            litellm_params: {model: null}
          - model_name: f
            litellm_params: openai/x
          -
          - just text
        """
    )
    name, model = "it is the name that clients send", "write provider/model, such as openai/gpt-4o-mini"
    assert errors(loaded) == [
        f"c.yaml:2: model_list[0].model_name: is missing; {name}",
        f"c.yaml:3: model_list[1].model_name: is empty; {name}",
        f"c.yaml:5: model_list[2].litellm_params.model: is missing; {model}",
        f"c.yaml:7: model_list[3].litellm_params.model: is missing; {model}",
        f"c.yaml:10: model_list[4].litellm_params.model: is empty; {model}",
        "c.yaml:12: model_list[5].litellm_params: expected a mapping, got 'openai/x'",
        "c.yaml:14: model_list[7]: expected a mapping, got text",
    ]


def test_keys_in_the_wrong_place(check: Check) -> None:
    loaded = check(
        "model_list:\n  - model_name: a\n    api_key: k\n    litellm_param: {}\n    litellm_params: {model: x}\n"
    )
    assert lines(loaded) == [
        "c.yaml:3: model_list[0].api_key: unknown key, it belongs in model_list[].litellm_params; ignored",
        "c.yaml:4: model_list[0].litellm_param: unknown key, did you mean 'litellm_params'?; ignored",
    ]


def test_old_place_of_rpm(check: Check) -> None:
    loaded = check("model_list:\n  - {model_name: a, rpm: 5, tpm: 6, litellm_params: {model: x, tpm: 7}}\n")
    assert loaded.config is not None and lines(loaded) == []
    assert (loaded.config.deployments[0].rpm, loaded.config.deployments[0].tpm) == (5, 7)


@pytest.mark.parametrize("text", ["model_list: []\n", "model_list:\n", "litellm_settings: {drop_params: true}\n"])
def test_no_models_is_a_warning(check: Check, text: str) -> None:
    loaded = check(text)
    assert [p.message for p in loaded.problems] == ["no models are configured; requests will find none"]
    assert loaded.config is not None


def test_model_list_of_the_wrong_type(check: Check) -> None:
    assert errors(check("model_list: {a: b}\n")) == [
        "c.yaml:1: model_list: expected a list of models, got a mapping; begin each with `- model_name:`"
    ]


def test_ids(check: Check) -> None:
    loaded = check(
        """\
        model_list:
          - {model_name: a, litellm_params: {model: openai/x, api_key: os.environ/K}}
          - {model_name: a, litellm_params: {model: openai/x, api_key: os.environ/L}}
          - {litellm_params: {api_key: os.environ/K, model: openai/x}, model_name: a}
          - {model_name: a, litellm_params: {model: openai/x}, model_info: {id: mine, note: n}}
        """,
        {"K": "1", "L": "1"},
    )
    assert lines(loaded) == ["c.yaml:4: model_list[2]: the same entry as c.yaml:2; both take traffic"]
    assert loaded.config is not None
    ids = [d.id for d in loaded.config.deployments]
    assert len(set(ids)) == 4
    assert ids[3] == "mine"
    assert all(len(found) == 64 and int(found, 16) for found in ids[:3])
    again = check(
        "model_list:\n- {litellm_params: {api_key: os.environ/K, model: openai/x}, model_name: a}\n", {"K": "9"}
    )
    assert again.config is not None
    assert again.config.deployments[0].id == ids[0], "neither the variable's value nor the order of keys matters"
    assert loaded.config.deployments[3].info == {"id": "mine", "note": "n"}


def test_an_id_given_twice_is_an_error(check: Check) -> None:
    loaded = check(
        """\
        model_list:
          - {model_name: a, litellm_params: {model: openai/x}, model_info: {id: i}}
          - model_name: a
            litellm_params: {model: openai/x}
            model_info:
              id: i
        """
    )
    assert errors(loaded) == [
        "c.yaml:6: model_list[1].model_info.id: the id 'i' is taken by the model of c.yaml:2; ids are unique"
    ]


def test_model_info(check: Check) -> None:
    loaded = check(MODEL + "    model_info: {mode: embedings, base_modle: x, my_note: 1}\n")
    assert lines(loaded) == [
        "c.yaml:5: model_list[0].model_info.base_modle: unknown key, did you mean 'base_model'?; kept as information",
        (
            "c.yaml:5: model_list[0].model_info.mode: "
            "unknown value 'embedings', did you mean 'embedding'?; kept as it is"
        ),
    ]
    assert loaded.config is not None
    assert loaded.config.deployments[0].mode == "embedings"


def test_credentials(check: Check) -> None:
    loaded = check(
        """\
        model_list:
          - model_name: a
            litellm_params: {model: azure/x, litellm_credential_name: azure, api_base: http://own/}
          - model_name: b
            litellm_params:
              model: azure/x
              litellm_credential_name: azur
        credential_list:
          - credential_name: azure
            credential_values: {api_key: os.environ/K, api_base: http://shared/, temperature: 1}
            credential_info: {description: x}
        """,
        {"K": "secret"},
    )
    assert errors(loaded) == [
        (
            "c.yaml:7: model_list[1].litellm_params.litellm_credential_name: "
            "no credential named 'azur' in credential_list, did you mean 'azure'?"
        )
    ]
    fixed = check(
        """\
        credential_list:
          - {credential_name: azure, credential_values: {api_key: os.environ/K, api_base: http://s/, temperature: 1}}
        model_list:
          - model_name: a
            litellm_params: {model: azure/x, litellm_credential_name: azure, api_base: http://own/}
        """,
        {"K": "secret"},
    )
    assert fixed.config is not None and lines(fixed) == []
    deployment = fixed.config.deployments[0]
    assert (deployment.api_key, deployment.api_base) == ("secret", "http://own/")
    assert deployment.defaults == {"temperature": 1}


def test_wrong_credentials(check: Check) -> None:
    loaded = check(
        MODEL
        + "credential_list:\n  - {credential_values: {}}\n  - {credential_name: a}\n  - {credential_name: a, x: 1}\n  - b\n"
    )
    assert lines(loaded) == [
        "c.yaml:6: credential_list[0].credential_name: is missing; deployments refer to it",
        "c.yaml:8: credential_list[2].credential_name: 'a' is given twice; keep one",
        "c.yaml:8: credential_list[2].x: unknown key; ignored",
        "c.yaml:9: credential_list[3]: expected a mapping, got text",
    ]
    assert errors(check(MODEL + "credential_list: {}\n")) == [
        "c.yaml:5: credential_list: expected a list, got a mapping"
    ]


def test_an_empty_key_is_absent(check: Check) -> None:
    loaded = check(MODEL + "      api_key: os.environ/K\n", {"K": ""})
    assert lines(loaded) == ["c.yaml:5: model_list[0].litellm_params.api_key: is empty; counts as absent"]
    assert loaded.config is not None
    assert loaded.config.deployments[0].api_key is None
    assert "api_key" not in loaded.config.deployments[0].params


@pytest.mark.parametrize("key", ["timeout", "api_base", "rpm", "drop_params", "on_unsupported", "ssl_verify"])
def test_an_empty_variable_does_not_block_the_start(check: Check, key: str) -> None:
    loaded = check(MODEL + f"      {key}: os.environ/E\n", {"E": ""})
    assert lines(loaded) == [f"c.yaml:5: model_list[0].litellm_params.{key}: is empty; counts as absent"]
    assert loaded.config is not None
    assert getattr(loaded.config.deployments[0], key) is None


def test_spaces_and_line_breaks_in_keys(check: Check) -> None:
    loaded = check(MODEL + "      api_key: os.environ/K\n", {"K": "sk-file\n"})
    assert lines(loaded) == ["c.yaml:5: model_list[0].litellm_params.api_key: has spaces around it; they are left out"]
    assert loaded.config is not None and loaded.config.deployments[0].api_key == "sk-file"
    assert errors(check(MODEL + "      api_key: os.environ/K\n", {"K": "sk\r\nx"})) == [
        "c.yaml:5: model_list[0].litellm_params.api_key: holds a line break or control character, no key may"
    ]


def test_wildcards(check: Check) -> None:
    loaded = check(
        """\
        model_list:
          - {model_name: "openai/*", litellm_params: {model: "openai/*"}}
          - {model_name: "*", litellm_params: {model: "openai/*"}}
          - model_name: plain
            litellm_params:
              model: openai/*
        """
    )
    assert lines(loaded) == [
        (
            "c.yaml:6: model_list[2].litellm_params.model: "
            "has a * but model_name 'plain' has none, so the * is sent upstream as it is"
        )
    ]
    assert loaded.config is not None
    assert [d.is_wildcard for d in loaded.config.deployments] == [True, True, False]


def test_the_resolver_is_asked_and_its_refusal_is_an_error(check: Check) -> None:
    asked = []

    def resolve(model: str, api_base: str | None, custom: str | None) -> tuple[str, str]:
        asked.append((model, api_base, custom))
        if model.startswith("nope"):
            raise LookupError("no provider 'nope', did you mean 'openai'?")
        return "openai", model.partition("/")[2]

    loaded = check(MODEL + "      api_base: http://h/\n      custom_llm_provider: openai\n", None, resolve)
    assert loaded.config is not None
    assert loaded.config.deployments[0].provider == "openai"
    assert loaded.config.deployments[0].upstream_model == "gpt-4o-mini"
    assert asked == [("openai/gpt-4o-mini", "http://h/", "openai")]
    refused = check("model_list:\n- model_name: a\n  litellm_params:\n    model: nope/x\n", None, resolve)
    assert errors(refused) == [
        "c.yaml:4: model_list[0].litellm_params.model: no provider 'nope', did you mean 'openai'?"
    ]


def test_deployments_hash_by_id(check: Check) -> None:
    loaded = check(MODEL)
    assert loaded.config is not None
    deployment = loaded.config.deployments[0]
    assert {deployment: 1}[deployment] == 1


def test_more_wrong_types(check: Check) -> None:
    loaded = check(
        MODEL
        + f"      tpm: 1{'0' * 400}\n      timeout: 1{'0' * 400}\n      fallbacks: x\n      model_info: 1\n"
        + "general_settings:\n  max_failed_login_attempts_per_source_overrides: 5\n"
        + "router_settings:\n  plugins: prompt_caching\n"
    )
    assert [problem.message.partition(", got")[0] for problem in loaded.errors] == [
        "expected a whole number, 0 or more",
        "expected a number of seconds above 0",
    ]
    assert [problem.message.partition(", got")[0] for problem in loaded.warnings] == [
        "expected a list",
        "expected a mapping",
        "expected a mapping of names to numbers",
        "expected a list",
    ]


def test_three_entries_that_are_the_same_have_three_ids(check: Check) -> None:
    entry = "  - {model_name: a, litellm_params: {model: openai/x}}\n"
    loaded = check("model_list:\n" + entry * 3)
    assert loaded.config is not None and len(loaded.warnings) == 2
    assert len({deployment.id for deployment in loaded.config.deployments}) == 3


def test_a_pattern_of_clients_must_be_one(check: Check) -> None:
    loaded = check("model_list:\n  - {model_name: m, litellm_params: {model: x, tag_regex: ['^ok$', '(']}}\n")
    assert errors(loaded) == [
        "c.yaml:2: model_list[0].litellm_params.tag_regex: '(' is no regular expression: "
        "missing ), unterminated subpattern at position 0"
    ]


def test_a_time_of_day_that_is_none_is_an_error_that_says_what_would_be_right(check: Check) -> None:
    loaded = check("model_list:\n  - {model_name: m, litellm_params: {model: x, rpd: 5, daily_reset_time: midnight}}\n")
    assert errors(loaded) == [
        "c.yaml:2: model_list[0].litellm_params.daily_reset_time: 'midnight' is no time of day: write a time of day such "
        "as 00:00, 07:30 or 00:00-08:00 (with what it is ahead of UTC)"
    ]
