"""Count the instructions of a request and of a relayed chunk: a figure that noise does not move.

    python -m bench.instructions [--tree FOLDER] [--requests N]

The gateway runs under valgrind's callgrind, which counts user-space instructions of all its threads and nothing of the
kernel's. Counting begins after a warm-up. A chunk is the difference between a streamed and a whole answer, over the
events. --tree counts another checkout beside this one: compare two counts of the same machine and Python.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench import payloads, procs

CONNECTIONS = 8
WARM = 150
_CONFIG = """\
model_list:
  - model_name: m
    litellm_params:
      model: openai/{model}
      api_base: http://127.0.0.1:{port}/v1
      api_key: sk-upstream
"""
_COLLECTED = re.compile(r"Collected : (\d+)")


def _request(body: bytes, path: str = "/v1/chat/completions") -> bytes:
    head = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\naccept: */*\r\n"
    return head.encode() + b"content-length: %d\r\n\r\n" % len(body) + body


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> int:
    """One request; the events of its answer, 0 of a whole one."""
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"the gateway answered {head[:200]!r}")
    length = re.search(rb"content-length: (\d+)", head)
    if length is not None:
        await reader.readexactly(int(length[1]))
        return 0
    events = 0
    while (size := int(await reader.readline(), 16)) > 0:
        events += (await reader.readexactly(size + 2)).count(b"data: ")
    await reader.readline()
    return events


async def _load(port: int, request: bytes, count: int) -> int:
    """``count`` requests over a few connections at once; how many events came."""

    async def one(share: int) -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        events = 0
        for _ in range(share):
            events += await _ask(reader, writer, request)
        writer.close()
        return events

    return sum(await asyncio.gather(*(one(count // CONNECTIONS) for _ in range(CONNECTIONS))))


def count(tree: Path, request: bytes, requests: int) -> tuple[int, int]:
    """Instructions of ``requests`` requests to the gateway of a checkout, and the events of their answers."""
    with tempfile.TemporaryDirectory() as folder:
        mock = subprocess.Popen([sys.executable, "-m", "bench.upstream"], stdout=subprocess.PIPE)
        assert mock.stdout is not None
        config = Path(folder) / "config.yaml"
        upstream = json.loads(mock.stdout.readline())["port"]
        config.write_text(_CONFIG.format(model=payloads.UPSTREAM_MODEL, port=upstream))
        port = procs.free_port()
        command = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={folder}/out"]
        command += [sys.executable, "-m", "penstock", "serve", "--config", str(config), "--port", str(port)]
        env = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": str(tree)}
        log = Path(folder) / "log"
        with log.open("wb") as errors:
            gateway = subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.DEVNULL, stderr=errors)
        try:
            _wait(port, gateway, log)
            asyncio.run(_load(port, request, WARM))
            _switch(gateway.pid, "on")
            events = asyncio.run(_load(port, request, requests))
            time.sleep(1)  # records are written a moment later
            _switch(gateway.pid, "off")
        finally:
            gateway.terminate()
            gateway.wait(60)
            mock.terminate()
            mock.wait(10)
        found = _COLLECTED.search(log.read_text(errors="replace"))
        if found is None:
            raise SystemExit(f"callgrind told no count:\n{log.read_text(errors='replace')[-2000:]}")
        return int(found[1]), events


def _switch(pid: int, state: str) -> None:
    subprocess.run(["callgrind_control", "-i", state, str(pid)], check=True, capture_output=True)


def _wait(port: int, gateway: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end and gateway.poll() is None:
        try:
            if procs.get(port, "/health/liveliness")[0] == 200:
                return
        except OSError:
            time.sleep(0.2)
    raise SystemExit(f"the gateway did not start:\n{log.read_text(errors='replace')[-2000:]}")


def _tell(count: int, what: str) -> None:
    print(f"{count:>10,} instructions {what}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tree", type=Path, default=Path(__file__).resolve().parent.parent, help="a checkout")
    parser.add_argument("--requests", type=int, default=400, help="requests that are counted (default 400)")
    options = parser.parse_args()
    if shutil.which("valgrind") is None:
        print("make instructions needs valgrind (apt install valgrind)", file=sys.stderr)
        return 1
    tree, requests = options.tree.resolve(), options.requests // CONNECTIONS * CONNECTIONS
    whole, _ = count(tree, _request(payloads.chat_body("m", 700)), requests)
    _tell(whole // requests, f"a request (Chat to Chat, 700 bytes, {CONNECTIONS} connections)")
    streamed, events = count(tree, _request(payloads.chat_body("m", 700, stream=True)), requests)
    _tell(streamed // requests, f"a streamed request of {events // requests} events")
    _tell((streamed - whole) // max(events, 1), "a relayed chunk, by the difference of both")
    cross, _ = count(tree, _request(payloads.messages_body("m", stream=False, tools=True), "/v1/messages"), requests)
    _tell(cross // requests, "a request across dialects (Messages to Chat, two tools)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
