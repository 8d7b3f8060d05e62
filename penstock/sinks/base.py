"""What every sink is: a place that gets what happened, in batches, away from the requests.

A sink is a class with ``async def write(batch)``. One file each, and a row in ``SINKS`` (``sinks/__init__.py``). It
knows one wire format and nothing of queues: when it is called, how often, and what becomes of a batch that it could not
write is the affair of ``shipping``. What it gets is LiteLLM's standard logging payload, see ``payload``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlsplit

from penstock.core.dialects.redact import scrub
from penstock.core.mask import NO_SECRETS, Mask

Payload = Mapping[str, Any]
"""One request as it ended, in LiteLLM's names."""
_SHOWN = 200  # characters of what a service says, in a log line
_LATER = frozenset((408, 425, 429))


class Reply(NamedTuple):
    """What a service answered. ``retry_after``: seconds, where it said so."""

    status: int
    body: bytes = b""
    retry_after: float | None = None


Post = Callable[[str, Mapping[str, str], bytes], Awaitable[Reply]]
"""Sends a body to a URL with headers. Raises ``Unavailable`` where nobody answers, ``Refused`` where none may ask."""


class Sink(Protocol):
    """A place for what happened. Nobody waits for it but its own queue. ``patience`` None, where it is there: a write
    may take as long as it takes."""

    async def write(self, batch: Sequence[Payload]) -> int:
        """Write a batch; return how many of it were refused one by one. Raises ``Unavailable`` and ``Refused``."""
        ...

    async def close(self) -> None:
        """Let go of what it holds."""
        ...


class Unavailable(Exception):
    """Cannot be written now, and may be later. ``wait``: seconds that the service asks for; ``written``: how many of
    the batch it has by now."""

    def __init__(self, text: str, wait: float | None = None, written: int = 0) -> None:
        super().__init__(text)
        self.wait = wait
        self.written = written


class Refused(Exception):
    """Will never be taken, as it is. ``written``: how many of the batch were taken before; ``count``: how many behind
    those are not, None for all."""

    def __init__(self, text: str, written: int = 0, count: int | None = None) -> None:
        super().__init__(text)
        self.written = written
        self.count = count


class Unset(ValueError):
    """What a sink needs is not set. The message names it, and completes a sentence that begins with the sink's name."""


class Variables:
    """The settings of a sink, by the names that its variables have in the environment (``LANGFUSE_HOST``); what a team
    or a key sets has the same names in lower case. ``given`` goes before ``env``."""

    def __init__(self, env: Mapping[str, str], given: Mapping[str, Any] | None = None) -> None:
        self._env = env
        self._given = {name.lower(): str(value) for name, value in (given or {}).items() if value is not None}

    def get(self, *names: str, default: str = "") -> str:
        """Return the first that is set."""
        for name in names:
            if value := self._given.get(name.lower(), "").strip():
                return value
        for name in names:
            if value := (self._env.get(name) or "").strip():
                return value
        return default

    def need(self, *names: str) -> str:
        """Return the first that is set. Raises ``Unset``."""
        value = self.get(*names)
        if not value:
            raise Unset(f"needs {' or '.join(names)}")
        return value

    def address(self, *names: str, default: str = "") -> str:
        """Return an address without its last slash. Raises ``Unset``."""
        value = (self.get(*names, default=default) if default else self.need(*names)).rstrip("/")
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname or any(c.isspace() for c in value):
            raise Unset(f"needs an address in {names[0]} that begins with http:// or https://")
        return value


class Bucket(Protocol):
    """Where objects are written. Raises ``OSError``, by the status where there was an answer."""

    async def put(self, name: str, data: bytes) -> None: ...


class Settings(NamedTuple):
    """What a sink is made of. ``post``: sends; ``options``: what ``callback_settings`` says of it; ``tags``: names that
    become tags (``langfuse_default_tags``); ``shared``: what ``litellm_settings`` says of it (``s3_callback_params``);
    ``bucket``: opens a bucket of a kind ("s3", "gcs") by its settings, and raises ``Unset``."""

    variables: Variables
    post: Post
    options: Mapping[str, Any] = {}
    tags: Sequence[str] = ()
    shared: Mapping[str, Any] = {}
    bucket: Callable[[str, Mapping[str, Any]], Bucket] | None = None


Make = Callable[[Settings], Sink]


def check(reply: Reply, name: str, secrets: Mask = NO_SECRETS, written: int = 0, count: int | None = None) -> None:
    """Raise ``Unavailable`` or ``Refused`` for an answer that is not good. ``written``, ``count``: see ``Refused``; who
    may not write at all is refused everything."""
    if 200 <= reply.status < 300:
        return
    text = scrub(secrets.text(reply.body[:2000].decode("utf-8", "replace")))[:_SHOWN]
    shown = f"{name} answered {reply.status}" + (f": {text!r}" if text.strip() else "")
    if reply.status >= 500 or reply.status in _LATER:
        raise Unavailable(shown, reply.retry_after, written)
    raise Refused(shown, written, None if reply.status in (401, 403) else count)
