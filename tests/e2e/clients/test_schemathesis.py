"""Schemathesis on /openapi.json: it asks every operation what the document allows and what it does not, and holds the
answers against the document. ``make fuzz`` asks far more, other things each time."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.mock import Mock
from tests.e2e.clients.cli import run
from tests.e2e.clients.install import PYTHON, python_client
from tests.e2e.serving import MASTER_KEY, Served, get, serving

EXAMPLES = int(os.environ.get("PENSTOCK_FUZZ", "0"))  # of each operation; 0: a few, the same ones each time
# The first run installs it.
pytestmark = [pytest.mark.timeout(0 if EXAMPLES else 600)]
CONFIG = f"""
model_list:
  - {{model_name: m, litellm_params: {{model: openai/gpt-4o, api_key: sk-upstream, api_base: "URL/v1"}}}}
router_settings: {{num_retries: 0}}
litellm_settings: {{cache: true}}
general_settings: {{master_key: {MASTER_KEY}}}
"""
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
ELSEWHERE = ("--exclude-path", "/{provider}/{path}")  # leads out of this machine


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("fuzzed")
    with Mock.thread() as mock:
        with serving(folder, CONFIG.replace("URL", mock.url), PENSTOCK_STATE_DIR=str(folder / "state")) as running:
            yield running


def fuzz(gateway: Served, folder: Path, *options: str, **env: str) -> None:
    command = python_client("schemathesis").parent / "schemathesis"
    status, document = get(f"{gateway.url}/openapi.json", authorization=f"Bearer {MASTER_KEY}")
    assert status == 200
    (folder / "openapi.json").write_bytes(document)
    asked = ["run", "openapi.json", "--url", gateway.url, "--no-color", "--continue-on-failure"]
    asked += ["--suppress-health-check", "all", "--warnings", "off"]
    asked += ["--generation-with-security-parameters", "false"]  # some are other vendors' words, with other answers
    asked += ["--generation-database", "none"] if EXAMPLES else ["--generation-deterministic"]
    done = run([command, *asked, *options], folder, 86400 if EXAMPLES else 300, **env)
    assert done.code == 0, f"{done.out[-6000:]}{done.err[-2000:]}"
    assert "fault of the gateway" not in gateway.output()


def test_every_operation_answers_as_the_document_says(gateway: Served, tmp_path: Path) -> None:
    phases = ("--phases", "coverage,fuzzing", "-n", str(EXAMPLES)) if EXAMPLES else ("--phases", "fuzzing", "-n", "8")
    key = ("-H", f"Authorization: Bearer {MASTER_KEY}")
    fuzz(gateway, tmp_path, *ELSEWHERE, *key, *phases, "-c", CHECKS)


def test_without_a_key_nothing_answers_that_wants_one(gateway: Served, tmp_path: Path) -> None:
    shutil.copy(PYTHON / "refused_checks.py", tmp_path)
    checks = ("-c", f"{CHECKS},refused_without_key")
    fuzz(
        gateway, tmp_path, "--phases", "fuzzing", "-n", str(EXAMPLES or 1), *checks, SCHEMATHESIS_HOOKS="refused_checks"
    )
