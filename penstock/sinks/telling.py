"""Functions and objects that are told how calls ended: in a thread of their own, in order, so that nobody waits for
what they do, and none of them can hold up an event loop."""

from __future__ import annotations

import asyncio
import inspect
import logging
import queue
import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct

log = logging.getLogger("penstock")
_MOST = 10_000  # that wait to be told: a callback that hangs must not take all memory


class CustomLogger:
    """What LiteLLM's loggers derive from: each method does nothing until it is overridden.

    Those of ``HEARD`` are called when a request is over. The others have LiteLLM's names, so that a subclass of it can
    call them; what they would change of a request is not asked of them here."""

    def __init__(self, turn_off_message_logging: bool = False, message_logging: bool = True, **_: Any) -> None:
        self.turn_off_message_logging = turn_off_message_logging or not message_logging

    def log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        """Hear of a good answer."""

    def log_failure_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        """Hear of a failure; `kwargs["exception"]` is it."""

    async def async_log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        """Hear of a good answer to an async call."""

    async def async_log_failure_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        """Hear of the failure of an async call."""

    def log_stream_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        """Do nothing."""

    async def async_log_stream_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        """Do nothing."""

    def log_pre_api_call(self, model: Any, messages: Any, kwargs: Any) -> None:
        """Do nothing."""

    async def async_log_pre_api_call(self, model: Any, messages: Any, kwargs: Any) -> None:
        """Do nothing."""

    def log_post_api_call(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        """Do nothing."""

    async def async_pre_call_hook(self, user_api_key_dict: Any, cache: Any, data: Any, call_type: Any) -> Any:
        """Do nothing."""

    async def async_moderation_hook(self, data: Any, user_api_key_dict: Any, call_type: Any) -> Any:
        """Do nothing."""

    async def async_post_call_success_hook(self, data: Any, user_api_key_dict: Any, response: Any) -> Any:
        """Do nothing."""

    async def async_post_call_failure_hook(
        self, request_data: Any, original_exception: Any, user_api_key_dict: Any, traceback_str: Any = None
    ) -> Any:
        """Do nothing."""

    async def async_post_call_streaming_hook(self, user_api_key_dict: Any, response: Any) -> Any:
        """Do nothing."""


HEARD = ("log_success_event", "log_failure_event", "async_log_success_event", "async_log_failure_event")


class Ending(Struct):
    """How a call ended. ``kwargs``: as LiteLLM's callbacks get them. ``response``: the answer; None for a failure,
    whose exception stands in ``kwargs``. ``waits``: it was an async call."""

    ok: bool
    kwargs: dict[str, Any]
    response: Any
    start: datetime
    end: datetime
    waits: bool = False


class Teller:
    """The thread. Async callbacks run on a loop of its own."""

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._queue: queue.Queue[tuple[tuple[Any, ...], Ending] | threading.Event | Callable[[], None] | None] = (
            queue.Queue(most)
        )
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def put(self, callbacks: tuple[Any, ...], ending: Ending) -> bool:
        """Add an ending to what is told; tell whether there was room."""
        self._start()
        try:
            self._queue.put_nowait((callbacks, ending))
        except queue.Full:
            log.error("%d calls wait to be told to callbacks; this one is not", self._most)
            return False
        return True

    def flush(self, timeout: float | None) -> None:
        """Wait until what was put is told."""
        if self._thread is not None and self._thread.is_alive():
            told = threading.Event()
            self._queue.put(told)
            told.wait(timeout)

    async def told(self) -> None:
        """Wait until what was put is told, without holding up this loop."""
        self._start()
        loop = asyncio.get_running_loop()
        done = loop.create_future()

        def tell() -> None:
            if not done.done():
                done.set_result(None)

        def over() -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(tell)

        self._queue.put_nowait(over)
        await done

    def stop(self) -> None:
        """End the thread, once what was put is told. One that hangs ends with the process."""
        if self._thread is not None:
            try:
                self._queue.put_nowait(None)
            except queue.Full:
                return

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="penstock-callbacks", daemon=True)
                self._thread.start()

    def _work(self) -> None:
        loop = asyncio.new_event_loop()
        while True:
            found = self._queue.get()
            if found is None:
                loop.close()
                return
            if isinstance(found, threading.Event):
                found.set()
            elif isinstance(found, tuple):
                callbacks, ending = found
                for callback in callbacks:
                    _run(callback, ending, loop)
                del callbacks, ending
            else:
                found()
            del found  # while it waits for the next, it holds nothing


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
        if callable(found) and is_written(callback, one):
            method: Callable[..., Any] = found
            return method
    return None


def is_written(callback: Any, name: str) -> bool:
    """Tell whether an object's class has a method of its own, and not the one that does nothing."""
    found = getattr(type(callback), name, None)
    return found is not None and found is not getattr(CustomLogger, name, None)


def unheard(callback: Any) -> Sequence[str]:
    """List the hooks that an object's class has and that are not called here."""
    return [
        name
        for name in vars(CustomLogger)
        if not name.startswith("__") and name not in HEARD and is_written(callback, name)
    ]


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
