"""Hears from PostgreSQL that rows were changed, at once, over a connection and on a thread of its own.

It only tells that there is something to look at: whoever is told reads it as ever. So nothing is lost where a
notification is, as behind a transaction pooler, which passes on none: then the usual looks find it a little later."""

from __future__ import annotations

import logging
import os
import selectors
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from penstock.stores.sql.address import POSTGRES, Address
from penstock.stores.sql.database import postgres_arguments, told

if TYPE_CHECKING:
    import psycopg

log = logging.getLogger("penstock")
CHANNEL = "penstock_changes"
ALIVE = 30.0  # seconds without a word after which the connection is tried
PAUSES = (0.5, 1.0, 2.0, 5.0, 15.0)  # before each new connection, while there is none


class Listener:
    """One process's. ``tell`` is called on its thread whenever there may be something new."""

    def __init__(self, address: Address, tell: Callable[[], object]) -> None:
        self._address, self._tell = address, tell
        self._end, self._wake = os.pipe()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="penstock-listen", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread. One that hangs in a connection ends with the process."""
        if not self._closed.is_set():
            self._closed.set()
            os.close(self._wake)  # whoever waits for the other end is woken
            self._thread.join(0.2)

    def _run(self) -> None:
        of, failed = self._address, 0
        while not self._closed.is_set():
            try:
                with self._connect() as connection:
                    failed = 0
                    self._tell()  # what was changed while nobody listened
                    self._listen(connection)
            except Exception as error:  # boundary: whatever ends a connection, another one is made
                level = logging.DEBUG if failed else logging.INFO
                log.log(level, "changes are not heard of at once but looked for: %s", told(error, of.password).strerror)
                self._closed.wait(PAUSES[min(failed, len(PAUSES) - 1)])
                failed += 1
        os.close(self._end)

    def _connect(self) -> psycopg.Connection[Any]:
        import psycopg

        of = self._address
        named: dict[str, Any] = {"host": of.host, "port": of.port, "user": of.user, "password": of.password}
        arguments = {**postgres_arguments(of), "application_name": "penstock listens", **of.arguments}
        given = {name: value for name, value in named.items() if value}
        connection = psycopg.connect(dbname=of.database, autocommit=True, **given, **arguments)
        connection.execute(f"LISTEN {CHANNEL}")
        return connection

    def _listen(self, connection: psycopg.Connection[Any]) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(connection.fileno(), selectors.EVENT_READ)
            selector.register(self._end, selectors.EVENT_READ)
            while not self._closed.is_set():
                if not selector.select(ALIVE):
                    connection.execute("SELECT 1")
                    self._tell()  # what came meanwhile, the driver may have read
                    continue
                connection.pgconn.consume_input()
                heard = False
                while connection.pgconn.notifies() is not None:
                    heard = True
                if heard:
                    self._tell()


def open_listener(address: Address, tell: Callable[[], object]) -> Listener | None:
    """Begin to listen; None where the database tells nobody."""
    return Listener(address, tell) if address.kind == POSTGRES else None
