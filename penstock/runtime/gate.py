"""The one way in: every call, page and pass-through is let in here, or refused.

Who asks is judged by the head alone, so that who is refused costs nothing. Whoever answers a request without asking
here first has built a second door: a rule test looks for those.
"""

from __future__ import annotations

import time
from hmac import compare_digest
from typing import TYPE_CHECKING, NamedTuple, Protocol

from penstock.core.admit.access import LLM, check_route, check_standing
from penstock.core.admit.caller import NOBODY
from penstock.core.errors import GatewayError
from penstock.core.route.choose import USUAL
from penstock.runtime.http import in_task
from penstock.runtime.identity import in_query, presented
from penstock.runtime.line import Places
from penstock.runtime.outlet import safe
from penstock.runtime.told import telling
from penstock.runtime.web_pages import WebPages

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping

    from penstock.core.admit.caller import Caller
    from penstock.core.admit.routes import RouteRules
    from penstock.runtime.addresses import Addresses
    from penstock.runtime.call import Call
    from penstock.runtime.exchange import Exchange
    from penstock.runtime.identity import Identity

PUBLIC, KEY, VIEW, ADMIN = "public", "key", "view", "admin"
"""Who may: everybody; whoever holds a key (everybody, where none is configured); whoever may see all that is managed;
whoever may manage the gateway. What a key's owner or a team's admin may, a handler decides that has asked for KEY."""
PAGE, PAGE_VIEW, PAGE_ADMIN = "page", "page_view", "page_admin"
"""The same three, of the pages: whoever is signed in there. A key opens none of them, and a session no other URL."""
_PAGES = {PAGE: KEY, PAGE_VIEW: VIEW, PAGE_ADMIN: ADMIN}
_READS = ("GET", "HEAD")
JSON = b"application/json"
_OTHER_SITES = (b"cross-site", b"same-site")


class Entry(Protocol):
    """What the gate asks of a URL. ``methods``: those that it answers. ``role``: who may. ``json``: a body must be
    JSON. ``works``: it asks an upstream, so none is begun while the gateway shuts down. ``key_in_query``: a credential
    may stand in ``?key=``. ``no_pages``: web pages of other sites may not, where no key is configured. ``family``: what
    of, as a key's ``allowed_routes`` name it; see ``core.admit.access``."""

    @property
    def methods(self) -> tuple[str, ...]: ...
    @property
    def role(self) -> str: ...
    @property
    def json(self) -> bool: ...
    @property
    def works(self) -> bool: ...
    @property
    def key_in_query(self) -> bool: ...
    @property
    def no_pages(self) -> bool: ...
    @property
    def family(self) -> str: ...


class Others(Protocol):
    """Somebody else who says whom a key belongs to. ``takes``: it is asked about this one. ``known``: what it would
    say, where nobody need wait for that."""

    def takes(self, key: bytes) -> bool: ...
    def known(self, exchange: Exchange, key: bytes, identity: Identity) -> Caller | None: ...
    async def identify(self, exchange: Exchange, key: bytes, identity: Identity) -> Caller: ...


class SignedIn(Protocol):
    """Knows who is signed in to the pages. Raises "unauthorized" for who is not; ``check_origin``: "forbidden" for what
    another site has a browser send."""

    def caller(self, exchange: Exchange, identity: Identity) -> Caller: ...
    def check_origin(self, exchange: Exchange) -> None: ...


class Rule(NamedTuple):
    """An ``Entry`` by itself. The default lets nobody in without a key."""

    methods: tuple[str, ...] = ("GET", "HEAD")
    role: str = KEY
    json: bool = False
    works: bool = False
    key_in_query: bool = False
    no_pages: bool = False
    family: str = LLM


