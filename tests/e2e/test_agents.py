"""Agents finish a round trip with their own tools over every dialect of an upstream: Claude Code, Codex, `tool_runner`.

Each has tools of its own kinds: functions with Anthropic's fields, and Codex's groups, free text and tools that an item
brings along. They are installed as in `tests/e2e/clients`, below `.cache`; without Node or npm their tests are skipped.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anthropic
import pytest

from penstock.mock import Mock, Script, Step
from tests.e2e.clients.cli import Done, run
from tests.e2e.clients.install import node_client
from tests.e2e.serving import (
    LLAMA_KEY,
    MASTER_KEY,
    Served,
    clean_env,
    find_llama,
    free_port,
    get,
    llama_server,
    serving,
    until,
)

pytestmark = pytest.mark.timeout(1000)  # the first run installs the clients

KEY = "sk-upstream-agents-90"
TARGETS: dict[str, dict[str, Any]] = {
    "openai_chat": {"model": "openai/gpt-4.1", "api_base": "{mock}/v1"},
    "openai_responses": {"model": "openai/gpt-5.1", "api_base": "{mock}/v1/responses"},
    "anthropic": {"model": "anthropic/claude-sonnet-4-5", "api_base": "{mock}"},
    "gemini": {"model": "gemini/gemini-3-pro-preview", "api_base": "{mock}"},
    "bedrock": {
        "model": "bedrock/us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        "api_base": "{mock}",
        "aws_region_name": "us-east-1",
    },
    "ollama": {"model": "ollama_chat/qwen3", "api_base": "{mock}"},
    "cohere": {"model": "cohere_chat/command-a-03-2025", "api_base": "{mock}"},
}
CODE_MODE = "gpt-5.6-sol"
"""A name by which Codex sends all of its tools in an ``additional_tools`` item, as the custom tool ``exec``."""
FULL = ("-s", "danger-full-access")  # containers have no sandbox of Codex's kind; what is run stands in the test
SAID = "penstock-42"
ECHO = "echo penstock-$((40 + 2))"


@dataclass
class Bench:
    """A gateway and the upstreams behind it, one for each dialect."""

    gateway: Served
    mocks: dict[str, Mock]

    def ready(self, dialect: str, *steps: Step) -> Mock:
        mock = self.mocks[dialect]
        mock.reset()
        mock.script = Script(dialects=frozenset({dialect}))
        mock.queue(list(steps))
        return mock


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    started = [Mock.thread(api_key=KEY) for _ in TARGETS]
    try:
        running = {dialect: thread.__enter__() for dialect, thread in zip(TARGETS, started, strict=True)}
        rows = []
        for dialect, row in TARGETS.items():
            running[dialect].script = Script(dialects=frozenset({dialect}))  # before anybody asks what it speaks
            params = {**row, "api_base": row["api_base"].format(mock=running[dialect].url), "api_key": KEY}
            rows += [{"model_name": name + dialect, "litellm_params": params} for name in ("via-", f"{CODE_MODE}-")]
        yaml = json.dumps({"model_list": rows, "router_settings": {"num_retries": 0}})
        folder = tmp_path_factory.mktemp("agents")
        with serving(folder, yaml, "--log-format", "json", LITELLM_MASTER_KEY=MASTER_KEY) as gateway:
            yield Bench(gateway, running)
    finally:
        for thread in started:
            thread.__exit__(None, None, None)


def codex_command(gateway: Served, model: str, *arguments: str) -> list[str | Path]:
    client = node_client("codex") / "node_modules/@openai/codex/bin/codex.js"
    settings = (
        'model_provider="gw"',
        'model_providers.gw.name="gw"',
        f'model_providers.gw.base_url="{gateway.base_url}"',
        'model_providers.gw.wire_api="responses"',
        'model_providers.gw.env_key="GW_KEY"',
        "analytics.enabled=false",
    )
    flags = [part for setting in settings for part in ("-c", setting)]
    return ["node", client, "exec", "--skip-git-repo-check", "-m", model, *flags, *arguments]


def claude_command(model: str, prompt: str, *arguments: str) -> list[str | Path]:
    client = node_client("claude-code") / "node_modules/@anthropic-ai/claude-code/bin/claude.exe"
    return [client, "--print", prompt, "--model", model, *arguments]


def claude_env(gateway: Served) -> dict[str, str]:
    return {
        "ANTHROPIC_BASE_URL": gateway.url,
        "ANTHROPIC_AUTH_TOKEN": MASTER_KEY,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    }


@pytest.mark.parametrize("dialect", TARGETS)
def test_codex_runs_a_command(bench: Bench, dialect: str, tmp_path: Path) -> None:
    mock = bench.ready(dialect)
    prompt = f"call exec_command {json.dumps({'cmd': ECHO})}"
    done = run(codex_command(bench.gateway, f"via-{dialect}", *FULL, prompt), tmp_path, GW_KEY=MASTER_KEY)
    assert done.code == 0 and SAID in done.out, done
    assert len(mock.received) == 2 and SAID.encode() in mock.received[-1].body


@pytest.mark.parametrize("dialect", TARGETS)
def test_codex_runs_code(bench: Bench, dialect: str, tmp_path: Path) -> None:
    """The one custom tool of its code mode, whose declaration stands in an item of the input."""
    code = f'const r = await tools.exec_command({{cmd: "{ECHO}"}}); text(r);'
    native = dialect == "openai_responses"
    step = Step(tool_calls=({"name": "exec", "arguments": {"input": code}},))
    if native:  # as the vendor answers, word for word
        item = {"type": "custom_tool_call", "id": "ctc_1", "call_id": "call_1", "name": "exec", "input": code}
        step = Step(text="so", extra_blocks=({**item, "namespace": "functions", "status": "completed"},))
    mock = bench.ready(dialect, step, Step(text="all done"))
    done = run(codex_command(bench.gateway, f"{CODE_MODE}-{dialect}", *FULL, "add"), tmp_path, GW_KEY=MASTER_KEY)
    assert done.code == 0 and "all done" in done.out, done
    first, last = mock.received
    assert SAID.encode() in last.body, last.body[-3000:]
    assert (b"additional_tools" in first.body) == native


@pytest.mark.parametrize("dialect", TARGETS)
def test_claude_code_runs_a_command(bench: Bench, dialect: str, tmp_path: Path) -> None:
    mock = bench.ready(dialect)
    prompt = f"call Bash {json.dumps({'command': ECHO, 'description': 'adds'})}"
    command = claude_command(f"via-{dialect}", prompt, "--allowedTools", "Bash")
    done = run(command, tmp_path, **claude_env(bench.gateway))
    assert done.code == 0 and SAID in done.out, done
    assert len(mock.received) == 2 and SAID.encode() in mock.received[-1].body


def ask_runner(url: str, model: str, turns: int) -> tuple[list[str], Any]:
    """Lets `tool_runner` of Anthropic's SDK call a function: what it was called with, and the last message."""
    called: list[str] = []

    @anthropic.beta_tool
    def w(city: str) -> str:
        """Tell the weather.

        Args:
            city: where
        """
        called.append(city)
        return f"{SAID} degrees"

    with anthropic.Anthropic(base_url=url, api_key=MASTER_KEY, max_retries=0, timeout=60) as client:
        runner = client.beta.messages.tool_runner(
            model=model,
            max_tokens=500,
            tools=[w],
            max_iterations=turns,
            messages=[{"role": "user", "content": 'call w {"city": "Bonn"}'}],
        )
        return called, runner.until_done()


