"""Codex CLI (`codex exec`) through the gateway: on its own dialect, on the two others, on a real engine."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from penstock.mock import Step
from tests.e2e.clients.cli import Done, run
from tests.e2e.clients.conftest import Recorded
from tests.e2e.clients.faces import PNG
from tests.e2e.clients.install import node_client
from tests.e2e.clients.upstreams import Upstream
from tests.e2e.serving import MASTER_KEY, Llama, Served

pytestmark = pytest.mark.timeout(1000)  # the first run installs the client

CALL = 'call exec_command {"cmd": "echo penstock-$((40 + 2))"}'
FULL = ("-s", "danger-full-access")  # containers have no sandbox of Codex's kind; what is run stands in the test


def codex(gateway: Served, folder: Path, model: str, *arguments: str) -> Done:
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
    command = ["node", client, "exec", "--skip-git-repo-check", "-m", model, *flags, *arguments]
    return run(command, folder, GW_KEY=MASTER_KEY)


def test_a_tool_call_and_its_result(gateway: Served, recorded: Recorded, upstream: Upstream, tmp_path: Path) -> None:
    done = codex(gateway, tmp_path, upstream.alias, *FULL, CALL)
    assert done.code == 0, done
    assert "mock/echo: tool exec_command said:" in done.out and "penstock-42" in done.out, done

    first, last = upstream.mock.received
    assert len(first.body) > 20_000
    names = upstream.tool_names()
    assert {"exec_command", "write_stdin", "view_image"} <= set(names)
    assert b"penstock-42" in last.body
    assert "Codex CLI" in upstream.system(), "the developer messages arrived"
    lost = recorded.dropped(upstream.alias, 2)
    if upstream.dialect == "openai_responses":
        assert {"web_search", "multi_agent_v1"} <= set(names)
        assert lost == []
        assert b'"encrypted_content"' in last.body, "the mock verified it"
        assert [row["role"] for row in upstream.body["input"][:2]] == ["developer", "developer"]
        assert upstream.body["store"] is False and upstream.body["client_metadata"]
    else:
        assert "multi_agent_v1" not in names and any(name.startswith("multi_agent_v1__") for name in names)
        (search,) = [path for path in lost if path.startswith("tools.")]
        if upstream.dialect == "anthropic":
            assert search.endswith(".external_web_access") and "web_search" in names, "the target's own"
        else:
            assert search.count(".") == 1 and "web_search" not in names, "the web search, nothing else"
        assert "extra.client_metadata" in lost
        assert b"encrypted_content" not in last.body


def test_several_tool_calls(gateway: Served, upstream: Upstream, tmp_path: Path) -> None:
    calls = 'call exec_command {"cmd": "echo one-$((1 + 1))"} call exec_command {"cmd": "echo two-$((2 + 2))"}'
    done = codex(gateway, tmp_path, upstream.alias, *FULL, calls)
    assert done.code == 0, done
    assert done.out.count("tool exec_command said:") == 2 and "one-2" in done.out and "two-4" in done.out, done


def test_an_image(gateway: Served, upstream: Upstream, tmp_path: Path) -> None:
    (tmp_path / "dot.png").write_bytes(base64.b64decode(PNG))
    done = codex(gateway, tmp_path, upstream.alias, "what is this?", "-i", str(tmp_path / "dot.png"))
    assert done.code == 0, done
    assert "saw 1 image (image/png" in done.out, done


def test_a_schema_for_the_answer(gateway: Served, upstream: Upstream, tmp_path: Path) -> None:
    schema = '{"type":"object","properties":{"city":{"type":"string"}},"required":["city"],"additionalProperties":false}'
    (tmp_path / "schema.json").write_text(schema)
    # Where a server enforces no schema, a tool stands in for it; the mock has to be told which of the tools to call.
    prompt = 'call json_output {"city": "mock"}' if upstream.dialect == "anthropic" else "where?"
    done = codex(gateway, tmp_path, upstream.alias, prompt, "--output-schema", str(tmp_path / "schema.json"))
    assert done.code == 0, done
    assert json.loads(done.out) == {"city": "mock"}, done


def test_a_rate_limit_is_waited_for(gateway: Served, upstreams: dict[str, Upstream], tmp_path: Path) -> None:
    upstream = upstreams["openai_chat"]
    upstream.mock.queue([Step(status=429, headers={"retry-after": "1"})])
    done = codex(gateway, tmp_path, upstream.alias, "hello")
    assert done.code == 0 and "mock/echo: hello" in done.out, done
    assert [request.status for request in upstream.mock.received] == [429, 200]


def test_the_conversation_goes_on_at_a_real_engine(
    gateway: Served, recorded: Recorded, upstreams: dict[str, Upstream], llama: Llama, tmp_path: Path
) -> None:
    """A tool call and its result from one upstream, and the next turn of the same conversation at llama-server.

    Without the shell from then on, for its words are random; with short instructions, for it reads slowly."""
    (tmp_path / "brief.md").write_text("You are a coding agent.\n")
    brief = ("-c", f'model_instructions_file="{tmp_path}/brief.md"', "-c", "skills.include_instructions=false")
    first = codex(gateway, tmp_path, upstreams["openai_chat"].alias, *FULL, *brief, CALL)
    assert first.code == 0 and "penstock-42" in first.out, first
    calm = ("-c", "features.shell_tool=false", *brief)
    done = codex(gateway, tmp_path, "llama", *calm, "resume", "--last", "Say hi.")
    assert done.code == 0 or "reason: max_output_tokens" in done.err, done
    record = recorded.last("llama", 1)
    assert record["status"] == 200 and record["tokens_in"] > 300 and record["tokens_out"] > 0
