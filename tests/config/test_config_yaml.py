"""YAML itself: lines, duplicate keys, anchors, limits, broken text."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest
import yaml
from config_helpers import MODEL, Check, errors, lines

from penstock.config import load
from penstock.config.problems import Problems
from penstock.config.tree import MAX_DEPTH, parse


@pytest.fixture(params=["C", "python"])
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "python":
        monkeypatch.delattr(yaml, "CSafeLoader", raising=False)
    return str(request.param)


def test_duplicate_keys_are_all_reported(check: Check, parser: str) -> None:
    loaded = check(
        """\
        model_list:
          - model_name: a
            model_name: b
            litellm_params:
              model: openai/x
              timeout: 1
              timeout: 2
        model_list: []
        """
    )
    counts = "this one counts, remove the other"
    assert lines(loaded) == [
        f"c.yaml:3: model_list[0].model_name: the key is given twice in one mapping, first in line 2; {counts}",
        (
            "c.yaml:7: model_list[0].litellm_params.timeout: "
            f"the key is given twice in one mapping, first in line 6; {counts}"
        ),
        "c.yaml:8: model_list: no models are configured; requests will find none",
        f"c.yaml:8: model_list: the key is given twice in one mapping, first in line 1; {counts}",
    ]
    assert errors(loaded) == [] and loaded.config is not None and loaded.config.deployments == ()


def test_anchors_and_merges(check: Check, parser: str) -> None:
    loaded = check(
        """\
        x-defaults: &d
          api_base: http://localhost:1/v1
          timeout: 5
        x-more: &m {rpm: 7, timeout: 9}
        model_list:
          - model_name: a
            litellm_params: {<<: [*d, *m], model: openai/x, timeout: 6}
          - model_name: b
            litellm_params:
              <<: *d
              model: openai/y
        """
    )
    assert lines(loaded) == []
    assert loaded.config is not None
    one, two = loaded.config.deployments
    assert (one.api_base, one.timeout, one.rpm) == ("http://localhost:1/v1", 6.0, 7)
    assert (two.api_base, two.timeout, two.rpm) == ("http://localhost:1/v1", 5.0, None)


def test_a_problem_in_a_merged_value_names_the_line_of_the_anchor(check: Check) -> None:
    loaded = check(
        """\
        x-d: &d
          timeout: soon
        model_list:
          - model_name: a
            litellm_params:
              <<: *d
              model: openai/x
        """
    )
    assert errors(loaded) == [
        "c.yaml:2: model_list[0].litellm_params.timeout: expected a number of seconds above 0, got 'soon'"
    ]


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("a: [1\nb: 2\n", 2, "is not valid YAML"),
        ("a:\n  b: c: d\n", 2, "is not valid YAML: mapping values are not allowed"),
        ("a: 'b\n", 2, "is not valid YAML: while scanning a quoted scalar, found unexpected end of stream"),
        ("a: 1\nb: *nope\n", 2, "an alias (*name) without its anchor (&name) above it; put quotes around"),
        ("a: &x\n  b: *x\n", 2, "an alias (*name) inside the value that it names"),
        ("a: 1\n---\nb: 2\n", 2, "holds a second document (---); a config is one document"),
        ("a: !secret-thing x\n", 1, "a YAML tag (!name) that a config cannot use; put quotes around"),
        ("a: !!python/object/apply:os.system [x]\n", 1, "a YAML tag (!name) that a config cannot use"),
        ("a: !!set {x}\n", 1, "a YAML tag (!name) that a config cannot use"),
        ("a: 1\nb: \x07\n", 2, "holds a control character that YAML does not allow"),
        ("? [a]\n: 2\n", 1, "a key must be plain text"),
        ("a: 1\n<<: 3\n", 2, "<<: << takes a mapping or a list of mappings"),
        ("- a\n", 1, "expected a mapping with model_list and so on, got a list"),
        ("hello\n", 1, "expected a mapping with model_list and so on, got text"),
    ],
)
def test_broken_yaml_has_a_line(check: Check, parser: str, text: str, line: int, message: str) -> None:
    loaded = check(text)
    assert loaded.config is None
    (found,) = errors(loaded)
    if parser == "C" or "expected" in message or "alias" in message:
        assert found.startswith(f"c.yaml:{line}: {message}")
    assert found.startswith("c.yaml:")


def test_a_password_that_looks_like_an_alias_is_not_shown(check: Check, parser: str) -> None:
    loaded = check("general_settings:\n  master_key: *hunter2\n")
    assert "hunter2" not in errors(loaded)[0]
    assert "hunter2" not in errors(check("general_settings:\n  master_key: !hunter2\n"))[0]


@pytest.mark.parametrize("text", ["[" * 100_000, "a: " + "{a: " * 5000, "- " * 50_000])
def test_deep_nesting_is_an_error_and_not_a_crash(check: Check, parser: str, text: str) -> None:
    # PyYAML's C composer dies of a segmentation fault on the first of these.
    assert f"is nested deeper than {MAX_DEPTH} levels" in errors(check(text))[0]


def test_a_billion_laughs_are_an_error_at_once(check: Check, parser: str) -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    bomb += "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12))
    start = time.perf_counter()
    assert "c.yaml:6: expands to more than 200,000 values; are aliases nested?" in errors(check(bomb))[0]
    assert time.perf_counter() - start < 2


def test_files_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert errors(load(Path("none.yaml"), {})) == ["none.yaml: cannot be read: no such file"]
    Path("d").mkdir()
    assert errors(load(Path("d"), {})) == ["d: cannot be read: is a directory"]
    Path("big.yaml").write_bytes(b"# x\n" * (1024 * 1024 + 1))
    assert errors(load(Path("big.yaml"), {})) == ["big.yaml: is larger than 4 MB, the limit for one config file"]
    Path("latin.yaml").write_bytes("a: 1\nb: ä\n".encode("latin-1"))
    assert errors(load(Path("latin.yaml"), {})) == ["latin.yaml:2: is not UTF-8 text; save the file as UTF-8"]


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "null\n"])
def test_an_empty_file_is_a_warning(check: Check, text: str) -> None:
    loaded = check(text)
    assert lines(loaded) == ["c.yaml: is empty: no models are configured"]
    assert loaded.config is not None and loaded.config.deployments == ()


def test_thousands_of_problems_are_cut_and_counted(check: Check) -> None:
    loaded = check(
        MODEL + "litellm_settings:\n" + "".join(f"  not-a-key-{i}: 1\n" for i in range(2500)) + "model_list: 1\n"
    )
    assert len(loaded.problems) == 2002
    assert str(loaded.problems[0]) == "c.yaml: has 501 more problems, not shown"
    assert loaded.errors[0].path == "model_list"


def test_a_byte_order_mark_is_fine(check: Check) -> None:
    assert lines(check("\ufeff" + MODEL)) == []


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("~", None), ("", None), ("null", None), ("true", True), ("Off", False), ("12", 12), ("-0x1F", -31),
        ("017", 15), ("0b11", 3), ("1_000", 1000), ("1.5", 1.5), (".5", 0.5), ("1e3", 1000.0), ("1.0e+3", 1000.0),
        ("2024-10-21", "2024-10-21"), ("12:30:45", "12:30:45"), ("'12'", "12"), ("! 12", "12"), ("!!str 12", "12"),
        ("9" * 5000, "9" * 5000), ("=", "="), ("1e-6", 1e-06), ("'1e3'", "1e3"), ("1e999", "1e999"), ("1e3x", "1e3x"),
    ],
)  # fmt: skip
def test_scalars(parser: str, text: str, value: object) -> None:
    limit = sys.get_int_max_str_digits()
    assert limit < 5000 or not text.startswith("999")
    node = parse(f"a: {text}", "c.yaml", Problems())
    assert node is not None
    found = node.plain()["a"]
    assert found == value and type(found) is type(value)
