"""What happened: one Record per request."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from msgspec import Struct

from penstock.core.guarding.ran import Ran
from penstock.core.ir import Usage


class Failed(Struct, omit_defaults=True):
    """An attempt that did not answer. ``target``: provider and model; ``group``: whose it was; ``at``, ``ms``: when it
    ended after the request had begun, and how long its upstream was waited for, milliseconds. ``let_go``: another one,
    asked beside it, answered first."""

    target: str
    id: str
    group: str
    at: float
    ms: float
    status: int = 0
    error: str = ""
    message: str = ""
    let_go: bool = False


class Record(Struct, kw_only=True):
    """One request as it ended. Times in seconds unless the name says ms; ``at`` is unix time."""

    at: float
    call_id: str
    request_id: str
    key: str  # the caller's alias, never the key
    client: str
    method: str
    path: str
    model: str = ""
    target: str = ""
    target_id: str = ""
    provider: str = ""
    lane: str = ""
    status: int = 0
    ms: float = 0.0
    overhead_ms: float = 0.0
    ttft_ms: float | None = None
    tries: int = 0
    continued: int = 0  # how often another deployment went on with the answer's stream
    stream: bool = False
    usage: Usage | None = None
    cost: Decimal | None = None  # US dollars; None = not known, which is not 0
    price_version: str = ""  # what the cost was computed with; see ``prices.TargetPrice``
    bytes_in: int = 0
    bytes_out: int = 0
    error: str = ""  # kind
    message: str = ""
    fault: str = ""
    dropped: tuple[str, ...] = ()
    cache_hit: bool = False  # answered by what was kept, or by the answer to another
    guards: tuple[Ran, ...] = ()  # those that ran, in their order, and what each came to
    failed: tuple[Failed, ...] = ()  # attempts before the one that counts, and beside it
    route: dict[str, Any] | None = None  # its attempts and the split of its time, where the client asked for it