@pytest.mark.parametrize("dialect", TARGETS)
def test_the_tool_runner_calls_a_function(bench: Bench, dialect: str) -> None:
    bench.ready(dialect)
    called, message = ask_runner(bench.gateway.url, f"via-{dialect}", 4)
    assert called == ["Bonn"] and message.stop_reason == "end_turn"
    assert SAID in "".join(block.text for block in message.content if block.type == "text")


# A real engine, whose model makes one call and no other ------------------------------------------------------------------

CHAIN = b'{"name": "w", "arguments": {"city": "Bonn"}}'
PATIENCE = 300.0  # seconds
ALIGNED = 32  # bytes: where a GGUF file's tensors begin


def chain_model(folder: Path, call: dict[str, Any]) -> tuple[Path, Path] | str:
    """llama-server and a model that always makes ``call``: the call is one word of its vocabulary. Or why there is
    none. The word grows by a multiple of what tensors are aligned to, so that they stay where they are: by spaces in its
    last text, for between its tokens the engine's grammar allows few."""
    found = find_llama()
    if isinstance(found, str):
        return found
    chain = found[0].parent / "chain.gguf"
    if not chain.is_file():
        return f"no model that always calls a tool at {chain}"
    word = json.dumps(call).encode()
    assert word.endswith(b'"}}')
    word = word[:-3] + b" " * (-(len(word) - len(CHAIN)) % ALIGNED) + word[-3:]
    data = chain.read_bytes()
    old, new = (len(text).to_bytes(8, "little") + text for text in (CHAIN, word))
    assert data.count(old) == 1
    model = folder / "chain.gguf"
    model.write_bytes(data.replace(old, new))
    return found[0], model


