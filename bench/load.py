"""Load by wrk: a Lua script per request shape, and a JSON line of results from its `done` hook."""

from __future__ import annotations

import json
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from bench import procs, tools

_LONGEST_S = 300
_SCRIPT = """
wrk.method = "POST"
wrk.body = io.open(%(body)s, "rb"):read("*a")
%(headers)s
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    'BENCH {"us":%%d,"requests":%%d,"p50_us":%%.1f,"p99_us":%%.1f,"non_2xx":%%d,"errors":%%d}\\n',
    summary.duration, summary.requests, latency:percentile(50.0), latency:percentile(99.0),
    e.status, e.connect + e.read + e.write + e.timeout))
end
"""


@dataclass(frozen=True, slots=True)
class Load:
    """What one wrk run saw. Latencies in ms, with wrk's resolution of 1 us."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    non_2xx: int
    errors: int

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds if self.seconds else 0.0


def _lua(text: str) -> str:
    """A Lua string literal; JSON's escapes of printable ASCII are valid Lua."""
    return json.dumps(text)


def script(folder: Path, name: str, body: bytes, headers: dict[str, str]) -> Path:
    """Write the wrk script of a request into `folder`, which the harness deletes: it holds the run's key."""
    body_file = folder / f"{name}.json"
    body_file.write_bytes(body)
    lines = [f"wrk.headers[{_lua(k)}] = {_lua(v)}" for k, v in headers.items()]
    path = folder / f"{name}.lua"
    path.write_text(_SCRIPT % {"body": _lua(str(body_file)), "headers": "\n".join(lines)})
    return path


def parse(output: str) -> Load:
    """The BENCH line of wrk's output. Raises ValueError when there is none."""
    for line in output.splitlines():
        if line.startswith("BENCH "):
            raw = json.loads(line[6:])
            return Load(
                raw["requests"],
                raw["us"] / 1e6,
                raw["p50_us"] / 1e3,
                raw["p99_us"] / 1e3,
                raw["non_2xx"],
                raw["errors"],
            )
    raise ValueError(f"wrk printed no result: {output[-300:]!r}")


class Wrk:
    """wrk on the load core, from construction until `stop`, which has it print what it saw."""

    def __init__(self, url: str, lua: Path, *, connections: int) -> None:
        command = [tools.system_tool("wrk"), "-t1", f"-c{connections}", f"-d{_LONGEST_S}s", "--latency"]
        command += ["--timeout", "30s", "-s", str(lua), url]
        self._process = subprocess.Popen(
            procs.pinned(procs.LOAD_CORE, command), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.pid = self._process.pid
        self._seen: Load | None = None

    @property
    def seen(self) -> Load:
        """The result, once stopped."""
        if self._seen is None:
            raise RuntimeError("wrk is still running")
        return self._seen

    def stop(self) -> Load:
        """End the load. wrk takes SIGINT as the end of its time and reports as usual."""
        self._process.send_signal(signal.SIGINT)
        try:
            output, _ = self._process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            output, _ = self._process.communicate()
        self._seen = parse(output) if "BENCH " in output else Load(0, 0.0, 0.0, 0.0, 0, 0)
        return self._seen
