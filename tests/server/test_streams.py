"""A standard output that cannot be written, at the start or later, neither ends nor blocks the gateway."""

from __future__ import annotations

import fcntl
import http.client
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.runtime import output
from penstock.runtime.output import Output
from tests.e2e.serving import clean_env, free_port, get, until

pytestmark = [pytest.mark.serial, pytest.mark.skipif(os.name == "nt", reason="pipes and signals of POSIX")]


class Piped:
    """``penstock serve`` without a config, whose output is what the test gives it."""

    def __init__(self, folder: Path, out: object, err: object, *arguments: str, shell: str = "") -> None:
        self.port = free_port()
        command = [sys.executable, "-m", "penstock", "serve", "--port", str(self.port), *arguments]
        if shell:
            command = ["sh", "-c", f'exec "$@" {shell}', "sh", *command]
        self.process = subprocess.Popen(command, cwd=folder, env=clean_env(folder), stdout=out, stderr=err)
        self.url = f"http://127.0.0.1:{self.port}"

    def serves(self) -> bool:
        until(lambda: self.process.poll() is not None or get(f"{self.url}/health/liveliness")[0] == 200, 20, "a start")
        return self.process.poll() is None

    def ask(self, count: int, path: str = "/v1/models") -> None:
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        for _ in range(count):
            client.request("GET", path)
            answer = client.getresponse()
            answer.read()
            assert answer.status == 200
        client.close()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(8)


def full_pipe() -> tuple[int, int]:
    """A pipe into which nothing more goes; writing to it blocks."""
    reader, writer = os.pipe()
    flags = fcntl.fcntl(writer, fcntl.F_GETFL)
    fcntl.fcntl(writer, fcntl.F_SETFL, flags | os.O_NONBLOCK)
    try:
        while True:
            os.write(writer, b"x")
    except BlockingIOError:
        pass
    fcntl.fcntl(writer, fcntl.F_SETFL, flags)
    return reader, writer


@pytest.fixture
def pipes() -> Iterator[dict[str, tuple[object, object, str]]]:
    """By name: standard output, standard error, and what the shell does to them."""
    full = open("/dev/full", "wb") if Path("/dev/full").exists() else None
    gone, writer = os.pipe()
    os.close(gone)
    reader, stuck = full_pipe()
    other, shared = full_pipe()
    os.set_blocking(shared, False)
    yield {
        "a full disk": (full, subprocess.DEVNULL, ""),
        "a full disk for both": (full, full, ""),
        "a dead reader": (writer, subprocess.DEVNULL, ""),
        "a dead reader for both": (writer, writer, ""),
        "nobody reads": (stuck, subprocess.DEVNULL, ""),
        "nobody reads both": (stuck, stuck, ""),
        "nobody reads, and it does not block": (shared, shared, ""),
        "closed": (None, None, ">&- 2>&-"),
        "all closed": (None, None, "<&- >&- 2>&-"),
    }
    for number in (writer, reader, stuck, other, shared):
        os.close(number)


WORKERS = ((), ("--workers", "2"))
NAMES = (
    "a full disk", "a full disk for both", "a dead reader", "a dead reader for both", "nobody reads",
    "nobody reads both", "nobody reads, and it does not block", "closed", "all closed",
)  # fmt: skip


@pytest.mark.parametrize("arguments", WORKERS, ids=["one", "workers"])
@pytest.mark.parametrize("name", NAMES)
def test_the_gateway_starts_serves_and_ends(name, arguments, pipes, tmp_path):
    out, err, shell = pipes[name]
    if out is None and not shell:
        pytest.skip("no /dev/full here")
    gateway = Piped(tmp_path, out, err, *arguments, "--verbose", "--run_gunicorn", shell=shell)
    try:
        assert gateway.serves()
        gateway.ask(50)
        gateway.process.send_signal(signal.SIGHUP)
        gateway.ask(50)
        assert gateway.stop() == 0
    finally:
        gateway.process.kill()
        gateway.process.wait()


def test_ten_thousand_requests_pass_a_reader_that_never_reads(tmp_path):
    reader, writer = full_pipe()
    gateway = Piped(tmp_path, writer, writer)
    try:
        assert gateway.serves()
        gateway.ask(10_000)
        os.close(writer)
        os.set_blocking(reader, True)
        said = b""
        gateway.process.send_signal(signal.SIGTERM)
        while data := os.read(reader, 1 << 20):
            said += data
        assert said.count(b" 200 ") >= 10_000, "and it gets all of them, once it reads"
        assert b"Penstock " in said, "the first words, too"
        assert gateway.process.wait(8) == 0
    finally:
        gateway.process.kill()
        gateway.process.wait()
        os.close(reader)


def test_a_reader_that_dies_ends_the_log_and_that_is_said_on_the_other_stream(tmp_path):
    reader, writer = os.pipe()
    said = tmp_path / "err"
    with said.open("wb") as err:
        gateway = Piped(tmp_path, writer, err)
    try:
        os.close(writer)
        assert gateway.serves()
        gateway.ask(10)
        os.close(reader)
        gateway.ask(1000)
        until(lambda: "standard output cannot be written any more (Broken pipe)" in said.read_text(), 5, "a word of it")
        assert gateway.stop() == 0
        assert said.read_text().count("cannot be written") == 1 and "Traceback" not in said.read_text()
    finally:
        gateway.process.kill()
        gateway.process.wait()


# The output by itself -------------------------------------------------------------------------------------------------


def test_what_a_full_disk_did_not_take_is_counted_and_told_when_there_is_room(tmp_path, monkeypatch):
    with (tmp_path / "log").open("w") as stream:
        out = Output(stream)
        write, room = os.write, [10_000]

        def nearly_full(fd: int, data: bytes) -> int:
            if not room[0]:
                raise OSError(28, "No space left on device")
            taken = min(room[0], len(data))
            room[0] -= taken
            return write(fd, data[:taken])

        monkeypatch.setattr(output.os, "write", nearly_full)
        out.write(["one\n"])
        room[0] = 0
        for number in range(5):
            out.write([f"lost {number}\n", "and this\n"])
        assert out.lost == 10
        room[0] = 10_000
        out.write(["two\n"])
        room[0] = 4
        out.write(["torn into two\n"])  # the thread finds no room for its end
        until(lambda: not out.waiting, 2)
        room[0] = 10_000
        out.write(["three\n"])
        out.close()
    lines = (tmp_path / "log").read_text().splitlines()
    assert lines == [
        "one", "10 lines were not written: No space left on device", "two", "torn",
        "1 lines were not written: No space left on device", "three",
    ]  # fmt: skip


def test_nothing_waits_and_order_is_kept_over_a_pipe_that_fills_and_empties():
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as stream:
        out = Output(stream)
        lines = [f"{number} {'x' * (number % 200)}\n" for number in range(5_000)]
        for at in range(0, len(lines), 10):
            out.write(lines[at : at + 10])
        got = b""
        while out.waiting:
            if select.select([reader], [], [], 0.01)[0]:  # what waits may be on its way out, and nothing here to read
                got += os.read(reader, 10_000)
        out.write(["last\n"])
        out.close()
    while data := os.read(reader, 100_000):
        got += data
    os.close(reader)
    assert got.decode() == "".join(lines) + "last\n" and not out.lost
