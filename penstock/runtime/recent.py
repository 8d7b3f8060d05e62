"""The last requests of this process, in memory: what pages show where no database keeps them."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from penstock.core.admit import amount
from penstock.core.repricing import write_usage
from penstock.stores.base import Spent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from penstock.core.record import Record

MOST = 1000
LONGEST = 4096  # characters of a path and a message together
_SHORT = 1024
_SAME = {"model_id": "target_id", "call_id": "call_id", "key_alias": "key"}
_encode = msgspec.json.Encoder().encode


class Recent:
    """A sink of records that holds the last ones that asked for a model."""

    def __init__(self) -> None:
        self._records: deque[Record] = deque(maxlen=MOST)

    def put(self, record: Record) -> None:
        """Hold a record."""
        if record.model:
            if len(record.path) + len(record.message) > LONGEST:
                record = replace(record, path=record.path[:_SHORT], message=record.message[:_SHORT])
            self._records.append(record)

    def close(self) -> None:
        """Do nothing: it is memory."""

    def entries(self) -> list[Spent]:
        """List what is held in the ledger's form, the newest first."""
        return [entry_of(record) for record in reversed(self._records)]

    def find(self, query: Mapping[str, str]) -> Sequence[Spent]:
        """List those that a page's filters leave."""
        return [one for one in self.entries() if _fits(one, query)]


def entry_of(record: Record) -> Spent:
    """Return a record as the ledger would keep it."""
    usage = record.usage
    way = {"upstream": round(max(0.0, record.ms - record.overhead_ms), 2)}
    more = {"failed": record.failed, "dropped": record.dropped, **(record.route or {})}
    return Spent(
        call_id=record.call_id,
        at=record.at,
        began=record.at - record.ms / 1000,
        kind="",
        key=record.key,
        model=record.model,
        group=record.model,
        target=record.target.partition("/")[2] or record.target,
        target_id=record.target_id,
        provider=record.provider,
        price_version=record.price_version,
        estimated=usage is not None and usage.estimated,
        cache_hit=record.cache_hit,
        stream=record.stream,
        status=record.status,
        error=record.error,
        path=record.path,
        cost=0 if record.cost is None else amount.pico(record.cost),
        input=usage.input if usage is not None else 0,
        output=usage.output if usage is not None else 0,
        cache_read=usage.cache_read if usage is not None else 0,
        cache_write=usage.cache_write + usage.cache_write_1h if usage is not None else 0,
        reasoning=usage.reasoning if usage is not None else 0,
        message=record.message,
        tries=record.tries,
        ms=record.ms,
        first_ms=record.ttft_ms,
        request_id=record.call_id,
        client=record.client,
        usage=write_usage(usage),
        way=_encode({**way, **{name: value for name, value in more.items() if value}}),
    )


def _fits(one: Spent, query: Mapping[str, str]) -> bool:
    failed = bool(one.error) or one.status >= 400
    asked = query.get
    return (
        all(getattr(one, field) == query[name] for name, field in _SAME.items() if asked(name))
        and (not asked("any_model") or query["any_model"] in (one.model, one.target, one.group))
        and (not asked("request_id") or query["request_id"] in (one.request_id, one.call_id))
        and (not asked("error_code") or query["error_code"] == str(one.status))
        and (not asked("status_filter") or failed == (query["status_filter"] == "failure"))
        and (not asked("error_message") or query["error_message"].lower() in one.message.lower())
        and not any(asked(name) for name in ("team_id", "user_id", "api_key", "tag", "session_id"))
    )
