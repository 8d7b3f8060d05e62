"""What is kept of a file and of a batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

OPENAI, ANTHROPIC, SHARED = "openai", "anthropic", "shared"
"""Forms of batches: whose clients made them, and so in whose lists they stand."""
VALIDATING, RUNNING, FINALIZING, CANCELLING = "validating", "in_progress", "finalizing", "cancelling"
COMPLETED, FAILED, EXPIRED, CANCELLED = "completed", "failed", "expired", "cancelled"
UNFINISHED = (VALIDATING, RUNNING, FINALIZING, CANCELLING)
"""Statuses, in OpenAI's words. Of a batch that is in none of the unfinished ones nothing changes any more."""
ENDED = frozenset((COMPLETED, FAILED, EXPIRED, CANCELLED))
WINDOW = 24 * 3600.0
FILE_DAYS = 30 * 86400.0
"""Seconds that input and output of batches are kept: 30 days, as at OpenAI."""
_NONE: Mapping[str, str] = {}


class KeptFile(Struct, frozen=True, kw_only=True):
    """A file. ``owner``: the ``tenant`` of whoever sent it, or whose batch made it. ``bytes``: its length. Times are
    seconds since 1970; ``expires_at`` 0: it stays. ``provider``: who has it, "" for the gateway's own disk; ``shown``:
    what that one told of it. ``team``: the owner's, whose quota it counts in, too; "" for none."""

    id: str
    owner: str
    created_at: float
    filename: str
    purpose: str
    bytes: int = 0
    expires_at: float = 0.0
    provider: str = ""
    shown: str = ""
    team: str = ""


class LineError(Struct, frozen=True):
    """What is wrong with a line of an input file. ``line``: its number from 1; None where it is the whole file."""

    code: str
    message: str
    param: str | None = None
    line: int | None = None


class Used(Struct, frozen=True):
    """The tokens of all answers of a batch."""

    input: int = 0
    output: int = 0
    cached: int = 0
    reasoning: int = 0

    def __add__(self, other: Used) -> Used:
        return Used(
            self.input + other.input,
            self.output + other.output,
            self.cached + other.cached,
            self.reasoning + other.reasoning,
        )


class KeptBatch(Struct, frozen=True, kw_only=True):
    """A batch. ``owner``: the ``tenant`` of whoever made it, ``team``: of which team that was; ``client``: the address
    that it came from. ``form``: see ``OPENAI``. ``version``: one more with each change.

    ``output``, ``errors``: ids of the files of results, which have their names from the beginning and are shown at the
    end. ``completed`` + ``failed``: results so far, of ``total``; of those that failed ``cancelled`` and ``expired``
    were never asked. ``faults``: why it was not begun. ``provider``, ``shown``: see ``KeptFile``."""

    id: str
    owner: str
    form: str
    created_at: float
    expires_at: float
    endpoint: str
    input: str
    output: str = ""
    errors: str = ""
    status: str = VALIDATING
    version: int = 1
    client: str = ""
    metadata: Mapping[str, str] = _NONE
    total: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    expired: int = 0
    used: Used = Used()
    begun_at: float = 0.0
    finalizing_at: float = 0.0
    ended_at: float = 0.0
    cancelling_at: float = 0.0
    faults: tuple[LineError, ...] = ()
    provider: str = ""
    shown: str = ""
    team: str = ""

    @property
    def finished(self) -> bool:
        return self.status not in UNFINISHED

    def changed(self, **fields: Any) -> KeptBatch:
        """Return the batch with other fields, as its next version."""
        return msgspec.structs.replace(self, version=self.version + 1, **fields)


class Total(Struct, frozen=True):
    """What somebody's files take of the gateway's disk: how many there are, and their bytes."""

    files: int = 0
    bytes: int = 0


class Page(Struct, frozen=True):
    """Part of a list. ``more``: there is something behind it."""

    rows: tuple[Any, ...]
    more: bool
