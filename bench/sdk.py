"""Compare what a completion in process costs in CPU time: ours, and LiteLLM's, against the same mock.

    python -m bench.sdk [--litellm PYTHON] [--calls N]

--litellm: an interpreter that has LiteLLM. Each side runs in a process of its own, one call after the other; counted is
the time of that process, the least of several rounds, for everything else on the machine only adds to it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys

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
print(json.dumps([imported, min(found), sorted(found)[rounds // 2]]))
"""


def measure(python: str, module: str, url: str, calls: int) -> tuple[float, float, float]:
    """Measure one side: seconds of the import, of a call at least, of a call in the middle."""
    command = [python, "-c", _ASK.format(module=module), url, str(calls), str(ROUNDS)]
    env = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    imported, least, middle = json.loads(done.stdout.splitlines()[-1])
    return imported, least, middle


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--litellm", help="an interpreter that has LiteLLM")
    parser.add_argument("--calls", type=int, default=250)
    args = parser.parse_args()
    sides = [("penstock", sys.executable, "penstock.sdk", args.calls)]
    if args.litellm:
        sides.append(("litellm", args.litellm, "litellm", max(20, args.calls // 5)))
    print(f"{'':10} {'import, s':>10} {'call, us':>10} {'middle, us':>10}")
    least = []
    with ThreadMock() as mock:
        for name, python, module, calls in sides:
            imported, low, middle = measure(python, module, f"{mock.url}/v1", calls)
            least.append(low)
            print(f"{name:10} {imported:10.2f} {low * 1e6:10.0f} {middle * 1e6:10.0f}")
    if len(least) > 1:
        print(f"a call costs 1/{least[1] / least[0]:.1f}")


if __name__ == "__main__":
    main()
