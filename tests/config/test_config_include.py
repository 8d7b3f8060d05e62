from __future__ import annotations

from pathlib import Path

from config_helpers import MODEL, Check, errors, lines

OTHER = """\
model_list:
  - model_name: slow
    litellm_params: {model: openai/slow}
"""


def test_lists_are_appended_and_other_values_added(check: Check) -> None:
    loaded = check("include: [sub/a.yaml]\n" + MODEL, sub__a_yaml=OTHER + "litellm_settings: {drop_params: true}\n")
    assert lines(loaded) == []
    assert loaded.config is not None
    assert loaded.config.model_names == ("fast", "slow")
    assert loaded.config.litellm.drop_params is True
    assert [d.file for d in loaded.config.deployments] == ["c.yaml", "sub/a.yaml"]
    assert [d.line for d in loaded.config.deployments] == [3, 2]
    assert [path.name for path in loaded.config.files] == ["c.yaml", "a.yaml"]


def test_a_replaced_section_is_a_warning(check: Check) -> None:
    loaded = check(
        "include: [a.yaml]\n" + MODEL + "router_settings: {num_retries: 1, timeout: 5}\n",
        a_yaml="router_settings: {num_retries: 2}\n",
    )
    assert lines(loaded) == [
        "c.yaml:6: router_settings: is replaced by the one of a.yaml:1; keep the section in one file"
    ]
    assert loaded.config is not None
    assert (loaded.config.router.num_retries, loaded.config.router.timeout) == (2, None)


def test_includes_nest_relative_to_the_including_file(check: Check) -> None:
    loaded = check(
        "include: [sub/a.yaml]\n",
        sub__a_yaml="include: [deep/b.yaml]\n",
        sub__deep__b_yaml=OTHER + "router_settings: {timeout: x}\n",
    )
    assert errors(loaded) == [
        "sub/deep/b.yaml:4: router_settings.timeout: expected a number of seconds above 0, got 'x'"
    ]


def test_cycles_and_repeats_are_skipped_with_a_warning(check: Check) -> None:
    loaded = check("include:\n  - a.yaml\n  - a.yaml\n" + MODEL, a_yaml="include: [c.yaml]\n" + OTHER)
    assert lines(loaded) == [
        "a.yaml:1: include[0]: 'c.yaml' is included already; skipped here",
        "c.yaml:3: include[1]: 'a.yaml' is included already; skipped here",
    ]
    assert loaded.config is not None
    assert loaded.config.model_names == ("fast", "slow")


def test_wrong_includes_are_errors_at_their_line(check: Check) -> None:
    loaded = check("include:\n  - none.yaml\n  - [x]\n" + MODEL)
    assert errors(loaded) == [
        "c.yaml:2: include[0]: no file 'none.yaml' beside 'c.yaml'",
        "c.yaml:3: include[1]: expected a file name, got a list",
    ]
    assert errors(check("include: a.yaml\n" + MODEL)) == [
        "c.yaml:1: include: expected a list of file names, got text; write each as `- file.yaml`"
    ]


def test_names_that_no_file_can_have(check: Check) -> None:
    loaded = check('include: ["a\\0b", "%s"]\n' % ("x" * 5000) + MODEL)
    assert [problem.path for problem in loaded.errors] == ["include[0]", "include[1]"]


def test_a_broken_included_file_carries_its_own_name(check: Check) -> None:
    loaded = check("include: [a.yaml]\n" + MODEL, a_yaml="model_list: []\nb: {\n")
    (found,) = errors(loaded)
    assert found.startswith("a.yaml:3: is not valid YAML")


def test_variables_of_an_included_file_hold_for_all(check: Check) -> None:
    loaded = check(
        "include: [a.yaml]\n" + MODEL.rstrip() + "\n      api_key: os.environ/K\n",
        a_yaml="environment_variables: {K: v}\n",
    )
    assert loaded.config is not None
    assert loaded.config.deployments[0].api_key == "v"


def test_null_include_is_absent(check: Check, tmp_path: Path) -> None:
    assert lines(check("include:\n" + MODEL)) == []
    assert tmp_path.is_dir()


def test_a_chain_without_end_stops(check: Check) -> None:
    chain = {f"f{i}_yaml": f"include: [f{i + 1}.yaml]\n" for i in range(120)}
    loaded = check("include: [f0.yaml]\n" + MODEL, **chain)
    assert errors(loaded) == ["f98.yaml:1: include[0]: more than 100 files; put some together"]
