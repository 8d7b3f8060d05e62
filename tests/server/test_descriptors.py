"""No descriptors left: told as what it is, no fault of an upstream's, and no processor time for it. And reloads that find
nothing to serve."""

from __future__ import annotations

import errno
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from penstock.mock import Mock
from penstock.runtime.http import descriptors, out_of_files
from tests.e2e.serving import Served, clean_env, free_port, get, serving, until
from tests.server.test_life import KEY, Asked, config

pytestmark = [pytest.mark.serial, pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")]
LIMIT = 64
SAID = f"too many open files (limit {LIMIT}): raise ulimit -n"


@pytest.fixture
def mock() -> Iterator[Mock]:
    with Mock.thread() as running:
        yield running


@contextmanager
def limited(folder: Path, yaml: str, loop: str) -> Iterator[Served]:
    """A gateway that may have 64 descriptors, on one event loop or the other."""
    (folder / "config.yaml").write_text(yaml)
    env = clean_env(folder)
    if loop == "asyncio":
        (folder / "without").mkdir()
        (folder / "without" / "uvloop.py").write_text("raise ImportError\n")
        env["PYTHONPATH"] = f"{folder / 'without'}:{env['PYTHONPATH']}"
    port, log = free_port(), folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "penstock", "serve", "--port", str(port), "--config", str(folder / "config.yaml")],
            cwd=folder, env=env, stdout=output, stderr=output,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (LIMIT, LIMIT)),
        )  # fmt: skip
    served = Served(process, port, log)
    try:
        until(lambda: get(f"{served.url}/health/liveliness", 1.0)[0] == 200, 20, "a start")
        yield served
    finally:
        process.kill()
        process.wait()


def processor_time(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_it_is_told_costs_nothing_and_is_nobody_elses_fault(loop, mock, tmp_path):
    with limited(tmp_path, config(mock.url).replace("127.0.0.1", "localhost"), loop) as gateway:
        first = Asked(gateway)
        first.until(b"mock/echo")  # what is loaded with the first request is there
        first.socket.close()
        until(lambda: len(mock.received) == 1)
        crowd = []
        for _ in range(LIMIT + 20):
            crowd.append(socket.create_connection(("127.0.0.1", gateway.port), 2))
        gateway.says(SAID, 5)
        used = processor_time(gateway.pid)
        time.sleep(2)
        assert processor_time(gateway.pid) - used < 0.8, "it does not spin"
        assert gateway.output().count("too many open files") == 1 and "Traceback" not in gateway.output()
        for client in crowd:
            client.close()
        until(lambda: get(f"{gateway.url}/v1/models", authorization=f"Bearer {KEY}")[0] == 200, 5)
        Asked(gateway).until(b"mock/echo")


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_an_upstream_that_could_not_be_asked_is_not_down(loop, host, mock, tmp_path):
    with limited(tmp_path, config(mock.url.replace("127.0.0.1", host)), loop) as gateway:
        crowd = [socket.create_connection(("127.0.0.1", gateway.port), 2) for _ in range(LIMIT + 20)]
        gateway.says(SAID, 5)
        body = b'{"model":"m","messages":[{"role":"user","content":"hello"}]}'
        head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer %b\r\n" % KEY.encode()
        crowd[0].sendall(head + b"content-length: %d\r\n\r\n%b" % (len(body), body))
        crowd[0].settimeout(5)
        told = crowd[0].recv(65536)
        assert told.startswith(b"HTTP/1.1 503 ") and SAID.encode() in told and b"retry-after: " in told, told
        for client in crowd:
            client.close()
        until(lambda: get(f"{gateway.url}/v1/models", authorization=f"Bearer {KEY}")[0] == 200, 5)
        assert b'"healthy_count":1' in get(f"{gateway.url}/health", authorization=f"Bearer {KEY}")[1].replace(b" ", b"")
        Asked(gateway).until(b"mock/echo")
        assert "error=connect" not in gateway.says("error=overloaded")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.EMFILE, "Too many open files"), "too many open files (limit "),
        (OSError(errno.ENFILE, "File table overflow"), "in the whole system"),
        (OSError(errno.ECONNREFUSED, "refused"), ""),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure"), ""),
        (ValueError("no"), ""),
        (None, ""),
    ],
)
def test_what_is_no_lack_of_descriptors_is_not_called_one(error, told):
    assert told in out_of_files(error) and bool(told) == bool(out_of_files(error))


def test_a_resolver_that_hides_it_is_looked_through(monkeypatch):
    def none_left(*_: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(descriptors.os, "open", none_left)
    assert "too many open files" in out_of_files(socket.gaierror(socket.EAI_AGAIN, "Temporary failure"))
    assert "too many open files" in out_of_files()
    assert not out_of_files(OSError(errno.ECONNREFUSED, "refused"))


# Reloads that find nothing to serve -----------------------------------------------------------------------------------

NOTHING = {
    "an empty file": ("", "names no models any more"),
    "blanks and comments": ("\n# later\n\n", "names no models any more"),
    "no models": (f"general_settings: {{master_key: {KEY}}}\n", "names no models any more"),
    "an empty list": (f"model_list: []\ngeneral_settings: {{master_key: {KEY}}}\n", "names no models any more"),
    "half a file": ("model_list:\n  - model_name: m\n    litellm_params: {model: openai/x", "has errors"),
    "no mapping": ("- just\n- a list\n", "has errors"),
    "bytes": ("\x00\x01\x02", "has errors"),
    "no file": (None, "cannot be read"),
    "no right to read": ("", "cannot be read"),
}


@pytest.mark.parametrize("name", NOTHING)
def test_a_reload_that_finds_nothing_keeps_what_there_is_and_says_why(name, mock, tmp_path):
    text, reason = NOTHING[name]
    with serving(tmp_path, config(mock.url)) as gateway:
        path = tmp_path / "config.yaml"
        if text is None or name == "no right to read":
            path.unlink()
        if name == "no right to read":
            path.mkdir()  # root may read everything, but a folder is no file
        elif text is not None:
            path.write_text(text)
        gateway.send(signal.SIGHUP)
        said = gateway.says("the old config stays")
        lines = [line for line in said.splitlines() if "config.yaml" in line and "ERROR" in line]
        assert len(lines) >= 1 and any("config.yaml" in line and reason in line for line in lines), said
        assert "Traceback" not in said
        Asked(gateway).until(b"mock/echo")
        assert get(f"{gateway.url}/v1/models")[0] == 401, "and the key is still wanted"
        if path.is_dir():
            path.rmdir()
        path.write_text(config(mock.url, model="other"))
        gateway.send(signal.SIGHUP)
        gateway.says("config.yaml reloaded, 1 models")
        Asked(gateway, model="other").until(b"mock/echo")