@pytest.fixture
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Served]:
    """A gateway in front of llama-server, whose model makes the call that is the fixture's parameter."""
    found = chain_model(tmp_path, request.param)
    if isinstance(found, str):
        pytest.skip(found)
    with llama_server(tmp_path, *found, context=4 * 65536) as llama:
        params = {"model": "llamacpp/chain", "api_base": llama.url, "api_key": LLAMA_KEY}
        rows = [{"model_name": name, "litellm_params": params} for name in ("llama", f"{CODE_MODE}-llama")]
        yaml = json.dumps({"model_list": rows, "router_settings": {"num_retries": 0}})
        with serving(tmp_path, yaml, "--log-format", "json", LITELLM_MASTER_KEY=MASTER_KEY) as gateway:
            yield gateway


@pytest.fixture
def ollama(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Served]:
    """The same in front of the real Ollama, where it stands beside llama-server."""
    found = chain_model(tmp_path, request.param)
    if isinstance(found, str):
        pytest.skip(found)
    binary, modelfile = found[0].parent / "ollama", found[0].parent / "Modelfile.chain"
    if not binary.is_file() or not modelfile.is_file():
        pytest.skip(f"no Ollama with a Modelfile.chain in {binary.parent}")
    (tmp_path / "Modelfile").write_bytes(modelfile.read_bytes())
    address = f"127.0.0.1:{free_port()}"
    places = {"OLLAMA_HOST": address, "OLLAMA_MODELS": str(tmp_path / "models"), "OLLAMA_NOPRUNE": "1"}
    env = {**clean_env(tmp_path), **places}
    with (tmp_path / "ollama.log").open("wb") as log:
        process = subprocess.Popen([binary, "serve"], cwd=tmp_path, env=env, stdout=log, stderr=subprocess.STDOUT)
    try:
        until(lambda: get(f"http://{address}/")[0] == 200, 30)
        made = [binary, "create", "chain", "-f", "Modelfile"]
        subprocess.run(made, cwd=tmp_path, env=env, check=True, capture_output=True, timeout=60)
        params = {"model": "ollama_chat/chain", "api_base": f"http://{address}"}
        yaml = json.dumps({"model_list": [{"model_name": "llama", "litellm_params": params}]})
        with serving(tmp_path, yaml, "--log-format", "json", LITELLM_MASTER_KEY=MASTER_KEY) as gateway:
            yield gateway
    finally:
        process.terminate()
        process.wait(10)


def brief(folder: Path) -> tuple[str, ...]:
    """Short instructions: the engine reads slowly, and others want the processor, too."""
    (folder / "brief.md").write_text("You run commands.\n")
    return (
        *FULL,
        "--json",
        "-c",
        f'model_instructions_file="{folder}/brief.md"',
        "-c",
        "skills.include_instructions=false",
    )


def answered(gateway: Served) -> list[dict[str, Any]]:
    return [record for record in gateway.records() if record["status"] == 200 and record.get("tokens_out")]


