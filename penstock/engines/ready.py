"""Whether a server on this machine answers: asked at its own health URL, without a proxy."""

from __future__ import annotations

import errno
import http.client
import socket
import time
from collections.abc import Callable

TRY_SECONDS = 2.0
PAUSE = 0.5


def ask_health(host: str, port: int, path: str = "/health", timeout: float = TRY_SECONDS) -> int | None:
    """Return the status of a GET, None where nobody answers HTTP in time."""
    connection = http.client.HTTPConnection(host, port, timeout=timeout)
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def wait_ready(
    host: str,
    port: int,
    path: str,
    timeout: float,
    *,
    ended: Callable[[], bool] = lambda: False,
    pause: Callable[[float], None] = time.sleep,
) -> bool:
    """Wait until the URL answers 200, and tell whether it did within ``timeout`` seconds. ``ended`` is asked after each
    try: a server that has ended need not be waited for. ``pause`` waits between two tries."""
    end = time.monotonic() + timeout
    while (left := end - time.monotonic()) > 0:
        status = ask_health(host, port, path, min(TRY_SECONDS, left))
        if ended():
            return False  # whoever answered, it was another one
        if status == 200:
            return True
        pause(max(0.0, min(PAUSE, end - time.monotonic())))
    return False


def is_taken(host: str, port: int) -> bool:
    """Tell whether another program has the port: its answers would be taken for the engine's."""
    for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(address)
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    return True
    return False
