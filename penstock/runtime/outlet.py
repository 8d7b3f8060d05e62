"""The one way out: every byte for a client passes the ``Outlet`` of its call.

Head lines, a whole answer, a stream that begins with its first byte and not before, signs of life, an error as a status
or in band. What is to see or change an answer on its way out belongs here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec
from msgspec import Struct

from penstock.core.price import plain
from penstock.runtime.bill import part_lines, settle

if TYPE_CHECKING:
    from penstock.core.dialects.base import Dialect
    from penstock.core.errors import GatewayError
    from penstock.runtime.attempt import Attempt
    from penstock.runtime.call import Call  # circle: a call owns its outlet, which reads the call and keeps it not
    from penstock.runtime.exchange import ClientSocket, Exchange, Source
    from penstock.runtime.guarding import Guarding  # circle: it judges the answer of a call, and the outlet shows it
    from penstock.runtime.ledger import Bill  # circle: a call is charged where its answer ends
    from penstock.runtime.texts import Texts  # circle: it reads the call whose answer it takes down
    from penstock.runtime.told import Told  # circle: it tells of calls, and a call's outlet sends what it tells

JSON = b"content-type: application/json\r\n"
TOLD_AFTER = 2.0  # seconds between two words about a place in a line that has changed
_PATHS = re.compile(r"\b((?:GET|POST|PUT|PATCH|DELETE) )(/[\w{}:./-]*)")
_STREAM = b"content-type: %b\r\ncache-control: no-cache\r\nx-accel-buffering: no\r\n%b"


class MountStyle(NamedTuple):
    """What is told differently under a mount. ``prefix`` and ``base``: what stood before the path, and what stands in
    its place. ``error``: changes the ``error`` object of a refusal (OpenAI's shape) of
    a status. ``answer``: changes a whole good answer. ``lines``: header lines of every answer."""

    prefix: str = ""
    base: str = ""
    error: Callable[[dict[str, Any], int, Call], None] | None = None
    answer: Callable[[bytes], bytes] | None = None
    lines: Callable[[Call], bytes] | None = None

    def named_here(self, text: str) -> str:
        """Name the paths of a text of ours (``GET /v1/models``) as they are under the mount."""
        return _PATHS.sub(partial(_name_here, self), text)

    def path_here(self, path: str) -> str:
        """Return a path as it is under the mount; "" for one that is not there."""
        if (path + "/").startswith(self.prefix + "/"):
            return path
        return self.prefix + path[len(self.base) :] if (path + "/").startswith(self.base + "/") else ""


def _name_here(style: MountStyle, found: re.Match[str]) -> str:
    return found[1] + (style.path_here(found[2]) or found[2])


class Shape(Protocol):
    """Another form for the events of a stream (a JSON array). ``content_type`` goes with it."""

    content_type: bytes

    def feed(self, data: bytes) -> bytes: ...
    def close(self) -> bytes: ...


class AlreadyAnswered(Exception):
    """Another attempt of the call has begun to answer: this one is over."""


class Outlet(Struct, eq=False):
    """The way out of one call. Keeps the exchange and not the call, so that both are freed at once when it is over.

    ``owner``: number of the attempt that answers, 0 while none does. ``status``: what the client was told. ``over``:
    nothing more may be written. ``shape``: see ``Shape``. ``call_lines``: header lines that are known before the
    answer: which web pages may read it, what is left of limits. The rest is what signs of life are measured by."""

    exchange: Exchange
    silent_since: float
    seen_bytes: int = 0
    owner: int = 0
    status: int = 0
    over: bool = False
    shape: Shape | None = None
    call_lines: bytes = b""
    told: Told | None = None  # why it went where it went, for a client that asks
    claimed: Callable[[Attempt], None] | None = None  # is told who answers, while several are asked
    bill: Bill | None = None  # what it is charged with, where that is counted
    queued: Callable[[], str] | None = None  # says where in a line the call is, while it waits for an engine
    said: str = ""  # what was told of that last
    texts: Texts | None = None  # takes down what it is answered, where somebody keeps that
    group_lines: bytes = b""  # header lines that tell what is left of the limits of who is asked
    guarding: Guarding | None = None  # the guards that judge its answer, where it has any

    @property
    def responded(self) -> bool:
        """Tell whether a status line is out."""
        return self.exchange.responded

    # An attempt's answer. ---------------------------------------------------------------------------------------------

    def claim(self, attempt: Attempt) -> None:
        """Make an attempt the one that answers, and the one of its call that counts. Raises ``AlreadyAnswered`` when
        another is."""
        if self.owner != attempt.number:
            if self.owner:
                raise AlreadyAnswered
            self.owner = attempt.number
            call = attempt.call
            if call.attempt is not attempt:
                call.attempt = attempt
            if self.claimed is not None:
                self.claimed(attempt)

    def hand_over(self) -> None:
        """Let another attempt claim an answer that has begun: it goes on where the one before broke off."""
        self.owner = 0

    def whole(self, attempt: Attempt, body: bytes, content_type: bytes = b"") -> None:
        """Send a whole answer, with its cost where that is known; the attempt's usage is set by now."""
        call = attempt.call
        if self.owner or attempt.since or self.claimed is not None:
            self.claim(attempt)
            attempt.stop()
        self.owner = attempt.number
        if call.caching is not None:
            body = call.caching.whole(attempt, body, content_type)
        attempt.tail = body
        if self.guarding is not None:
            if attempt.first_at is None:
                attempt.first_at = call.means.clock()
            return self.guarding.whole(body, content_type, partial(self._whole, attempt, content_type))
        self._whole(attempt, content_type, body, body)

    def _whole(self, attempt: Attempt, content_type: bytes, body: bytes, noted: bytes) -> None:
        call = attempt.call
        now = call.means.clock()
        if attempt.first_at is None:
            attempt.first_at = now
        head = (b"content-type: %b\r\n" % content_type if content_type else JSON) + self._lines(call, now)
        cost = settle(attempt)
        if cost is not None:
            head += b"x-litellm-response-cost: %b\r\n" % plain(cost).encode()
            if attempt.target.charged:
                head += part_lines(attempt)
        self._send(call, head, body, noted)

    def kept(self, call: Call, body: bytes, content_type: bytes = b"") -> None:
        """Send a whole answer that was kept: it costs nothing."""
        if self.guarding is not None:
            return self.guarding.whole(body, content_type, partial(self._kept, call, content_type))
        self._kept(call, content_type, body, body)

    def _kept(self, call: Call, content_type: bytes, body: bytes, noted: bytes) -> None:
        head = b"content-type: %b\r\n" % content_type if content_type else JSON
        head += self._lines(call, call.means.clock()) + b"x-litellm-response-cost: 0\r\n"
        self._send(call, head, body, noted)

    def _send(self, call: Call, head: bytes, body: bytes, noted: bytes) -> None:
        style = call.mount_style
        if style is not None:
            if style.answer is not None:
                body = style.answer(body)
            head += _more(style, call)
        self.status = 200
        if self.texts is not None:
            self.texts.part(noted)
        if self.bill is not None:
            self.bill.close()
        self.exchange.whole(200, head, body)

    def replay(self, call: Call, data: bytes) -> None:
        """Send all of a stream that was kept."""
        if self.guarding is not None:
            self._go_on(call, *self.guarding.part(data))
            return self.finish()
        if not self.exchange.responded:
            self.begin(call)
        if self.texts is not None:
            self.texts.part(data)
        self.pay()
        self.exchange.write(data if self.shape is None else self.shape.feed(data))
        self.finish()

    def begin(self, call: Call, content_type: bytes = b"") -> None:
        """Send status and headers of a streamed answer."""
        if self.shape is not None:
            content_type = self.shape.content_type
        assert call.surface is not None
        head = _STREAM % (content_type or call.surface.stream_type, self._lines(call, call.means.clock()))
        if call.mount_style is not None:
            head += _more(call.mount_style, call)
        self.status = 200
        self.exchange.start(200, head)

    def stream(self, attempt: Attempt, data: bytes, answer: bool = True) -> None:
        """Send the next bytes of a streamed answer, behind its head. ``answer`` False: a ping of the upstream's, with
        which no answer has begun: another target may still give it."""
        if attempt.first_at is None:
            if answer:
                self.claim(attempt)
                attempt.begun(attempt.call.means.clock())
                if attempt.so_far is not None:
                    data = attempt.so_far.begin(attempt, data)
            elif self.owner:
                raise AlreadyAnswered
            if self.guarding is None and not self.exchange.responded:
                self.begin(attempt.call)
        if answer and attempt.call.caching is not None:
            attempt.call.caching.part(data)
        attempt.tail = data
        if self.guarding is None and self.texts is not None:
            self.texts.part(data)
        if self.bill is not None:
            if attempt.translator is not None and attempt.translator.done:
                used = attempt.translator.usage  # of what it did not tell it may tell something yet
                if used is not None and not used.estimated:
                    self.pay()
        if self.guarding is not None and not attempt.binary:
            return self._go_on(attempt.call, *self.guarding.part(data))
        if self.shape is not None:
            data = self.shape.feed(data)
        self.exchange.write(data)

    def _go_on(self, call: Call, data: bytes, noted: bytes) -> None:
        """Send what guards let go of a stream; the head with the first of it, so that a block before is a status."""
        if not data:
            return
        if not self.exchange.responded:
            self.begin(call)
        if self.texts is not None:
            self.texts.part(noted)
        self.exchange.write(data if self.shape is None else self.shape.feed(data))

    async def settle(self, call: Call) -> None:
        """Wait for the guards that have not judged yet, and send what was held back for them."""
        assert self.guarding is not None
        rest = await self.guarding.settle()
        if rest is not None:
            self._go_on(call, *rest)
            self.finish()

    def pay(self, error: GatewayError | None = None) -> None:
        """Charge the call with what it cost, and write that down, before the last of its answer goes out."""
        if self.bill is not None:
            self.bill.close(error)
            self.bill.ledger.flush()

    def upgrade(self, call: Call, subprotocol: str = "") -> ClientSocket:
        """Give a client the WebSocket that it asks for. From here on an error cannot be a status."""
        attempt = call.attempt
        if attempt is None:
            lines = _ids(call) + self.call_lines
        else:
            self.claim(attempt)
            attempt.begun(call.means.clock())
            lines = self._lines(call, call.means.clock())
        self.status = 101
        return self.exchange.upgrade(lines, subprotocol)

    def finish(self) -> None:
        """End a streamed answer."""
        if self.guarding is not None:
            rest = self.guarding.close()
            if rest is None:
                return  # it is held until ``settle``
            if rest[0]:
                self._go_on(self.guarding.call, *rest)
        self.pay()
        if self.shape is not None:
            self.exchange.write(self.shape.close())
        self.exchange.finish()

    def feed_from(self, source: Source | None) -> None:
        """Note whom to hold back while the client reads slower than the upstream writes; None when it is over."""
        self.exchange.feed_from(source)

    # Answers that no attempt gave. ------------------------------------------------------------------------------------

    def page(self, call: Call, status: int, content_type: bytes, body: bytes) -> None:
        """Send a page: whole, with the call's ids."""
        head = b"content-type: %b\r\n%b%b" % (content_type, _ids(call), self.call_lines)
        if call.mount_style is not None:
            head += _more(call.mount_style, call)
        self.status = status
        self.exchange.whole(status, head, body)

    def pass_head(self, call: Call, status: int, head: bytes, framing: bytes | None) -> None:
        """Send the head of an answer that is passed through. ``framing``: see ``Exchange.start``."""
        head += self.call_lines
        if call.mount_style is not None:
            head += _more(call.mount_style, call)
        self.status = status
        self.exchange.start(status, head, framing)

    def pass_on(self, data: bytes) -> None:
        """Send bytes that are passed through."""
        self.exchange.write(data)

    def abort(self) -> None:
        """Cut the connection off: the client must see that the answer is not complete."""
        self.exchange.abort()

    # Errors and signs of life. ----------------------------------------------------------------------------------------

    def refuse(self, call: Call, error: GatewayError, dialect: Dialect | None = None) -> None:
        """End the call in an error: as a status while nothing was sent, else as the stream's last event.

        After an error in band the connection goes on: the answer is whole, as HTTP sees it, and a close would reset the
        next request of a client that is quick. ``dialect``: whose shape it has, where the call came in by no
        surface."""
        exchange = self.exchange
        attempt = call.attempt
        self.over = True
        if self.guarding is not None:
            told = self.guarding.stop()
            if exchange.responded:
                self._go_on(call, *told)
        if exchange.responded:
            if call.surface is None or (attempt is not None and attempt.binary):
                exchange.abort()  # an error would be taken for a part of it: the client must see a broken answer
            else:
                data = call.fail(error)
                self.pay(error)
                exchange.write(data if self.shape is None else self.shape.feed(data))
                self.finish()
            return
        if dialect is None:
            assert call.surface is not None
            dialect = call.surface.dialect
        style = call.mount_style
        if style is not None and not error.provider:
            error.message = style.named_here(error.message)
        status, body = dialect.render_error(error)
        head = JSON + (
            self._lines(call, call.means.clock()) if call.surface is not None else _ids(call) + self.call_lines
        )
        if attempt is not None and call.surface is not None:
            waits = attempt.timeouts(attempt.stream).first_byte
            head += b"" if waits is None else b"x-litellm-timeout: %b\r\n" % str(float(waits)).encode()
        if error.retry_after is not None:
            head += b"retry-after: %d\r\n" % max(1, math.ceil(error.retry_after))
        if error.kind == "method":
            head += b"allow: %b\r\n" % (error.upstream_type or "POST").encode()
        elif error.kind == "content_coding":
            head += b"accept-encoding: %b\r\n" % error.upstream_type.encode()
        elif error.kind == "unauthorized":
            head += b"www-authenticate: Bearer\r\n"
        if style is not None:
            if style.error is not None:
                body = _retold(style.error, status, body, call)
            head += _more(style, call)
        self.status = status
        if self.bill is not None:
            self.bill.close(error)
        exchange.whole(status, head, body)

    def keep_alive(self, call: Call, now: float, interval: float) -> None:
        """Send a comment or ping that clients ignore, when the stream has been silent for ``interval`` seconds.

        Proxies and impatient clients cut silent connections while a model thinks. Before the answer began this starts
        it: from then on an error comes in band. Another target may still answer, for nothing of an answer was sent."""
        exchange = self.exchange
        if exchange.bytes_out != self.seen_bytes:
            self.seen_bytes = exchange.bytes_out
            self.silent_since = now
        elif interval > 0 and not self.over:
            remark = self.queued() if self.queued is not None else ""
            changed = bool(remark) and remark != self.said
            if now - self.silent_since < (min(interval, TOLD_AFTER) if changed else interval):
                return
            self.said = remark
            if not exchange.responded:
                self.begin(call)
            data = call.ping(remark)
            exchange.write(data if self.shape is None else self.shape.feed(data))
            self.seen_bytes = exchange.bytes_out
            self.silent_since = now

    # Head lines. ------------------------------------------------------------------------------------------------------

    def _lines(self, call: Call, now: float) -> bytes:
        """Render the header lines that every answer of a surface carries."""
        attempt = call.attempt
        waited = call.upstream if attempt is None else call.upstream + attempt.upstream
        if attempt is None:
            routing = b""
        elif call.tries == 1 and attempt.group == call.model and not (attempt.losses or attempt.notes):
            routing = _plain_routing(attempt.group, attempt.lane)
        else:
            routing = _routing(call, attempt)
        if call.caching is not None:
            routing += call.caching.lines()
        lines = b"%bx-litellm-call-id: %b\r\nx-request-id: %b\r\nx-penstock-overhead-ms: %.3f\r\n%b%b" % (
            attempt.target.answer_lines if attempt is not None else b"",
            call.call_id.encode(),
            call.request_id,
            (now - self.exchange.started - waited) * 1000,
            routing,
            self.call_lines,
        )
        if self.group_lines:
            lines += self.group_lines
        if self.guarding is not None:
            lines += self.guarding.lines()
        return lines if self.told is None else lines + self.told.line(call, now)


def safe(text: str) -> bytes:
    """Make a header value of client or config text: control characters and non-ASCII become "?"."""
    return (
        text.encode("ascii", "replace")
        if text.isprintable()
        else bytes(c if 31 < c < 127 else 63 for c in text.encode())
    )


_safe_name = lru_cache(1024)(safe)  # group names; never a client's own ids, which may be long and are all different


@lru_cache(1024)
def _plain_routing(group: str, lane: str) -> bytes:
    """Render the header lines that nearly every answer carries about its way: the group asked for, at the first try."""
    shown = b"x-penstock-lane: %b\r\n" % lane.encode() if lane else b""
    return b"x-litellm-model-group: %b\r\nx-litellm-attempted-retries: 0\r\n%b" % (_safe_name(group), shown)


def _routing(call: Call, attempt: Attempt) -> bytes:
    way = call.way
    retries = call.tries - 1 + attempt.repairs - (0 if way is None else way.before)
    text = b"x-litellm-model-group: %b\r\nx-litellm-attempted-retries: %d\r\n" % (_safe_name(attempt.group), retries)
    if retries:
        text += b"x-litellm-max-retries: %d\r\n" % max(retries, 0 if way is None else way.most)
    if way is not None and way.fallbacks:
        text += b"x-litellm-attempted-fallbacks: %d\r\n" % way.fallbacks
    if attempt.lane:
        text += b"x-penstock-lane: %b\r\n" % attempt.lane.encode()
    if attempt.losses:
        named = ",".join(dict.fromkeys(loss.path for loss in attempt.losses))
        text += b"x-penstock-dropped: %b\r\n" % safe(named)[:4096]
    return text + attempt.notes


def _ids(call: Call) -> bytes:
    return b"x-litellm-call-id: %b\r\nx-request-id: %b\r\n" % (call.call_id.encode(), call.request_id)


def _more(style: MountStyle, call: Call) -> bytes:
    return b"" if style.lines is None else style.lines(call)


def _retold(change: Callable[[dict[str, Any], int, Call], None], status: int, body: bytes, call: Call) -> bytes:
    """Rewrite a refusal as the clients of a mount expect it."""
    try:
        told = msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.DecodeError:
        return body
    error = told.get("error")
    if not isinstance(error, dict) or "param" not in error:  # not of OpenAI's shape
        return body
    change(error, status, call)
    return msgspec.json.encode(told)
