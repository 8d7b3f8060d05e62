"""Run tests on the compiled modules: `python -m scripts.compiled.check [arguments for pytest]`.

The tests stand in a tree of their own, beside the compiled package: what runs there, and every process that it starts,
imports that one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from scripts.compiled import build, rewrite

FOLDERS = ("tests/core", "tests/laws", "tests/runtime", "tests/server", "tests/stores", "tests/contract", "tests/sdk")
_PARTS = ("bench", "docs", "drop-in", "scripts", "tests")


def lay_out(tree: Path) -> None:
    """Put all but the package beside the compiled package."""
    for name in _PARTS:
        shutil.rmtree(tree / name, ignore_errors=True)
        shutil.copytree(build.ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in build.ROOT.iterdir():
        if path.is_file() and path.name not in (".git", ".env"):
            shutil.copy2(path, tree / path.name)


def main(arguments: list[str]) -> int:
    """Build, lay out, and run."""
    try:
        tree = build.current_tree()
    except (build.BuildFailed, rewrite.Unready) as error:
        print(f"no compiled form: {error}", file=sys.stderr)
        return 1
    lay_out(tree)
    named = any(argument.startswith("tests") for argument in arguments)
    folders = [] if named else [folder for folder in FOLDERS if (tree / folder).exists()]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *folders, *arguments]
    return subprocess.run(command, cwd=tree, env={**os.environ, "PYTHONPATH": str(tree)}).returncode


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
