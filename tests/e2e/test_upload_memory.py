"""300 MB through a gateway in a process of its own: what it grows by is not what passes through it."""

from __future__ import annotations

import hashlib
import socket
import sys
import threading
from pathlib import Path

import pytest

from tests.e2e.serving import Served
from tests.server.upload.ear import BOUNDARY, END, part

SIZE = 300 * 1024 * 1024
BLOCK = bytes(range(256)) * 4096  # 1 MiB
ANSWER = b'{"text":"heard","usage":{"type":"duration","seconds":1800}}'


class Ear(threading.Thread):
    """One request, heard without being held, while a clock looks at the gateway's memory."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(8)
        self.port = self.listener.getsockname()[1]
        self.served: Served | None = None
        self.most = self.size = 0
        self.length = -1
        self.hash = hashlib.sha256()

    def run(self) -> None:
        got = b""
        while not got.startswith(b"POST"):  # a starting gateway asks its engines who they are
            peer, _ = self.listener.accept()
            got = peer.recv(65536)
            if not got.startswith(b"POST"):
                peer.sendall(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                peer.close()
        with peer, self.listener:
            while b"\r\n\r\n" not in got:
                got += peer.recv(65536)
            head, _, data = got.partition(b"\r\n\r\n")
            self.length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
            looked = 0
            while True:
                self.size += len(data)
                self.hash.update(data)
                if self.size >= looked:
                    looked += 10_000_000
                    assert self.served is not None
                    self.most = max(self.most, rss(self.served.pid))
                if self.size >= self.length:
                    break
                data = peer.recv(1 << 18)
                assert data, "the gateway hung up"
            peer.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(ANSWER), ANSWER))


def rss(pid: int) -> int:
    """Resident memory in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")


@pytest.mark.serial
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("order", ["model first", "file first"])
def test_three_hundred_megabytes_pass_through_and_little_stays(served, order):
    ear = Ear()
    gateway = served(f"""
model_list:
  - model_name: m
    litellm_params: {{model: openai/whisper-1, api_base: "http://127.0.0.1:{ear.port}/v1", api_key: sk-x}}
""")
    ear.served = gateway
    ear.start()
    model, file = part("model", b"m"), part("file", b"", "a.wav")[:-2]
    front, behind = (model + file, b"\r\n" + END) if order == "model first" else (file, b"\r\n" + model + END)
    length = len(front) + SIZE + len(behind)
    before = rss(gateway.pid)
    with socket.create_connection(("127.0.0.1", gateway.port)) as client:
        client.settimeout(60)
        client.sendall(
            b"POST /v1/audio/transcriptions HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\ncontent-length: %d\r\n"
            b"content-type: multipart/form-data; boundary=%b\r\n\r\n" % (length, BOUNDARY)
        )
        client.sendall(front)
        most = 0
        for number in range(SIZE // len(BLOCK)):
            client.sendall(BLOCK)
            if number % 10 == 0:
                most = max(most, rss(gateway.pid))
        client.sendall(behind)
        answer = b""
        while data := client.recv(65536):
            answer += data
    assert answer.startswith(b"HTTP/1.1 200") and answer.endswith(ANSWER)
    ear.join(10)
    wanted = hashlib.sha256(front.replace(b"\r\n\r\nm\r\n", b"\r\n\r\nwhisper-1\r\n"))
    for _ in range(SIZE // len(BLOCK)):
        wanted.update(BLOCK)
    wanted.update(behind.replace(b"\r\n\r\nm\r\n", b"\r\n\r\nwhisper-1\r\n"))
    assert ear.size == ear.length == length + len("whisper-1") - 1 and ear.hash.digest() == wanted.digest()
    grown = max(most, ear.most, rss(gateway.pid)) - before
    print(f"{order}: grew by {grown / 1e6:.1f} MB at most")
    assert grown < 20_000_000


def test_the_limit_is_a_setting(served):
    gateway = served("""
model_list:
  - model_name: m
    litellm_params: {model: openai/whisper-1, api_base: "http://127.0.0.1:9/v1", api_key: sk-x}
general_settings: {max_file_size_mb: 2}
""")
    with socket.create_connection(("127.0.0.1", gateway.port)) as client:
        client.settimeout(10)
        client.sendall(
            b"POST /v1/audio/transcriptions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 2100000\r\n"
            b"content-type: multipart/form-data; boundary=%b\r\n\r\n" % BOUNDARY
        )
        answer = client.recv(65536)
    assert answer.startswith(b"HTTP/1.1 413") and b"over 2097152 bytes" in answer
