"""Variables: os.environ/NAME, ${NAME}, the section environment_variables, .env."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from config_helpers import MODEL, Check, errors, lines

from penstock.config import load_dotenv

PARAMS = """\
model_list:
  - model_name: a
    litellm_params:
      model: openai/x
"""


def params(check: Check, line: str, env: dict[str, str]) -> tuple[dict[str, object], list[str]]:
    loaded = check(PARAMS + f"      {line}\n", env)
    assert loaded.config is not None, lines(loaded)
    return dict(loaded.config.deployments[0].params), lines(loaded)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("os.environ/A", "one"),
        ("os.environ/A ", "one"),
        ("${A}", "one"),
        ("x-${A}-${B}", "x-one-two"),
        ("${NOPE:-three}", "three"),
        ("${EMPTY:-four}", "four"),
        ("${EMPTY}", ""),
        ("${NOPE:-}", ""),
        ("${A:-three}", "one"),
        ("$${A} ${B}", "${A} two"),
        ("$A {A} ${} ${1}", "$A {A} ${} ${1}"),
        ("xos.environ/A", "xos.environ/A"),
    ],
)
def test_text_with_variables(check: Check, written: str, value: str) -> None:
    found, problems = params(check, f"user: '{written}'", {"A": "one", "B": "two", "EMPTY": ""})
    assert found["user"] == value
    assert problems == []


def test_variables_at_any_depth_and_in_lists(check: Check) -> None:
    found, _ = params(check, "extra_body: {k: [os.environ/A, {d: 'os.environ/A', e: ['${A}']}, 1]}", {"A": "one"})
    assert found["extra_body"] == {"k": ["one", {"d": "one", "e": ["one"]}, 1]}


def test_unset_variables_are_warnings_and_make_the_value_absent(check: Check) -> None:
    loaded = check(
        PARAMS
        + """\
      api_key: os.environ/NO_KEY
      api_base: http://${NO_HOST}:8000
      timeout: ${NO_TIME}
      stop: [os.environ/NO_STOP, end]
      user: os.environ/
"""
    )
    unset = "is not set; the value counts as absent"
    assert lines(loaded) == [
        f"c.yaml:5: model_list[0].litellm_params.api_key: the environment variable NO_KEY {unset}",
        f"c.yaml:6: model_list[0].litellm_params.api_base: the environment variable NO_HOST {unset}",
        f"c.yaml:7: model_list[0].litellm_params.timeout: the environment variable NO_TIME {unset}",
        f"c.yaml:8: model_list[0].litellm_params.stop[0]: the environment variable NO_STOP {unset}",
        (
            "c.yaml:9: model_list[0].litellm_params.user: "
            "os.environ/ names no variable; write os.environ/NAME. The value counts as absent"
        ),
    ]
    assert loaded.config is not None
    deployment = loaded.config.deployments[0]
    assert (deployment.api_key, deployment.api_base, deployment.timeout) == (None, None, None)
    assert "user" not in deployment.defaults


def test_values_of_variables_take_the_type_of_the_key(check: Check) -> None:
    loaded = check(
        PARAMS + "      timeout: os.environ/T\n      drop_params: os.environ/D\n      rpm: ${R}\n",
        {"T": "1.5", "D": "True", "R": "60"},
    )
    assert loaded.config is not None
    deployment = loaded.config.deployments[0]
    assert (deployment.timeout, deployment.drop_params, deployment.rpm) == (1.5, True, 60)


def test_the_section_comes_before_os_environ_wherever_it_stands(check: Check) -> None:
    loaded = check(
        PARAMS
        + """\
      api_key: os.environ/K
      user: os.environ/COPY
environment_variables:
  K: from-config
  N: 5
  B: true
  EMPTY: null
  COPY: os.environ/K
""",
        {"K": "from-env", "OTHER": "o"},
    )
    assert lines(loaded) == []
    assert loaded.config is not None
    assert loaded.config.deployments[0].api_key == "from-config"
    assert loaded.config.deployments[0].defaults["user"] == "from-config"
    assert loaded.config.environment == {
        "K": "from-config", "OTHER": "o", "N": "5", "B": "True", "COPY": "from-config",
    }  # fmt: skip


def test_the_given_environment_is_not_changed(check: Check) -> None:
    env = {"K": "v"}
    before = dict(os.environ)
    assert check(MODEL + "environment_variables: {K: w, X: y}\n", env).config is not None
    assert env == {"K": "v"}
    assert dict(os.environ) == before


@pytest.mark.parametrize("name", ["PATH", "HOME", "PYTHONPATH", "LD_PRELOAD", "LD_ANYTHING", "DYLD_X", "path"])
def test_variables_that_steer_the_process_are_refused(check: Check, name: str) -> None:
    loaded = check(MODEL + f"environment_variables:\n  {name}: x\n")
    assert errors(loaded) == [
        (
            f"c.yaml:6: environment_variables.{name}: a config may not set this variable, "
            "it steers the process itself; set it where Penstock starts"
        )
    ]


def test_other_errors_of_the_section(check: Check) -> None:
    assert errors(check(MODEL + "environment_variables: [A=b]\n")) == [
        "c.yaml:5: environment_variables: expected a mapping of names to values"
    ]
    loaded = check(MODEL + "environment_variables:\n  A B: x\n  C: [1]\n")
    assert errors(loaded) == [
        'c.yaml:6: environment_variables["A B"]: is not a variable name; use letters, digits and _',
        "c.yaml:7: environment_variables.C: expected text, got a mapping or list",
    ]


def test_dotenv_lies_under_the_environment(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(
        "# keys\nA=one\nexport B='two words'\nC=\"${A}-${REAL}\"\nD=\nE\nREAL=file\nF=x # note\n", encoding="utf-8"
    )
    env = {"REAL": "env", "OTHER": "o"}
    before = dict(os.environ)
    assert load_dotenv(tmp_path, env) == {
        "A": "one", "B": "two words", "C": "one-env", "D": "", "REAL": "env", "OTHER": "o", "F": "x",
    }  # fmt: skip
    assert env == {"REAL": "env", "OTHER": "o"}
    assert dict(os.environ) == before


def test_no_dotenv_is_the_environment(tmp_path: Path) -> None:
    env = {"A": "b"}
    found = load_dotenv(tmp_path, env)
    assert found == env and found is not env
