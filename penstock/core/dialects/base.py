"""The one shape that every dialect has.

A dialect is a module (or package) with the names below at its top; ``DIALECTS`` in ``__init__`` is the table. The rest
of the gateway knows dialects by this contract only: a new one is a folder, a row, and a corpus folder under ``tests``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Protocol

from msgspec import Raw, Struct

from penstock.core import sse
from penstock.core.errors import GatewayError
from penstock.core.ir import Event, Loss, Request, Response


class Wire(Struct, frozen=True, kw_only=True):
    """What a renderer must know of the target it renders a request for.

    ``model``: the name the upstream knows. ``family``: whose seals it can read ("anthropic", "openai", ...).
    ``max_tokens``: the value for a dialect that insists on one when the client gave none.
    ``native_schema``: the target enforces a JSON schema itself; else a forced tool stands in where the dialect has
    nothing. ``replay_reasoning``: the target wants earlier reasoning text back (DeepSeek and vLLM with tools).
    ``stream_usage``: the target accepts a request for usage in a stream. ``official``: the vendor's own API (strict
    about fields), not a compatible server. ``adaptive``: the model sizes its thinking itself, by effort; it refuses a
    budget of tokens (Anthropic's newer models). ``cache_marks``: an OpenAI-shaped API that takes ``cache_control``
    (OpenRouter, LiteLLM); strict ones refuse the whole request for it. ``call_ids``: the target takes ids of function
    calls (Vertex AI answers 400 to them; Gemini pairs calls and results by name and order as well).
    """

    model: str
    family: str = ""
    max_tokens: int = 8192
    native_schema: bool = True
    replay_reasoning: bool = False
    stream_usage: bool = True
    official: bool = True
    adaptive: bool = False
    cache_marks: bool = False
    call_ids: bool = True


class View(Struct, frozen=True, kw_only=True):
    """What a renderer must know of the client it answers.

    ``model``: the name the client asked for; it stands in every answer and chunk. ``request``: the parsed request
    (Responses echoes much of it; forced-tool answers are turned back). ``now``: unix seconds. ``mint``: a new id for
    a prefix ("msg_" -> "msg_01ab..."); ids come from outside because the core has no randomness.
    ``usage``: the client wants usage in the stream. ``elapsed``: nanoseconds since the request came (Ollama tells
    durations).
    """

    model: str
    request: Request | None = None
    now: int = 0
    mint: Callable[[str], str] = str
    usage: bool = True
    elapsed: Callable[[], int] = int


class Rendered(Struct, frozen=True):
    """A request for the wire: top-level fields in order (``envelope.seal`` makes bytes), and what was left out."""

    fields: dict[str, Raw]
    losses: tuple[Loss, ...] = ()


class RenderedAnswer(Struct, frozen=True):
    """A whole answer for the client, and what was left out of it."""

    body: bytes
    losses: tuple[Loss, ...] = ()


class Framer(Protocol):
    """A stream's bytes to events: any cut of the bytes gives the same events. Raises ``sse.TooLong``."""

    def feed(self, chunk: bytes) -> list[sse.Event]: ...
    def close(self) -> list[sse.Event]: ...


class StreamDecoder(Protocol):
    """Upstream events in, neutral events out. ``feed`` raises ``GatewayError`` for an error event or for data that is
    not the dialect's. ``close`` is called once when the bytes ended: it yields what is still owed, or raises
    ``GatewayError("broken_stream")`` when the stream ended before the answer was complete."""

    def feed(self, event: sse.Event) -> Iterable[Event]: ...
    def close(self) -> Iterable[Event]: ...


class StreamEncoder(Protocol):
    """Neutral events in, client bytes out. ``losses`` grows as things turn out not to fit. ``fail`` ends the stream
    with the dialect's error event and never with a mark of success; it may be the first call. ``ping`` is a
    keep-alive the dialect's clients ignore."""

    losses: list[Loss]

    def feed(self, event: Event) -> bytes: ...
    def fail(self, error: GatewayError) -> bytes: ...
    def ping(self) -> bytes: ...


def framer_of(dialect: Dialect) -> Framer:
    """The framing of a dialect's streams."""
    make: Callable[[], Framer] = getattr(dialect, "framer", sse.Decoder)
    return make()


class Dialect(Protocol):
    """The module's top-level names.

    ``parse_request``: the body's top level (see ``envelope.open_body``) to a ``Request``; raises ``GatewayError``
    ("bad_request", with ``param``) for what the dialect forbids; loses nothing: unknown fields become ``Opaque``.
    ``render_request``: the reverse, for ``wire``; everything not carried is in ``losses``.
    ``parse_response`` / ``render_response``: whole answers. ``parse_error``: a non-2xx answer (status, lower-cased
    header names, body) to a ``GatewayError`` whose kind comes from the table, the vendor's message kept.
    ``render_error``: (status, body) in this dialect's own shape. ``texts``: every human text of a request body, for
    guards.

    Names a dialect may have beside these: ``framer() -> Framer`` where its streams are not server-sent events,
    ``stream_type`` (part of the content type that its streams have then), ``stream_endpoint`` where a stream is
    asked for under another URL (a key of ``providers.urls.SUFFIXES``), ``adopt(fields)``, which moves a
    deployment's defaults from the top level, where they stand in OpenAI's words, to where the dialect wants them, and
    ``forced(request, wire)`` where the tool that stands in for a schema depends on more than ``wire.native_schema``.
    """

    name: str
    family: str

    def parse_request(self, fields: Mapping[str, Raw]) -> Request: ...
    def render_request(self, request: Request, wire: Wire) -> Rendered: ...
    def parse_response(self, body: bytes) -> Response: ...
    def render_response(self, response: Response, view: View) -> RenderedAnswer: ...
    def decoder(self) -> StreamDecoder: ...
    def encoder(self, view: View) -> StreamEncoder: ...
    def parse_error(self, status: int, headers: Mapping[str, str], body: bytes) -> GatewayError: ...
    def render_error(self, error: GatewayError) -> tuple[int, bytes]: ...
    def texts(self, fields: Mapping[str, Raw]) -> Iterator[str]: ...
