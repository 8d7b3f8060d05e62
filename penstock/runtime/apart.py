"""Large requests and answers, translated apart from the event loop: one client's 10 MB are not all others' wait.

A function of an attempt (``cross_request``, ``cross_answer``, ...) is run in a child process on a stand-in: an
``Attempt`` with what translating needs, and nothing that belongs to this process. What the function changes on it, and
what it sends to the client, is then done here to the attempt itself. Whatever is small, which nearly everything is,
never comes here.
"""

from __future__ import annotations

import copyreg
import dataclasses
import os
import pickle
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from msgspec import Raw, Struct
from msgspec.structs import replace

from penstock.core.budget import values_in
from penstock.core.dialects import DIALECTS
from penstock.core.dialects.base import Dialect
from penstock.core.envelope import open_body, seal
from penstock.core.errors import GatewayError
from penstock.core.ir import Loss, Request
from penstock.core.providers.spec import Quirks
from penstock.runtime import children
from penstock.runtime.attempt import Attempt
from penstock.runtime.targets import Target, TargetCache

LARGE = 128 * 1024  # bytes; what is smaller takes under 50 ms, whatever is in it
HUGE = 8 * 1024 * 1024  # bytes; larger ones are translated apart even when they are one long text
MANY = 16_000  # values (each at about 3 us) in what is translated at once
MOST_ELEMENTS = 10_000  # tools, stop sequences, unknown fields; no vendor takes 200
COUNTED = 512 * 1024  # bytes of a body from which on its values are counted
SUSPECT = 200_000  # commas and colons, of which some may stand in texts
MOST_VALUES = 1_500_000  # in a body; 300,000 messages have 900,000
MOST_LOSSES = 1000  # that are kept one by one
DEADLINE = 60.0  # seconds of a translation

CHILDREN = children.Children(max(2, min(4, os.cpu_count() or 2)))

T = TypeVar("T")


def _named(name: str) -> Dialect:
    return DIALECTS[name]


def _by_name(dialect: Dialect) -> tuple[Callable[[str], Dialect], tuple[str]]:
    """Say how a dialect is found in another process."""
    return _named, (dialect.name,)


copyreg.pickle(Dialect, _by_name)


def is_long(data: bytes) -> bool:
    """Tell whether to translate ``data`` takes long. By its size first, then by how many values may be in it; what
    stands in texts is counted, too."""
    if len(data) < LARGE:
        return False
    return len(data) >= HUGE or data.count(b",") + data.count(b"{") + data.count(b"[") > MANY


def is_long_request(attempt: Attempt) -> bool:
    """Tell whether to translate the request of an attempt takes long."""
    fields = attempt.fields
    if fields is attempt.call.fields:
        return is_long(attempt.call.exchange.body)
    if sum(len(memoryview(raw)) for raw in fields.values()) < LARGE:
        return False
    return is_long(b",".join(bytes(raw) for raw in fields.values()))


async def opened(body: bytes) -> dict[str, Raw]:
    """Decode the top level of a request's body, as ``open_body`` does. One that may hold millions of values is looked
    at in a child process first: as values of Python they would take gigabytes, and one step of the loop."""
    if len(body) >= COUNTED and body.count(b",") + body.count(b":") > SUSPECT:
        await plain(check_values, body)
    return open_body(body)


def check_values(body: bytes) -> None:
    """Raise "bad_request" for a body that is not JSON, or holds more values or fields than are taken."""
    if values_in(body, MOST_VALUES) > MOST_VALUES:
        raise GatewayError("bad_request", f"The request body holds more than {MOST_VALUES} values, the limit here.")
    count = len(open_body(body))
    if count > MOST_ELEMENTS:
        text = f"The request body has {count} fields; at most {MOST_ELEMENTS} are taken here."
        raise GatewayError("bad_request", text)


class _Sent(Struct):
    """What was sent to the client: ``whole``, or a stream that was ``finished``."""

    body: bytes
    whole: bool
    lines: list[bytes] = []


class _Outlet:
    """A stand-in for the outlet: it notes what is to be sent."""

    def __init__(self) -> None:
        self.sent: _Sent | None = None

    def whole(self, attempt: Attempt, body: bytes, content_type: bytes = b"") -> None:
        self.sent = _Sent(body, True)

    def stream(self, attempt: Attempt, data: bytes, answer: bool = True) -> None:
        self.sent = _Sent(data, False)

    def finish(self) -> None:
        return None


class _Exchange(Struct):
    started: float


class _Means(Struct):
    now: float

    def clock(self) -> float:
        return self.now


class _Surface(Struct):
    dialect: Dialect
    usage: bool

    def wants_usage(self, fields: Mapping[str, Raw]) -> bool:
        return self.usage


class _Call:
    """A stand-in for a call."""

    def __init__(self, job: _Job) -> None:
        self.fields = job.fields if job.own else {}
        self.model = self.asked = job.model
        self.surface = _Surface(job.attempt.client, job.usage)
        self.exchange = _Exchange(job.started)
        self.means = _Means(job.now)
        self.outlet = _Outlet()
        self.request: Request | None = None

    def parsed(self) -> Request:
        if self.request is None:
            self.request = self.parse(self.fields)
        return self.request

    def parse(self, fields: dict[str, Raw]) -> Request:
        if "validate" in fields:
            fields = {key: value for key, value in fields.items() if key != "validate"}
        return self.surface.dialect.parse_request(fields)


