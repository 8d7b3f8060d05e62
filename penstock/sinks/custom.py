"""The operator's own Python: an object with ``async def write(batch)``, a logger in LiteLLM's form, or a function of
one or four arguments. It gets what other sinks get, from the same queue; what it does holds up nobody."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any

from penstock.sinks.base import Unset
from penstock.sinks.payload import kwargs_of, redact
from penstock.sinks.telling import HEARD, Ending, Teller, is_written, unheard

if TYPE_CHECKING:
    from penstock.sinks.base import Payload, Sink

Answer = Callable[[str, Any], Any]
"""Makes an answer's object of its JSON, by the type of the call."""


class Failed(Exception):
    """What a callback finds in ``kwargs["exception"]``: LiteLLM's class of the error stands in its text."""

    def __init__(self, payload: Payload) -> None:
        error = payload["error_information"] or {}
        super().__init__(f"{error.get('error_class')}: {payload['error_str']}")
        code = str(error.get("error_code") or "")
        self.status_code = int(code) if code.isdigit() else 500
        self.message = payload["error_str"]
        self.llm_provider = payload["custom_llm_provider"]
        self.model = payload["model"]


class Callback:
    """Tells one callback of each request, in a thread of its own."""

    patience = None

    def __init__(self, callback: Any, answer: Answer) -> None:
        self._callback = callback
        self._answer = answer
        self._quiet = bool(getattr(callback, "turn_off_message_logging", False))
        self._teller = Teller()

    async def write(self, batch: Sequence[Payload]) -> int:
        """Tell of a batch, and wait until that is done."""
        missed = 0
        for payload in batch:
            missed += not self._teller.put((self._callback,), self._ending(payload))
        await self._teller.told()
        return missed

    async def close(self) -> None:
        """End the thread."""
        self._teller.stop()

    def _ending(self, payload: Payload) -> Ending:
        ok = payload["status"] == "success"
        shown = redact(payload) if self._quiet else dict(payload)
        kwargs = kwargs_of(shown, None if ok else Failed(payload))
        response = self._answer(payload["call_type"], shown["response"]) if ok else None
        return Ending(ok, kwargs, response, kwargs["start_time"], kwargs["end_time"], True)


def sink_of(name: str, found: Any, answer: Answer) -> tuple[Sink, Sequence[str]]:
    """Make the sink of what a name stands for, and list its hooks that are not called. Raises ``Unset``."""
    if inspect.isclass(found):
        found = found()
    write = getattr(found, "write", None)
    if inspect.iscoroutinefunction(write):
        return Writer(found), ()
    if not callable(found) and not any(is_written(found, method) for method in HEARD):
        hooks = unheard(found)
        if not hooks:
            kind = type(found).__name__
            raise Unset(f"is {kind}, and neither a function nor an object with one of {', '.join(HEARD)}")
    return Callback(found, answer), unheard(found)


class Writer:
    """An object of the operator's that takes whole batches, on a loop in a thread of its own: what blocks there blocks
    nothing else."""

    patience = None

    def __init__(self, written: Any) -> None:
        self._written = written
        self._loop = asyncio.new_event_loop()
        self._thread: threading.Thread | None = None

    async def write(self, batch: Sequence[Payload]) -> int:
        """Hand a batch on."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._loop.run_forever, name="penstock-sink", daemon=True)
            self._thread.start()
        refused = await self._there(self._written.write(batch))
        return refused if isinstance(refused, int) else 0

    async def close(self) -> None:
        """Let it close, where it can, and end the thread."""
        close = getattr(self._written, "close", None)
        if self._thread is not None:
            if inspect.iscoroutinefunction(close):
                await self._there(close())
            self._loop.call_soon_threadsafe(self._loop.stop)

    async def _there(self, work: Coroutine[Any, Any, Any]) -> Any:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))
