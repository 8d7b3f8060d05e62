"""The real llama-server as the engines of a config: two models share one slot, for the libraries of both vendors."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

from tests.e2e.serving import find_llama
from tests.engines.hosting import Place, hosting, processes, wait_until

FOUND = find_llama()
pytestmark = [
    pytest.mark.skipif(isinstance(FOUND, str), reason=str(FOUND)),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds what is left in /proc"),
]


def config(folder: Path, **rules: Any) -> str:
    """Two models, which are the same file by two names."""
    assert not isinstance(FOUND, str)
    binary, model = FOUND
    models = {}
    for name in ("one", "two"):
        (folder / f"{name}.gguf").symlink_to(model)
        # One thread: llama.cpp's threads wait for each other in a loop, which a busy machine takes badly.
        args = {"ctx_size": 8192, "threads": 1, "offline": True, "alias": name}
        models[name] = {"model": str(folder / f"{name}.gguf"), "binary": str(binary), "args": args}
    return json.dumps({"engines": {"swap_after": "1s", "models": models, **rules}})


def test_two_models_share_one_slot(tmp_path: Path) -> None:
    mark = f"mark-{os.urandom(8).hex()}"
    with hosting(tmp_path, config(tmp_path), TEST_RUN_MARK=mark) as place:
        said: list[str] = []
        most = 0
        messages = [{"role": "user", "content": "Hello"}]

        def chat(model: str) -> None:
            with openai.OpenAI(base_url=f"{place.served.url}/v1", api_key="dummy") as client:
                answer = client.chat.completions.create(model=model, messages=messages, max_tokens=8)  # type: ignore[arg-type]
                assert answer.model == model and answer.choices[0].message.content
                said.append(model)

        def stream(model: str) -> None:
            with anthropic.Anthropic(base_url=place.served.url, api_key="dummy") as client:
                with client.messages.stream(model=model, max_tokens=8, messages=messages) as events:  # type: ignore[arg-type]
                    assert "".join(events.text_stream)
                said.append(model)

        threads = [
            threading.Thread(target=kind, args=(model,))
            for kind in (chat, stream) for model in ("one", "two", "one")
        ]  # fmt: skip
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            servers = [line for line in processes(mark) if line.split(" ")[0].endswith("llama-server")]
            most = max(most, len(servers))
            threads[0].join(0.02)
            for thread in threads:
                thread.join(0.01)
        assert sorted(said) == ["one"] * 4 + ["two"] * 2
        assert most == 1, "never two at a time"
        row = next(row for row in place.get("/engines")["data"] if row["state"] == "ready")
        assert row["backend"] == "llama" and row["memory"] > 10_000_000 and row["failures"] == 0
        assert "listening" in place.get(f"/engines/{row['name']}/logs")
    assert processes(mark) == []


def test_killed_hard_the_gateway_leaves_no_engine(tmp_path: Path) -> None:
    mark = f"mark-{os.urandom(8).hex()}"
    with hosting(tmp_path, config(tmp_path, slots=2, preload=["one", "two"]), TEST_RUN_MARK=mark) as place:
        for name in ("one", "two"):
            place.until(name, state="ready")
        place.served.process.kill()
        place.served.process.wait()
        wait_until(lambda: processes(mark) == [], 20)


def test_a_file_that_is_no_model_is_told_with_what_the_engine_said(tmp_path: Path) -> None:
    assert not isinstance(FOUND, str)
    (tmp_path / "bad.gguf").write_bytes(b"GGUF" + b"\xff" * 100)
    models = {
        "bad": {"model": str(tmp_path / "bad.gguf"), "binary": str(FOUND[0])},
        "gone": {"model": str(tmp_path / "gone.gguf"), "binary": str(FOUND[0])},
    }
    with hosting(tmp_path, json.dumps({"engines": {"models": models}})) as place:
        text = place.says("bad")["message"]
        assert "The engine 'bad' does not start" in text and "ended with exit code 1. Its last lines:" in text
        assert "there is no model at" in place.says("gone")["message"]


def test_an_engine_that_is_killed_comes_back(tmp_path: Path) -> None:
    with hosting(tmp_path, config(tmp_path, preload=["one"])) as place:
        place.until("one", state="ready")
        pid = next(pid for pid in _servers() if str(tmp_path) in _line(pid))
        os.kill(pid, signal.SIGKILL)
        row = place.until("one", failures=1)
        row = place.until("one", state="ready")
        assert row["failures"] == 1 and _ok(place)


def _ok(place: Place) -> bool:
    return isinstance(place.says("one"), str)


def _servers() -> list[int]:
    return [
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and "llama-server" in _line(int(entry.name)).split(" ")[0]
    ]


def _line(pid: int) -> str:
    try:
        return (Path("/proc") / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""
