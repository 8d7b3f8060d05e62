"""Compare what a completion in process costs in CPU time: ours, and LiteLLM's, against the same mock.

    python -m bench.sdk [--tree FOLDER] [--litellm PYTHON] [--calls N]

--tree: where our side stands, these sources unless said; build/compiled/tree has the compiled modules of a wheel, as
`python -m scripts.compiled.build` makes them. --litellm: an interpreter that has LiteLLM. Each side runs in a process
of its own, one call after the other; counted is the time of that process, the least of several rounds, for everything
else on the machine only adds to it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from bench.tools import ROOT
from penstock.mock import ThreadMock

ROUNDS = 8
_ASK = """
import json, sys, time
began = time.process_time()
from {module} import completion
imported = time.process_time() - began
url, calls, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
said = [{{"role": "user", "content": "hello"}}]
asked = dict(model="openai/gpt-4o-mini", messages=said, api_base=url, api_key="sk-x")
for _ in range(calls):
    completion(**asked)
found = []
for _ in range(rounds):
    began = time.process_time()
    for _ in range(calls):
        completion(**asked)
    found.append((time.process_time() - began) / calls)
print(json.dumps([imported, min(found), sorted(found)[rounds // 2], sys.modules["{module}"].__file__]))
"""


def measure(python: str, module: str, url: str, calls: int, tree: Path | None = None) -> tuple[float, float, float]:
    """Measure one side: seconds of the import, of a call at least, of a call in the middle. ``tree``: where its module
    must come from."""
    command = [python, "-c", _ASK.format(module=module), url, str(calls), str(ROUNDS)]
    env = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "PATH": "/usr/bin:/bin"}
    if tree is not None:
        env["PYTHONPATH"] = str(tree)
    # Not in the working directory, which is looked in before any path, and has our sources.
    done = subprocess.run(command, env=env, cwd=tree or Path(python).parent, capture_output=True, text=True, check=True)
    imported, least, middle, file = json.loads(done.stdout.splitlines()[-1])
    if tree is not None and not Path(file).is_relative_to(tree):
        raise SystemExit(f"{module} was loaded from {file}, and not from {tree}")
    return imported, least, middle


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--tree", type=Path, default=ROOT, help="where our side stands (default: these sources)")
    parser.add_argument("--litellm", help="an interpreter that has LiteLLM")
    parser.add_argument("--calls", type=int, default=250)
    args = parser.parse_args()
    tree: Path = args.tree.resolve()
    if not (tree / "penstock" / "sdk").is_dir():
        parser.error(f"--tree {args.tree}: there is no penstock in it")
    sides: list[tuple[str, str, str, int, Path | None]] = [
        ("penstock", sys.executable, "penstock.sdk", args.calls, tree)
    ]
    if args.litellm:
        # Not resolved: what it links to is the interpreter without its packages.
        sides.append(("litellm", str(Path(args.litellm).absolute()), "litellm", max(20, args.calls // 5), None))
    print(f"{'':10} {'import, s':>10} {'call, us':>10} {'middle, us':>10}")
    least = []
    with ThreadMock() as mock:
        for name, python, module, calls, where in sides:
            imported, low, middle = measure(python, module, f"{mock.url}/v1", calls, where)
            least.append(low)
            print(f"{name:10} {imported:10.2f} {low * 1e6:10.0f} {middle * 1e6:10.0f}")
    if len(least) > 1:
        print(f"a call costs 1/{least[1] / least[0]:.1f}")


if __name__ == "__main__":
    main()
