"""`penstock check` and `penstock providers`: what they print and with which exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from penstock.cli.group import cli
from penstock.core.providers import PROVIDERS

GOOD = "model_list:\n  - model_name: a\n    litellm_params: {model: openai/gpt-4o-mini}\n"
BAD = """model_list:
  - model_name: a
    litellm_params:
      model: openai/gpt-4o-mini
      timeout: soon
router_settings:
  num_retries: [2]
  fallbacks: [{a: [nowhere]}]
"""


@pytest.fixture(autouse=True)
def quiet_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for provider in PROVIDERS.values():
        for key in provider.keys:
            monkeypatch.delenv(key, raising=False)


def run(*args: str) -> Result:
    return CliRunner().invoke(cli, args, prog_name="penstock")


def test_check_accepts_a_good_file(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(GOOD.replace("mini}", "mini, api_key: k}"))
    for way in (("c.yaml",), ("--config", "c.yaml"), ("-c", "c.yaml")):
        result = run("check", *way)
        assert result.exit_code == 0 and "0 errors, 0 warnings" in result.output
    assert run("check").exit_code == run("check", "c.yaml", "-c", "c.yaml").exit_code == 2


@pytest.mark.parametrize(
    ("params", "exit_code", "says"),
    [
        ("model: openai/gpt-4o", 0, "set OPENAI_API_KEY"),
        ("model: elevenlabs/eleven_multilingual_v2, api_key: k", 0, "its API is not spoken here"),
        ("model: sagemaker/endpoint", 0, "its API is not spoken here"),
        ("model: predibase/llama, api_key: k", 0, "its API is not spoken here"),
        ("model: bedrock/agent/A/B", 1, "bedrock/agent/... is not served"),
        ("model: openai/x, api_key: k, api_base: 'http://u:a-word@h/v1'", 0, "holds a user name or password"),
        ("model: openai/x, api_key: k, api_base: nonsense", 1, "expected a URL"),
        ("model: azure/x, api_key: k", 0, "set AZURE_API_BASE"),
        ("model: azure/x, api_key: k, api_base: 'http://h', api_version: api-version=2024-10-21", 0, "api_version"),
        ("model: azure/x, api_key: k, api_base: 'http://h', api_version: '2024'", 0, "api_version"),
        ("model: gemini/g, api_key: k, logit_bias: {'1': 2}", 0, "its parameter logit_bias is not carried"),
        ("model: openai/x, api_key: k, tool_choice: sometimes", 0, "litellm_params.tool_choice is left out"),
    ],
)
def test_check_tells_what_cannot_work(tmp_path: Path, params: str, exit_code: int, says: str) -> None:
    (tmp_path / "c.yaml").write_text(f"model_list:\n  - model_name: a\n    litellm_params: {{{params}}}\n")
    result = run("check", "c.yaml")
    assert result.exit_code == exit_code and says in result.output, result.output
    assert "c.yaml:" in result.output and "a-word" not in result.output


@pytest.mark.parametrize(
    "params",
    [
        "model: voyage/voyage-3, api_key: k",
        "model: tei/x, api_base: 'http://h'",
        "model: replicate/a/b, api_key: k",
        "model: azure/x, api_key: k, api_base: 'http://h', api_version: 2024-10-21",
        "model: azure/x, api_key: k, api_base: 'http://h', api_version: 2025-02-01-preview",
        "model: azure/x, api_key: k, api_base: 'http://h', api_version: preview",
        "model: anthropic/claude-opus-4-6, api_key: k, max_tokens: 50, stop: [X], reasoning_effort: low",
    ],
)
def test_check_says_nothing_of_what_works(tmp_path: Path, params: str) -> None:
    (tmp_path / "c.yaml").write_text(f"model_list:\n  - model_name: a\n    litellm_params: {{{params}}}\n")
    assert run("check", "c.yaml").output == "0 errors, 0 warnings\n"


def test_check_lists_all_errors_at_once_sorted_with_line_and_key(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(BAD)
    result = run("check", "c.yaml")
    lines = result.output.splitlines()
    assert result.exit_code == 1
    assert [line.split(": ")[0] for line in lines[:-1]] == ["c.yaml:5", "c.yaml:7", "c.yaml:8"]
    assert "model_list[0].litellm_params.timeout" in lines[0] and "'soon'" in lines[0]
    assert "router_settings.num_retries" in lines[1] and "nowhere" in lines[2]


def test_check_gives_warnings_exit_code_0(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(GOOD + "router_setings: {num_retries: 2}\n")
    result = run("check", "c.yaml")
    assert result.exit_code == 0 and "c.yaml:4: router_setings: warning" in result.output
    assert "router_settings" in result.output


def test_check_names_a_provider_that_nobody_knows(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(GOOD.replace("openai/gpt-4o-mini", "opnai/gpt-4o-mini"))
    result = run("check", "c.yaml")
    assert result.exit_code == 1 and "c.yaml:3" in result.output and "openai" in result.output


def test_check_reads_dotenv(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(GOOD.replace("mini}", "mini, api_key: os.environ/MY_OWN_KEY}"))
    assert "MY_OWN_KEY is not set" in run("check", "c.yaml").output
    (tmp_path / ".env").write_text("MY_OWN_KEY=sk-hidden\n")
    result = run("check", "c.yaml")
    assert "0 warnings" in result.output and "sk-hidden" not in result.output


def test_providers_lists_every_row_and_who_has_a_key(tmp_path: Path) -> None:
    before = run("providers").output
    assert [name for name in PROVIDERS if f"\n{name} " not in before] == []
    assert "key set" not in before and f"{len(PROVIDERS)} providers, 0 with a key here." in before
    (tmp_path / ".env").write_text("GROQ_API_KEY=gsk-hidden\n")
    after = run("providers").output
    row = next(line for line in after.splitlines() if line.startswith("groq "))
    assert "key set" in row and "GROQ_API_KEY" in row and "https://" in row
    assert "gsk-hidden" not in after and "1 with a key here" in after


def test_providers_are_many_and_each_says_how_to_call_it() -> None:
    told = json.loads(run("providers", "--json").output)
    assert [row["name"] for row in told] == sorted(PROVIDERS) and len(told) >= 120
    for row in told:
        provider = PROVIDERS[row["name"]]
        assert row["key_variables"] == list(provider.keys) and row["dialects"] == list(provider.dialects)
        assert row["docs"] == provider.docs and row["base_url"] == provider.base
        assert row["operations"] or not provider.dialects
        assert set(row["not_yet"]) <= set(row["dialects"])
    rows = {row["name"]: row for row in told}
    assert set(rows["mistral"]["operations"]) == {"chat", "embeddings", "moderations", "transcription", "speech"}
    assert set(rows["deepgram"]["operations"]) == {"transcription"} and rows["voyage"]["operations"]["rerank"] > 0
    assert rows["groq"]["not_yet"] == [] and rows["langgraph"]["not_yet"] == ["langgraph"]


def test_one_provider_is_told_in_full(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("MISTRAL_API_KEY=hidden-key\n")
    page = run("providers", "mistral").output
    for word in (
        "MISTRAL_API_KEY",
        "https://api.mistral.ai/v1",
        "key set",
        "Chat",
        "embeddings",
        "https://docs.mistral.ai/api",
        "`seed` is sent as `random_seed`",
        "model: mistral/MODEL",
    ):
        assert word in page, word
    assert "hidden-key" not in page
    entry = page.partition("in a config file\n")[2].replace("MODEL", "mistral-small-latest")
    (tmp_path / "c.yaml").write_text(f"model_list:\n{entry}")
    assert run("check", "c.yaml").exit_code == 0


@pytest.mark.parametrize("name", sorted(PROVIDERS))
def test_the_entry_that_is_shown_is_right(name: str, tmp_path: Path) -> None:
    entry = run("providers", name).output.partition("in a config file\n")[2]
    (tmp_path / "c.yaml").write_text(f"model_list:\n{entry}".replace("https://...", "https://mine.test"))
    result = run("check", "c.yaml")
    assert result.exit_code == 0, result.output


def test_providers_by_a_part_of_the_name_by_another_spelling_and_by_a_model() -> None:
    assert [row["name"] for row in json.loads(run("providers", "--json", "llama").output)] == [
        "llama_cpp",
        "llamafile",
        "llamagate",
        "meta_llama",
        "ollama",
        "ollama_chat",
    ]
    assert run("providers", "vllm").output.startswith("hosted_vllm   (vllm)")
    assert run("providers", "groq/llama-3.3-70b-versatile").output.startswith("groq\n")
    both = run("providers", "groq", "xai").output
    assert "groq\n" in both and "\nxai\n" in both


def test_providers_that_nobody_knows() -> None:
    result = run("providers", "grook")
    assert result.exit_code == 1 and "Did you mean groq?" in result.output and "api_base" in result.output


def test_only_those_that_can_be_called_from_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROQ_API_KEY", "gsk-hidden")
    told = json.loads(run("providers", "--json", "--ready").output)
    assert {row["name"] for row in told if not row["local"]} == {"groq"}
    assert all(row["here"] in ("key set", "local") for row in told) and len(told) > 10
    assert "gsk-hidden" not in json.dumps(told)
