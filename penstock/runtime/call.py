"""A request on its way: what the engine knows of it, from the client's first byte to the record."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import msgspec
from msgspec import Raw

from penstock.core.dialects.base import View
from penstock.core.errors import GatewayError

if TYPE_CHECKING:
    from decimal import Decimal

    from penstock.core.dialects.base import StreamEncoder
    from penstock.core.ir import Loss, Request, Usage
    from penstock.core.price import Units
    from penstock.runtime.constrained import Wanted
    from penstock.runtime.exchange import Exchange
    from penstock.runtime.identity import Caller
    from penstock.runtime.lanes import Translator
    from penstock.runtime.surface import Surface
    from penstock.runtime.targets import Target
    from penstock.stores.base import Store

# Fields of a body that are for the gateway and never for an upstream (LiteLLM's contract, 4.1).
GATEWAY_FIELDS = frozenset(
    """litellm_metadata tags fallbacks context_window_fallbacks content_policy_fallbacks disable_fallbacks num_retries
    timeout cache guardrails guardrail_config litellm_call_id litellm_trace_id litellm_session_id no-log mock_response
    router_settings_override prompt_id prompt_variables validate""".split()
)
LONGEST_MODEL = 1024
REFUSED_FIELDS = ("api_key", "api_base", "base_url")
_TRUE = Raw(b"true")
_OPENS = ord("[")
_NOTHING = Raw(b'""')


class Call:
    """Mutable, one per request, never shared between requests."""

    __slots__ = (
        "binary",
        "call_id",
        "caller",
        "clock",
        "cost",
        "exchange",
        "fields",
        "first_at",
        "group",
        "lane",
        "losses",
        "model",
        "model_raw",
        "notes",
        "request",
        "over",
        "price_version",
        "previous",
        "request_id",
        "seen_bytes",
        "silent_since",
        "sent_at",
        "spent",
        "stream",
        "store",
        "surface",
        "tail",
        "target",
        "translator",
        "tries",
        "units",
        "upstream",
        "usage",
        "wanted",
    )

    def __init__(
        self,
        surface: Surface,
        exchange: Exchange,
        caller: Caller,
        request_id: bytes,
        clock: Callable[[], float],
        store: Store,
    ) -> None:
        self.surface = surface
        self.exchange = exchange
        self.caller = caller
        self.call_id = new_id()
        self.request_id = request_id or self.call_id.encode()
        self.clock = clock
        self.fields: dict[str, Raw] = {}
        self.model = ""
        self.model_raw = _NOTHING
        self.stream = False
        self.request: Request | None = None  # parsed on first need, by the cross lane
        self.store = store
        self.previous = ""  # id of the kept answer whose items stand in ``fields`` now
        self.tail = b""  # the answer's body, or the last events of its stream
        self.target: Target | None = None
        self.group = ""
        self.translator: Translator | None = None
        self.lane = ""
        self.tries = 0
        self.usage: Usage | None = None
        self.spent: Usage | None = None  # of an earlier call for the same answer, beside ``usage``
        self.wanted: Wanted | None = None  # set while an attempt has a form to enforce or to check
        self.notes = b""  # header lines beside the usual ones
        self.units: Units | None = None  # what is billed beside tokens: images, seconds, characters, queries
        self.binary = False  # a streamed answer in which nothing can be said: an error cuts it off
        self.cost: Decimal | None = None  # US dollars; None while the answer goes on, and where it is not known
        self.price_version: str | None = None  # None until it is settled, "" for a cost that is not known
        self.losses: tuple[Loss, ...] = ()
        self.sent_at = 0.0  # loop's clock: the last try began
        self.upstream = 0.0  # seconds spent waiting for upstreams
        self.seen_bytes = 0
        self.silent_since = exchange.started
        self.over = False  # nothing more may be written
        self.first_at: float | None = None  # loop's clock: the first byte of the answer went out

    def read_fields(self, fields: dict[str, Raw], default_model: str = "") -> None:
        """Takes the body's top level and checks what every chat dialect shares. Raises "bad_request"."""
        for name in REFUSED_FIELDS:
            if name in fields:
                raise refused_field(name)
        named = _string(fields, "model")
        model = named or default_model
        if not model:
            raise GatewayError(
                "bad_request", "The field 'model' is missing: name one of GET /v1/models.", param="model"
            )
        if len(model) > LONGEST_MODEL:  # it would stand in caches, headers and log lines
            text = f"The field 'model' is {len(model)} characters long; no name here is over {LONGEST_MODEL}."
            raise GatewayError("bad_request", text, param="model")
        self.model = model
        if not named:
            fields["model"] = Raw(msgspec.json.encode(model))
        self.model_raw = fields["model"]
        self.stream = _boolean(fields, "stream")
        self.fields = fields

    def encoder(self) -> StreamEncoder:
        """The client's stream encoder: the cross lane's own, or one for the few things said in the same lane."""
        encoder: StreamEncoder | None = getattr(self.translator, "encoder", None)
        return encoder or self.surface.dialect.encoder(View(model=self.model))

    def fail(self, error: GatewayError) -> bytes:
        """The event that ends a stream in an error, in the client's dialect."""
        return self.encoder().fail(error)

    def parsed(self) -> Request:
        """The request in the neutral form, parsed once."""
        if self.request is None:
            fields = self.fields
            if "validate" in fields:
                fields = {key: value for key, value in fields.items() if key != "validate"}
            self.request = self.surface.dialect.parse_request(fields)
        return self.request


