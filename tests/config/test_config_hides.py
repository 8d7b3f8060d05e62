"""Whatever is wrong with a config, no message repeats a value that may be a secret: a secret planted at every key of
the table, in every wrong form, and looked for in all that `check` and `serve` say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from penstock.config import keys, load
from penstock.config.problems import described, shown
from penstock.config.text import report
from penstock.core.providers.resolve import resolve
from penstock.runtime.state import State
from tests.e2e.serving import clean_env

MARK = "wqLzKpDyRmTbVnXcJhGf"
NUMBER = 918273645546372819
# A secret as people have it, and what they make of it by accident.
WRONG: dict[str, Any] = {
    "text": MARK,
    "key": f"sk-{MARK}",
    "bearer": f"Bearer {MARK}",
    "number": NUMBER,
    "list": [MARK],
    "deep list": [[MARK]],
    "mapping": {"a": MARK},
    "as a name": {MARK: MARK},
    "list of mappings": [{MARK: [MARK]}],
    "list of pairs": [{"path": MARK, "target": MARK, "methods": [MARK], "timeout": MARK}],
    "address": f"https://user:{MARK}@127.0.0.1:99999/v1",
    "address without a scheme": f"{MARK}@h/v1",
    "query": f"ftp://h/v1?key={MARK}",
    "path": f"ftp://h/{MARK}",
    "host": f"ftp://{MARK}/v1",
    "variable": f"os.environ/{MARK}",
    "braces": "${" + MARK + "}",
    "two lines": f"{MARK}\n{MARK}",
    "nul": f"{MARK}\0",
}
PLACES = [(table, key) for table in keys.TABLES for key in table.rows.values()]


def document(table: keys.Table, name: str, value: Any) -> dict[str, Any]:
    """A config with one key set to a value."""
    entry: dict[str, Any] = {"model_name": "m", "litellm_params": {"model": "openai/gpt-4o", "api_key": "k"}}
    whole: dict[str, Any] = {"model_list": [entry]}
    place = {"model_list[]": entry, "model_list[].litellm_params": entry["litellm_params"]}
    if table.place == "model_list[].model_info":
        entry["model_info"] = {name: value}
    elif table.place == "credential_list[]":
        whole["credential_list"] = [{"credential_name": "c", "credential_values": {}, name: value}]
    elif table.place in place:
        place[table.place][name] = value
    elif table.place:
        whole[table.place] = {name: value}
    else:
        whole[name] = value
    return whole


FIRST = {
    "model", "model_name", "litellm_params", "model_list", "model_info", "credential_list", "credential_name",
    "credential_values", "include", "router_settings", "litellm_settings", "general_settings", "environment_variables",
}  # fmt: skip


def merged(one: Any, other: Any) -> Any:
    """Two configs in one: mappings key by key, lists item by item."""
    if isinstance(one, dict) and isinstance(other, dict):
        return {key: merged(one.get(key), other[key]) if key in other else one[key] for key in {**one, **other}}
    if isinstance(one, list) and isinstance(other, list):
        return [merged(a, b) for a, b in zip(one, other, strict=False)]
    return other


def said(tmp_path: Path, text: str) -> str:
    """All that ``check`` says of a config, and the start of a gateway that takes it."""
    path = tmp_path / "c.yaml"
    path.write_text(text, encoding="utf-8")
    loaded = load(path, {"OPENAI_API_KEY": MARK, "SECRET": MARK}, resolve=resolve)
    told = report(loaded)
    if loaded.config is not None:
        told += "\n".join(State(loaded.config, loaded.config.environment).problems)
    return told


def assert_hidden(told: str) -> None:
    for mark in (MARK[:12], str(NUMBER)):
        at = told.find(mark)
        assert at < 0, told[max(0, at - 300) : at + 50]


@pytest.mark.parametrize("form", WRONG)
@pytest.mark.parametrize("table", keys.TABLES, ids=[table.place or "top" for table in keys.TABLES])
def test_no_value_of_the_wrong_type_is_repeated(tmp_path: Path, table: keys.Table, form: str) -> None:
    """All keys of a table at once, so that each is looked at; and those alone without which others are not read."""
    whole = document(table, "x", 1)
    for key in table.rows.values():
        if key.name not in FIRST:
            for section, value in document(table, key.name.replace("*", "x"), WRONG[form]).items():
                whole[section] = merged(whole.get(section), value)
    assert_hidden(said(tmp_path, yaml.safe_dump(whole)))
    for name in FIRST & table.rows.keys():
        assert_hidden(said(tmp_path, yaml.safe_dump(document(table, name, WRONG[form]))))


@pytest.mark.parametrize("form", ["text", "list of pairs"])
@pytest.mark.parametrize("table", keys.TABLES, ids=[table.place or "top" for table in keys.TABLES])
def test_nor_by_itself_where_the_rest_is_right(tmp_path: Path, table: keys.Table, form: str) -> None:
    for key in table.rows.values():
        assert_hidden(said(tmp_path, yaml.safe_dump(document(table, key.name.replace("*", "x"), WRONG[form]))))


@pytest.mark.parametrize("table", keys.TABLES, ids=[table.place or "top" for table in keys.TABLES])
def test_a_key_pasted_in_the_place_of_a_name_is_not_repeated(tmp_path: Path, table: keys.Table) -> None:
    for name in (MARK, f"sk-{MARK}", f"api_key sk-{MARK}"):
        assert_hidden(said(tmp_path, yaml.safe_dump(document(table, name, 1))))


BROKEN = [
    "model_list:\n  - model_name: m\n    litellm_params: {model: openai/x, api_key: '%s}\n",
    "model_list:\n  - model_name: m\n   litellm_params: %s\n",
    "api_key: %s: x: y\n",
    "api_key: *%s\n",
    "api_key: &%s\n  - x: *b\n",
    "api_key: !%s x\n",
    "api_key: !!%s x\n",
    "%s\n",
    "- %s\n",
    "%%%s\n",
    "a: '%s\n",
    'a: "\\%s"\n',
    "a: |%s\n",
    "a: @%s\n",
    "{%s\n",
    "a: b\n%s\n",
    "? {a: %s}\n: b\n",
    "a: %s\na: %s2\n",
    "%s: 1\n%s: 2\n",
    "a: \x00%s\n",
    "--- %s\n--- b\n",
    "<<: %s\n",
    "include: %s\n",
    "include: [%s]\n",
    "environment_variables: {%s: [1]}\n",
    "environment_variables: {LD_PRELOAD: %s}\n",
    "environment_variables: {A: [%s]}\n",
    "environment_variables: %s\n",
]


@pytest.mark.parametrize("text", BROKEN)
def test_a_file_that_is_no_config_is_not_repeated(tmp_path: Path, text: str) -> None:
    for mark in (MARK, f"sk-{MARK}"):
        assert_hidden(said(tmp_path, text.replace("%%", "%").replace("%s", mark)))


def test_what_the_program_itself_says(tmp_path: Path) -> None:
    """`check` and `serve`, standard output and standard error, for each place at once."""
    whole: dict[str, Any] = {"model_list": [{"model_name": "m", "litellm_params": {"model": "openai/gpt-4o"}}]}
    for table, key in PLACES:
        if table.place and "[]" not in table.place:
            whole.setdefault(table.place, {})[key.name.replace("*", "x")] = WRONG["as a name"]
        elif table.place == "model_list[].litellm_params" and key.name != "model":
            whole["model_list"][0]["litellm_params"][key.name.replace("*", "x")] = WRONG["address"]
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump(whole), encoding="utf-8")
    for words in (("check", str(path)), ("serve", "--config", str(path), "--port", "0", "--verbose")):
        done = subprocess.run(
            [sys.executable, "-m", "penstock", *words], cwd=tmp_path, env=clean_env(tmp_path, SECRET=MARK),
            capture_output=True, text=True, timeout=30,
        )  # fmt: skip
        assert done.returncode == 1 and "expected" in done.stdout + done.stderr
        assert_hidden(done.stdout + done.stderr)


@given(st.text(min_size=17, max_size=60))
def test_a_long_text_is_told_by_its_length(text: str) -> None:
    told = described(text)
    assert text not in told or "//" in text or ":" in text


@pytest.mark.parametrize("value", ["soon", "-1", "30 s", "openai/x", "http://h:99999/", "localhost:8000", "ftp://h/"])
def test_slips_of_the_pen_are_shown(value: str) -> None:
    assert described(value) == repr(value)


@pytest.mark.parametrize(
    "name", ["gpt-4o-mini", "claude-sonnet-4-5-20250929", "meta-llama/Llama-3.2-3B-Instruct", "my fast model"]
)
def test_names_are_shown(name: str) -> None:
    assert shown(name) == repr(name)
