"""A public URL that carries work: what is the same for all who answer one. The table of URLs is the server's."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from msgspec import Raw

from penstock.core.admit.access import LLM
from penstock.core.dialects.base import Dialect

if TYPE_CHECKING:
    from penstock.runtime.attempt import Attempt
    from penstock.runtime.call import Call
    from penstock.runtime.state import State


class About(NamedTuple):
    """What the document of all URLs says of a surface. ``summary``: a verb and its object. ``needs``: the fields that
    ``check`` insists on, with their JSON types; ``one_of``: those of which it wants one; ``file``: the field of a form
    that holds a file. ``answer``: the media type of a whole answer. ``streams``: a client may ask for a stream."""

    summary: str
    family: str = "chat"
    needs: Mapping[str, str | tuple[str, ...]] = MappingProxyType({})
    one_of: tuple[str, ...] = ()
    file: str = ""
    answer: str = "application/json"
    streams: bool = False


class Surface(NamedTuple):
    """A public URL that carries work. ``attempt``: what one try at a target is. ``check``: what the dialect insists on
    before any upstream is asked. ``wants_usage``: the client wants usage in the stream. ``forward_names``: request
    headers that pass upstream in the same-dialect lane. The rest is what the gate asks, see ``gate.Entry``."""

    dialect: Dialect
    attempt: Callable[[Attempt], Awaitable[None]]
    check: Callable[[Mapping[str, Raw]], None]
    wants_usage: Callable[[Mapping[str, Raw]], bool]
    forward_names: tuple[bytes, ...] = ()
    adapt: Callable[[Call, dict[str, Raw], State], None] | None = None  # the fields, by the URL and its habits
    stream_type: bytes = b"text/event-stream; charset=utf-8"
    read: Callable[[Call], Awaitable[dict[str, Raw]]] | None = None  # the body's fields where it may not be JSON
    default_model: Callable[[State], str] | None = None  # who answers requests that name nobody
    forced_by: str = ""  # the key of general_settings that names who answers, whatever a request says
    key_in_query: bool = False
    upload: bool = False  # a large form is passed on while it arrives
    json: bool = True
    methods: tuple[str, ...] = ("POST",)
    role: str = "key"
    works: bool = True
    no_pages: bool = False
    cached: str = ""  # what its answers are, where they may be kept: see ``config.keys_cache.CALL_TYPES``
    texts: Callable[[Mapping[str, Raw]], Iterator[str]] | None = None  # of a request; None: what its dialect says
    says: bool = True  # its answers hold texts, and no vectors, images or sounds alone
    family: str = LLM
    about: About | None = None  # None: all there is to say is what ``attempt`` says of itself
