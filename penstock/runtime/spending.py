"""The one place where the ledger's entry is made of a call."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from penstock.core.ir import Usage, added
from penstock.core.repricing import write_usage
from penstock.runtime.attempt import Attempt
from penstock.runtime.bill import asked_tier
from penstock.runtime.keeping import MISS
from penstock.runtime.sessions import LONGEST, NAMES, SAID, session_of
from penstock.runtime.ways import way_of
from penstock.stores.base import Begun, Spent

if TYPE_CHECKING:
    from msgspec import Raw

    from penstock.core.errors import GatewayError
    from penstock.runtime.call import Call
    from penstock.runtime.surface import Surface

LONGEST_MESSAGE = 2000
_ADDRESS = "%s:%d"
_PASSED = "pass_through_endpoint"
# LiteLLM's names of calls, for surfaces whose answers are not kept.
_KINDS: Mapping[str, str] = {"": "acompletion", "completion": "acompletion", "embedding": "aembedding"}
_ID = re.compile(rb'"(?:id|responseId)"\s*:\s*"([^"\\]{1,128})"')
_PLAIN_ID = b'"id":"'
_FOR_THE_LOG = frozenset((*NAMES, *SAID))


class Details(msgspec.Struct, frozen=True):
    """What an entry says beside what a call cost and who pays. ``addresses``: of clients; ``errors``: their texts;
    ``said``: usage in the provider's words, and what the request said for the log."""

    addresses: bool = True
    errors: bool = True
    said: bool = True

    @property
    def client(self) -> bool:
        """Tell whether the address of the client is kept."""
        return self.addresses and self.said

    def of(self, entry: Spent) -> Spent:
        """Return an entry without what is not to be kept."""
        gone: dict[str, str | bytes] = {} if self.addresses else {"client": ""}
        gone |= {} if self.errors else {"message": "", "way": b""}
        if not self.said:
            gone |= {"usage": b"", "metadata": b"", "way": b"", "session": "", "client": "", "message": ""}
        return msgspec.structs.replace(entry, **gone)


def kind_of(call: Call) -> str:
    """Return LiteLLM's name for what a call does."""
    return kind_at(call.surface)


def kind_at(surface: Surface | None) -> str:
    """Return LiteLLM's name for what is asked at a surface; None: of what is passed through."""
    if surface is None:
        return _PASSED
    return _KINDS.get(surface.cached) or f"a{surface.cached}"


def begun(call: Call, at: float, cost: int, accounts: tuple[str, ...], details: Details | None = None) -> Begun:
    """Make the entry of a call that is about to leave: should this process die, it is charged so much. ``details``:
    what alone is kept, None: everything."""
    caller, admitted = call.caller, call.admitted
    customer, tags = ("", ()) if admitted is None else (admitted.customer, admitted.tags)
    return Begun(
        call.call_id,
        at,
        kind_of(call),
        caller.key,
        caller.team,
        caller.user,
        caller.organization,
        customer,
        tags,
        call.model,
        cost,
        call.stream,
        call.exchange.client if details is None or details.client else "",
        call.path,
        accounts,
    )


def ended(call: Call, error: GatewayError | None, at: float, ms: float, cost: int, accounts: tuple[str, ...]) -> Spent:
    """Make the entry of a call that is over. ``ms``: how long it took."""
    caller, admitted, attempt, exchange = call.caller, call.admitted, call.attempt, call.exchange
    usage, hit, first_ms = call.spent, False, None
    target = label = provider = model = price_version = address = ""
    tries, stream = call.tries, call.stream
    if attempt is not None:
        model, label, provider, target = _named(attempt)
        usage = _used(usage, attempt)
        price_version, address = attempt.price_version or "", _address(attempt)
        tries, stream = tries + attempt.repairs, attempt.stream
        if attempt.first_at is not None:
            first_ms = (attempt.first_at - exchange.started) * 1000
    elif call.caching is not None and call.caching.how is not MISS:
        hit, usage = True, call.caching.usage
    used = usage or _NOTHING
    says_nothing = _FOR_THE_LOG.isdisjoint(call.fields)
    return Spent(
        call_id=call.call_id,
        at=at,
        began=at - ms / 1000,
        kind=kind_of(call),
        key=caller.key,
        team=caller.team,
        user=caller.user,
        organization=caller.organization,
        customer=admitted.customer if admitted is not None else "",
        tags=admitted.tags if admitted is not None else (),
        model=call.model or model,
        group=attempt.group if attempt is not None else "",
        target=label,
        target_id=target,
        provider=provider,
        address=address,
        cost=cost,
        price_version=price_version,
        input=used.input,
        output=used.output,
        cache_read=used.cache_read,
        cache_write=used.cache_write + used.cache_write_1h,
        reasoning=used.reasoning,
        estimated=used.estimated,
        cache_hit=hit,
        stream=stream,
        status=error.status if error is not None else call.outlet.status,
        error=error.kind if error is not None else "",
        message=error.message[:LONGEST_MESSAGE] if error is not None else "",
        tries=tries,
        ms=ms,
        first_ms=first_ms,
        request_id=_answer_id(attempt) or call.call_id,
        client=exchange.client,
        path=call.path,
        session=session_of(exchange.headers, call.fields, says_nothing),
        usage=write_usage(usage) if attempt is None else _kept(call, attempt, usage),
        metadata=b"" if says_nothing else _said(call.fields),
        accounts=accounts,
        way=way_of(call, attempt, exchange.started + ms / 1000),
    )


_NOTHING = Usage()


def _used(before: Usage | None, attempt: Attempt) -> Usage | None:
    """Add what an attempt used to what those before it did."""
    for more in (attempt.usage, attempt.spent):
        if more is not None:
            before = more if before is None else added(before, more)
    return before


def _kept(call: Call, attempt: Attempt, usage: Usage | None) -> bytes:
    """Write what a call used as it was billed, so that its cost can be worked out again."""
    asked = "" if "service_tier" not in attempt.fields or attempt.named is not None else asked_tier(attempt)
    mixed = call.spent is not None or (attempt.spent is not None and attempt.usage is not None)
    return write_usage(usage, attempt.units, asked, mixed)


def _named(attempt: Attempt) -> tuple[str, str, str, str]:
    """Return model, the deployment's model, provider and id."""
    if type(attempt) is Attempt:
        target = attempt.target
        return "", target.model, target.provider.name, target.id
    named = attempt.named
    if named is None:
        target = attempt.target
        return "", target.model, target.provider.name, target.id
    return named[0], named[0] or named[1], named[2], named[3]


def _address(attempt: Attempt) -> str:
    """Return the host that was asked, where it is known: an address may hold secrets behind it."""
    if attempt.named is not None:
        return ""
    origin = attempt.target.origin
    return "" if origin is None else _ADDRESS % (origin.host, origin.port)


def _answer_id(attempt: Attempt | None) -> str:
    if attempt is None or not attempt.tail:
        return ""
    tail = attempt.tail
    begin = tail.find(_PLAIN_ID, 0, 64)  # how nearly all begin; the pattern takes five times as long
    if begin >= 0:
        begin += len(_PLAIN_ID)
        end = tail.find(b'"', begin, begin + 129)
        if end > begin and tail.find(b"\\", begin, end) < 0:
            return tail[begin:end].decode("utf-8", "replace")
    found = _ID.search(tail, 0, 400)
    return "" if found is None else found[1].decode("utf-8", "replace")


def _said(fields: Mapping[str, Raw]) -> bytes:
    for name in SAID:
        if name in fields:
            raw = bytes(fields[name])
            return raw if len(raw) <= LONGEST else b""
    return b""
