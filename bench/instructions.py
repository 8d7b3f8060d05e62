"""Count the instructions of a request and of a relayed chunk: a figure that noise does not move.

    python -m bench.instructions [--pure] [--tree FOLDER] [--requests N]

The gateway runs under valgrind's callgrind, which counts user-space instructions of all its threads and nothing of the
kernel's. Counting begins after a warm-up. A chunk is the difference between a streamed and a whole answer, over the
events. A miss is a request that nobody sent before, whose answer is kept. Counted is what `make bench` measures: these
sources with the compiled modules of the wheel, --pure: without them. --tree counts another checkout beside this one:
compare two counts of the same machine and Python.

Exits with 1 when routing by latency and a miss together cost more than they may.
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
from collections.abc import Callable
from pathlib import Path

from bench import payloads, procs, tools
from bench.everything import KEY, STATE, store_key

CONNECTIONS = 8
WARM = 160
# Times a plain request: by latency over three, with cooldowns, and the cache asked in vain. A third of a request is the
# kernel's, which is not counted here and to which this adds nothing: 20 % are 13 % of the requests a second.
MOST_OF_A_MISS = 1.2
_DEPLOYMENT = """\
  - model_name: m
    litellm_params:
      model: openai/{model}
      api_base: http://127.0.0.1:{port}/v1
      api_key: sk-upstream
"""
_PLAIN = f"model_list:\n{_DEPLOYMENT}"
_ROUTED = f"model_list:\n{_DEPLOYMENT * 3}router_settings: {{routing_strategy: latency-based-routing}}\n"
_CACHED = "litellm_settings: {cache: true, cache_params: {type: local}}\n"
_COLLECTED = re.compile(r"Collected : (\d+)")


# Everything on, as in R8: the ledger's batches are as large as connections are many.
_KEYED = f"{_PLAIN}general_settings: {{master_key: sk-master-of-the-benchmark}}\n"


def _request(body: bytes, path: str = "/v1/chat/completions", key: str = "") -> bytes:
    head = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\naccept: */*\r\n"
    head += f"authorization: Bearer {key}\r\n" if key else ""
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


Requests = Callable[[int], bytes]


def _same(request: bytes) -> Requests:
    return lambda number: request


def _all_different(body: bytes) -> Requests:
    """Make requests of one length of which no two ask the same."""
    asked = b"named after it?"
    if asked not in body:
        raise ValueError("there is nothing in this body that can be numbered")
    return lambda number: _request(body.replace(asked, b"named it %05d?" % number))


async def _load(port: int, request: Requests, numbers: range) -> int:
    """Send requests over a few connections at once; how many events came."""

    async def one(share: range) -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        events = 0
        for number in share:
            events += await _ask(reader, writer, request(number))
        writer.close()
        return events

    return sum(await asyncio.gather(*(one(numbers[first::CONNECTIONS]) for first in range(CONNECTIONS))))


def count(
    tree: Path,
    request: Requests,
    requests: int,
    text: str = _PLAIN,
    before: tuple[bytes, ...] = (),
    keyed: bool = False,
) -> tuple[int, int]:
    """Instructions of ``requests`` requests to the gateway of a checkout, and the events of their answers. ``text``:
    its config; ``before``: requests that come before all others; ``keyed``: with the database of R8, stored entries
    counted, too."""
    with tempfile.TemporaryDirectory() as folder:
        mock = subprocess.Popen([sys.executable, "-m", "bench.upstream"], stdout=subprocess.PIPE)
        assert mock.stdout is not None
        config = Path(folder) / "config.yaml"
        upstream = json.loads(mock.stdout.readline())["port"]
        config.write_text(text.replace("{model}", payloads.UPSTREAM_MODEL).replace("{port}", str(upstream)))
        port = procs.free_port()
        command = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={folder}/out"]
        command += [sys.executable, "-m", "penstock", "serve", "--config", str(config), "--port", str(port)]
        if keyed:
            store_key(config)
            command += ["--state-dir", str(Path(folder) / STATE)]
        env = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": str(tree)}
        log = Path(folder) / "log"
        with log.open("wb") as errors:
            gateway = subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.DEVNULL, stderr=errors)
        try:
            _wait(port, gateway, log)
            for one in before:
                asyncio.run(_load(port, _same(one), range(1)))
            asyncio.run(_load(port, request, range(WARM)))
            _switch(gateway.pid, "on")
            events = asyncio.run(_load(port, request, range(WARM, WARM + requests)))
            time.sleep(5 if keyed else 1)  # records are written a moment later
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
    parser.add_argument("--tree", type=Path, help="another checkout")
    parser.add_argument("--pure", action="store_true", help="these sources without compiled modules")
    parser.add_argument("--requests", type=int, default=400, help="requests that are counted (default 400)")
    options = parser.parse_args()
    if shutil.which("valgrind") is None:
        print("make instructions needs valgrind (apt install valgrind)", file=sys.stderr)
        return 1
    notes: list[str] = []
    tree = (options.tree or (tools.ROOT if options.pure else tools.compiled_tree(notes))).resolve()
    print(*notes, sep="\n", end="\n" if notes else "")
    requests = options.requests // CONNECTIONS * CONNECTIONS
    chat = payloads.chat_body("m", 700)
    whole, _ = count(tree, _same(_request(chat)), requests)
    _tell(whole // requests, f"a request (Chat to Chat, 700 bytes, {CONNECTIONS} connections)")
    streamed, events = count(tree, _same(_request(payloads.chat_body("m", 700, stream=True))), requests)
    _tell(streamed // requests, f"a streamed request of {events // requests} events")
    _tell((streamed - whole) // max(events, 1), "a relayed chunk, by the difference of both")
    messages = _request(payloads.messages_body("m", stream=False, tools=True), "/v1/messages")
    cross, _ = count(tree, _same(messages), requests)
    _tell(cross // requests, "a request across dialects (Messages to Chat, two tools)")
    keyed, _ = count(tree, _same(_request(chat, key=KEY)), requests, _KEYED, keyed=True)
    _tell(keyed // requests, f"a request with a key, limits and the ledger, all stored: {keyed / whole - 1:+.1%}")
    return 0 if _tell_misses(tree, chat, requests, whole, messages) else 1


def _tell_misses(tree: Path, chat: bytes, requests: int, whole: int, messages: bytes) -> bool:
    """Print what routing and a cache that does not know the answer add to a request; False if that is too much."""
    routed, _ = count(tree, _same(_request(chat)), requests, _ROUTED)
    _tell(routed // requests, f"the same by latency over three, with cooldowns: {routed / whole - 1:+.1%}")
    miss, _ = count(tree, _all_different(chat), requests, _ROUTED + _CACHED)
    _tell(miss // requests, f"the same with the cache on, each a miss: {miss / whole - 1:+.1%}")
    meant, _ = count(tree, _all_different(chat), requests, _ROUTED + _CACHED, (messages,))
    _tell(meant // requests, f"the same where clients of two dialects share answers: {meant / whole - 1:+.1%}")
    if miss > MOST_OF_A_MISS * whole:
        print(f"a miss costs more than {MOST_OF_A_MISS - 1:.0%} over a plain request", file=sys.stderr)
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
