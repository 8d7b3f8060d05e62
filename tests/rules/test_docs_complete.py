"""Every command, option and config key is in the docs."""

from __future__ import annotations

import re
from importlib.util import find_spec

import click
import pytest

from penstock.cli.group import COMMANDS, cli
from tests.rules.repo import ROOT

CLI_PAGE = ROOT / "docs/cli.md"
CONFIG_PAGE = ROOT / "docs/config.md"


def _command(name: str) -> click.Command:
    if find_spec(COMMANDS[name][0]) is None:
        pytest.skip(f"{COMMANDS[name][0]} does not exist yet")
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    return command


def _section(page: str, heading: str) -> str:
    """The text under `## heading` up to the next heading of that level."""
    found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", page, re.S | re.M)
    assert found, f"docs/cli.md has no section '## {heading}'"
    return found[1]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_a_command_is_documented(name: str) -> None:
    command = _command(name)
    text = _section(CLI_PAGE.read_text(encoding="utf-8"), f"penstock {name}")
    words = [word for param in _params(command) for word in _words(param)]
    assert [word for word in words if not re.search(rf"(?<![\w-]){word}\b", text)] == []


def _params(command: click.Command) -> list[click.Parameter]:
    """Those of its own, and those of the commands below it."""
    below = command.commands.values() if isinstance(command, click.Group) else ()
    return [*command.params, *(param for one in below for param in _params(one))]


def _words(param: click.Parameter) -> list[str]:
    """What the page must name: each spelling of an option and its variables, or an argument in capitals."""
    if isinstance(param, click.Argument):
        return [(param.name or "").upper()]
    # The hidden ones that LiteLLM's users may type are in the table of its spelling; --fd is between our processes.
    spellings = [] if getattr(param, "hidden", False) else [*param.opts, *param.secondary_opts]
    return [*spellings, *([param.envvar] if isinstance(param.envvar, str) else param.envvar or [])]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_documented_option_exists(name: str) -> None:
    command = _command(name)
    known = {opt for param in _params(command) for opt in [*param.opts, *param.secondary_opts]} | {"--help", "--version"}
    text = _section(CLI_PAGE.read_text(encoding="utf-8"), f"penstock {name}")
    rows = re.findall(r"^\| (`-[^|]*)\|", text, re.M)
    documented = {word for row in rows for word in re.findall(r"`(--?[\w-]+)", row)}
    assert documented - known == set()


def test_every_litellm_option_has_its_line() -> None:
    from penstock.cli.serve import LITELLM_ELSEWHERE, LITELLM_WITHOUT_EFFECT

    text = CLI_PAGE.read_text(encoding="utf-8")
    assert [flag for flag in (*LITELLM_WITHOUT_EFFECT, *LITELLM_ELSEWHERE) if f"`{flag}`" not in text] == []


def test_every_config_key_is_documented() -> None:
    if find_spec("penstock.config.keys") is None or not CONFIG_PAGE.exists():
        pytest.skip("penstock/config/keys.py or docs/config.md does not exist yet")
    text = CONFIG_PAGE.read_text(encoding="utf-8")
    assert [key for key in _config_keys() if f"`{key}`" not in text] == []


def _config_keys() -> list[str]:
    from penstock.config.keys import TABLES

    return [name for table in TABLES for name in table.rows]


def test_every_variable_that_docs_or_example_name_is_read() -> None:
    """A PENSTOCK_ variable in a document or in .env.example that no code reads is a promise nobody keeps."""
    pages = [ROOT / "README.md", ROOT / ".env.example", ROOT / "Dockerfile", *(ROOT / "docs").glob("*.md")]
    named = {word for page in pages for word in re.findall(r"\bPENSTOCK_[A-Z_]+\b", page.read_text(encoding="utf-8"))}
    source = "\n".join(path.read_text(encoding="utf-8") for part in ("penstock", "bench", "tests/faults") for path in (ROOT / part).rglob("*.py"))
    if find_spec("penstock.server.run") is None:
        named -= {"PENSTOCK_MASTER_KEY"}
    assert {word for word in named if word not in source} == set()
