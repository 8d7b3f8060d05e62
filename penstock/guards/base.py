"""What a guard is: it is shown the texts of a request, or of its answer, and says what it found in them.

A guard is a class with ``look``, in a file of this folder, and a row in ``GUARDS``. What follows from what it finds, and
from that it does not answer, is the gateway's: ``runtime/guarding.py``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import Raw, Struct

from penstock.config.guards import GuardSettings
from penstock.core.guarding.rules import Finding, Rule, findings_of

if TYPE_CHECKING:
    from penstock.core.admit.caller import Caller

REQUEST, ANSWER = "request", "answer"
_NOTHING: Mapping[str, Any] = {}


class Reply(NamedTuple):
    """What a service answered."""

    status: int
    body: bytes


class Unreachable(Exception):
    """Nobody answers at an address, or none may be asked there."""


Post = Callable[[str, Mapping[str, str], bytes, float], Awaitable[Reply]]
"""Sends a body to a URL with headers, and waits so many seconds. Raises ``Unreachable``."""


class Shown(Struct, frozen=True, kw_only=True):
    """What a guard is shown. ``side``: REQUEST or ANSWER. ``texts``: all that a person, a model or a tool wrote, in the
    order it stands, arguments of calls as JSON. ``fields``: the request's body, by its top level. ``extra``: what the
    request says to this guard (``extra_body``). ``body``: of an answer that is whole, all of it. ``post``: by which
    services are asked."""

    side: str
    texts: Sequence[str]
    model: str
    call_id: str
    caller: Caller
    dialect: str
    path: str = ""
    fields: Mapping[str, Raw] = _NOTHING
    headers: Mapping[bytes, bytes] = {}
    extra: Mapping[str, Any] = _NOTHING
    body: bytes = b""
    post: Post | None = None


Said = Sequence[Finding] | Awaitable[Sequence[Finding]]
"""What a guard found. One that asks somebody else returns what is awaited for it."""


class Guard:
    """A guard of the config. ``settings``: its entry. ``rules``: all that it looks for, where these are rules: then it
    can judge an answer while that streams; one without them is shown a stream when all of it is there.

    ``waits``: its ``look`` returns what is awaited, since it asks somebody else. ``look`` raises whatever it likes
    where it cannot judge: the call is then blocked or let through, as ``on_error`` says, and recorded as one that was
    not judged. ``restores``: values that it masked in a request are put back in the answer."""

    rules: tuple[Rule, ...] = ()
    waits: bool = False
    restores: bool = False

    def __init__(self, settings: GuardSettings) -> None:
        self.settings = settings

    def look(self, shown: Shown) -> Said:
        """Find what is in some texts."""
        return findings_of(self.rules, shown.texts)

    async def close(self) -> None:
        """Let go of what it holds: connections, tasks. It is shown nothing any more."""
        return None


class Unusable(Exception):
    """A setting of a guard that cannot be used. ``path``: where it stands below ``litellm_params``, "" for all of
    them."""

    def __init__(self, path: str, text: str) -> None:
        super().__init__(text)
        self.path = path
        self.text = text


Make = Callable[[GuardSettings], Guard]
"""Makes a guard of its settings; raises ``Unusable``. It opens nothing yet."""
