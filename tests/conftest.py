"""What holds for every test: how many examples a law gets, which files begin where several processes run them, and that
nothing is written where the developer's own gateway keeps its things.

``PENSTOCK_LAWS=20000`` for the long run, 400 in CI, 100 on a developer's machine.
"""

from __future__ import annotations

import atexit
import gc
import os
import shutil
import tempfile
from collections import Counter

import pytest
from hypothesis import HealthCheck, settings

_FOLDER = tempfile.mkdtemp(prefix="penstock-state-")
atexit.register(shutil.rmtree, _FOLDER, ignore_errors=True)
os.environ["PENSTOCK_STATE_DIR"] = _FOLDER

_COUNT = int(os.environ.get("PENSTOCK_LAWS") or (400 if os.environ.get("CI") else 100))

settings.register_profile(
    "laws",
    max_examples=_COUNT,
    derandomize=not os.environ.get("PENSTOCK_LAWS"),  # a commit passes or not; what is new is looked for by `make laws`
    deadline=None,  # the machine is shared: a slow example is no fault
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    print_blob=True,
)
settings.load_profile("laws")

# The files that take longest, the longest first: one that begins last is waited for by a single process. Those that are
# not here come by their number of tests. Renewed by `pytest --durations=400` when the end of a run drags.
LONGEST = (
    "tests/laws/test_route_laws.py",
    "tests/e2e/clients/test_langchain.py",
    "tests/e2e/clients/test_litellm_client.py",
    "tests/e2e/test_agents.py",
    "tests/laws/test_same_laws.py",
    "tests/rules/test_doc_blocks.py",
    "tests/server/test_circles.py",
    "tests/server/test_socket_circles.py",
    "tests/server/test_entry_parameters.py",
    "tests/laws/test_mask_laws.py",
    "tests/e2e/clients/test_awkward_upstreams.py",
    "tests/e2e/clients/test_claude_code.py",
    "tests/server/test_log_forms.py",
    "tests/faults/test_faults.py",
    "tests/server/test_coded.py",
    "tests/laws/test_envelope_laws.py",
    "tests/server/test_access.py",
    "tests/e2e/clients/test_codex.py",
    "tests/e2e/clients/test_pairs.py",
    "tests/server/test_continue.py",
    "tests/laws/test_fit_laws.py",
    "tests/laws/test_work.py",
    "tests/server/test_secrets.py",
    "tests/runtime/cloud/test_bedrock.py",
    "tests/e2e/clients/test_errors.py",
    "tests/e2e/clients/test_node_sdks.py",
)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Have the longest files first, where scripts/run_tests.py spreads them over processes."""
    if not hasattr(config, "workerinput"):
        return
    places = {name: place for place, name in enumerate(LONGEST)}
    tests = Counter(_file_of(item) for item in items)
    items.sort(key=lambda item: (places.get(_file_of(item), len(places)), -tests[_file_of(item)]))


def pytest_collection_finish() -> None:
    """Keep 21,000 tests and their modules out of the collector's sight: each look at them takes a second or more, and
    some tests make it look often."""
    gc.collect()
    gc.freeze()


def _file_of(item: pytest.Item) -> str:
    return item.nodeid.partition("::")[0]
