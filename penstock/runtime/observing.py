"""What happened, for sinks: noted where a request's record is made, turned into payloads and handed to their queues in
batches, in a thread and later.

On a request's way this costs a look at whether anybody wants to know, and what takes its answer down; at its end one
entry of a list. Everything else (reading the fields, putting a stream together, taking out secrets) waits.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec
from msgspec import Raw, Struct

from penstock.core.envelope import BAD_JSON
from penstock.core.kept_texts import MOST_REQUEST, kept_json, too_large
from penstock.core.mask import NO_SECRETS, Mask
from penstock.core.tracecontext import Sampler
from penstock.runtime.call import GATEWAY_FIELDS
from penstock.runtime.spending import kind_at
from penstock.runtime.texts import Texts, whole_answer
from penstock.runtime.traced import Traced, Tracing, traced_headers
from penstock.sinks.payload import CONTENT, TRACE, Told, error_of, hide_keys, payload_of, redact

if TYPE_CHECKING:
    from penstock.core.admit.caller import Caller, Logging
    from penstock.core.record import Record
    from penstock.runtime.admission import Admitted
    from penstock.runtime.call import Call
    from penstock.runtime.http import Origin
    from penstock.runtime.surface import Surface
    from penstock.sinks.base import Payload
    from penstock.sinks.shipping import Shipper

log = logging.getLogger("penstock")
LINGER = 0.25  # seconds that the first of a batch waits for others
BATCH = 256
MOST = 10_000  # requests that wait to be looked at
MOST_BYTES = 64 * 1024 * 1024
_LENGTHS = (30_000, 8192, 1024, 128)  # characters of each text, see ``core.kept_texts``
_MOST_KEPT = 512 * 1024  # bytes of what is asked, and of what is answered
_BESIDE = GATEWAY_FIELDS.union(CONTENT, "model stream metadata user system instructions documents file".split())
_SAID = ("metadata", "litellm_metadata")
_FOR_LANGFUSE = b"langfuse_"
_NO_LOG = "no-log"
_REDACTS = (b"x-litellm-enable-message-redaction", b"litellm-enable-message-redaction")
_DISABLES = b"x-litellm-disable-callbacks"
_OBJECT = msgspec.json.Decoder(dict[str, Raw]).decode
_TRUE = (b"true", b"1", b"yes")
# Dialects whose chats LiteLLM has names of their own for.
_KINDS = {"anthropic": "anthropic_messages", "gemini": "agenerate_content"}


class Destination(NamedTuple):
    """A sink's queue, and what it hears of. ``redacts``: what is asked and said does not go there; ``traces``: it gets
    the traces that are kept, with each try of them."""

    name: str
    shipper: Shipper
    success: bool = True
    failure: bool = True
    redacts: bool = False
    traces: bool = False

    def hears(self, ok: bool) -> bool:
        """Tell whether it is told of good answers, or of failures."""
        return self.success if ok else self.failure


class Manner(Struct, frozen=True):
    """How payloads are told. ``redacts``: no messages at all; ``hides_keys``: not whose key it was; ``leaves_out``:
    fields that are not sent; ``always``: a request's ``no-log`` is not heeded; ``may_disable``: a request may say to
    which sinks it does not go; ``end_users``: they are named."""

    redacts: bool = False
    hides_keys: bool = False
    leaves_out: tuple[str, ...] = ()
    always: bool = False
    may_disable: bool = True
    end_users: bool = True


class Seen(Struct):
    """A request that is over, as far as it must be held: its call is freed. Nothing of it is looked at yet."""

    record: Record
    caller: Caller
    surface: Surface | None
    stream: bool
    body: bytes
    fields: Mapping[str, Raw]  # as they are after the URL's habits: those of a form, whose body is no JSON
    headers: Mapping[bytes, bytes]
    texts: Texts | None
    admitted: Admitted | None
    origin: Origin | None
    size: int
    traced: Traced | None = None

    @property
    def kind(self) -> str:
        """Return LiteLLM's name for what was asked."""
        kind, surface = kind_at(self.surface), self.surface
        return kind if surface is None or kind != "acompletion" else _KINDS.get(surface.dialect.name, kind)


class Own(Protocol):
    """What teams and keys have of their own."""

    def of(self, caller: Caller) -> Sequence[Logging]:
        """List the callbacks of a caller, those of its team first."""
        ...

    def find(self, callback: Logging) -> Destination | None:
        """Return where one of them sends to; None where it cannot. Asked on the loop."""
        ...

    def alias(self, team: str) -> str:
        """Return the name of a team."""
        ...


