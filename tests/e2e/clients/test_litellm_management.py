"""LiteLLM's own client of the management API, as a library and as the command ``litellm-proxy``: unchanged."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.clients.cli import run
from tests.e2e.clients.install import python_client
from tests.e2e.serving import MASTER_KEY, Served, serving

pytestmark = pytest.mark.timeout(1000)  # the first run installs the client
SCRIPT = Path(__file__).parent / "python" / "lite_manage.py"
CONFIG = f"""
model_list:
  - model_name: gpt-4o
    litellm_params: {{model: openai/gpt-4o, api_key: sk-upstream, api_base: "http://127.0.0.1:9/v1"}}
general_settings: {{master_key: {MASTER_KEY}}}
"""


@pytest.fixture(scope="module")
def managed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("managed")
    with serving(folder, CONFIG, PENSTOCK_STATE_DIR=str(folder / "state")) as gateway:
        yield gateway


def test_the_library_manages_keys_users_and_teams(managed: Served, tmp_path: Path) -> None:
    python = python_client("litellm")
    done = run([python, SCRIPT], tmp_path, 120, GATEWAY=managed.url, KEY=MASTER_KEY)
    assert done.code == 0, done
    told: dict[str, Any] = json.loads(done.out.splitlines()[-1])
    made = told["key"]
    assert made["key"].startswith("sk-") and made["models"] == ["gpt-4o"] and made["user_id"] == "ann"
    assert told["user"]["user_id"] == "ann" and told["updated"]["aliases"] == {"a": "gpt-4o"}
    assert told["info"]["info"]["key_alias"] == "mine" and told["info"]["info"]["aliases"] == {"a": "gpt-4o"}
    assert [key["token"] for key in told["keys"]["keys"]] == [made["token"]]
    assert [key["key_alias"] for key in told["of_user"]["keys"]] == ["mine"]
    assert told["teams"] == [] and told["teams_v2"]["teams"] == []
    assert [model["id"] for model in told["models"]] == ["gpt-4o"]
    assert [model["model_name"] for model in told["model_info"]] == ["gpt-4o"]
    assert [group["model_group"] for group in told["groups"]] == ["gpt-4o"]
    assert told["deleted"]["deleted_keys"] == [made["key"]] and "gone" in told


def test_the_command_manages_keys_and_users(managed: Served, tmp_path: Path) -> None:
    command = python_client("litellm").parent / "litellm-proxy"
    asked = [command, "--base-url", managed.url, "--api-key", MASTER_KEY]
    made = run([*asked, "keys", "generate", "--key-alias", "by-command", "--models", "gpt-4o"], tmp_path, 120)
    assert made.code == 0 and "sk-" in made.out, made
    listed = run([*asked, "keys", "list", "--format", "json"], tmp_path, 120)
    assert listed.code == 0 and "by-command" in listed.out, listed
    models = run([*asked, "models", "list", "--format", "json"], tmp_path, 120)
    assert models.code == 0 and "gpt-4o" in models.out, models
    people = run([*asked, "users", "list"], tmp_path, 120)
    assert people.code == 0, people
