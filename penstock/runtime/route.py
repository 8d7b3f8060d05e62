"""What a page or management URL is: a row.

A row says who may and with which methods; the gate sees to it before the handler is called. What a handler returns is
sent by the call's outlet. What asks upstreams is a surface and not a route.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from msgspec import Struct

from penstock.core.admit.access import INFO
from penstock.runtime.gate import KEY

if TYPE_CHECKING:
    from penstock.runtime.call import Call

READ = ("GET", "HEAD")
JSON = b"application/json"


class Page(NamedTuple):
    """An answer. ``content_type`` may bring more header lines behind it."""

    status: int
    content_type: bytes
    body: bytes


class Sends(Protocol):
    """An answer that sends itself, piece by piece."""

    async def send(self, call: Call) -> None: ...


class Route(NamedTuple):
    """One URL. ``path``: exact, or with ``{name}`` for one segment and ``{name:path}`` for the rest; the values stand
    in ``call.params``. ``handler``: is given the gateway and the call; its docstring begins with a sentence that is its
    summary in the document of all URLs; what it returns is a page, or sends itself. ``role``: see ``gate``. ``json``: a
    POST brings JSON. ``upload``: its body is a form with a file, which is read as it comes. ``answer``: the media type
    of what comes back. ``body``: a struct of the fields of a body, for the document of all URLs. ``status``: of an
    answer that went well, for the same. The rest is what the gate asks.

    A path comes percent-decoded, so an encoded slash parts two segments as a plain one does: a value that may hold
    slashes (a model's name) wants ``:path``."""

    path: str
    handler: Callable[[Any, Call], Page | Sends | Awaitable[Page | Sends]]
    methods: tuple[str, ...] = READ
    role: str = KEY
    json: bool = True
    key_in_query: bool = False
    works: bool = False
    no_pages: bool = False
    answer: str = JSON.decode()
    family: str = INFO
    body: type[Struct] | None = None
    status: int = 200
    upload: bool = False