class Observer:
    """Notes what happened, for everybody's sinks and those of teams and keys. ``mask``: the secrets of the config."""

    def __init__(self, own: Own, mask: Callable[[], Mask] = lambda: NO_SECRETS) -> None:
        self.everybody: tuple[Destination, ...] = ()
        self.manner = Manner()
        self.tracing: Tracing | None = None  # None: no sink wants spans
        self.teams: Collection[str] = ()  # those that the config gives places of their own
        self.dropped = 0
        self._own = own
        self._mask = mask
        self._waiting: list[Seen] = []
        self._size = 0
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    # On a request's way. ----------------------------------------------------------------------------------------------

    def begin(self, call: Call) -> None:
        """Take down what a call is answered, where somebody is told."""
        if self._hears(call.caller) and not self.manner.redacts:
            outlet = call.outlet
            if outlet.texts is None:
                outlet.texts = Texts()
        if self.tracing is not None:
            call.outlet.told = Traced(call, self.tracing)

    def _hears(self, caller: Caller) -> bool:
        """Tell whether anybody is told of a caller's requests."""
        return bool(self.everybody or caller.logging or caller.team in self.teams)

    def put(self, call: Call, record: Record) -> None:
        """Note a call that is over. Pages are none."""
        if not self._hears(call.caller):
            return
        surface, attempt = call.surface, call.attempt
        if surface is None and attempt is None:
            return
        texts, exchange = call.outlet.texts, call.exchange
        size = exchange.bytes_in + (0 if texts is None else texts.size)
        if len(self._waiting) >= MOST or self._size + size > MOST_BYTES:
            self.dropped += 1
            if self.dropped & (self.dropped - 1) == 0:  # said at 1, 2, 4, 8 ...
                log.error("callbacks: too many requests wait to be looked at, and %d were not told", self.dropped)
            return
        origin = None if attempt is None or attempt.target is None else attempt.target.origin
        told = call.outlet.told
        self._waiting.append(
            Seen(
                record, call.caller, surface, call.stream, exchange.body, call.fields, exchange.headers, texts,
                call.admitted, origin, size, told if isinstance(told, Traced) else None,
            )
        )  # fmt: skip
        self._size += size
        if self._timer is None and self._task is None:
            self._timer = asyncio.get_running_loop().call_later(LINGER, self._begin_batch)

    # Later. -----------------------------------------------------------------------------------------------------------

    def _begin_batch(self) -> None:
        self._timer = None
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
                self._size -= sum(seen.size for seen in batch)
                for seen, payload, size in await asyncio.to_thread(self._look_at, batch):
                    self._hand_on(seen, payload, size)
        finally:
            self._task = None

    async def finish(self) -> None:
        """Hand on all that was noted."""
        if self._timer is not None:
            self._timer.cancel()
            self._begin_batch()
        while (task := self._task) is not None:
            await asyncio.wait((task,))

    def destinations_of(self, caller: Caller, ok: bool) -> Iterable[Destination]:
        """List where a caller's good or failed requests are told: a team's own place goes before everybody's of that
        name, a key's before its team's."""
        found = {one.name: one for one in self.everybody if one.hears(ok)}
        for callback in self._own.of(caller):
            destination = self._own.find(callback)
            if destination is not None and destination.hears(ok):
                found[destination.name] = destination
        return found.values()

    def _hand_on(self, seen: Seen, payload: Payload, size: int) -> None:
        ok = payload["status"] == "success"
        disabled = _disabled(seen) if self.manner.may_disable else frozenset()
        bare: Payload | None = None
        kept: bool | None = None
        for destination in self.destinations_of(seen.caller, ok):
            if destination.name in disabled:
                continue
            if destination.traces:
                if kept is None:
                    kept, trace = self._trace(seen)
                if kept:
                    destination.shipper.put({**payload, TRACE: trace}, size + 64)
                continue
            if destination.redacts and bare is None:
                bare = redact(payload)
            given = bare if destination.redacts and bare is not None else payload
            destination.shipper.put(given, size)

    def _trace(self, seen: Seen) -> tuple[bool, dict[str, Any]]:
        """Tell a request's trace, and whether it is kept."""
        record, traced = seen.record, seen.traced
        if traced is None:  # it ended before it was read
            kept, trace = traced_headers(seen.headers, self.tracing or Tracing(Sampler()))
        else:
            kept, trace = traced.context.sampled, traced.trace(record.at)
        return kept, trace | {"method": record.method, "path": record.path, "status": record.status}

    # In a thread. -----------------------------------------------------------------------------------------------------

    def _look_at(self, batch: Sequence[Seen]) -> list[tuple[Seen, Payload, int]]:
        """Make the payloads of a batch; of those who want none, none."""
        mask, found = self._mask(), []
        for seen in batch:
            try:
                fields = _fields_of(seen, mask)
                if fields.get(_NO_LOG) is True and not self.manner.always:
                    continue
                payload = self._payload(seen, fields, mask)
                found.append((seen, payload, len(msgspec.json.encode(payload, enc_hook=str))))
            except Exception:  # boundary: a bug of ours on one request must not take the others of its batch with it
                self.dropped += 1
                log.exception("callbacks: the call %s could not be told", seen.record.call_id)
        return found

    def _payload(self, seen: Seen, fields: Mapping[str, Any], mask: Mask) -> Payload:
        record, headers, manner = seen.record, seen.headers, self.manner
        metadata = _metadata(seen, fields)
        session = _word(headers.get(b"x-litellm-session-id"))
        session = session or _first(fields, metadata, "litellm_session_id", "session_id")
        admitted = seen.admitted
        customer = "" if admitted is None else admitted.customer
        named = customer or _text(fields.get("user")) or _text(metadata.get("user_id"))
        tags = (admitted is not None and admitted.tags) or fields.get("tags") or metadata.get("tags")
        told = Told(
            call_type=seen.kind,
            call_id=record.call_id,
            model=record.model,
            start=record.at - record.ms / 1000,
            end=record.at,
            asked={name: fields[name] for name in (*CONTENT, "system", "instructions") if name in fields},
            parameters={name: value for name, value in fields.items() if name not in _BESIDE},
            said=_answer_of(seen, mask),
            stream=record.stream,
            metadata=metadata,
            tags=[str(tag) for tag in tags] if isinstance(tags, list | tuple) else (),
            end_user=named if manner.end_users else "",
            session=session,
            trace=_word(headers.get(b"x-litellm-trace-id")) or _first(fields, metadata, "litellm_trace_id", "trace_id"),
            record=record,
            caller=seen.caller,
            team_alias=self._own.alias(seen.caller.team) if seen.caller.team else "",
            user_agent=_word(headers.get(b"user-agent")),
            api_base="" if seen.origin is None else str(seen.origin),
            error=error_of(record),
        )
        payload: Payload = payload_of(told)
        if manner.redacts or _asks_redaction(headers, fields, metadata):
            payload = redact(payload)
        if manner.hides_keys:
            payload = hide_keys(payload)
        if manner.leaves_out:
            payload = {**payload, **dict.fromkeys(name for name in manner.leaves_out if name in payload)}
        return payload


