"""What an install costs: few dependencies, hashed lock files without hosts, an import that loads almost nothing."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib

import pytest

from tests.rules.repo import ROOT, files, python_files, tree

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LOCKS = ["requirements.lock", *(f"requirements-{name}.lock" for name in ("image", "build", "compile", "dev"))]
CLIENT_LOCKS = [name for name in files() if name.startswith("tests/e2e/clients/python/") and name.endswith(".lock")]
MOST_DEPENDENCIES = 15

# Everything that only a part of Penstock needs; `import penstock` must leave it to that part.
HEAVY = (
    "aiohappyeyeballs asyncio click concurrent.futures dotenv email http httptools logging msgspec multiprocessing "
    "rich sqlite3 ssl urllib.request uvicorn uvloop yaml"
).split()
# `import penstock` itself plus a few submodules; a jump means that somebody made it eager.
MOST_MODULES = 15
# `penstock --help` may load click and its own modules, and nothing that serves.
NOT_FOR_HELP = "aiohappyeyeballs httptools msgspec rich uvicorn uvloop yaml".split()


def _name(requirement: str) -> str:
    return re.split(r"[\s<>=!~;\[]", requirement, maxsplit=1)[0].lower().replace("_", "-")


def _locked(lock: str) -> dict[str, list[str]]:
    """Package -> its hashes."""
    found: dict[str, list[str]] = {}
    current = ""
    for line in (ROOT / lock).read_text(encoding="utf-8").splitlines():
        if line and line[0] not in "# ":
            current = _name(line)
            found.setdefault(current, [])
        found.setdefault(current, []).extend(re.findall(r"--hash=sha256:([0-9a-f]{64})", line))
    found.pop("", None)
    return found


def _loaded(*command: str) -> set[str]:
    """The modules that a fresh interpreter has after `command`, beyond those that it starts with."""
    probe = "import sys; before = set(sys.modules); {}; print('\\n'.join(set(sys.modules) - before))"
    code = probe.format("; ".join(command))
    run = subprocess.run([sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); {code}"],
                         capture_output=True, text=True, check=True)  # fmt: skip
    return set(run.stdout.split())


def test_few_direct_dependencies() -> None:
    direct = [_name(requirement) for requirement in PROJECT["project"]["dependencies"]]
    assert len(direct) <= MOST_DEPENDENCIES
    assert set(direct) <= set(_locked("requirements.lock")), "run `make lock`"


def test_every_direct_dependency_is_imported() -> None:
    modules = {"pyyaml": "yaml", "python-dotenv": "dotenv"}
    text = "\n".join((ROOT / name).read_text(encoding="utf-8") for name in python_files("penstock"))
    named = [modules.get(name, name) for name in map(_name, PROJECT["project"]["dependencies"])]
    unused = [name for name in named if not re.search(rf"^\s*(import|from) {name}\b", text, re.M)]
    assert unused == [], "nothing imports these: drop the dependency"


def test_no_dependency_on_litellm() -> None:
    for lock in LOCKS:
        assert "litellm" not in _locked(lock)
    imports = re.compile(r"^\s*(import|from) litellm\b", re.M)
    importers = [name for name in python_files("penstock") if imports.search((ROOT / name).read_text("utf-8"))]
    assert importers == []
    assert "litellm" not in str(PROJECT["project"].get("dependencies"))


@pytest.mark.parametrize("lock", [*LOCKS, *CLIENT_LOCKS])
def test_lock_file_has_hashes_and_no_host(lock: str) -> None:
    packages = _locked(lock)
    assert packages and [name for name, hashes in packages.items() if not hashes] == []
    text = (ROOT / lock).read_text(encoding="utf-8")
    for foreign in ("://", "index-url", "--find-links", "--trusted-host", "file:", " @ ", "\\\\"):
        assert foreign not in text, f"{lock} names {foreign}"
    # Version pins and markers have no slash; a path or an address would.
    assert "/" not in text


def test_no_file_names_a_package_registry() -> None:
    hosts = re.compile(r"(pypi|pythonhosted|npmjs|yarnpkg|crates|rubygems)\.(org|com|io)")
    named = [name for name in files() if hosts.search((ROOT / name).read_bytes().decode("utf-8", "replace"))]
    assert [name for name in named if name != "tests/rules/test_packaging.py"] == []


def test_import_penstock_loads_almost_nothing() -> None:
    loaded = _loaded("import penstock")
    assert loaded & set(HEAVY) == set()
    assert len(loaded) <= MOST_MODULES, sorted(loaded)


def test_version_and_help_load_no_server() -> None:
    version = _loaded("from penstock.cli.main import main", "main(['--version'])")
    assert version & {"click", *HEAVY} == set()
    shown = _loaded("from penstock.cli.main import main", "import contextlib",
                    "exec('with contextlib.suppress(SystemExit): main([\"--help\"])')")  # fmt: skip
    assert "click" in shown and shown & set(NOT_FOR_HELP) == set()


def test_python_versions_agree() -> None:
    classifiers = [c.rpartition(" :: ")[2] for c in PROJECT["project"]["classifiers"] if re.search(r":: 3\.\d+$", c)]
    assert PROJECT["project"]["requires-python"] == ">=" + classifiers[0]
    assert "3, 11" in (ROOT / "scripts/venv.sh").read_text() and classifiers[-1] == "3.14"


def test_package_has_a_version_and_a_changelog_entry() -> None:
    source = tree("penstock/__init__.py")
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    version = next(node.value.value for node in source.body if getattr(node, "targets", None))  # type: ignore[attr-defined]
    assert f"## {version}" in text or "## Unreleased" in text


_INSTALL = re.compile(r"\bpip\b.*\b(install|download)\b")
_COMMANDS = re.compile(r"(\.ci/.*|Makefile|Dockerfile|.*\.(sh|inc|py|ya?ml))")
_WHOLE = ("--no-deps", "--require-hashes")
# Files with an install that has no lock, each with its reason.
_WITHOUT_A_LOCK = {
    "Dockerfile": "the wheel that was just built",
    "Makefile": "the project itself, and uv to renew the locks",
    "scripts/pythons.py": "the project itself",
    "bench/tools.py": "the other gateways as their users get them: the newest, resolved today",
    "tests/e2e/clients/install.py": "a probe: it asks whether an index answers, and installs nothing",
    "scripts/build_llama_server.sh": "the engine for the tests, from its pinned source",
}


def _installs(text: str) -> list[tuple[str, bool]]:
    """The commands that install something, shell or a Python list, and whether each is out of a lock. ``*whole`` is
    how Python hands both flags on; the line that makes it is looked at itself."""
    text = text.replace("\\\n", " ").replace("$(PIP)", "pip").replace("*pip", "pip")
    lines = [re.sub(r"[\"',\[\]]", " ", line) for line in text.splitlines() if not line.lstrip().startswith("#")]
    found = [line for line in lines if _INSTALL.search(line) or any(flag in line for flag in _WHOLE)]
    return [(line.strip(), "lock" in line) for line in found if "*whole" not in line]


_INSTALLERS = [n for n in files() if _COMMANDS.fullmatch(n) and n.split("/")[0] not in ("penstock", "docs")]


@pytest.mark.parametrize("name", [n for n in _INSTALLERS if not n.startswith("tests/") or n.startswith("tests/e2e/")])
def test_installs_from_a_lock_resolve_nothing(name: str) -> None:
    """A lock is complete. Resolved again it breaks with anybody's next release: `google-auth[requests]` beside its own
    pin did, overnight, on every fresh clone."""
    for line, locked in _installs((ROOT / name).read_text(encoding="utf-8")):
        if locked:
            assert [flag for flag in _WHOLE if flag not in line] == [], f"{name}: {line}"
        else:
            assert name in _WITHOUT_A_LOCK, f"{name}: {line}: install from a lock, or give the reason above"


def test_the_rule_about_installs_sees_them() -> None:
    assert _installs("pip install -q --require-hashes \\\n -r a.lock") == [("pip install -q --require-hashes   -r a.lock", True)]
    assert [locked for _, locked in _installs('run([*pip, "install", "x"])')] == [False]
    seen = {name for name in _INSTALLERS if _installs((ROOT / name).read_text(encoding="utf-8"))}
    assert {*_WITHOUT_A_LOCK, "tests/e2e/clients/install.py"} <= seen
