"""A relay before a TCP server, which tests cut, refuse or slow down while others speak through it."""

from __future__ import annotations

import select
import socket
import threading
import time


class Relay:
    """Listens at ``port`` and passes everything on to another. ``slow``: seconds that each piece to the server waits;
    ``away``: new connections are closed at once. ``cut`` closes those that stand."""

    def __init__(self, to: int) -> None:
        self.slow, self.away = 0.0, False
        self._to = to
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        for pair in list(self._pairs):
            for one in pair:
                try:
                    one.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue

    def close(self) -> None:
        self.away = True
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.away:
                client.close()
                continue
            pair = (client, socket.create_connection(("127.0.0.1", self._to)))
            self._pairs.add(pair)
            threading.Thread(target=self._pass, args=(pair,), daemon=True).start()

    def _pass(self, pair: tuple[socket.socket, socket.socket]) -> None:
        client, server = pair
        try:
            while True:
                ready, _, _ = select.select(pair, [], [])
                for one in ready:
                    data = one.recv(65536)
                    if not data:
                        return
                    if one is client and self.slow:
                        time.sleep(self.slow)
                    (server if one is client else client).sendall(data)
        except OSError:
            return
        finally:
            self._pairs.discard(pair)
            for one in pair:
                one.close()
