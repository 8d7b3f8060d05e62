"""Runs the shell and Python blocks of one document: an own folder, own ports, and a gateway when a block calls one."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from tests.rules.blocks import Block
from tests.rules.repo import ROOT

GATEWAY_PORT = "4000"
# Documents write 4000 for the gateway and other numbers up to 4049 for whatever stands beside it.
PORT = re.compile(r"(?<=[:= ])(40[0-4]\d)\b(?!\.\d)")
START_SECONDS = 20.0
BLOCK_SECONDS = 30.0
# A 4xx answer fails a curl line of a document, and none may hang.
CURLRC = "fail-with-body\nsilent\nshow-error\nmax-time = 10\n"


class Sandbox:
    """One document's blocks share a working folder, a port map and the servers started on the way."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ports: dict[str, str] = {}
        self._servers: dict[str, subprocess.Popen[bytes]] = {}
        bin_ = folder / ".bin"
        bin_.mkdir()
        for name, command in (("penstock", "-m penstock"), ("python", ""), ("python3", "")):
            (bin_ / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {command} "$@"\n')
            (bin_ / name).chmod(0o755)
        (folder / ".curlrc").write_text(CURLRC)
        # Nothing of the developer's environment: a key or a proxy of theirs must not decide whether a document is true.
        self.env = {
            "PATH": f"{bin_}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(folder),
            "CURL_HOME": str(folder),
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            "LANG": "C.UTF-8",
            "NO_PROXY": "*",
            "PENSTOCK_PORT": self.port(GATEWAY_PORT),
        }

    def port(self, written: str) -> str:
        """The free port that stands in for one written in the document."""
        if written not in self._ports:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self._ports[written] = str(probe.getsockname()[1])
        return self._ports[written]

    def mapped(self, text: str) -> str:
        """The text with its ports replaced."""
        return PORT.sub(lambda found: self.port(found[1]), text)

    def run(self, block: Block) -> tuple[int, str]:
        """Run one bash or python block to its end. Returns exit code and output (both streams)."""
        if GATEWAY_PORT in PORT.findall(block.text) and not self._alive(GATEWAY_PORT):
            self.start("penstock serve", GATEWAY_PORT)
        text = self.mapped(block.text)
        command = ["bash", "-euo", "pipefail", "-c", text] if block.language == "bash" else [sys.executable, "-c", text]
        done = subprocess.run(command, cwd=self.folder, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=BLOCK_SECONDS, text=True, errors="replace", check=False)  # fmt: skip
        return done.returncode, done.stdout

    def start(self, text: str, written_port: str | None = None) -> None:
        """Start a server from a block and wait until its port answers; it replaces an earlier one on that port."""
        written = written_port or next(iter(re.findall(r"--port[ =](40[0-4]\d)", text)), GATEWAY_PORT)
        self._stop(written)
        log = self.folder / f".server-{written}.log"
        command = ["bash", "-euc", self.mapped(text)]
        with log.open("wb") as output:
            server = subprocess.Popen(command, cwd=self.folder, env=self.env, stdout=output,
                                      stderr=subprocess.STDOUT, start_new_session=True)  # fmt: skip
        self._servers[written] = server
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and server.poll() is None:
            if self._answers(written):
                return
            time.sleep(0.05)
        self._stop(written)
        raise AssertionError(f"did not start listening: {text}\n{log.read_text(errors='replace')}")

    def close(self) -> None:
        for written in list(self._servers):
            self._stop(written)

    def _alive(self, written: str) -> bool:
        server = self._servers.get(written)
        return server is not None and server.poll() is None

    def _answers(self, written: str) -> bool:
        """Whether the server answers HTTP with anything; a bound socket of a program that fails next does not count."""
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.settimeout(2)
            probe.connect(("127.0.0.1", int(self.port(written))))
            probe.sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
            return probe.recv(5) == b"HTTP/"
        return False

    def _stop(self, written: str) -> None:
        server = self._servers.pop(written, None)
        if server is None or server.poll() is not None:
            return
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()
