"""The build of the compiled modules: sources made ready, C, a shared library, and judged before anybody gets it.

    python -m scripts.compiled.build        prints the folder that has penstock with its compiled modules

`penstock__mypyc*.so` has the code of all; a small one beside each module's source loads its part of it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from scripts.compiled import rewrite

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / "build" / "compiled"
HERE = Path(__file__).parent
GROUP = "penstock"
LEVEL = os.environ.get("PENSTOCK_OPT_LEVEL", "3")  # of gcc; 0 to look for faults
WORDS_PATH = rewrite.WORDS_MODULE.replace(".", "/") + ".py"
_SETUP = """
from setuptools import setup
from mypyc.build import mypycify
setup(name="penstock", packages=[], ext_modules=mypycify({arguments!r}, opt_level={level!r}, group_name={group!r}))
"""


class BuildFailed(Exception):
    """No compiled form, or one that is not what the sources say; the text says why."""


class Wanted(NamedTuple):
    """What is compiled: paths of modules, and names of classes in them that interpreted classes build on."""

    modules: list[str]
    subclassed: list[str]


def wanted() -> Wanted:
    """Return what is compiled, as `pyproject.toml` says."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    hook = project["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["custom"]
    return Wanted(hook["modules"], hook["subclassed"])


def build(what: Wanted) -> Path:
    """Return a folder with penstock as a wheel has it: sources, and beside them what was compiled."""
    sources, made, tree = WORK / "sources", WORK / "made", WORK / "tree"
    for folder in (sources, made, tree):
        shutil.rmtree(folder, ignore_errors=True)
    for folder in (sources, tree):
        shutil.copytree(ROOT / "penstock", folder / "penstock", ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    words = write_ready(what, sources)
    compile_modules(what.modules, sources, made)
    (tree / WORDS_PATH).write_text(words, encoding="utf-8")
    shutil.copytree(made, tree, dirs_exist_ok=True)
    judge(what, tree)
    return tree


def made_files(tree: Path) -> Iterator[tuple[Path, str]]:
    """Yield what a tree has beside the sources: each file and its place in a wheel."""
    for path in sorted(tree.rglob("*")):
        if path.suffix in (".so", ".pyd") or path == tree / WORDS_PATH:
            yield path, path.relative_to(tree).as_posix()


def write_ready(what: Wanted, sources: Path) -> str:
    """Make the modules of a copy ready for the compiler; return the module that the others take their words from."""
    found: set[rewrite.Words] = set()
    for path in what.modules:
        text, words = rewrite.make_ready((sources / path).read_text(encoding="utf-8"), path, what.subclassed)
        (sources / path).write_text(text, encoding="utf-8")
        found |= words
    module = rewrite.words_module(found)
    (sources / WORDS_PATH).write_text(module, encoding="utf-8")
    return module


def compile_modules(paths: list[str], sources: Path, made: Path) -> None:
    """Compile modules of a folder into another one."""
    flags = ["--config-file=", "--ignore-missing-imports", "--follow-imports=silent", f"--cache-dir={WORK / 'mypy'}"]
    setup = _SETUP.format(arguments=[*paths, *flags], level=LEVEL, group=GROUP)
    (sources / "setup.py").write_text(setup, encoding="utf-8")
    places = ["--build-lib", str(made), "--build-temp", str(WORK / "objects")]
    run([sys.executable, "setup.py", "-q", "build_ext", *places], sources, "the compiler refuses it")


def judge(what: Wanted, tree: Path) -> None:
    """Refuse a tree whose compiled modules cannot be imported, are not compiled, or define other classes than the
    sources do, and one that does not serve."""
    names = [path.removesuffix(".py").replace("/", ".") for path in what.modules]
    shapes = [json.loads(run([sys.executable, str(HERE / "shapes.py"), *names], where, "it cannot be imported"))
              for where in (ROOT, tree)]  # fmt: skip
    unsaid = {name: heir for name, heir in shapes[0]["heirs"].items() if name not in what.subclassed}
    if unsaid:
        raise BuildFailed(f"interpreted classes build on compiled ones, which `subclassed` does not name: {unsaid}")
    if shapes[0]["made"]:  # the compiler takes what is said to be one of these for exactly that, and heirs for faults
        raise BuildFailed(f"classes build on compiled structs and are not compiled with them: {shapes[0]['made']}")
    pure, compiled = (found["shapes"] for found in shapes)
    other = sorted(name for name in {*pure, *compiled} if pure.get(name) != compiled.get(name))
    if other:
        name = other[0]
        raise BuildFailed(f"{name} is another class when compiled:\n  {pure.get(name)}\n  {compiled.get(name)}")
    code = "import importlib, sys\nfor n in sys.argv[1:]: print(importlib.import_module(n).__file__)"
    files = run([sys.executable, "-c", code, *names], tree, "it cannot be imported").split()
    loaded = [name for name, file in zip(names, files, strict=True) if file.endswith(".py")]
    if loaded:
        raise BuildFailed(f"not compiled after all: {', '.join(loaded)}")
    run([sys.executable, str(HERE / "serves.py")], tree, "it does not serve")


def run(command: list[str], where: Path, fault: str) -> str:
    """Return what a command prints that runs in this folder and imports from there."""
    environment = {**os.environ, "PYTHONPATH": str(where), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=where, env=environment, capture_output=True, text=True)
    if done.returncode:
        told = "\n".join((done.stdout + done.stderr).strip().splitlines()[-30:])
        raise BuildFailed(f"{fault} (exit {done.returncode}):\n{told}")
    return done.stdout


def current_tree() -> Path:
    """Return a folder with the compiled form of the sources as they are now; it is built where it is not there yet."""
    what = wanted()
    digest = hashlib.sha256(repr((sys.version, version("mypy"), LEVEL, what)).encode())
    for path in sorted([*(ROOT / "penstock").rglob("*.py"), *HERE.glob("*.py")]):
        digest.update(path.read_bytes())
    stamp, tree = WORK / "stamp", WORK / "tree"
    if not (stamp.exists() and stamp.read_text(encoding="utf-8") == digest.hexdigest()):
        stamp.unlink(missing_ok=True)
        tree = build(what)
        stamp.write_text(digest.hexdigest(), encoding="utf-8")
    return tree


def main() -> int:
    """Build, and say where it is."""
    try:
        print(current_tree())
    except (BuildFailed, rewrite.Unready) as error:
        print(f"no compiled form: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