def run_until(command: list[str | Path], folder: Path, gateway: Served, count: int, **env: str) -> Done:
    """Runs a client that would never end by itself, until the gateway gave ``count`` answers."""
    home = folder / "home"
    home.mkdir(exist_ok=True)
    settings = {**clean_env(home), "NO_PROXY": "*", "no_proxy": "*", "IS_SANDBOX": "1", **env}
    with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
        process = subprocess.Popen(
            [str(part) for part in command],
            cwd=folder,
            env=settings,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
        end = time.monotonic() + PATIENCE
        while len(answered(gateway)) < count and process.poll() is None and time.monotonic() < end:
            time.sleep(0.1)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        code = process.wait(10)
    return Done(code, (folder / "out").read_text(), (folder / "err").read_text())


@pytest.mark.parametrize("engine", [{"name": "exec_command", "arguments": {"cmd": ECHO}}], indirect=True)
def test_codex_runs_a_command_at_a_real_engine(engine: Served, tmp_path: Path) -> None:
    command = codex_command(engine, "llama", *brief(tmp_path), "add")
    done = run_until(command, tmp_path, engine, 3, GW_KEY=MASTER_KEY)
    assert len(answered(engine)) >= 3 and SAID in done.out, f"{done}\n{engine.output()[-2000:]}"


@pytest.mark.parametrize(
    "engine", [{"name": "exec", "arguments": {"input": "text('penstock-' + (40 + 2))"}}], indirect=True
)
def test_codex_runs_code_at_a_real_engine(engine: Served, tmp_path: Path) -> None:
    command = codex_command(engine, f"{CODE_MODE}-llama", *brief(tmp_path), "add")
    done = run_until(command, tmp_path, engine, 2, GW_KEY=MASTER_KEY)
    assert len(answered(engine)) >= 2 and "unsupported" not in done.out, f"{done}\n{engine.output()[-2000:]}"


CALL = {"name": "Bash", "arguments": {"command": ECHO, "description": "adds"}}


@pytest.mark.parametrize("engine", [CALL], indirect=True)
def test_claude_code_runs_a_command_at_a_real_engine(engine: Served, tmp_path: Path) -> None:
    small = ("--tools", "Bash", "--allowedTools", "Bash", "--system-prompt", "You run commands.")
    end = ("--max-turns", "2", "--output-format", "stream-json", "--verbose")
    done = run(claude_command("llama", "add", *small, *end), tmp_path, PATIENCE, **claude_env(engine))
    assert SAID in done.out and "tool_result" in done.out, done
    until(lambda: len(answered(engine)) >= 2)


@pytest.mark.parametrize("engine", [json.loads(CHAIN)], indirect=True)
def test_the_tool_runner_calls_a_function_at_a_real_engine(engine: Served) -> None:
    called, message = ask_runner(engine.url, "llama", 2)
    assert called[0] == "Bonn" and message.stop_reason == "tool_use"
    until(lambda: len(answered(engine)) == 2)


@pytest.mark.parametrize("ollama", [{"name": "exec_command", "arguments": {"cmd": ECHO}}], indirect=True)
def test_codex_runs_a_command_at_a_real_ollama(ollama: Served, tmp_path: Path) -> None:
    command = codex_command(ollama, "llama", *brief(tmp_path), "add")
    done = run_until(command, tmp_path, ollama, 2, GW_KEY=MASTER_KEY)
    assert len(answered(ollama)) >= 2 and SAID in done.out, f"{done}\n{ollama.output()[-2000:]}"


@pytest.mark.parametrize("ollama", [CALL], indirect=True)
def test_claude_code_runs_a_command_at_a_real_ollama(ollama: Served, tmp_path: Path) -> None:
    small = ("--tools", "Bash", "--allowedTools", "Bash", "--system-prompt", "You run commands.")
    end = ("--max-turns", "2", "--output-format", "stream-json", "--verbose")
    done = run(claude_command("llama", "add", *small, *end), tmp_path, PATIENCE, **claude_env(ollama))
    assert SAID in done.out and "tool_result" in done.out, done
