"""What strangers, broken-off requests and refusals cost a gateway in a process of its own: next to nothing, and not for
long. Measured at both doors, by what the system says that the process has."""

from __future__ import annotations

import json
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from penstock.mock import Mock, Script
from tests.e2e.serving import Served, clean_env, free_port, get, serving, until

pytestmark = [pytest.mark.serial, pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")]
KEY = "sk-memory-master-1f6b2c"
MB = 1_000_000
SIZE = 30 * MB
ASGI = """
import sys, uvicorn
from penstock.server.service import Service
from penstock.server.options import ServeOptions
from penstock.server.sources.base import gather
from penstock.server.sources.environment import environment
from penstock.server.sources.registered import sources_of
from penstock.server.doors.asgi import AsgiDoor
from pathlib import Path
import asyncio
path = Path(sys.argv[1])
sources = sources_of(path, environment)
config, _ = asyncio.run(gather(sources[:1]))
service = Service(ServeOptions(config=path), config, sources)
uvicorn.run(AsgiDoor(service.gateway), port=int(sys.argv[2]), http="httptools", lifespan="off", access_log=False)
"""


def config(url: str) -> str:
    return f"""
model_list:
  - model_name: m
    litellm_params: {{model: openai/real-model, api_base: "{url}/v1", api_key: sk-x}}
router_settings: {{num_retries: 0}}
general_settings: {{master_key: {KEY}}}
"""


@contextmanager
def under_uvicorn(folder: Path, yaml: str) -> Iterator[Served]:
    (folder / "config.yaml").write_text(yaml)
    port, log = free_port(), folder / "asgi.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", ASGI, str(folder / "config.yaml"), str(port)],
            cwd=folder, env=clean_env(folder), stdout=output, stderr=output,
        )  # fmt: skip
    served = Served(process, port, log)
    try:
        until(lambda: get(f"{served.url}/health/liveliness", 1.0)[0] == 200, 30, "a start")
        yield served
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture
def mock() -> Iterator[Mock]:
    with Mock.thread() as running:
        yield running


@pytest.fixture(params=["quick", "asgi"])
def gateway(request, tmp_path, mock) -> Iterator[Served]:
    with (serving if request.param == "quick" else under_uvicorn)(tmp_path, config(mock.url)) as served:
        yield served


def rss(served: Served, what: str = "VmRSS") -> int:
    for line in Path(f"/proc/{served.pid}/status").read_text().splitlines():
        if line.startswith(f"{what}:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(what)


def forget_peak(served: Served) -> None:
    """VmHWM begins anew from what is resident now."""
    Path(f"/proc/{served.pid}/clear_refs").write_text("5")


def send(served: Served, data: bytes, key: str = KEY, length: int | None = None) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", served.port), 20)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\n"
    client.sendall(f"{head}content-length: {len(data) if length is None else length}\r\n\r\n".encode())
    try:
        client.sendall(data)
    except OSError:  # whoever is refused may be cut off
        pass
    return client


def leave(client: socket.socket) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def status_of(client: socket.socket) -> bytes:
    try:
        return client.recv(65536)[9:12]
    finally:
        client.close()


def ten(served: Served, one) -> list:
    with ThreadPoolExecutor(10) as pool:
        return list(pool.map(lambda _: one(served), range(10)))


CHAT = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x" * SIZE}]}).encode()
BAD = json.dumps({"model": "m", "messages": "x" * SIZE}).encode()


def broken_off(served: Served) -> None:
    leave(send(served, CHAT[: SIZE - 1_000_000], length=SIZE))


def bad(served: Served) -> None:
    assert status_of(send(served, BAD)) == b"400"


def abandoned(served: Served) -> None:
    client = send(served, CHAT)
    time.sleep(0.3)
    leave(client)


@pytest.mark.parametrize("one", [broken_off, bad, abandoned], ids=lambda one: one.__name__)
def test_five_rounds_of_ten_leave_nothing(one, gateway, mock):
    mock.script = Script.always(latency_ms=60_000) if one is abandoned else Script()
    ten(gateway, one)
    began = settled(gateway)
    for _ in range(5):  # a body that stays is 30 MB: one of these fifty is seen
        ten(gateway, one)
    left = settled(gateway) - began
    print(f"{one.__name__}: {left / MB:+.1f} MB after five rounds, from {began / MB:.1f} MB; at most {rss(gateway, 'VmHWM') / MB:.0f}")
    assert left < 30 * MB
    assert get(f"{gateway.url}/v1/models", authorization=f"Bearer {KEY}")[0] == 200


def settled(served: Served) -> int:
    """What is resident once it has come to rest."""
    last, still = rss(served), 0
    for _ in range(100):
        time.sleep(0.05)
        now = rss(served)
        still = still + 1 if abs(now - last) < MB else 0
        last = now
        if still >= 6:
            break
    return last


def test_sixty_strangers_with_thirty_megabytes_each_cost_nothing(gateway):
    ten(gateway, lambda served: status_of(send(served, b"x" * 100_000, "sk-wrong", SIZE)))
    forget_peak(gateway)
    before = settled(gateway)
    go = threading.Barrier(60)
    data = b"x" * SIZE

    def stranger(_: int) -> bytes:
        go.wait(20)
        return status_of(send(gateway, data, "sk-wrong"))

    with ThreadPoolExecutor(60) as pool:
        told = list(pool.map(stranger, range(60)))
    cost = rss(gateway, "VmHWM") - before
    print(f"60 strangers: {cost / MB:+.1f} MB at most, on {before / MB:.1f} MB")
    assert cost < 30 * MB
    assert told == [b"401"] * 60, "and each is told why"