class Gate:
    """Lets calls in. ``identity`` and ``web_pages`` may be replaced between two requests (a reload). ``draining``:
    shutting down."""

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        self.web_pages = WebPages()
        self.draining = False
        self.places: Places | None = None  # for all requests that ask an upstream; None: as many as come
        self.inside: set[Exchange] = set()  # that have one of them
        self.others: Others | None = None  # who says whom keys belong to; None: the identity alone
        self.addresses: Addresses | None = None  # who is believed, and who may call; None: the peer, and everybody
        self.sessions: SignedIn | None = None  # who is signed in to the pages; None: nobody is
        self.routes: RouteRules | None = None  # what may be called at all; None: everything, by its role

    def admit(self, call: Call, entry: Entry, known: Caller | None = None) -> Awaitable[None] | None:
        """Let a call in and note who makes it. Raises ``GatewayError`` for who may not enter.

        What it returns must be awaited before the call goes on: a place in a queue, a reservation. None, where nothing
        of that is configured: then there is nothing to wait for, and not even a coroutine is made. ``known``: who makes
        it, once somebody else has said so."""
        exchange = call.exchange
        if self.addresses is not None:
            exchange.client = self.addresses.client_of(exchange.headers, exchange.client)
        role = entry.role
        if role == PUBLIC:
            call.caller = NOBODY
        elif role != KEY and known is None and role in _PAGES:
            self._admit_page(call, entry)
        elif known is None and self.routes is not None and self._is_opened(call, entry, self.routes):
            pass
        else:
            if self.addresses is not None:
                self.addresses.check(exchange.client)
            query = exchange.query if entry.key_in_query else b""
            if known is None and self.others is not None:
                key = presented(exchange.headers, self.identity.key_header) or in_query(query) or b""
                if self.others.takes(key):
                    known = self.others.known(exchange, key, self.identity)
                    if known is None:
                        return self._ask_others(self.others, call, entry, key)
            caller = call.caller = known or self.identity.check(exchange.headers, query, exchange.client)
            if caller.key:
                check_standing(caller, time.time(), exchange.client)
                check_route(caller, call.path, entry.family)
            if self.routes is not None:
                self.routes.check(caller, call.path, entry.family)
            if role != KEY:
                _check_role(caller, role)
        if exchange.method not in entry.methods:
            raise wrong_method(exchange, entry.methods)
        if entry.works and self.draining:
            raise GatewayError("draining", "The gateway is shutting down; send the request again.", retry_after=1)
        if entry.json and exchange.method == "POST":
            content_type = exchange.headers.get(b"content-type")
            if content_type != JSON:
                check_type(content_type)
        if entry.no_pages and not self.identity.needs_key and exchange.headers.get(b"sec-fetch-site") in _OTHER_SITES:
            self._check_site(exchange.headers)
        return self._find_place(call, self.places) if self.places is not None and entry.works else None

    def _admit_page(self, call: Call, entry: Entry) -> None:
        """Let in who is signed in, and note who that is."""
        exchange = call.exchange
        call.outlet.call_lines = b""  # no web page of another origin reads these
        if self.addresses is not None:
            self.addresses.check(exchange.client)
        if self.sessions is None:
            raise GatewayError("no_route", f"There is nothing at {shown(call.path)}.")
        if exchange.method not in _READS:
            self.sessions.check_origin(exchange)
        identity = self.identity
        if identity.needs_key:
            caller = self.sessions.caller(exchange, identity)
        else:
            caller = identity.check(exchange.headers, client=exchange.client)
        call.caller = caller
        if caller.key:
            check_standing(caller, time.time(), exchange.client)
        _check_role(caller, entry.role)

    def _is_opened(self, call: Call, entry: Entry, rules: RouteRules) -> bool:
        """Tell whether a call is for a route that the config opens to everybody, and note who makes it: nobody, but for
        who shows a good key. What is for admins stays theirs."""
        if entry.role == ADMIN or not self.identity.needs_key or not rules.opens(call.path, entry.family):
            return False
        exchange = call.exchange
        if self.addresses is not None:
            self.addresses.check(exchange.client)
        if not self.know(call, exchange.query if entry.key_in_query else b""):
            call.caller = NOBODY
            if entry.no_pages and exchange.headers.get(b"sec-fetch-site") in _OTHER_SITES:
                self._check_site(exchange.headers)
        rules.check(call.caller, call.path, entry.family)
        return True

    async def _ask_others(self, others: Others, call: Call, entry: Entry, key: bytes) -> None:
        """Let a call in of which somebody else says who makes it."""
        caller = await others.identify(call.exchange, key, self.identity)
        if (waits := self.admit(call, entry, caller)) is not None:
            await waits

    async def _find_place(self, call: Call, places: Places) -> None:
        """Take a place for a request, or wait for one in the line. Raises "no_room"."""
        exchange = call.exchange
        priority = exchange.headers.get(b"x-penstock-priority", b"")
        waits = places.enter(int(priority) if priority.isdigit() and len(priority) < 10 else USUAL)
        if waits is not None:
            await in_task()
            told, clock = telling(call), call.means.clock
            began = clock()
            there = await waits
            if told is not None:
                told.queued(clock() - began)
            if not there:
                text = f"{places.places} requests are being answered, as many as may be; no place came free in time."
                raise GatewayError("no_room", text, retry_after=1)
        self.inside.add(exchange)

    def leave(self, exchange: Exchange) -> None:
        """Give back the place of a request that is over. May be called for one that has none."""
        if exchange in self.inside:
            self.inside.discard(exchange)
            if self.places is not None:
                self.places.leave()

    def _check_site(self, headers: Mapping[bytes, bytes]) -> None:
        """Refuse a page of another site, unless it is named. Without a key any page that the user opens could ask here;
        a browser tells who asks (Fetch Metadata), also where it sends no Origin."""
        if headers.get(b"origin", b"").lower() not in self.web_pages.named:
            raise GatewayError("forbidden", "No key is asked for here, so requests from other web pages are refused.")

    def page_lines(self, headers: Mapping[bytes, bytes]) -> bytes:
        """Return the header lines by which a browser gives an answer to the web page that asked, named in Origin; b""
        for a page that may not read it."""
        return self.web_pages.lines(headers[b"origin"], self.identity.needs_key)

    def permission(self, exchange: Exchange) -> bytes:
        """Return the header lines of the answer to a preflight, which brings no key. Raises "forbidden" for a page that
        may not ask, and "unauthorized" where nobody may from where it is."""
        headers = exchange.headers
        if not self.identity.needs_key:
            self.identity.check(headers, client=exchange.client)
        if not self.page_lines(headers):
            page = safe(headers[b"origin"].decode("latin-1"))[:200].decode()
            text = f"Requests from the web page {page!r} are refused: it is not named in LITELLM_CORS_ORIGINS."
            raise GatewayError("forbidden", text)
        return self.web_pages.permission(headers)

    def admit_reader(self, call: Call, entry: Entry, token: bytes, everybody: bool) -> Awaitable[None] | None:
        """Let in who may read one page: everybody, where the operator says so; who shows a token that opens it and
        nothing else, b"" for none; and whom ``admit`` lets in."""
        exchange = call.exchange
        if not everybody and not (token and self._shows(exchange, token)):
            return self.admit(call, entry)
        if self.addresses is not None:
            self.addresses.check(exchange.client)
        return None

    def _shows(self, exchange: Exchange, token: bytes) -> bool:
        try:
            given = presented(exchange.headers, self.identity.key_header)
        except GatewayError:  # another kind of credential
            return False
        return given is not None and compare_digest(given, token)

    def know(self, call: Call, query: bytes = b"") -> bool:
        """Tell whether a call of a public page would be let in at others, and note who makes it: for pages that say
        more to those who may know more. ``query``: where its key may stand, too."""
        exchange = call.exchange
        try:
            if self.addresses is not None:
                self.addresses.check(exchange.client)
            caller = self.identity.check(exchange.headers, query, exchange.client)
            if caller.key:
                check_standing(caller, time.time(), exchange.client)
        except GatewayError:
            return False
        call.caller = caller
        return True

    def secret(self, exchange: Exchange, query: bytes, shortest: int) -> bytes:
        """Return the caller's key for the gateway, which must go no further; b"" where none is needed, or for one too
        short to look for."""
        if not self.identity.needs_key:
            return b""
        try:
            key = presented(exchange.headers, self.identity.key_header) or in_query(query) or b""
        except GatewayError:  # an open pass-through endpoint, and a header that is no key of ours
            return b""
        return key if len(key) >= shortest else b""


