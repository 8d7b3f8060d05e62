"""`penstock check` and `penstock providers`: what they print and with which exit code."""

from __future__ import annotations

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
    (tmp_path / "c.yaml").write_text(GOOD)
    result = run("check", "c.yaml")
    assert result.exit_code == 0 and "0 errors, 0 warnings" in result.output


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
