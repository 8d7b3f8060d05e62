"""What a worker is told: every option of its parent, by one function that goes over the fields."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import pytest

from penstock.cli.serve import serve
from penstock.server import run
from penstock.server.options import ServeOptions
from penstock.server.workers import NOT_HANDED_ON, worker_arguments


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ServeOptions:
    """Options in which nothing is as it would be by itself."""
    (tmp_path / "c.yaml").touch()
    return ServeOptions(
        config=tmp_path / "c.yaml",
        host="127.0.0.2",
        port=4711,
        workers=3,
        grace=1.5,
        no_auth=True,
        json_logs=False,
        verbose=True,
        max_body_mb=2.5,
        state_dir=tmp_path / "state",
        fd=9,
        models_fd=10,
        counts="1:11,12,13",
        notes=("--local has no effect",),
    )


def as_the_worker_reads(monkeypatch: pytest.MonkeyPatch, words: list[str]) -> ServeOptions:
    """Parse a worker's command line as the program does."""
    seen: list[ServeOptions] = []
    monkeypatch.setattr(run, "serve", lambda options: seen.append(options) or 0)
    with pytest.raises(SystemExit):
        serve.main(args=words, standalone_mode=False)
    return seen[0]


def test_each_option_is_handed_on_or_listed_with_a_reason(monkeypatch: pytest.MonkeyPatch, told: ServeOptions) -> None:
    names = {field.name for field in fields(ServeOptions)}
    assert set(NOT_HANDED_ON) <= names and all(len(reason.split()) > 3 for reason in NOT_HANDED_ON.values())
    unset = [name for name in names if getattr(told, name) == getattr(ServeOptions, name)]
    assert unset == [], "give these another value in the fixture: a default is handed on by itself"
    worker = as_the_worker_reads(monkeypatch, worker_arguments(told))
    assert worker == replace(told, fd=None, models_fd=None, counts=None, notes=())


@pytest.mark.parametrize("json_logs", [None, True, False])
def test_what_was_not_said_is_not_said_to_a_worker(monkeypatch: pytest.MonkeyPatch, json_logs: bool | None) -> None:
    options = ServeOptions(json_logs=json_logs)
    assert as_the_worker_reads(monkeypatch, worker_arguments(options)) == options
