"""The peers and the load generator: found, or installed, or a reason why not.

nginx, wrk and npm come from Debian (apt-get, only as root). LiteLLM gets a virtual environment and Portkey a node
folder of their own, under `.cache/bench` (`PENSTOCK_BENCH_CACHE` names another place), installed once and reused.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_APT = {"nginx": ["nginx-light"], "wrk": ["wrk"], "npm": ["nodejs", "npm"], "taskset": ["util-linux"]}
# Their newest pins can be ahead of an index mirror; none of the three is on the path of a request.
_LITELLM_RELAXED = ("certifi", "litellm-proxy-extras", "litellm-enterprise")
_PORTKEY_SERVER = "1.14.1"
AS_PUBLISHED = "as published"


class Unavailable(Exception):
    """A tool cannot be had here; the message is the reason that the table shows."""


def cache_dir() -> Path:
    path = Path(os.environ.get("PENSTOCK_BENCH_CACHE") or ROOT / ".cache" / "bench")
    path.mkdir(parents=True, exist_ok=True)
    return path


def say(text: str) -> None:
    """Progress goes to stderr; stdout carries the table alone."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def run(command: list[str], timeout: float = 900) -> str:
    """Run to the end and return stdout. Raises Unavailable with the last lines of stderr."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise Unavailable(f"{command[0]}: {exc}") from exc
    if done.returncode:
        tail = " ".join((done.stderr or done.stdout).split())[-300:]
        raise Unavailable(f"{' '.join(command[:4])} ... exited {done.returncode}: {tail}")
    return done.stdout


def compiled_tree(notes: list[str]) -> Path:
    """Return where Penstock stands with its hot modules compiled, as its image has it. Where there is no compiler it is
    the sources, and a note says so."""
    say("compiling penstock's hot modules, if they are not yet (minutes)")
    try:
        return Path(run([sys.executable, "-m", "scripts.compiled.build"]).split()[-1])
    except Unavailable as exc:
        notes.append(f"penstock is not compiled, as its wheels and its image are: {exc}")
        return ROOT


def system_tool(name: str) -> str:
    """Path of a tool of the system, installed with apt-get when that is possible."""
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if found:
        return found
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise Unavailable(f"{name} is not installed (Debian: apt-get install {' '.join(_APT[name])})")
    say(f"installing {name} with apt-get")
    os.environ["DEBIAN_FRONTEND"] = "noninteractive"
    run(["apt-get", "update", "-q"])
    run(["apt-get", "install", "-y", "-q", "--no-install-recommends", *_APT[name]])
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if not found:
        raise Unavailable(f"{name} is still missing after apt-get install")
    return found


def tool_version(name: str) -> str:
    """First version-like word of what the tool says about itself; nginx and wrk say it on stderr and fail."""
    path = system_tool(name)
    done = subprocess.run([path, "-v"], capture_output=True, text=True, check=False)
    found = re.search(r"\d+\.\d+[\w.+-]*", done.stdout + done.stderr)
    return found.group() if found else "unknown"


def _note(folder: Path, **fields: str) -> dict[str, str]:
    (folder / "bench.json").write_text(json.dumps(fields))
    return fields


def _noted(folder: Path) -> dict[str, str] | None:
    try:
        noted: dict[str, str] = json.loads((folder / "bench.json").read_text())
    except (OSError, ValueError):
        return None
    return noted


def litellm() -> tuple[Path, dict[str, str]]:
    """The folder of LiteLLM's environment, with its version and how it was installed."""
    folder = cache_dir() / "litellm"
    noted = _noted(folder)
    if noted and (folder / "bin" / "litellm").exists():
        return folder, noted
    say("installing LiteLLM into its own environment (about a minute)")
    began = time.monotonic()
    shutil.rmtree(folder, ignore_errors=True)
    run([sys.executable, "-m", "venv", str(folder)])
    python = str(folder / "bin" / "python")
    run([python, "-m", "pip", "install", "-q", "uv"])
    newest = run([python, "-m", "pip", "index", "versions", "litellm"]).split("(", 1)[1].split(")")[0]
    uv = [str(folder / "bin" / "uv"), "pip", "install", "-q", "--compile-bytecode", "-p", python]
    how = AS_PUBLISHED
    try:
        run([*uv, f"litellm[proxy]=={newest}"])
    except Unavailable as pinned:
        say(f"litellm {newest} does not install as published: {pinned}")
        overrides = folder / "overrides.txt"
        overrides.write_text("\n".join(_LITELLM_RELAXED))
        how = f"with the pins of {', '.join(_LITELLM_RELAXED)} relaxed: the index lacks the pinned ones"
        try:
            run([*uv, "--override", str(overrides), f"litellm[proxy]=={newest}"])
        except Unavailable:
            how = f"because the newest, {newest}, does not install here"
            run([*uv, "litellm[proxy]"])
    version = run([python, "-c", "from importlib.metadata import version; print(version('litellm'))"]).strip()
    took = f"{time.monotonic() - began:.0f} s"
    return folder, _note(folder, version=version, how=how, install_time=took)


def portkey() -> tuple[Path, dict[str, str]]:
    """The folder of Portkey's gateway package, with its version."""
    folder = cache_dir() / "portkey"
    package = folder / "node_modules" / "@portkey-ai" / "gateway"
    system_tool("npm")
    noted = _noted(folder)
    if noted and (package / "build" / "start-server.js").exists():
        return package, noted
    say("installing Portkey's gateway with npm")
    began = time.monotonic()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    overrides = {"@hono/node-server": _PORTKEY_SERVER}
    (folder / "package.json").write_text(json.dumps({"private": True, "overrides": overrides}))
    run(["npm", "install", "--prefix", str(folder), "--no-audit", "--no-fund", "@portkey-ai/gateway"])
    version = json.loads((package / "package.json").read_text())["version"]
    how = f"with @hono/node-server {_PORTKEY_SERVER}: newer ones fail every stream (Portkey-AI/gateway issue 1389)"
    return package, _note(folder, version=version, how=how, install_time=f"{time.monotonic() - began:.0f} s")