class _Job(Struct):
    """What is sent to the child. ``attempt``: with the fields that can be sent. ``own``: its fields are the call's."""

    attempt: Attempt
    fields: dict[str, Raw]
    own: bool
    model: str
    usage: bool
    started: float
    now: float


# Of an attempt: what a translation may change. ``request`` comes back without its messages.
_CHANGED = ("lane", "losses", "notes", "usage", "spent", "undo")


class _Done(Struct):
    value: Any
    changed: dict[str, Any]
    request: Request | None
    sent: _Sent | None


async def plain(function: Callable[..., T], *args: Any) -> T:
    """Run a pure function in a child process. Raises what it raises, and "too_large" when it takes longer than
    ``DEADLINE``."""
    try:
        told: T = await CHILDREN.run(function, *args, deadline=DEADLINE)
    except (pickle.PicklingError, AttributeError) as error:
        raise GatewayError("gateway_bug", f"A translation cannot be sent to another process: {error}") from None
    except children.Late:
        text = f"The body takes longer than {DEADLINE:g} s to translate. Send less at once."
        raise GatewayError("too_large", text) from None
    except children.Died as error:
        raise GatewayError("gateway_bug", f"The process that translates large bodies ended: {error}.") from None
    return told


async def render(attempt: Attempt, function: Callable[..., T], *args: Any) -> T:
    """Run a function that needs the whole conversation: ``run``, with the request read anew."""
    return await run(attempt, function, *args, afresh=True)


async def body(attempt: Attempt, function: Callable[..., bytes | None], quirks: Quirks, *args: Any) -> bytes | None:
    """Run a function that makes the body of a request by a provider's ``quirks``."""
    edit = quirks.edit  # of the top level alone, and often no function that another process could be told of
    if edit is None:
        return await render(attempt, function, quirks, *args)
    made = await render(attempt, function, dataclasses.replace(quirks, edit=None), *args)
    if made is None:
        return None
    fields = open_body(made)
    edit(fields)
    return seal(fields)


async def run(attempt: Attempt, function: Callable[..., T], *args: Any, afresh: bool = False) -> T:
    """Run a function of an attempt in a child process, and return what it returns. What it changes on the attempt is
    changed. Raises what it raises, and "too_large" when it takes longer than ``DEADLINE``."""
    done = await plain(_far, _job(attempt, afresh), function, args)
    for name, value in done.changed.items():
        setattr(attempt, name, value)
    if done.request is not None and attempt.request is None:
        attempt.request = done.request
    if done.sent is not None:
        outlet = attempt.call.outlet
        if done.sent.whole:
            outlet.whole(attempt, done.sent.body)
        else:
            outlet.stream(attempt, done.sent.body)
            outlet.finish()
    told: T = done.value
    return told


def _job(attempt: Attempt, afresh: bool) -> _Job:
    call = attempt.call
    assert call.surface is not None
    usage = call.surface.wants_usage(attempt.fields)
    bare = replace(
        attempt, call=None, live=None, target=_bare(attempt.target), translator=None, encoder=None, fields={},
        request=None if afresh else attempt.request, tail=b"", units=None, cost=None,
    )  # fmt: skip
    own = attempt.fields is call.fields
    return _Job(bare, attempt.fields, own, call.asked, usage, call.exchange.started, call.means.clock())


def _bare(target: Target) -> Target:
    """Return a target without what reaches it: no key, no address, nothing of this process."""
    told = target.deployment
    params = {key: value for key, value in told.params.items() if isinstance(value, (bool, int, float))}
    deployment = dataclasses.replace(told, api_key=None, extra_headers={}, params=params)
    return replace(
        target, account=None, env={}, settings={}, tls=None, attempt=None, edit=None, seal=None,
        deployment=deployment, _cache=TargetCache(),
    )  # fmt: skip


def _far(job: _Job, function: Callable[..., Any], args: tuple[Any, ...]) -> _Done:
    """Run the function on a stand-in: what the child does."""
    attempt = job.attempt
    call = _Call(job)
    attempt.call = call  # type: ignore[assignment]
    attempt.fields = job.fields
    before = {name: getattr(attempt, name) for name in _CHANGED}
    value = function(attempt, *args)
    attempt.losses = _fewer(attempt.losses)
    changed = {name: getattr(attempt, name) for name in _CHANGED if getattr(attempt, name) is not before[name]}
    request = call.request or attempt.request
    return _Done(value, changed, None if request is None else _slim(request), call.outlet.sent)


def _fewer(losses: tuple[Loss, ...]) -> tuple[Loss, ...]:
    if len(losses) <= MOST_LOSSES:
        return losses
    return (*losses[:MOST_LOSSES], Loss("...", f"{len(losses) - MOST_LOSSES} more"))


def _slim(request: Request) -> Request:
    """Leave out the conversation: whoever answers needs the settings, the tools and the instructions."""
    for name in ("tools", "stop", "extra", "include"):
        count = len(getattr(request, name))
        if count > MOST_ELEMENTS:
            text = f"'{name}' has {count} elements; at most {MOST_ELEMENTS} are taken here."
            raise GatewayError("bad_request", text, param=name)
    first = 0
    while first < min(len(request.messages), 16) and request.messages[first].role in ("system", "developer"):
        first += 1
    return replace(request, messages=request.messages[:first])


def read(attempt: Attempt) -> None:
    """Read the request: what is kept of it is what ``run`` brings back."""
    attempt.parsed()


async def parsed(attempt: Attempt) -> Request:
    """Return the request of an attempt; of a long one without the conversation."""
    if attempt.long and attempt.request is None:
        await render(attempt, read)
    return attempt.parsed()