def refused_field(name: str) -> GatewayError:
    text = f"{name!r} may not be set in a request: keys and addresses of upstreams are configured at the gateway."
    return GatewayError("bad_request", text, param=name)


def _string(fields: Mapping[str, Raw], key: str) -> str:
    raw = fields.get(key)
    if raw is None:
        return ""
    text = bytes(raw)
    if text[:1] != b'"':
        if text == b"null":
            return ""
        raise GatewayError("bad_request", f"{key!r} must be a string, not {_kind(text)}.", param=key)
    value: str = msgspec.json.decode(text)
    return value


def _boolean(fields: Mapping[str, Raw], key: str) -> bool:
    raw = fields.get(key)
    if raw is None or raw == _TRUE:
        return raw is not None
    text = bytes(raw)
    if text in (b"false", b"null"):
        return False
    raise GatewayError("bad_request", f"{key!r} must be true or false, not {_kind(text)}.", param=key)


def require_list(fields: Mapping[str, Raw], key: str, example: str) -> None:
    """Raises "bad_request" unless ``key`` holds a list with something in it."""
    raw = fields.get(key)
    if raw is None:
        raise GatewayError("bad_request", f"The field {key!r} is missing: send a list such as {example}.", param=key)
    text = memoryview(raw)  # a copy of a long conversation would cost more than the look at its ends
    if text[0] != _OPENS:
        said = _kind(bytes(text))
        raise GatewayError("bad_request", f"{key!r} must be a list such as {example}, not {said}.", param=key)
    if len(text) < 64 and not bytes(text[1:-1]).strip():
        raise GatewayError("bad_request", f"{key!r} is an empty list: send at least one, such as {example}.", param=key)


def _kind(text: bytes) -> str:
    first = text[:1]
    names = {b'"': "a string", b"{": "an object", b"[": "a list", b"t": "true", b"f": "false", b"n": "null"}
    shown = text[:40].decode("utf-8", "replace")
    return f"{names.get(first, 'a number')} ({shown}{'...' if len(text) > 40 else ''})"


class _Ids:
    """Random UUIDs (version 4), made in batches: one system call for many."""

    BATCH = 256

    def __init__(self) -> None:
        self._hex = ""
        self._at = 0
        # A forked child must not hand out its parent's ids.
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        self._hex, self._at = "", 0

    def next(self) -> str:
        at = self._at
        if at >= len(self._hex):
            self._hex, at = os.urandom(16 * self.BATCH).hex(), 0
        self._at = at + 32
        text = self._hex[at : at + 32]
        return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-{_VARIANT[text[16]]}{text[17:20]}-{text[20:]}"


_VARIANT = {digit: "89ab"[number % 4] for number, digit in enumerate("0123456789abcdef")}
new_id = _Ids().next
