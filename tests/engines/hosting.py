"""A gateway with engines in its config, and what is asked of it."""

from __future__ import annotations

import http.client
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.e2e.serving import Served, serving, until

SLOW = Path(__file__).resolve().parent / "slowserver.py"
SECONDS = 20.0


def engine(name: str, *words: str, **more: Any) -> dict[str, Any]:
    """An engine that is a stand-in."""
    command = [sys.executable, str(SLOW), "--port", "{port}", "--model", name, *words]
    return {"command": command, "health": "/up", **more}


def write(models: dict[str, Any], rest: dict[str, Any] | None = None, **rules: Any) -> str:
    """A config: JSON is YAML."""
    return json.dumps({"engines": {"swap_after": "1s", **rules, "models": models}, **(rest or {})})


class Asked:
    """A request in a thread of its own. ``lines``: of what came so far; ``status``: once the head is there."""

    def __init__(self, served: Served, path: str, body: Any, method: str = "POST", **headers: str) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=60)
        self.status, self.lines, self.done = 0, list[str](), False
        self._sent = (
            method,
            path,
            None if body is None else json.dumps(body),
            {"content-type": "application/json", **headers},
        )
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.connection.request(*self._sent)
            answer = self.connection.getresponse()
            self.status = answer.status
            while line := answer.readline():
                self.lines.append(line.decode().rstrip("\n"))
            self.done = True
        except (OSError, http.client.HTTPException, AttributeError, ValueError):
            return  # this side has left, or the other one broke it off

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def leave(self) -> None:
        """Hang up, as a client does that waits no longer."""
        if self.connection.sock is not None:
            self.connection.sock.shutdown(2)
        self.connection.close()

    def wait(self, seconds: float = SECONDS) -> Any:
        self._thread.join(seconds)
        assert not self._thread.is_alive(), f"no end within {seconds} s: {self.lines}"
        try:
            return json.loads(self.text)
        except ValueError:
            return self.text


class Place:
    """The gateway of a test."""

    def __init__(self, served: Served) -> None:
        self.served = served

    def chat(self, model: str, text: str = "hello", stream: bool = False, path: str = "/v1/chat/completions") -> Asked:
        body = {"model": model, "messages": [{"role": "user", "content": text}], "stream": stream, "max_tokens": 50}
        return Asked(self.served, path, body)

    def says(self, model: str) -> Any:
        """The text of an answer, which is waited for; the error where there is one."""
        told = self.chat(model).wait()
        return told["choices"][0]["message"]["content"] if "choices" in told else told["error"]

    def get(self, path: str) -> Any:
        return Asked(self.served, path, None, "GET").wait()

    def post(self, path: str) -> tuple[int, Any]:
        asked = Asked(self.served, path, None)
        return (told := asked.wait()) and (asked.status, told)

    def row(self, name: str) -> dict[str, Any]:
        row: dict[str, Any] = self.get(f"/engines/{name}")
        return row

    def until(self, name: str, seconds: float = SECONDS, **fields: Any) -> dict[str, Any]:
        """Waits until an engine's row has these values."""

        def found() -> Any:
            row = self.row(name)
            time.sleep(0.03)
            return row if fields.items() <= row.items() else None

        row: dict[str, Any] = until(found, seconds, f"{name} with {fields}: {self.row(name)}\n{self.served.output()}")
        return row


@contextmanager
def hosting(folder: Path, yaml: str, *arguments: str, **env: str) -> Iterator[Place]:
    with serving(folder, yaml, *arguments, **env) as served:
        yield Place(served)


def processes(mark: str) -> list[str]:
    """Command lines of the processes that have a mark in their environment or their arguments."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                told = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                if mark.encode() in (entry / "environ").read_bytes() or mark in told:
                    found.append(told)
            except OSError:
                continue
    return found


def wait_until(check: Callable[[], Any], seconds: float = SECONDS, what: str = "") -> Any:
    return until(check, seconds, what)
