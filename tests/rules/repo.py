"""What the rule tests look at: the repository's files, parsed once."""

from __future__ import annotations

import ast
import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@cache
def files() -> tuple[str, ...]:
    """Every file that git would commit, as paths from the root (the new ones too); all files where git is missing."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    except (OSError, subprocess.CalledProcessError):
        paths = [path.relative_to(ROOT) for path in ROOT.rglob("*")]
        listed = [str(path) for path in paths if path.parts[0] == ".ci" or not path.parts[0].startswith(".")]
    return tuple(sorted(name for name in listed if name and (ROOT / name).is_file()))


def python_files(*folders: str) -> list[str]:
    """The Python files under `folders` (all of them when none is named)."""
    return [name for name in files() if name.endswith(".py") and (not folders or name.split("/")[0] in folders)]


@cache
def tree(name: str) -> ast.Module:
    """The syntax tree of one file."""
    return ast.parse((ROOT / name).read_text(encoding="utf-8"), name)
