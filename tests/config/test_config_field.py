"""Config files of the field: what LiteLLM's proxy starts with, Penstock starts with.

``data/field-configs.tar.xz`` has users' configs and those of LiteLLM's documentation, reduced to their facts (names,
hosts, secrets and comments are replaced). ``PENSTOCK_FIELD_CONFIGS`` names a folder of more of them.
"""

from __future__ import annotations

import os
import random
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from penstock.config import Loaded, load
from penstock.core.providers.resolve import resolve
from penstock.runtime.review import review
from penstock.runtime.state import State

ARCHIVE = Path(__file__).parent / "data" / "field-configs.tar.xz"
# A mapping in the place of the list of models ends LiteLLM's start as well ("string indices must be integers").
NO_START = frozenset({"doc-390.yaml", "doc-441.yaml"})


def texts() -> dict[str, str]:
    found = {}
    with tarfile.open(ARCHIVE) as archive:
        for member in archive.getmembers():
            file = archive.extractfile(member)
            assert file is not None
            found[member.name] = file.read().decode()
    folder = os.environ.get("PENSTOCK_FIELD_CONFIGS")
    for path in sorted(Path(folder).glob("*.yaml")) if folder else ():
        found.setdefault(path.name, path.read_text())
    return found


TEXTS = texts()


def started(folder: Path, text: str) -> Loaded:
    path = folder / "config.yaml"
    path.write_text(text)
    return load(path, {}, resolve=resolve)


def test_all_of_them_start(tmp_path: Path) -> None:
    assert len(TEXTS) >= 178
    stopped = {}
    for name, text in TEXTS.items():
        loaded = started(tmp_path, text)
        if loaded.config is None:
            stopped[name] = [str(problem) for problem in loaded.errors]
            continue
        state = State(loaded.config, loaded.config.environment)
        entries = yaml.safe_load(text).get("model_list") or []
        left_out = {
            problem.path.partition("]")[0] for problem in loaded.errors if problem.path.startswith("model_list[")
        }
        assert len(loaded.config.deployments) == len([one for one in entries if one]) - len(left_out), name
        assert len(state.targets) <= len(loaded.config.deployments)
        review(loaded.config, loaded.config.environment)
    assert stopped.keys() <= NO_START, stopped


@pytest.mark.parametrize("seed", range(2))
def test_a_value_that_is_wrong_takes_nothing_else_away(tmp_path: Path, seed: int) -> None:
    """The kinds of slips that people make: text for a number, one for a list, nothing at all; in every file, in one
    place of it. The models that have nothing to do with it are there."""
    dice = random.Random(seed)
    for name, text in TEXTS.items():
        whole = yaml.safe_load(text)
        entries = whole.get("model_list")
        if name in NO_START or not isinstance(entries, list) or not entries:
            continue
        before = started(tmp_path, text)
        place = spoil(whole, dice)
        loaded = started(tmp_path, yaml.safe_dump(whole))
        if place[0] == "general_settings" and place[-1] in ("general_settings", "master_key"):
            continue  # who may call is never decided by a slip
        if place == ("model_list",):
            continue
        assert loaded.config is not None, (name, place, [str(problem) for problem in loaded.errors])
        State(loaded.config, loaded.config.environment)
        assert before.config is not None
        lost = len(before.config.deployments) - len(loaded.config.deployments)
        if place[0] not in ("credential_list", "environment_variables"):  # which others may need
            assert lost <= (place[0] == "model_list"), (name, place)



def spoil(whole: dict[str, Any], dice: random.Random) -> tuple[Any, ...]:
    """Replace one value somewhere in ``whole``; return its path."""
    places: list[tuple[Any, Any, tuple[Any, ...]]] = []

    def walk(node: Any, path: tuple[Any, ...]) -> None:
        pairs = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        for key, value in pairs:
            places.append((node, key, (*path, key)))
            walk(value, (*path, key))

    walk(whole, ())
    holder, key, path = dice.choice(places)
    holder[key] = dice.choice(["text", "", None, 7, -1, True, [], ["text"], {}, {"a": {"b": 1}}, [{"a": 1}], 1e300])
    return path
