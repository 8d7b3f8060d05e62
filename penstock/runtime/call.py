"""A request: what holds for the whole of it, from the client's first byte to the record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

import msgspec
from msgspec import Raw

from penstock.core.dialects.base import View
from penstock.core.errors import GatewayError
from penstock.runtime.ids import new_call_id
from penstock.runtime.outlet import Outlet, safe

if TYPE_CHECKING:
    from decimal import Decimal

    from penstock.core.admit.caller import Caller
    from penstock.core.dialects.base import StreamEncoder
    from penstock.core.ir import Request, Usage
    from penstock.core.mask import Mask
    from penstock.core.record import Failed
    from penstock.runtime.admission import Admitted  # circle: admission reads the call that it lets through
    from penstock.runtime.attempt import Attempt
    from penstock.runtime.exchange import Exchange
    from penstock.runtime.keeping import Keeping  # circle: it reads the call that it is a part of
    from penstock.runtime.means import Means
    from penstock.runtime.outlet import MountStyle
    from penstock.runtime.surface import Surface  # circle: the row that a call came in by says how calls are read
    from penstock.runtime.wishes import Wishes  # circle: wishes leave out what a call's fields may not say

# Fields of a body that are for the gateway and never for an upstream (LiteLLM's contract, 4.1).
GATEWAY_FIELDS = frozenset(
    """litellm_metadata tags fallbacks context_window_fallbacks content_policy_fallbacks disable_fallbacks num_retries
    timeout stream_timeout cache guardrails guardrail_config litellm_call_id litellm_trace_id litellm_session_id no-log
    mock_response router_settings_override prompt_id prompt_variables validate""".split()
)
OURS = GATEWAY_FIELDS | {"priority"}
"""The same with ``priority``, which goes on to who has a queue that goes by it."""
LONGEST_MODEL = 1024
REFUSED_FIELDS = frozenset(("api_key", "api_base", "base_url"))
# What a request says about its own way, or may say in ``metadata``: read by ``wishes``.
WISH_FIELDS = frozenset(
    """num_retries timeout stream_timeout fallbacks context_window_fallbacks content_policy_fallbacks disable_fallbacks
    priority metadata service_tier mock_testing_fallbacks mock_testing_context_fallbacks
    mock_testing_content_policy_fallbacks mock_testing_rate_limit_error""".split()
)
_HEARD = REFUSED_FIELDS | WISH_FIELDS
_TRUE = Raw(b"true")
_OPENS = ord("[")
_NOTHING = Raw(b'""')
_NONE: Mapping[str, str] = {}


class Known(Protocol):
    """What an answer may not repeat: see ``State.mask``."""

    @property
    def mask(self) -> Mask: ...


class Way(msgspec.Struct):
    """Where in its plan a call is: in a ``group`` of it, after so many ``fallbacks``; ``before``: tries of the groups
    before it; ``most``: tries after the first that it may make there."""

    group: str
    fallbacks: int = 0
    before: int = 0
    most: int = 0


class Call:
    """One request. Mutable, never shared between requests; written by the site
    (which path it means), the gate and the engine, never by an attempt.

    ``attempt``: the try that counts: the one under way, in the end the winner or the last. ``tries``, ``upstream``
    (seconds spent waiting for upstreams, also until one may be asked again), ``spent`` and ``spent_cost`` are those of
    the tries before it. ``says``: there are fields about its own way, or such that may be; ``wishes``: what they and
    its headers say. ``way``: where in its plan it is, once there was something to decide."""

    __slots__ = (
        "admitted", "asked", "attempt", "batched", "below", "caching", "call_id", "caller", "exchange", "failed",
        "fields", "known", "means", "model", "model_raw", "mount_style", "outlet", "params", "path", "request",
        "request_id", "says", "spent", "spent_cost", "stream", "surface", "tries", "upstream", "way", "wishes",
    )  # fmt: skip

    caller: Caller  # once the gate has let it in
    known: Known  # of the config that it is answered by, once somebody answers it

    def __init__(self, exchange: Exchange, means: Means, caller: Caller, surface: Surface | None = None) -> None:
        self.exchange = exchange
        self.means = means
        self.caller = caller
        self.surface = surface  # None for a page, or what is passed through
        self.path = exchange.path  # where it leads: behind a mount, the plain path
        self.below = ""  # the path of a shared host that the gateway is at, where the client said it
        self.mount_style: MountStyle | None = None  # how answers are told differently under a mount
        self.params: Mapping[str, str] = _NONE  # what stands in the path of a route
        self.outlet = Outlet(exchange, exchange.started)
        self.call_id = new_call_id()
        given = exchange.headers.get(b"x-request-id")
        self.request_id = self.call_id.encode() if given is None else safe(given.decode("latin-1"))[:256]
        self.fields: dict[str, Raw] = {}
        self.model = ""
        self.asked = ""  # the name the client asked for, which its answer carries
        self.model_raw = _NOTHING
        self.stream = False
        self.request: Request | None = None  # parsed on first need
        self.attempt: Attempt | None = None
        self.admitted: Admitted | None = None  # what it was let through with, where there is something to count
        self.caching: Keeping | None = None  # its part in the answer cache, where there is one
        self.batched = False  # it is a line of a batch
        self.tries = 0
        self.upstream = 0.0
        self.spent: Usage | None = None
        self.spent_cost: Decimal | None = None
        self.says = False
        self.wishes: Wishes | None = None
        self.way: Way | None = None
        self.failed: list[Failed] | None = None  # attempts that did not answer

    def read_fields(self, fields: dict[str, Raw], default_model: str = "", forced: str = "") -> None:
        """Take the body's top level and check what every chat dialect shares. ``forced``: who answers, whatever the
        client says. Raises "bad_request"."""
        if not _HEARD.isdisjoint(fields):
            if not REFUSED_FIELDS.isdisjoint(fields):
                raise refused_field(next(name for name in fields if name in REFUSED_FIELDS))
            self.says = True
        named = _string(fields, "model")
        model = named or forced or default_model
        if not model:
            raise GatewayError(
                "bad_request", "The field 'model' is missing: name one of GET /v1/models.", param="model"
            )
        if len(model) > LONGEST_MODEL:  # it would stand in caches, headers and log lines
            text = f"The field 'model' is {len(model)} characters long; no name here is over {LONGEST_MODEL}."
            raise GatewayError("bad_request", text, param="model")
        self.asked = model
        self.model = forced or model
        if not named:
            fields["model"] = Raw(msgspec.json.encode(model))
        self.model_raw = fields["model"]
        self.stream = _boolean(fields, "stream")
        self.fields = fields

    def room(self, size: int) -> bool:
        """Note so many bytes of an answer that is read as a whole; False where there is no room for them."""
        return self.means.held.fits(self.exchange, size)

    def raw_path(self) -> bytes:
        """Return the path that the call leads to, as the client sent it, percent-encoded. Raises "bad_request" where a
        mount's prefix is encoded."""
        # A base URL that ends in a slash doubles the first.
        raw = (b"/" + self.exchange.raw_path().lstrip(b"/")).removeprefix(self.below.encode())
        if self.mount_style is None:
            return raw
        prefix = self.mount_style.prefix.encode()
        if not raw.startswith(prefix):
            raise GatewayError("bad_request", "This path is not passed on: its beginning is encoded.", param="path")
        return self.mount_style.base.encode() + raw[len(prefix) :]

    def parsed(self) -> Request:
        """Return the request in the neutral form, parsed once."""
        if self.request is None:
            self.request = self.parse(self.fields)
        return self.request

    def parse(self, fields: dict[str, Raw]) -> Request:
        """Read fields of the client's dialect as a request in the neutral form."""
        assert self.surface is not None
        if not GATEWAY_FIELDS.isdisjoint(fields):
            fields = {key: value for key, value in fields.items() if key not in GATEWAY_FIELDS}
        return self.surface.dialect.parse_request(fields)

    def fail(self, error: GatewayError) -> bytes:
        """Return the event that ends a stream in an error, in the client's dialect."""
        return self._encoder().fail(error)

    def ping(self, remark: str = "") -> bytes:
        """Return a sign of life that the client's library ignores; where it may be a comment, with a remark for people
        who look."""
        if remark and self.surface is not None and self.surface.dialect.comments:
            return b": %b\n\n" % safe(remark)
        return self._encoder().ping()

    def _encoder(self) -> StreamEncoder:
        """Return the client's stream encoder: the attempt's own, or one for the few things said in the same lane."""
        if self.attempt is not None and self.attempt.encoder is not None:
            return self.attempt.encoder
        assert self.surface is not None
        return self.surface.dialect.encoder(View(model=self.asked))


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
    """Raise "bad_request" unless the field ``key`` holds a list with something in it."""
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
