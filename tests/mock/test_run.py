"""Scripts, debug URLs, the three ways to run a mock, and the page that documents it."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import urllib.error
import urllib.request
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.cli.mock import mock as command
from penstock.mock import (
    Mock,
    Rule,
    Script,
    ScriptError,
    Step,
    brain,
    load_script,
    parse_script,
    parse_step,
    schema,
    spawn,
)
from penstock.mock.script import MALFORMS, NOTHING
from tests.mock.conftest import chat

PAGE = Path(__file__).parents[2] / "docs" / "mock.md"


def call(url: str, body: Any = None, method: str | None = None, **headers: str) -> tuple[int, Any]:
    data = None if body is None else json.dumps(body).encode()
    given = {"content-type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}}
    request = urllib.request.Request(url, data, given, method=method)
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as exc:
        return exc.code, json.loads(exc.read())


# ---- scripts ---------------------------------------------------------------------------------------------------------


def test_a_yaml_script_is_read(tmp_path: Path) -> None:
    file = tmp_path / "script.yaml"
    file.write_text(
        """
seed: 7
dialects: [openai_chat]
default: {ttft_ms: 5}
queue: [{status: 500}]
rules:
  - when: {path: "/v1/*", model: "gpt-*", nth: 2}
    do: {status: 429, headers: {retry-after: 3}, malform: crlf}
mix:
  - {weight: 9}
  - {weight: 1, do: {hangup: before_answer}}
