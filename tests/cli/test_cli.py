"""The command line: what reaches the server, what is refused, and with which words."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner, Result

from penstock import version_text
from penstock.cli.group import COMMANDS, cli
from penstock.cli.main import main
from penstock.server.options import ServeOptions as Options

VARIABLES = ("CONFIG_FILE_PATH", "HOST", "PORT", "NUM_WORKERS", *(
    f"PENSTOCK_{name}" for name in ("CONFIG", "HOST", "PORT", "WORKERS", "GRACE", "LOG_FORMAT", "MAX_BODY_MB")
))  # fmt: skip


@pytest.fixture(autouse=True)
def quiet_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Options]:
    """Replaces the server by a list of what it was asked for; it ends with exit code 7."""
    seen: list[Options] = []
    fake = ModuleType("penstock.server.run")
    fake.serve = lambda options: (seen.append(options), 7)[1]  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "penstock.server.run", fake)
    return seen


def run(*args: str, **env: str) -> Result:
    return CliRunner().invoke(cli, args, env=env, prog_name="penstock")


def test_serve_defaults(served: list[Options]) -> None:
    assert run("serve").exit_code == 7
    assert served == [Options(None, "127.0.0.1", 4000, 1, 30.0, False, None, False, None, None)]


def test_litellm_spelling_is_the_same_as_serve(served: list[Options], tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("{}")
    options = ["--config", "c.yaml", "--port", "4001", "--host", "0.0.0.0"]
    assert run(*options).exit_code == run("serve", *options).exit_code == 7
    assert served[0] == served[1]
    assert (served[0].config, served[0].port, served[0].host) == (Path("c.yaml"), 4001, "0.0.0.0")


def test_every_option_reaches_the_server(served: list[Options]) -> None:
    run("serve", *"-w 3 --grace 1.5 --no-auth --log-format json --verbose --max-body-mb 0.5 --fd 9 -p 0".split())
    assert served == [Options(None, "127.0.0.1", 0, 3, 1.5, True, True, True, 0.5, 9)]
    run("--num_workers", "2", "--detailed_debug", "--log-format", "text")
    assert (served[1].workers, served[1].verbose, served[1].json_logs) == (2, True, False)


def test_option_over_variable_over_dotenv_over_default(served: list[Options], tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PENSTOCK_PORT=4005\nPORT=4006\nNUM_WORKERS=4\n")
    run("serve")
    run("serve", PORT="4007")
    run("serve", PENSTOCK_PORT="4008", PORT="4007")
    run("serve", "--port", "4009", PENSTOCK_PORT="4008")
    assert [options.port for options in served] == [4005, 4007, 4008, 4009]
    assert {options.workers for options in served} == {4}


def test_host_variable_counts_only_when_it_is_an_address(served: list[Options]) -> None:
    run("serve", HOST="x86_64-conda-linux-gnu")
    run("serve", HOST="0.0.0.0")
    run("serve", HOST="::1", PENSTOCK_HOST="127.0.0.2")
    run("serve", "--host", "gateway.example", HOST="localhost")
    assert [options.host for options in served] == ["127.0.0.1", "0.0.0.0", "127.0.0.2", "gateway.example"]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["serve", "--port", "70000"], ["--port", "70000", "65535"]),
        (["serve", "--port", "abc"], ["--port", "abc"]),
        (["serve", "--workers", "0"], ["--workers", "0"]),
        (["serve", "--config", "nowhere.yaml"], ["nowhere.yaml", "does not exist"]),
        (["serve", "--prot", "1"], ["--prot", "--port"]),
        (["serve", "--max-body-mb", "0"], ["--max-body-mb"]),
        (["serv"], ["serv", "Did you mean 'serve'?"]),
        (["frobnicate"], ["frobnicate", "serve, check, mock"]),
        (["--model", "gpt-4o"], ["--model", "model_list"]),
        (["--ssl_keyfile_path", "k.pem"], ["--ssl_keyfile_path", "plain HTTP"]),
        (["serve", "--validate_config"], ["penstock check"]),
        (["check"], ["FILE"]),
        (["completion", "tcsh"], ["tcsh", "bash", "zsh", "fish"]),
    ],
)
def test_wrong_usage_says_what_would_be_right(args: list[str], words: list[str], served: list[Options]) -> None:
    result = run(*args)
    assert result.exit_code == 2 and served == []
    assert [word for word in words if word not in result.output] == []


def test_litellm_options_without_effect_say_so(served: list[Options]) -> None:
    result = run("--run_gunicorn", "--port", "4001")
    assert result.exit_code == 7 and served[0].port == 4001
    assert "--run_gunicorn has no effect" in served[0].notes[0]  # said by the server, which knows in which form


def test_help_teaches_and_lists_every_command() -> None:
    result = run("--help")
    assert result.exit_code == 0
    assert [name for name in COMMANDS if f"\n  {name} " not in result.output] == []
    assert "curl http://127.0.0.1:4000" in result.output and "config.yaml" in result.output
    # click answers a missing command with its help and exit code 2 or 0, by version; ours teaches and is no error.
    assert run().output == result.output


@pytest.mark.parametrize("flag", ["--version", "-V", "-v"])
def test_version(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    main([flag])
    assert capsys.readouterr().out == f"penstock {version_text()}\n" == run(flag).output


def test_python_dash_m_is_the_same_program() -> None:
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-m", "penstock", "serve", "--help"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout.startswith("Usage: penstock serve")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script_names_our_variable(shell: str) -> None:
    result = run("completion", shell)
    assert result.exit_code == 0 and "_PENSTOCK_COMPLETE" in result.output


def test_completion_finds_commands_and_options() -> None:
    def complete(words: str, cword: str) -> str:
        return run(_PENSTOCK_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=cword).output

    assert "plain,serve" in complete("penstock se", "1")
    assert "plain,--max-body-mb" in complete("penstock serve --m", "2")
