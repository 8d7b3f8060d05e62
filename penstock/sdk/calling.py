"""One call: its arguments in, its answer out, and whoever wants to know how it ended told."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from penstock.runtime.ids import new_call_id
from penstock.sdk.answers import BinaryResponse, Fields
from penstock.sdk.arguments import Asked, body_of, form_of, sort_arguments
from penstock.sdk.channel import CaughtExchange, Channel
from penstock.sdk.exceptions import SdkError, class_of, error_of_kind, error_told
from penstock.sdk.joining import stream_chunk_builder
from penstock.sdk.logged import keep_out, log_call
from penstock.sdk.mocked import mock
from penstock.sdk.streams import Stream
from penstock.sdk.telling import Ending, tell

if TYPE_CHECKING:
    from penstock.core.record import Record
    from penstock.runtime.state import State
    from penstock.sdk.answers import Answer
    from penstock.sdk.driver import Driver
    from penstock.sdk.operations import Operation
    from penstock.sdk.states import States

_BROKEN = "The answer broke off before its end."
_JSON = b"content-type: application/json\r\n"  # what nearly every head begins with


class Prepared(Struct, eq=False):
    """A call that can be sent. ``state`` None: it is mocked. ``waits``: it is an async one."""

    operation: Operation
    asked: Asked
    state: State | None
    headers: dict[bytes, bytes]
    body: bytes
    waits: bool
    start: float  # unix time


class Calling:
    """What the calls of one client have in common. ``remote``: they go to a gateway, which is told their metadata.
    ``hears``: is told the record of each that was sent, before its caller has the answer."""

    def __init__(
        self,
        states: States,
        remote: bool = False,
        callbacks: Mapping[str, Sequence[Any]] | None = None,
        hears: Callable[[Record], object] | None = None,
    ) -> None:
        self.states = states
        self.remote = remote
        self.callbacks = callbacks or {}
        self.hears = hears

    def prepare(self, operation: Operation, given: Mapping[str, Any], waits: bool) -> Prepared:
        """Make a call ready: in the thread of who asks, because files are read here."""
        asked = sort_arguments(given, operation.default)
        if asked.metadata and (self.remote or operation.metadata):
            asked.fields["metadata"] = asked.metadata
        prepared = Prepared(operation, asked, None, {}, b"", waits, time.time())
        if asked.mocks:
            return prepared
        try:
            prepared.state = self.states.of(asked)
        except SdkError as error:
            self._tell(prepared, None, error, None)
            raise
        if operation.files:
            prepared.headers[b"content-type"], prepared.body = form_of(asked, operation.files)
        else:
            prepared.body = body_of(asked)
        return prepared

    async def send(self, prepared: Prepared, driver: Driver) -> Any:
        """Send a call, on the SDK's loop, whose ``driver`` it is. Return its answer, or a `Stream` of it."""
        try:
            if prepared.state is None:
                return await self._mocked(prepared)
            if prepared.asked.stream and prepared.operation.part is not None:
                return await self._stream(prepared, prepared.state, driver)
            caught = CaughtExchange(prepared.operation.path, prepared.headers, prepared.body)
            caught.hears = self.hears
            await driver.answer(caught, prepared.operation.surface, prepared.state)
            return self._whole(prepared, caught)
        except Exception as error:
            self._tell(prepared, None, error, None)
            raise

    # Whole answers ----------------------------------------------------------------------------------------------------

    def _whole(self, prepared: Prepared, caught: CaughtExchange) -> Any:
        operation = prepared.operation
        if caught.status >= 400 or not caught.finished:
            raise _failure(prepared, caught, _hidden(prepared, caught))
        kind = _media_type(caught.head)
        answer: Answer | BinaryResponse
        if operation.whole is None:
            answer = BinaryResponse(caught.answer, kind)
            answer._hidden_params = hidden = _hidden(prepared, caught)
            answer._response_headers = hidden["additional_headers"]
        else:
            if "json" in kind:
                answer = operation.whole(msgspec.json.decode(caught.answer))
            else:
                answer = operation.whole(text=caught.answer.decode("utf-8", "replace"))
            # Of these three alone: whoever keeps the answer does not keep its request with it.
            answer._tells(partial(_told, caught.head, caught.record, prepared.state))
        self._tell(prepared, answer, None, caught.record)
        return answer

    async def _mocked(self, prepared: Prepared) -> Any:
        operation, asked = prepared.operation, prepared.asked
        made = await mock(operation, asked)
        hidden = {"response_cost": 0.0, "additional_headers": {}, "custom_llm_provider": "mock"}
        if isinstance(made, bytes) and operation.part is not None:
            channel = Channel(asyncio.get_running_loop())
            channel.put(made)
            channel.end()
            ended = partial(self._mock_ended, prepared, hidden)
            return Stream(channel, operation.part, asked.model, hidden, ended, lambda chunks: None)
        assert operation.whole is not None and isinstance(made, dict)
        answer = operation.whole(made)
        answer._hidden_params = hidden
        self._tell(prepared, answer, None, None)
        return answer

    def _mock_ended(
        self, prepared: Prepared, hidden: dict[str, Any], chunks: list[Answer], error: SdkError | None
    ) -> Mapping[str, Any]:
        self._tell(prepared, _joined(prepared, chunks, hidden), None, None)
        return hidden

    # Streams ----------------------------------------------------------------------------------------------------------

    async def _stream(self, prepared: Prepared, state: State, driver: Driver) -> Any:
        operation, loop = prepared.operation, asyncio.get_running_loop()
        channel = Channel(loop)
        caught = CaughtExchange(operation.path, prepared.headers, prepared.body, channel)
        caught.hears = self.hears
        task = loop.create_task(driver.answer(caught, operation.surface, state))
        task.add_done_callback(lambda _: channel.end())
        head = caught.head_came
        assert head is not None
        try:
            await asyncio.wait((task, head), return_when=asyncio.FIRST_COMPLETED)
            if not caught.streams:
                await task
        except asyncio.CancelledError:
            task.cancel()
            raise
        if not caught.streams:
            return self._whole(prepared, caught)
        hidden = _hidden(prepared, caught)
        ended = partial(self._ended, prepared, caught, task)
        stop = partial(_stop, loop, task, os.getpid(), partial(self._left, prepared, caught))
        part = operation.part
        assert part is not None
        return Stream(channel, part, prepared.asked.model, hidden, ended, stop)

    def _ended(
        self,
        prepared: Prepared,
        caught: CaughtExchange,
        task: asyncio.Task[None],
        chunks: list[Answer],
        error: SdkError | None,
    ) -> Mapping[str, Any]:
        """Note the end of a stream that was read to it. Raises what broke it off."""
        hidden = _hidden(prepared, caught)
        if error is not None:
            _give(error, prepared, caught, hidden)
            self._tell(prepared, None, error, caught.record)
            return hidden
        if not caught.finished:
            bug = None if task.cancelled() else task.exception()
            broken = bug if isinstance(bug, Exception) else _failure(prepared, caught, hidden)
            self._tell(prepared, None, broken, caught.record)
            raise broken
        self._tell(prepared, _joined(prepared, chunks, hidden), None, caught.record)
        return hidden

    def _left(self, prepared: Prepared, caught: CaughtExchange, chunks: list[Answer]) -> None:
        """Tell of a stream that nobody reads on: what came of it was paid for."""
        self._tell(prepared, _joined(prepared, chunks, _hidden(prepared, caught)), None, caught.record)

    # Callbacks --------------------------------------------------------------------------------------------------------

    def _tell(self, prepared: Prepared, answer: Any, error: Exception | None, record: Record | None) -> None:
        """Tell whoever wants to know how a call ended, unless it wants nobody told."""
        module, own = sys.modules["penstock.sdk"].__dict__, self.callbacks
        which = "success_callback" if error is None else "failure_callback"
        found = [*(module.get(which) or ()), *(module.get("callbacks") or ())]
        if own:
            found += [*(own.get(which) or ()), *(own.get("callbacks") or ())]
        if not found or prepared.asked.given.get("no-log") is True:
            return
        asked, start, end = prepared.asked, datetime.fromtimestamp(prepared.start), datetime.now()
        times = (start, end)
        kwargs = log_call(prepared.operation.name, asked, answer, error, record, times, new_call_id())
        if module.get("turn_off_message_logging"):
            kwargs, answer = keep_out(kwargs, answer)
        known = list({id(one): one for one in found}.values())
        tell(known, Ending(error is None, kwargs, answer, start, end, prepared.waits))


