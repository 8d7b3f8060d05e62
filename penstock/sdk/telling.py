"""Functions and objects that are told how calls ended, off their callers' path: in a thread of their own, in order."""

from __future__ import annotations

import asyncio
import atexit
import inspect
import logging
import os
import queue
import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct

log = logging.getLogger("penstock")
_PATIENCE = 5.0  # seconds that the end of the program waits for callbacks
_MOST = 10_000  # that wait to be told: a callback that hangs must not take all memory


class CustomLogger:
    """What LiteLLM's loggers derive from: each method does nothing until it is overridden."""

    def log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        """Hear of a good answer."""

    def log_failure_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        """Hear of a failure; `kwargs["exception"]` is it."""

    async def async_log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        """Hear of a good answer to an async call."""

    async def async_log_failure_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        """Hear of the failure of an async call."""


class Ending(Struct):
    """How a call ended. ``kwargs``: as LiteLLM's callbacks get them. ``response``: the answer; None for a failure,
    whose exception stands in ``kwargs``. ``waits``: it was an async call."""

    ok: bool
    kwargs: dict[str, Any]
    response: Any
    start: datetime
    end: datetime
    waits: bool = False


def tell(callbacks: Sequence[Any], ending: Ending) -> None:
    """Tell callbacks how a call ended, soon."""
    if callbacks:
        _teller.put(tuple(callbacks), ending)


def flush(timeout: float | None = _PATIENCE) -> None:
    """Wait until all that has ended so far was told."""
    _teller.flush(timeout)


class _Teller:
    """The thread. Async callbacks run on a loop of its own."""

    def __init__(self) -> None:
        self._queue: queue.Queue[tuple[tuple[Any, ...], Ending] | threading.Event] = queue.Queue(_MOST)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def put(self, callbacks: tuple[Any, ...], ending: Ending) -> None:
        """Add an ending to what is told."""
        self._start()
        try:
            self._queue.put_nowait((callbacks, ending))
        except queue.Full:
            log.error("%d calls wait to be told to callbacks; this one is not", _MOST)

    def flush(self, timeout: float | None) -> None:
        """Wait until what was put is told."""
        if self._thread is not None and self._thread.is_alive():
            told = threading.Event()
            self._queue.put(told)
            told.wait(timeout)

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="penstock-callbacks", daemon=True)
                self._thread.start()

    def _work(self) -> None:
        loop = asyncio.new_event_loop()
        while True:
            found = self._queue.get()
            if isinstance(found, threading.Event):
                found.set()
                continue
            callbacks, ending = found
            for callback in callbacks:
                _run(callback, ending, loop)
            del callbacks, ending, found  # while it waits for the next, it holds nothing


_teller = _Teller()


def _begin_anew() -> None:
    global _teller
    _teller = _Teller()


def _run(callback: Any, ending: Ending, loop: asyncio.AbstractEventLoop) -> None:
    """Call one callback. What it raises is logged: it costs nobody a call."""
    try:
        found = _call(callback, ending)
        if inspect.isawaitable(found):
            loop.run_until_complete(_awaited(found))
    except Exception:
        log.exception("the callback %s failed", getattr(callback, "__name__", type(callback).__name__))


async def _awaited(found: Any) -> None:
    await found


def _call(callback: Any, ending: Ending) -> Any:
    result = ending.response if ending.response is not None else ending.kwargs.get("exception")
    if isinstance(callback, str):
        return _unserved(callback)
    method = _method(callback, ending)
    if method is not None:
        return method(ending.kwargs, ending.response, ending.start, ending.end)
    if not callable(callback):
        return None
    if takes_one(callback):
        return callback(result)
    return callback(ending.kwargs, result, ending.start, ending.end)


def _method(callback: Any, ending: Ending) -> Callable[..., Any] | None:
    """Find a logger's method for an ending: the form of the call, else the other one, as far as it was written."""
    name = "log_success_event" if ending.ok else "log_failure_event"
    names = (f"async_{name}", name) if ending.waits else (name, f"async_{name}")
    for one in names:
        found = getattr(callback, one, None)
        if callable(found) and getattr(type(callback), one, None) is not getattr(CustomLogger, one):
            method: Callable[..., Any] = found
            return method
    return None


def takes_one(function: Callable[..., Any]) -> bool:
    """Tell whether a function takes the answer alone (S1-49), and not LiteLLM's four arguments."""
    try:
        named = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # written in C
        return False
    if any(one.kind is inspect.Parameter.VAR_POSITIONAL for one in named):
        return False
    places = [one for one in named if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    return len(places) < 4 and sum(one.default is one.empty for one in places) <= 1


_unknown: set[str] = set()


def _unserved(name: str) -> None:
    if name not in _unknown:
        _unknown.add(name)
        log.warning("the callback %r is the name of a service: give a function or an object instead", name[:80])


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
atexit.register(flush)
