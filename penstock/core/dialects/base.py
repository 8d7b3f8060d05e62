"""The one shape that every dialect has.

A dialect is a package (or module) that declares one ``DIALECT``; ``DIALECTS`` in ``__init__`` is the table. The rest of
the gateway knows dialects by this contract only: a new one is a folder, a row, and a corpus folder under ``tests``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Protocol

from msgspec import Raw, Struct

from penstock.core import sse
from penstock.core.dialects.structured import Forced, plan
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
    calls (Vertex AI answers 400 to them; Gemini pairs calls and results by name and order as well). ``searches``: an
    OpenAI-shaped API that takes ``web_search_options`` whatever the model.
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
    searches: bool = False


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


def _forced(request: Request, wire: Wire) -> Forced | None:
    """Plan the tool that stands in for a schema by what the target enforces, and nothing else."""
    return plan(request, wire.native_schema)


def _resume(encoder: StreamEncoder, last: bytes) -> bool:
    """Take an encoder as it is: what it was fed is all that its next events depend on."""
    return True


def _as_rendered(fields: Mapping[str, Raw]) -> dict[str, Raw]:
    """Return the whole request: the dialect's counting endpoint refuses no field of it."""
    return dict(fields)


def _as_asked(fields: dict[str, Raw], wire: Wire) -> dict[str, Raw]:
    """Return the request in the form in which it is asked."""
    return fields


class Dialect(Struct, frozen=True, kw_only=True, eq=False):
    """One wire format: its functions under the names by which everyone calls them.

    A struct and no class with methods, so that a call is the function itself: no ``self``, no frame between. Two are
    alike only when they are the same one.

    ``parse_request``: the body's top level (see ``envelope.open_body``) to a ``Request``; raises ``GatewayError``
    ("bad_request", with ``param``) for what the dialect forbids; loses nothing: unknown fields become ``Opaque``.
    ``render_request``: the reverse, for ``wire``; everything not carried is in ``losses``.
    ``parse_response`` / ``render_response``: whole answers. ``decoder`` / ``encoder``: one stream each.
    ``parse_error``: a non-2xx answer (status, lower-cased header names, body) to a ``GatewayError`` whose kind comes
    from the table, the vendor's message kept. ``render_error``: (status, body) in this dialect's own shape. ``texts``:
    every human text of a request body, for guards.

    What has a default is what most dialects have alike:

    ``framer``: the framing of its streams. ``stream_type``: a part of the content type that they have.
    ``stream_endpoint``: under which URL a stream is asked for (a key of ``providers.urls.SUFFIXES``), "" for the one of
    whole answers. ``sample``: the shortest conversation there is in it, for requests of which only the parameters
    count. ``forced``: the tool that stands in for a schema, where that depends on more than ``wire.native_schema``;
    asked once for the request and once for its answer. ``caches``: a request says where its prompt is cached.
    ``comments``: its clients ignore a comment in a stream. ``resume``: makes an encoder, which was fed the events of a
    text that somebody else has told so far, go on behind the ``last`` of that one's (its data); False where it cannot.

    Of the counting of tokens, None where the dialect has no endpoint for it: ``parse_count_request``, what is to be
    counted; ``parse_count``, an upstream's answer; ``render_count``, the client's, with the source of the count
    ("provider" or "local_estimate"). ``count_fields`` makes a body that its endpoint takes of a rendered request,
    ``count_request`` of that or of a client's own.
    """

    name: str
    family: str
    parse_request: Callable[[Mapping[str, Raw]], Request]
    render_request: Callable[[Request, Wire], Rendered]
    parse_response: Callable[[bytes], Response]
    render_response: Callable[[Response, View], RenderedAnswer]
    decoder: Callable[[], StreamDecoder]
    encoder: Callable[[View], StreamEncoder]
    parse_error: Callable[[int, Mapping[str, str], bytes], GatewayError]
    render_error: Callable[[GatewayError], tuple[int, bytes]]
    texts: Callable[[Mapping[str, Raw]], Iterator[str]]

    framer: Callable[[], Framer] = sse.Decoder
    stream_type: bytes = b"event-stream"
    stream_endpoint: str = ""
    sample: Mapping[str, Raw] = {}
    caches: bool = False
    comments: bool = True
    resume: Callable[[StreamEncoder, bytes], bool] = _resume
    forced: Callable[[Request, Wire], Forced | None] = _forced

    parse_count_request: Callable[[Mapping[str, Raw]], Request] | None = None
    parse_count: Callable[[bytes], int] | None = None
    render_count: Callable[[int, str], bytes] | None = None
    count_fields: Callable[[Mapping[str, Raw]], dict[str, Raw]] = _as_rendered
    count_request: Callable[[dict[str, Raw], Wire], dict[str, Raw]] = _as_asked

    def __repr__(self) -> str:
        return f"Dialect({self.name})"
