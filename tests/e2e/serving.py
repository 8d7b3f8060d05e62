"""`penstock serve` as a process of its own, the real llama-server, and what the tests need to know of both."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
MASTER_KEY = "sk-e2e-master-4f7a19c2d8"
LLAMA_KEY = "sk-llama-e2e-77aa31"
START_SECONDS = 30.0


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def get(url: str, timeout: float = 5.0, **headers: str) -> tuple[int, bytes]:
    """One GET without any proxy: status and body; status 0 when nothing answers."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(url, headers={name.replace("_", "-"): value for name, value in headers.items()})
    try:
        with opener.open(request, timeout=timeout) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
    except OSError:
        return 0, b""


def until(check: Any, seconds: float = 5.0, what: str = "") -> Any:
    """Polls ``check`` until it is true; fails with ``what`` (or what it last returned) after ``seconds``."""
    end = time.monotonic() + seconds
    while not (found := check()):
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {what or check} (last: {found!r})")
        time.sleep(0.005)
    return found


@dataclass
class Served:
    """A running gateway. ``log``: standard output and standard error, in the order written."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path
    stopped: bool = field(default=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def base_url(self) -> str:
        return self.url + "/v1"

    @property
    def pid(self) -> int:
        return self.process.pid

    def output(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def says(self, text: str, seconds: float = 5.0) -> str:
        """Waits until the output holds ``text``; the whole output."""
        until(lambda: text in self.output(), seconds, f"{text!r} in the output:\n{self.output()}")
        return self.output()

    def records(self) -> list[dict[str, Any]]:
        """The JSON request lines so far (with ``--log-format json``, or ``json_logs`` in the config)."""
        found = []
        for line in self.output().splitlines():
            with suppress(ValueError):
                told = json.loads(line)
                if isinstance(told, dict) and "call_id" in told:
                    found.append(told)
        return found

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def stop(self, number: int = signal.SIGTERM, seconds: float = 10.0) -> int:
        """Sends the signal and waits for the end. Returns the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(seconds)


def clean_env(home: Path, **more: str) -> dict[str, str]:
    """Nothing of the developer's environment: a key or a proxy of theirs must not decide a test."""
    return {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": str(ROOT), "LANG": "C.UTF-8", **more}


def run_serve(folder: Path, *arguments: str, seconds: float = 20.0, **env: str) -> subprocess.CompletedProcess[str]:
    """``penstock serve`` that is expected to end by itself: exit code and output."""
    command = [sys.executable, "-m", "penstock", "serve", *arguments]
    return subprocess.run(
        command, cwd=folder, env=clean_env(folder, **env), capture_output=True, text=True, timeout=seconds
    )


@contextmanager
def serving(folder: Path, yaml: str | None, *arguments: str, **env: str) -> Iterator[Served]:
    """Runs ``penstock serve`` until the block ends. ``yaml`` None: without a config file."""
    port = free_port()
    command = [sys.executable, "-m", "penstock", "serve", "--port", str(port)]
    if yaml is not None:
        (folder / "config.yaml").write_text(yaml, encoding="utf-8")
        command += ["--config", str(folder / "config.yaml")]
    log = folder / f"serve-{port}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, *arguments], cwd=folder, env=clean_env(folder, **env), stdout=output, stderr=subprocess.STDOUT
        )
    served = Served(process, port, log)
    try:
        end = time.monotonic() + START_SECONDS
        while get(f"{served.url}/health/liveliness", 1.0)[0] != 200:
            if process.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"the gateway did not start (exit code {process.poll()}):\n{served.output()}")
            time.sleep(0.02)
        yield served
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(3)
            except subprocess.TimeoutExpired:
                # A second signal ends the grace period; a third way out is needed only when the gateway is stuck.
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(3)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def find_llama() -> tuple[Path, Path] | str:
    """The real server and its model, or why there is none."""
    places = [ROOT.parent / "shared" / "real" / "llama-server", ROOT / ".cache" / "llama-server" / "llama-server"]
    if told := os.environ.get("LLAMA_SERVER"):
        places = [Path(told).expanduser()]
    for binary in places:
        model = Path(os.environ.get("LLAMA_MODEL") or binary.parent / "tiny.gguf")
        if binary.is_file() and model.is_file() and os.access(binary, os.X_OK):
            return binary, model
    return f"no llama-server with a model at {', '.join(map(str, places))}: `make llama-server` builds both"


@dataclass
class Llama:
    """The real llama.cpp server with a tiny model. ``key``: what it wants as its API key."""

    url: str
    process: subprocess.Popen[bytes]
    key: str = LLAMA_KEY

    def slots(self) -> list[dict[str, Any]]:
        """What each of its slots does right now."""
        status, body = get(f"{self.url}/slots", authorization=f"Bearer {self.key}")
        assert status == 200, body
        found: list[dict[str, Any]] = json.loads(body)
        return found

    def busy(self) -> int:
        return sum(bool(slot["is_processing"]) for slot in self.slots())


@contextmanager
def llama_server(folder: Path, binary: Path, model: Path, context: int = 65536, threads: int = 1) -> Iterator[Llama]:
    """Runs llama-server on a loopback port until the block ends. ``context``: tokens, shared by four slots.

    One thread is the faster choice where others want the processors: llama.cpp's threads wait for each other in a
    loop, and on a busy machine two of them made 3 tokens a second where one makes 500."""
    port = free_port()
    command = [str(binary), "-m", str(model), "--alias", "tiny", "--host", "127.0.0.1", "--port", str(port)]
    command += [
        "-c",
        str(context),
        "-np",
        "4",
        "-t",
        str(threads),
        "--jinja",
        "--metrics",
        "--slots",
        "--props",
        "--offline",
    ]
    log = folder / "llama.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--api-key", LLAMA_KEY],
            cwd=folder,
            env=clean_env(folder),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    llama = Llama(f"http://127.0.0.1:{port}", process)
    try:
        end = time.monotonic() + START_SECONDS
        while get(f"{llama.url}/health", 1.0)[0] != 200:
            if process.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"llama-server did not start:\n{log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.05)
        yield llama
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def seed3(ollama: str, key: str, openai: str = "", fallback_key: str = "", lmstudio: str = "") -> str:
    """The config of a real application that ran against the LiteLLM proxy, addresses changed: its Ollama, its OpenAI
    and its LM Studio are the given addresses (without ``/v1``). What stands there must speak OpenAI Chat; for its
    Ollama, which is spoken to in its own dialect, see ``as_openai``."""
    text = (ROOT / "tests" / "config" / "data" / "seed3.yaml").read_text(encoding="utf-8")
    text = text.replace("http://localhost:11434", f"{ollama}\n      api_key: {key}")
    text = text.replace(
        "model: openai/gpt-4o-mini\n", f"model: openai/gpt-4o-mini\n      api_base: {openai or ollama}/v1\n"
    )
    text = text.replace("api_key: os.environ/OPENAI_API_KEY", f"api_key: {fallback_key or key}")
    return text.replace("http://localhost:1234/v1", f"{lmstudio or ollama}/v1\n      api_key: {key}")


def as_openai(yaml: str) -> str:
    """The same config with its Ollama models behind an OpenAI-compatible server at the same address."""
    return re.sub(r"model: ollama/(\S+)\n(\s+api_base: \S+)", r"model: openai/\1\n\2/v1", yaml)