def _stop(
    loop: asyncio.AbstractEventLoop,
    task: asyncio.Task[None],
    pid: int,
    left: Callable[[list[Answer]], None],
    chunks: list[Answer],
) -> None:
    """Cancel the request of a stream that nobody reads on, from any thread."""
    if pid != os.getpid() or loop.is_closed():  # the parent's, or the program ends
        return

    def cancel() -> None:
        task.add_done_callback(lambda _: left(chunks))
        task.cancel()

    try:
        loop.call_soon_threadsafe(cancel)
    except RuntimeError:  # closed in between
        return


def _joined(prepared: Prepared, chunks: list[Answer], hidden: dict[str, Any]) -> Any:
    """Put the answer together that a stream was, for callbacks; of the other dialects the last event has it."""
    if prepared.operation.name not in ("completion", "text_completion"):
        whole = [chunk for chunk in chunks if isinstance(chunk.get("response"), Fields)]
        return whole[-1]["response"] if whole else (chunks[-1] if chunks else None)
    answer = stream_chunk_builder(chunks, prepared.asked.given.get("messages"))
    if answer is not None:
        answer._hidden_params = hidden
    return answer


def _hidden(prepared: Prepared, caught: CaughtExchange) -> dict[str, Any]:
    return _told(caught.head, caught.record, prepared.state)