"""
    )
    script = load_script(str(file))
    assert (script.seed, script.dialects, script.default) == (7, frozenset({"openai_chat"}), Step(ttft_ms=5))
    assert script.rules[0].nth == (2,) and script.rules[0].step.malform == ("crlf",)
    assert script.rules[0].step.headers == {"retry-after": "3"}
    assert [one.weight for one in script.mix] == [9, 1] and script.queue == (Step(status=500),)


def test_every_problem_is_named_at_once() -> None:
    wrong = {
        "sede": 1,
        "dialects": ["openai_caht"],
        "default": {"latncy_ms": 1, "malform": ["bad_jsno"], "cut": "slam", "status": "500"},
        "rules": [{"if": {}, "when": {"modle": "x"}, "do": {"ttft_ms": -1}}, 3],
        "mix": {"weight": 1},
    }
    with pytest.raises(ScriptError) as caught:
        parse_script(wrong)
    text = str(caught.value)
    for line in (
        "sede: unknown key; did you mean seed?",
        "dialects: ['openai_caht'] is not right; 'openai_caht' is no dialect; did you mean openai_chat?",
        "default.latncy_ms: unknown key; did you mean latency_ms?",
        "default.malform: ['bad_jsno'] is not right; 'bad_jsno' is no fault; did you mean bad_json?",
        "default.cut: 'slam' is not right; one of close, rst, end",
        "default.status: '500' is not right; an HTTP status from 200 to 999",
        "rules[0].if: unknown key; known: do, when",
        "rules[0].when.modle: unknown key; did you mean model?",
        "rules[0].do.ttft_ms: -1 is not right; a number of milliseconds from 0 on",
        "rules[1]: 3 is not right; an object of keys",
        "mix: {'weight': 1} is not right; a list",
    ):
        assert line in text.splitlines(), f"{line!r} not in\n{text}"
    assert len(caught.value.problems) == 11
    with pytest.raises(ScriptError, match="status: 99 is not right"):
        Step(status=99)
    with pytest.raises(ScriptError, match="stream: 'yes' is not right"):
        Rule(stream="yes")  # type: ignore[arg-type]


STEPS = st.builds(
    Step,
    latency_ms=st.none() | st.integers(0, 9),
    status=st.none() | st.sampled_from([200, 429, 500]),
    text=st.none() | st.text(max_size=5),
    malform=st.none() | st.lists(st.sampled_from(sorted(MALFORMS)), max_size=3).map(tuple),
    usage=st.none() | st.sampled_from(["absent", "zero"]),
)


@given(STEPS, STEPS)
@settings(max_examples=60)
def test_steps_lie_over_each_other(above: Step, below: Step) -> None:
    merged = above.over(below)
    for spec in fields(Step):
        value = getattr(above, spec.name)
        assert getattr(merged, spec.name) == (getattr(below, spec.name) if value is None else value)
    assert merged.over(merged) == merged and merged.over(NOTHING) == merged and NOTHING.over(merged) == merged


@given(STEPS)
@settings(max_examples=40)
def test_a_step_survives_json(step: Step) -> None:
    plain = {spec.name: getattr(step, spec.name) for spec in fields(Step) if getattr(step, spec.name) is not None}
    assert parse_step(json.loads(json.dumps(plain))) == step


# ---- words and schemas -----------------------------------------------------------------------------------------------


@given(st.text(), st.none() | st.integers(1, 9))
@settings(max_examples=150)
def test_tokens_joined_are_the_text(text: str, size: int | None) -> None:
    assert "".join(brain.cut(text, size)) == text
    assert brain.count(text) == len(brain.pieces(text))


@pytest.mark.parametrize(
    ("given_schema", "made"),
    [
        (
            {"type": "object", "properties": {"a": {"type": "integer", "minimum": 4}, "b": {}}, "required": ["a"]},
            {"a": 4},
        ),
        ({"$ref": "#/$defs/A", "$defs": {"A": {"type": "array", "items": {"const": 7}, "minItems": 2}}}, [7, 7]),
        ({"anyOf": [{"type": "string", "format": "uuid"}, {"type": "null"}]}, "00000000-0000-4000-8000-000000000000"),
        ({"allOf": [{"properties": {"x": {"enum": ["q"]}}, "required": ["x"]}, {"type": "object"}]}, {"x": "q"}),
        ({"type": ["null", "number"], "exclusiveMinimum": 1, "multipleOf": 2}, 2),
        ({"type": "string", "minLength": 6}, "mockkk"),
        ({"$ref": "#", "type": "object"}, {}),
    ],
)
def test_schema_instances(given_schema: Any, made: Any) -> None:
    assert schema.instance(given_schema) == made


def test_a_recursive_schema_ends() -> None:
    node = {
        "type": "object",
        "properties": {"next": {"anyOf": [{"$ref": "#/$defs/N"}, {"type": "null"}]}},
        "required": ["next"],
    }
    text = json.dumps(schema.instance({"$ref": "#/$defs/N", "$defs": {"N": node}}))
    assert "null" in text and text.count("next") < 30


# ---- the debug URLs --------------------------------------------------------------------------------------------------


def test_debug_urls_in_a_thread(sync_mock: Mock) -> None:
    key = "sk-very-secret-abcd"
    status, made = call(sync_mock.url + "/v1/chat/completions", chat("seen"), Authorization=f"Bearer {key}")
    assert status == 200 and made["choices"][0]["message"]["content"] == "mock/echo: seen"
    assert sync_mock.wait(1, complete=True)[0].status == 200
    _, shown = call(sync_mock.url + "/__mock__/requests")
    row = shown["requests"][0]
    assert (row["path"], row["status"], row["complete"], row["closed_early"]) == (
        "/v1/chat/completions",
        200,
        True,
        False,
    )
    assert row["json"]["messages"][0]["content"] == "seen"
    assert key not in json.dumps(shown) and dict(row["headers"])["authorization"].endswith("...abcd")
    _, open_ = call(sync_mock.url + "/__mock__/requests?secrets=1")
    assert dict(open_["requests"][0]["headers"])["authorization"] == f"Bearer {key}"
    assert key not in repr(sync_mock.received)
    assert call(sync_mock.url + "/__mock__/script", {"default": {"status": 503}})[0] == 200
    assert call(sync_mock.url + "/v1/chat/completions", chat())[0] == 503
    status, refused = call(sync_mock.url + "/__mock__/script", {"defualt": {}})
    assert status == 400 and refused["problems"] == ["defualt: unknown key; did you mean default?"]
    _, links = call(sync_mock.url + "/__mock__/connections")
    assert links["client_hangups"] == 0 and links["opened_ever"] >= 5
    assert call(sync_mock.url + "/__mock__/requests", method="DELETE") == (200, {"deleted": 2})
    assert sync_mock.received == [] and call(sync_mock.url + "/__mock__/nothing")[0] == 404


async def test_connections_show_open_and_left_clients(mock: Mock) -> None:
    mock.script = Script.always(stall_after_events=1)
    _, writer = await asyncio.open_connection(mock.host, mock.port)
    body = json.dumps(chat(stream=True)).encode()
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
    await mock.wait_for(1)
    shown = (await asyncio.to_thread(call, mock.url + "/__mock__/connections"))[1]
    assert [row["busy"] for row in shown["connections"]] == [True, False]
    writer.close()
    await mock.wait_for(1, complete=True)
    assert (await asyncio.to_thread(call, mock.url + "/__mock__/connections"))[1]["client_hangups"] == 1


async def test_keep_limits_what_is_recorded_and_debug_urls_can_be_off() -> None:
    async with Mock(keep=2, debug_urls=False) as mock:
        for text in ("a", "b", "c"):
            assert (await asyncio.to_thread(call, mock.url + "/v1/chat/completions", chat(text)))[0] == 200
        assert [one.json["messages"][0]["content"] for one in mock.received] == ["b", "c"]
        assert (await asyncio.to_thread(call, mock.url + "/__mock__/requests"))[0] == 404


def test_stop_leaves_no_task_and_no_connection() -> None:
    async def main() -> int:
        async with Mock(Script.always(stall_after_events=1)) as mock:
            _, writer = await asyncio.open_connection(mock.host, mock.port)
            body = json.dumps(chat(stream=True)).encode()
            writer.write(b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
            await mock.wait_for(1)
        await asyncio.sleep(0.01)
        writer.close()
        assert mock.connections == {}
        return len(asyncio.all_tasks())

    assert asyncio.run(main()) == 1  # main itself


# ---- the command -----------------------------------------------------------------------------------------------------


def test_the_command_serves_and_says_that_it_is_a_mock(tmp_path: Path) -> None:
    script = tmp_path / "s.json"
    script.write_text(json.dumps({"seed": 1, "rules": [{"when": {"nth": 1}, "do": {"status": 418}}]}))
    with spawn("--script", str(script), "--seed", "5", "--api-key", "sk-k") as process:
        url = process.url + "/v1/chat/completions"
        assert call(url, chat(), Authorization="Bearer sk-k")[0] == 418
        assert call(url, chat(), x_api_key="sk-k")[1]["system_fingerprint"] == "fp_penstock_mock"
        assert call(url, chat())[0] == 401
        port = process.url.rsplit(":", 1)[1]
        taken = CliRunner().invoke(command, ["--port", port])
        assert taken.exit_code == 1 and f"cannot listen on 127.0.0.1:{port}" in taken.output
    assert process.process.returncode == 0


def test_the_command_refuses_a_wrong_script(tmp_path: Path) -> None:
    script = tmp_path / "s.yaml"
    script.write_text("default: {txt: hi}\n")
    wrong = CliRunner().invoke(command, ["--script", str(script)])
    assert wrong.exit_code == 1 and f"{script}: default.txt: unknown key; did you mean text?" in wrong.output
    missing = CliRunner().invoke(command, ["--script", str(tmp_path / "none.yaml")])
    assert missing.exit_code == 1 and "cannot read the script" in missing.output


def test_importing_the_mock_is_cheap() -> None:
    code = (
        "import sys, penstock.mock;"
        " print(*{'yaml', 'click', 'rich', 'uvloop', 'pydantic', 'subprocess', 'openai'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-X", "importtime", "-c", code], capture_output=True, text=True, check=True,
                          cwd=PAGE.parents[1])  # fmt: skip
    assert set(done.stdout.split()) <= {"subprocess"}  # asyncio itself brings subprocess in


# ---- the page --------------------------------------------------------------------------------------------------------


def rows_of(cls: Any) -> list[str]:
    return [
        f"| `{s.name}` | {s.metadata['doc'].replace('|', chr(92) + '|')} |" for s in fields(cls) if "doc" in s.metadata
    ]


def test_the_page_documents_every_key() -> None:
    page = PAGE.read_text()
    faults = [f"| `{name}` | {doc} |" for name, doc in MALFORMS.items()]
    for row in [*rows_of(Step), *rows_of(Rule), *rows_of(Script), *faults]:
        assert row in page, row


def test_the_pages_scripts_are_obeyed() -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.S)
    assert blocks
    for block in blocks:
        parse_script(yaml.safe_load(block))


def test_the_pages_python_runs() -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
    assert blocks
    for block in blocks:
        exec(compile(block, "docs/mock.md", "exec"), {"__name__": "docs"})
