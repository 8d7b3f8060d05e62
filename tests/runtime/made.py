"""States, targets and calls for unit tests: from a config's text, without a server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from penstock.config import load
from penstock.core.envelope import open_body
from penstock.core.providers.resolve import resolve
from penstock.runtime.attempt import Attempt
from penstock.runtime.call import Call
from penstock.runtime.exchange import Exchange
from penstock.runtime.held import Held
from penstock.runtime.identity import ANONYMOUS
from penstock.runtime.live import Lives
from penstock.runtime.means import Means
from penstock.runtime.state import State
from penstock.runtime.targets import Target
from penstock.server.surfaces import SURFACES
from penstock.stores.memory import MemoryStore


def state_of(tmp_path: Path, yaml: str, env: Mapping[str, str] | None = None) -> State:
    path = tmp_path / "config.yaml"
    path.write_text(yaml)
    loaded = load(path, env or {}, resolve=resolve)
    assert loaded.config is not None, [str(problem) for problem in loaded.problems]
    return State(loaded.config, env or {})


def target_of(tmp_path: Path, env: Mapping[str, str] | None = None, settings: str = "", **params: Any) -> Target:
    """The one target of a config with these ``litellm_params``."""
    params.setdefault("model", "openai/gpt-4o")
    entry = json.dumps({"model_name": "m", "litellm_params": params})
    return state_of(tmp_path, f"model_list: [{entry}]\n{settings}", env).targets[0]


class Sent(Exchange):
    """An exchange that keeps what is written."""

    def __init__(self, body: bytes = b"{}", path: str = "/v1/chat/completions", **headers: str) -> None:
        named = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
        super().__init__("POST", path, named, body, client="127.0.0.1")
        self.finished = self.aborted = False
        self.status = 0
        self.head = self.out = b""
        self.sources: list[object] = []

    def whole(self, status: int, headers: bytes, body: bytes) -> None:
        self.start(status, headers)
        self.write(body)
        self.finish()

    def start(self, status: int, headers: bytes, framing: bytes | None = None) -> None:
        assert not self.responded
        self.responded, self.status, self.head = True, status, headers

    def write(self, data: bytes) -> None:
        assert not self.finished
        self.out += data
        self.bytes_out += len(data)

    def finish(self) -> None:
        self.finished = True

    def abort(self) -> None:
        self.aborted = True

    def feed_from(self, source: object | None) -> None:
        self.sources.append(source)


def call_of(body: Any = None, path: str = "/v1/chat/completions", clock: Any = None, **headers: str) -> Call:
    """A call whose fields were read; ``call.exchange`` is a ``Sent``."""
    data = body if isinstance(body, bytes) else json.dumps(body or {"model": "m", "messages": [{}]}).encode()
    exchange = Sent(data, path, **headers)
    means = Means(None, MemoryStore(), Lives(), clock or (lambda: 0.0), set(), Held())
    call = Call(exchange, means, ANONYMOUS, SURFACES[path])
    exchange.call = call
    call.read_fields(open_body(data))
    return call


def attempt_of(call: Call, target: Any = None, group: str = "m") -> Attempt:
    """A first try of a call, which holds it as the engine would; ``target`` may be all that the test looks at."""
    call.tries += 1
    target = target or SimpleNamespace(label="openai/x", answer_lines=b"", live_id="x", id="x", said=None, drop=())
    live = call.means.lives.of(target)
    call.attempt = Attempt(call, target, group, live, call.surface.dialect, call.tries, call.fields, call.stream)
    return call.attempt


async def turn(times: int = 5) -> None:
    for _ in range(times):
        await asyncio.sleep(0)
