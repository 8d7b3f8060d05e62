"""Whoever wants to know how calls ended, off their callers' path: functions and objects in a thread of their own, and
the services that have a name (``success_callback=["langfuse"]``) by queues on the SDK's loop."""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from penstock.core.dialects.redact import scrub
from penstock.core.kept_texts import LENGTHS, kept_json
from penstock.runtime.posting import poster
from penstock.sdk.background import Background, background
from penstock.sinks import SINKS
from penstock.sinks.base import Settings, Unset, Variables
from penstock.sinks.shipping import Room, Shipper
from penstock.sinks.telling import CustomLogger, Ending, Teller, takes_one

__all__ = ["CustomLogger", "Ending", "flush", "takes_one", "tell"]

log = logging.getLogger("penstock")
_CONTENT = frozenset(("messages", "response", "model_parameters", "metadata", "error_str"))
_MOST_KEPT = 512 * 1024  # bytes of each of them
_PATIENCE = 5.0  # seconds that the end of the program waits for callbacks


def tell(callbacks: Sequence[Any], ending: Ending) -> None:
    """Tell callbacks how a call ended, soon."""
    called = [one for one in callbacks if not isinstance(one, str)]
    named = [one for one in callbacks if isinstance(one, str)]
    if named:
        called.append(_Named(named, _services))
    if called:
        _teller.put(tuple(called), ending)


def flush(timeout: float | None = _PATIENCE) -> None:
    """Wait until all that has ended so far was told, and sent."""
    _teller.flush(timeout)
    _services.flush(timeout)


class _Named(CustomLogger):
    """The services of some names, as the thread that tells callbacks sees them."""

    def __init__(self, names: Sequence[str], services: _Services) -> None:
        super().__init__()
        self._names = names
        self._services = services

    def log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        """Send a good answer on."""
        self._services.put(self._names, kwargs["standard_logging_object"])

    def log_failure_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        """Send a failure on."""
        self._services.put(self._names, kwargs["standard_logging_object"])


class _Services:
    """The queues of services, by name. They live on the SDK's loop."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._on: Background | None = None  # whose loop they live on: after ``sdk.close()`` there is another
        self._found: dict[str, Shipper] = {}
        self._told: set[str] = set()
        self._room = Room()

    def put(self, names: Sequence[str], payload: Mapping[str, Any]) -> None:
        """Send a payload to services, without what looks like a key."""
        shippers = [found for name in names if (found := self._find(name)) is not None]
        on = self._on
        if not shippers or on is None:
            return
        copied = {name: _copied(value) if name in _CONTENT else value for name, value in payload.items()}
        size = len(msgspec.json.encode(copied, enc_hook=str))
        for shipper in shippers:
            on.loop.call_soon_threadsafe(shipper.put, copied, size)

    def flush(self, timeout: float | None) -> None:
        """Wait until all was sent."""
        shippers, on = [*self._found.values()], self._on
        if not shippers or on is None or not on.loop.is_running():
            return
        within = 3600.0 if timeout is None else timeout

        async def wait() -> None:
            await asyncio.gather(*(shipper.flush(within) for shipper in shippers))

        try:
            asyncio.run_coroutine_threadsafe(wait(), on.loop).result(within + 1)
        except TimeoutError:
            return

    def _find(self, name: str) -> Shipper | None:
        with self._lock:
            on = background()
            if on is not self._on:
                self._on, self._found, self._room = on, {}, Room()
            found = self._found.get(name)
            if found is None and (found := self._open(name, on)) is not None:
                self._found[name] = found
            return found

    def _open(self, name: str, on: Background) -> Shipper | None:
        """Open a service. One that is not set up may be later: it is asked for again at the next call."""
        make, trouble = SINKS.get(name), ""
        if make is None:
            trouble = f"is no service that is known here, which are {', '.join(SINKS)}"
        else:
            try:
                sink = make(Settings(Variables(os.environ), poster(on.driver.pool)))
                return Shipper(name, sink, room=self._room)
            except Unset as error:
                trouble = str(error)
        if name not in self._told:
            self._told.add(name)
            log.warning("the callback %r is not called: it %s", name[:80], trouble)
        return None


def _copied(value: Any) -> Any:
    """Return what was asked or said as plain values, cut, and without what looks like a key."""
    kept = kept_json(msgspec.json.encode(value, enc_hook=_plain), scrub, _MOST_KEPT, (30_000, *LENGTHS))
    return msgspec.json.decode(kept) if kept else None


def _plain(value: Any) -> Any:
    dump = getattr(value, "model_dump", None)
    return dump() if callable(dump) else str(value)


_teller = Teller()
_services = _Services()


def _begin_anew() -> None:
    global _teller, _services
    _teller, _services = Teller(), _Services()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
atexit.register(flush)