def _told(head: bytes, record: Record | None, state: State | None) -> dict[str, Any]:
    """Collect what is known of a call beside its answer's body. ``head``: that of its answer."""
    lines = head.decode("latin-1").split("\r\n")
    headers = dict([line.split(": ", 1) for line in lines if line])
    hidden: dict[str, Any] = {
        "model_id": headers.get("x-litellm-model-id"),
        "litellm_call_id": headers.get("x-litellm-call-id"),
        "response_cost": None,
        "api_base": None,
        "custom_llm_provider": None,
        "cache_hit": None,
        "additional_headers": headers,
    }
    if record is not None:
        built = None if state is None else state.built.get(record.target_id)
        hidden["response_cost"] = None if record.cost is None else float(record.cost)
        hidden["custom_llm_provider"] = record.provider or None
        hidden["api_base"] = None if built is None else built.deployment.api_base
        hidden["cache_hit"] = record.cache_hit
        hidden["_response_ms"] = record.ms
    return hidden


def _media_type(head: bytes) -> str:
    """Return what the head of an answer says of its body, "" where it says nothing."""
    if head.startswith(_JSON):
        return "application/json"
    for line in head.split(b"\r\n"):
        if line.startswith(b"content-type: "):
            return line[14:].decode("latin-1")
    return ""


def _failure(prepared: Prepared, caught: CaughtExchange, hidden: dict[str, Any]) -> SdkError:
    """Make the exception of a call that was refused, or whose answer broke off."""
    try:
        body = msgspec.json.decode(caught.answer)
    except msgspec.DecodeError:
        body = None
    told = body.get("error") if isinstance(body, dict) else None
    record = caught.record
    if caught.status < 400 or not isinstance(told, dict):
        error = class_of("APIConnectionError")(message=record.message if record and record.message else _BROKEN)
    elif record is not None and record.error:
        text = str(told.get("message") or record.message)
        error = error_of_kind(record.error, text, status=caught.status, body=told)
    else:
        error = error_told(told, caught.status)
    return _give(error, prepared, caught, hidden)


def _give(error: SdkError, prepared: Prepared, caught: CaughtExchange, hidden: dict[str, Any]) -> SdkError:
    """Give an exception what is known of its call."""
    record = caught.record
    error.model = prepared.asked.model
    error.llm_provider = record.provider if record is not None else ""
    error.set_headers(hidden["additional_headers"])
    retries = error.headers.get("x-litellm-attempted-retries", "")
    error.num_retries = int(retries) if retries.isdigit() else None
    return error