def _fields_of(seen: Seen, mask: Mask) -> dict[str, Any]:
    """Read the fields of a request, without what looks like a secret; of what is too large, how large it is."""
    try:
        fields: dict[str, Any] = _OBJECT(seen.body) if isinstance(seen.body, bytes) else dict(seen.fields)
    except BAD_JSON:
        fields = dict(seen.fields)
    for name in CONTENT:
        if name in fields and (size := len(bytes(fields[name]))) > MOST_REQUEST:
            fields[name] = Raw(too_large(size))
    try:
        raw = kept_json(msgspec.json.encode(fields), mask.clean, _MOST_KEPT, _LENGTHS)
        found: dict[str, Any] = msgspec.json.decode(raw, type=dict[str, Any])
    except BAD_JSON:
        return {}
    if "truncated" in found and "truncated" not in fields:  # all of it together was too large: what decides must stay
        found = {name: msgspec.json.decode(fields[name]) for name in (_NO_LOG, "user") if name in fields}
    return found


def _answer_of(seen: Seen, mask: Mask) -> Any:
    if seen.texts is None:
        return None
    form = seen.texts.form(seen.surface, seen.stream)
    answer = whole_answer(seen.texts.answer(), form, seen.record.model)
    kept = kept_json(answer, mask.clean, _MOST_KEPT, _LENGTHS)
    return msgspec.json.decode(kept) if kept else None


def _metadata(seen: Seen, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Collect what a request says beside its question, in its body and in headers for Langfuse."""
    found: dict[str, Any] = {}
    for name in _SAID:
        if isinstance(value := fields.get(name), dict):
            found |= value
    for header, value in seen.headers.items():
        if header.startswith(_FOR_LANGFUSE):
            found.setdefault(header[len(_FOR_LANGFUSE) :].decode("latin-1"), _word(value))
    return found


def _asks_redaction(headers: Mapping[bytes, bytes], fields: Mapping[str, Any], metadata: Mapping[str, Any]) -> bool:
    """Tell whether a request wants its messages kept out. None can have them put in."""
    if any(headers.get(name, b"").lower() in _TRUE for name in _REDACTS):
        return True
    name = "turn_off_message_logging"
    return fields.get(name) is True or metadata.get(name) is True


def _disabled(seen: Seen) -> frozenset[str]:
    """Name the sinks that a request, or its key, does not want to be sent to."""
    said = _word(seen.headers.get(_DISABLES)).lower().split(",")
    kept = seen.caller.metadata.get("litellm_disabled_callbacks")
    return frozenset(name.strip() for name in (*said, *(map(str, kept) if isinstance(kept, list) else ())))


def _first(fields: Mapping[str, Any], metadata: Mapping[str, Any], outer: str, inner: str) -> str:
    return _text(fields.get(outer)) or _text(metadata.get(inner))


def _text(value: Any) -> str:
    return value[:1024] if isinstance(value, str) else ""


def _word(value: bytes | None) -> str:
    return "" if value is None else value.decode("latin-1")[:1024]
