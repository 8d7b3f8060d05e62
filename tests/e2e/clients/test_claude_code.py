"""Claude Code (`claude --print`) through the gateway: on its own dialect, on the two others, on a real engine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from penstock.mock import Step
from tests.e2e.clients.cli import Done, run
from tests.e2e.clients.conftest import Recorded
from tests.e2e.clients.install import node_client
from tests.e2e.clients.upstreams import Upstream
from tests.e2e.serving import MASTER_KEY, Llama, Served

pytestmark = pytest.mark.timeout(1000)  # the first run installs the client

CALL = 'call Bash {"command": "echo penstock-$((40 + 2))", "description": "adds"}'
TOOLS = 20  # Claude Code 2.1.197 offers 24


def claude(gateway: Served, folder: Path, model: str, prompt: str, *arguments: str, **env: str) -> Done:
    client = node_client("claude-code") / "node_modules/@anthropic-ai/claude-code/bin/claude.exe"
    return run(
        [client, "--print", prompt, "--model", model, *arguments],
        folder,
        ANTHROPIC_BASE_URL=gateway.url,
        ANTHROPIC_AUTH_TOKEN=MASTER_KEY,
        CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC="1",
        **env,
    )


def test_a_tool_call_and_its_result(gateway: Served, recorded: Recorded, upstream: Upstream, tmp_path: Path) -> None:
    done = claude(gateway, tmp_path, upstream.alias, CALL, "--allowedTools", "Bash")
    assert done.code == 0, done
    assert done.out.strip() == "mock/echo: tool Bash said: penstock-42", done

    first, last = upstream.mock.received[0], upstream.last
    assert len(first.body) > 60_000 and len(upstream.mock.received) == 2
    names = upstream.tool_names()
    assert len(names) > TOOLS and {"Bash", "Read", "Edit"} <= set(names)
    assert b"penstock-42" in last.body
    assert "Claude" in upstream.system()
    lost = recorded.dropped(upstream.alias, 2)
    if upstream.dialect == "anthropic":
        assert b'"cache_control"' in first.body and b'"context_management"' in first.body
        assert len((first.header("anthropic-beta") or "").split(",")) >= 4 and first.header("anthropic-version")
        assert b'"signature"' in last.body, "the mock verified it"
        assert lost == []
    else:
        assert b"cache_control" not in last.body, "strict servers refuse the mark"
        assert upstream.effort() in ("low", "medium", "high")
        assert {"user", "extra.context_management"} <= set(lost)
        assert any(path.endswith(".cache") for path in lost)
        assert not [path for path in lost if path.startswith("tools.") and not path.endswith(".cache")]
        assert len(json.dumps(upstream.body.get("user", ""))) <= 66
        assert upstream.last.header("anthropic-beta") is None


def test_parallel_tool_calls(gateway: Served, upstream: Upstream, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("alpha\n")
    (tmp_path / "b.txt").write_text("beta\n")
    calls = " ".join(f'call Read {{"file_path": "{tmp_path}/{name}.txt"}}' for name in "ab")
    done = claude(gateway, tmp_path, upstream.alias, calls, "--allowedTools", "Read")
    assert done.code == 0, done
    assert done.out.count("tool Read said") == 2 and "alpha" in done.out and "beta" in done.out


def test_a_tool_that_fails_says_so(gateway: Served, recorded: Recorded, upstream: Upstream, tmp_path: Path) -> None:
    call = f'call Read {{"file_path": "{tmp_path}/nothing-here.txt"}}'
    done = claude(gateway, tmp_path, upstream.alias, call, "--allowedTools", "Read")
    assert done.code == 0, done
    assert "does not exist" in done.out
    if upstream.dialect == "anthropic":
        assert "tool Read failed" in done.out, "is_error arrived"
    else:
        assert any(path.endswith(".is_error") for path in recorded.dropped(upstream.alias, 2))


def test_a_schema_for_the_answer(gateway: Served, upstream: Upstream, tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    prompt = 'call StructuredOutput {"city": "Turin"}'
    done = claude(gateway, tmp_path, upstream.alias, prompt, "--json-schema", json.dumps(schema), "--output-format", "json")
    assert done.code == 0, done
    told = json.loads(done.out)
    assert told["structured_output"] == {"city": "Turin"}, told
    assert told["usage"]["output_tokens"] > 0 and told["is_error"] is False


def test_a_rate_limit_is_waited_for(gateway: Served, upstreams: dict[str, Upstream], tmp_path: Path) -> None:
    upstream = upstreams["openai_chat"]
    upstream.mock.queue([Step(status=429, headers={"retry-after": "1"})])
    done = claude(gateway, tmp_path, upstream.alias, "hello")
    assert done.code == 0 and done.out.strip().endswith("hello"), done
    statuses = [request.status for request in upstream.mock.received]
    assert statuses[:2] == [429, 200]


@pytest.mark.parametrize("alias", ["llama", "llama-native"])
def test_the_conversation_goes_on_at_a_real_engine(
    gateway: Served, recorded: Recorded, upstreams: dict[str, Upstream], llama: Llama, tmp_path: Path, alias: str
) -> None:
    """A tool call and its result from one upstream, and the next turn of the same conversation at llama-server.

    A short system prompt and one tool: its thirty thousand tokens of prompt take a minute on a small machine."""
    small = ("--tools", "Read", "--allowedTools", "Read", "--system-prompt", "You read files.")
    (tmp_path / "a.txt").write_text("alpha\n")
    call = f'call Read {{"file_path": "{tmp_path}/a.txt"}}'
    first = claude(gateway, tmp_path, upstreams["openai_chat"].alias, call, *small)
    assert first.code == 0 and "alpha" in first.out, first
    # Its words are random: now and then it calls the tool, over and over, or does not come to an end.
    end = ("--continue", "--max-turns", "2", "--output-format", "json")
    done = claude(gateway, tmp_path, alias, "Say hi.", *small, *end, CLAUDE_CODE_MAX_OUTPUT_TOKENS="200")
    told = json.loads(done.out)
    assert told["subtype"] in ("success", "error_max_turns"), done
    assert told["usage"]["output_tokens"] > 0, told
    record = recorded.last(alias, 1)
    assert record["status"] == 200 and record["tokens_in"] > 300 and record["tokens_out"] > 0
