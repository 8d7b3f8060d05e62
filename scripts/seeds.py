"""Print what came of each promise of the seeds: number, what, pass.

    python -m scripts.seeds [FOLDER ...]

A promise is proved by the tests that carry its number in their names (``test_s0_07_...``), wherever they stand. Exits
with 1 when one of them fails; what has no test yet is listed, and is no failure.
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from typing import Any

import pytest

COUNTS = {0: 30, 1: 56, 2: 33, 3: 45, 4: 44}  # promises of each seed
_NUMBER = re.compile(r"_(s[0-4]_\d\d)(?=_)")


class Seeds:
    """Collects the tests that carry a number, and what came of them."""

    def __init__(self) -> None:
        self.what: dict[str, list[str]] = defaultdict(list)
        self.came: dict[str, set[str]] = defaultdict(set)

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        ours = [item for item in items if _NUMBER.search(item.name + "_")]
        config.hook.pytest_deselected(items=[item for item in items if item not in ours])
        items[:] = ours

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when != "call" and not report.failed and not report.skipped:
            return
        name = report.nodeid.rpartition("::")[2].partition("[")[0]
        words = _NUMBER.sub("", name + "_").removeprefix("test").replace("_and_", "_", 1).strip("_").replace("_", " ")
        for number in _NUMBER.findall(name + "_"):
            self.came[number].add(report.outcome)
            if words not in self.what[number]:
                self.what[number].append(words)


def main() -> int:
    seeds, folders = Seeds(), sys.argv[1:] or ["tests"]
    code = pytest.main(["-q", "--no-header", "-p", "no:cacheprovider", "--timeout", "120", *folders], plugins=[seeds])
    proved = 0
    for seed, count in COUNTS.items():
        for number in (f"s{seed}_{n:02d}" for n in range(1, count + 1)):
            came = seeds.came.get(number, set())
            told = "FAILS" if "failed" in came else "pass" if "passed" in came else "skipped" if came else "no test yet"
            proved += told == "pass"
            print(f"{number.upper().replace('_', '-'):6} {told:12} {'; '.join(seeds.what.get(number, ()))[:120]}")
    print(f"{proved} of {sum(COUNTS.values())} promises have a test that passes")
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
