"""An answer that is read while it comes: one object for `for` and for `async for`."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from penstock.core import sse
from penstock.sdk.exceptions import SdkError, error_told

if TYPE_CHECKING:
    from types import TracebackType

    from penstock.sdk.answers import Answer
    from penstock.sdk.channel import Channel

Ended = Callable[[list["Answer"], "SdkError | None"], Mapping[str, Any]]
"""Is told what came and how it ended; returns what is known of the call then, or raises what it ended in."""


class Stream:
    """The events of an answer, as they come. Whoever stops reading closes the upstream: by `close`, by leaving `with`,
    or by dropping it. `_hidden_params` has the cost once it was read to its end."""

    def __init__(
        self,
        channel: Channel,
        part: type[Answer],
        model: str,
        hidden: Mapping[str, Any],
        ended: Ended,
        stop: Callable[[list[Answer]], object],
    ) -> None:
        self._channel, self._part, self.model = channel, part, model
        self._hidden_params: dict[str, Any] = dict(hidden)
        self._response_headers: dict[str, str] = self._hidden_params.get("additional_headers", {})
        self._ended: Ended | None = ended
        self._stop = stop
        self._decoder = sse.Decoder()
        self._events: deque[Answer] = deque()
        self.chunks: list[Answer] = []  # all that came: `stream_chunk_builder` joins them
        self._error: SdkError | None = None
        self._over = False

    # Reading ----------------------------------------------------------------------------------------------------------

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> Answer:
        while (found := self._next()) is None:
            if self._over:
                raise StopIteration
            self._channel.wait()
        return found

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> Answer:
        while (found := self._next()) is None:
            if self._over:
                raise StopAsyncIteration
            await self._channel.await_more()
        return found

    def _next(self) -> Answer | None:
        """Return the next event; None where none is there yet, or none comes any more. Raises what the stream ended
        in."""
        if not self._events and not self._over:
            data = self._channel.take()
            if data is None:
                self._read(self._decoder.close())
                self._end()
            elif data:
                self._read(self._decoder.feed(data))
        if self._events:
            return self._events.popleft()
        if self._over and self._error is not None:
            error, self._error = self._error, None
            raise error
        return None

    def _read(self, events: list[sse.Event]) -> None:
        for event in events:
            if event.data == b"[DONE]":
                continue
            told = msgspec.json.decode(event.data)
            if not isinstance(told, dict):
                continue
            if isinstance(failed := told.get("error"), dict) and told.get("object") != "response":
                self._error = error_told(failed, 0, model=self.model)
                continue
            chunk = self._part(told)
            chunk._hidden_params = self._hidden_params
            self.chunks.append(chunk)
            self._events.append(chunk)

    # The end ----------------------------------------------------------------------------------------------------------

    def _end(self) -> None:
        self._over = True
        ended, self._ended = self._ended, None
        if ended is not None:
            self._hidden_params |= ended(self.chunks, self._error)

    def close(self) -> None:
        """Stop reading, and let the upstream know."""
        if not self._over:
            self._over = True
            self._events.clear()
            self._ended = None
            self._stop(self.chunks)

    async def aclose(self) -> None:
        """Stop reading, and let the upstream know."""
        self.close()
        await asyncio.sleep(0)

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    async def __aenter__(self) -> Stream:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if not getattr(self, "_over", True):
            self.close()