def _check_role(caller: Caller, role: str) -> None:
    role = _PAGES.get(role, role)
    if role == ADMIN and not caller.admin or role == VIEW and not caller.views:
        raise GatewayError("forbidden", "Only the master key, or a key of an admin's, may do this.")


def wrong_method(exchange: Exchange, allowed: tuple[str, ...]) -> GatewayError:
    """Make a 405 that names the methods that would do; ``upstream_type`` carries the Allow header."""
    names = ", ".join(allowed)
    text = f"{exchange.method} is not allowed for {shown(exchange.path)}; use {names}."
    return GatewayError("method", text, upstream_type=names)


def shown(path: str) -> str:
    """Make a path or name of a client's fit for a message."""
    text = "".join(c if c.isprintable() else "?" for c in path)
    return text if len(text) <= 200 else text[:197] + "..."


def check_type(content_type: bytes | None) -> None:
    """Refuse a body that does not say that it is JSON. A web page can post some other types to a local gateway without
    asking first (CORS "simple requests": forms and plain text), so this is a guard and not a formality. Plain bytes are
    none of these, and it is what aiohttp calls JSON that it was given as bytes: LiteLLM's client of Ollama sends it
    so."""
    if content_type is None or content_type == JSON:
        return
    kind = content_type.partition(b";")[0].strip().lower()
    if kind not in (b"application/json", b"application/octet-stream") and not kind.endswith(b"+json"):
        said = safe(content_type.decode("latin-1")).decode()
        text = f"The body must be JSON: send 'Content-Type: application/json', not {said!r}."
        raise GatewayError("media_type", text)
