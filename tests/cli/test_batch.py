"""``penstock batch run``: the whole command, over a mock upstream, interrupted and gone on with."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from penstock.cli.batch import Shown
from penstock.mock import Mock, Rule, Script, Step
from tests.door import open_door, until

CHAT = "/v1/chat/completions"


def line(custom_id: str, text: str = "hello", model: str = "m", **more: Any) -> dict[str, Any]:
    return {"custom_id": custom_id, "method": "POST", "url": CHAT, "body": {"model": model, "messages": [{"role": "user", "content": text}]}, **more}


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def read(path: Path) -> dict[str, dict[str, Any]]:
    """Results by id; each stands once."""
    rows = [json.loads(raw) for raw in path.read_text().splitlines()] if path.exists() else []
    assert len({row["custom_id"] for row in rows}) == len(rows)
    return {row["custom_id"]: row for row in rows}


def config(tmp_path: Path, mock: Mock) -> Path:
    entry = {"model": "openai/real", "api_base": f"{mock.url}/v1", "api_key": "sk-up", "input_cost_per_token": 0.001, "output_cost_per_token": 0.001}
    path = tmp_path / "config.yaml"
    path.write_text(json.dumps({"model_list": [{"model_name": "m", "litellm_params": entry}], "router_settings": {"num_retries": 0}}))
    return path


async def start(*words: Any) -> asyncio.subprocess.Process:
    env = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
    pipes = {"stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.PIPE}
    return await asyncio.create_subprocess_exec(sys.executable, "-m", "penstock", "batch", "run", *map(str, words), env=env, **pipes)


async def run(*words: Any) -> tuple[int, str, str]:
    process = await start(*words)
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


async def test_every_line_has_a_result_and_what_failed_is_asked_again(tmp_path):
    async with Mock() as mock:
        rows = [line(f"r{number}", f"question {number}") for number in range(30)] + [line("bad", model="nobody"), line("streams")]
        rows[-1]["body"]["stream"] = True
        file = write(tmp_path / "night.jsonl", rows)
        code, out, err = await run(file, "--config", config(tmp_path, mock), "--concurrency", 4)
        assert code == 1 and "32/32 requests (100 %), 2 failed" in err and "$0.0000" not in err, err
        good, bad = read(tmp_path / "night.out.jsonl"), read(tmp_path / "night.err.jsonl")
        assert set(good) == {f"r{number}" for number in range(30)} and set(bad) == {"bad", "streams"}
        response = good["r7"]["response"]
        assert response["status_code"] == 200 and response["request_id"] and response["body"]["object"] == "chat.completion"
        assert bad["bad"]["response"]["status_code"] == 400 and "night.err.jsonl" in out
        assert len(mock.received) == 30
        code, out, err = await run(file, "--config", config(tmp_path, mock), "--model", "m")
        assert code == 1 and "30 of 32 requests have a result already" in err and len(mock.received) == 31
        assert set(read(tmp_path / "night.out.jsonl")) == {*good, "bad"} and set(read(tmp_path / "night.err.jsonl")) == {"streams"}


async def test_who_interrupts_waits_for_what_is_on_its_way_and_can_go_on(tmp_path):
    async with Mock(script=Script(rules=[Rule(step=Step(latency_ms=200))])) as mock:
        file = write(tmp_path / "night.jsonl", [line(f"r{number}") for number in range(40)])
        words = (file, "--config", config(tmp_path, mock), "--concurrency", 3, "--output", tmp_path / "o.jsonl", "--errors", tmp_path / "e.jsonl")
        process = await start(*words)
        await until(lambda: len(mock.received) >= 7, 30)
        process.send_signal(signal.SIGINT)
        out, err = await process.communicate()
        assert process.returncode == 130 and b"the same command goes on with them" in out and b"are waited for" in err
        first = read(tmp_path / "o.jsonl")
        assert len(first) == len(mock.received) < 40, "what was on its way has its result"
        with (tmp_path / "o.jsonl").open("ab") as half:
            half.write(b'{"id": "batch_req_1", "custom_id": "r39", "resp')
        code, _, err = await run(*words)
        assert code == 0 and set(read(tmp_path / "o.jsonl")) == {f"r{number}" for number in range(40)}
        assert len(mock.received) == 40 and not (tmp_path / "e.jsonl").exists(), "nothing is asked twice"


async def test_a_run_that_is_killed_loses_no_result(tmp_path):
    async with Mock(script=Script(rules=[Rule(nth=tuple(range(13, 17)), step=Step(latency_ms=20_000))])) as mock:
        file = write(tmp_path / "night.jsonl", [line(f"r{number}") for number in range(60)])
        words = (file, "--config", config(tmp_path, mock), "--concurrency", 4)
        process = await start(*words)
        await until(lambda: len(mock.received) == 16, 30)  # the last four hang
        await until(lambda: len(read(tmp_path / "night.out.jsonl")) == 12)
        code, out, err = await run(*words)
        assert code == 1 and "another run writes into" in err
        process.kill()
        await process.wait()
        code, _, err = await run(*words)
        assert code == 0 and len(read(tmp_path / "night.out.jsonl")) == 60
        assert len(mock.received) == 64, "only what was on its way is asked again"


async def test_a_gateway_is_asked_and_names_of_models_stay(tmp_path):
    async with open_door(tmp_path, master_key="sk-gateway-0123456789") as door:
        file = write(tmp_path / "night.jsonl", [line("a"), {"custom_id": "b", "url": "/v1/messages", "body": {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]}}])
        code, _, err = await run(file, "--base-url", f"{door.url}/v1", "--api-key", "sk-gateway-0123456789")
        assert code == 0 and "2 of unknown cost" in err and "No price" not in err, err
        good = read(tmp_path / "night.out.jsonl")
        assert good["a"]["response"]["body"]["model"] == "m" and good["b"]["response"]["body"]["type"] == "message"
        code, _, err = await run(file, "--base-url", f"{door.url}/v1", "--api-key", "sk-wrong", "--output", tmp_path / "o.jsonl")
        assert code == 1 and {row["response"]["status_code"] for row in read(tmp_path / "night.err.jsonl").values()} == {401}


async def test_what_is_wrong_is_said_before_anything_is_asked(tmp_path):
    file = write(tmp_path / "bad.jsonl", [line("a"), "{", line("a"), line("c", url="/v1/nothing")])
    code, _, err = await run(file)
    assert code == 1 and "bad.jsonl:2: This line is not parseable" in err and "bad.jsonl:3: The custom_id 'a'" in err and "bad.jsonl:4: 'url'" in err
    assert not (tmp_path / "bad.out.jsonl").exists()
    good = write(tmp_path / "good.jsonl", [line("a")])
    write(tmp_path / "good.out.jsonl", ["something else"])
    code, _, err = await run(good)
    assert code == 1 and "is no result of a batch" in err and (tmp_path / "good.out.jsonl").read_text() == "something else\n"
    code, _, err = await run(good, "--output", good)
    assert code == 2 and "three files" in err
    code, _, err = await run(good, "--base-url", "http://127.0.0.1:1", "--config", good)
    assert code == 2 and "not both" in err


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()])
async def test_progress_is_a_bar_on_a_terminal_and_lines_elsewhere(stream):
    shown = Shown(4, 1, stream)
    shown.count(True, 1200, 0.25)
    shown.count(False, 0, 0.0)
    showing = asyncio.create_task(shown.go_on())
    await asyncio.sleep(0.3)
    showing.cancel()
    shown.end()
    text = stream.getvalue()
    assert "3/4 requests (75 %), 1 failed, 1,200 tokens, $0.2500" in text and "left" in text
    assert ("\r" in text) == ("[######" in text) == stream.isatty()
