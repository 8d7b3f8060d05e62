"""Who is signed in to the pages: a cookie that is signed, and says who, since when, and by what.

What it names is looked up anew with each request: a key that is blocked, a user who is gone, a password or a master key
that changed end every session that hangs on them. It opens the pages alone, never the API itself.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from penstock.core.admit.caller import MASTER, Caller
from penstock.core.admit.holders import Bad
from penstock.core.errors import GatewayError

if TYPE_CHECKING:
    from penstock.runtime.exchange import Exchange
    from penstock.runtime.identity import Identity

COOKIE = b"penstock_session"
OPEN_COOKIE = b"penstock_page"
"""Where nobody signs in, as no key is needed: what forms are bound to."""
LASTS = 24 * 3600.0  # seconds
LINK_LASTS = 3600.0
LONGEST = 2048  # bytes of a cookie
MOST_ENDED = 10_000
MASTER_KIND, KEY_KIND, USER_KIND = "master", "key", "user"


class Session(Struct, frozen=True):
    """Who signed in. ``kind``: with the master key, a virtual key or as a user; ``id``: which of them; ``proof``: a
    digest of what would end it by changing; ``until``: unix time; ``nonce``: which session."""

    kind: str
    id: str
    proof: str
    until: float
    nonce: str


_decode = msgspec.json.Decoder(Session).decode


class Sessions:
    """Signs sessions and looks up whose they are. ``secret``: of this gateway, the same in all of its processes."""

    def __init__(self, secret: bytes, wall: Callable[[], float] = time.time) -> None:
        self._secret = hashlib.sha256(b"penstock: sessions of the pages\0" + secret).digest()
        self._wall = wall
        self.tries: Any = None  # who could not sign in, see ``signin``
        self.provider: Any = None  # by whom people sign in, see ``oidc``
        self._ended: OrderedDict[str, float] = OrderedDict()  # nonce -> when it would have ended anyhow

    # Who asks. --------------------------------------------------------------------------------------------------------

    def caller(self, exchange: Exchange, identity: Identity) -> Caller:
        """Return who is signed in. Raises "unauthorized" where nobody is."""
        session = self.read(cookies(exchange.headers).get(COOKIE, b""))
        caller = None if session is None else self._caller_of(session, identity)
        if caller is None:
            raise GatewayError("unauthorized", "Sign in first: this session is over, or never was.")
        return caller

    def check_origin(self, exchange: Exchange) -> None:
        """Refuse what another site has a browser send. Raises "forbidden"."""
        headers = exchange.headers
        site, origin = headers.get(b"sec-fetch-site"), headers.get(b"origin")
        host = headers.get(b"host", b"")
        if site not in (None, b"same-origin", b"none") or (
            origin is not None and origin.partition(b"://")[2].lower() != host.lower()
        ):
            raise GatewayError("forbidden", "This form was sent by another site, so nothing was done.")

    def token(self, exchange: Exchange) -> str:
        """Return what a form must bring along, "" where the browser has no cookie yet."""
        found = cookies(exchange.headers)
        bound = found.get(COOKIE) or found.get(OPEN_COOKIE)
        return _digest(b"form\0" + bound) if bound else ""

    def check_token(self, exchange: Exchange, given: str) -> None:
        """Raise "forbidden" unless a form was made by this browser's own page."""
        wanted = self.token(exchange)
        if not wanted or not hmac.compare_digest(given.encode(), wanted.encode()):
            raise GatewayError("forbidden", "This form is too old, or none of this page's: load it again.")

    def _caller_of(self, session: Session, identity: Identity) -> Caller | None:
        keyring = identity.keyring
        if session.kind == MASTER_KIND:
            return MASTER if hmac.compare_digest(session.proof, self._proof(identity.master)) else None
        if keyring is None:
            return None
        if session.kind == KEY_KIND:
            return keyring.caller(session.id)
        body = keyring.body("user", session.id)
        if session.kind != USER_KIND or body is None or not hmac.compare_digest(session.proof, self._proof_of(body)):
            return None
        return user_caller(session.id, body, identity)

    # Signing in and out. ----------------------------------------------------------------------------------------------

    def of_master(self, identity: Identity) -> Session:
        """Begin a session of who has the master key, or the password that stands for it."""
        return self._begin(MASTER_KIND, "", self._proof(identity.master), LASTS)

    def of_key(self, caller: Caller) -> Session:
        """Begin a session of a virtual key; it may do what the key may."""
        return self._begin(KEY_KIND, caller.key, "", LASTS)

    def of_user(self, id_: str, body: Mapping[str, Any]) -> Session:
        """Begin a session of a user, which ends when the password changes."""
        return self._begin(USER_KIND, id_, self._proof_of(body), LASTS)

    def link(self) -> str:
        """Return the code of a link that signs in once, as who has the master key."""
        text = f"{self._wall() + LINK_LASTS:.0f}.{secrets.token_urlsafe(9)}"
        return f"{text}.{self._seal(b'link ' + text.encode())[:32]}"

    def link_nonce(self, code: str) -> str | None:
        """Return which link a code is of; None for none of ours, and one that is over or was used here."""
        text, _, seal = code[:200].rpartition(".")
        if not hmac.compare_digest(seal.encode(), self._seal(b"link " + text.encode())[:32].encode()):
            return None
        until, _, nonce = text.partition(".")
        return None if float(until) < self._wall() or nonce in self._ended else nonce

    def end_link(self, nonce: str) -> None:
        """Note that a link was used."""
        self._end(nonce, self._wall() + LINK_LASTS)

    def _begin(self, kind: str, id_: str, proof: str, lasts: float) -> Session:
        return Session(kind, id_, proof, round(self._wall() + lasts, 3), secrets.token_urlsafe(12))

    def sign(self, session: Session) -> str:
        """Write a session as the value of a cookie."""
        text = base64.urlsafe_b64encode(msgspec.json.encode(session)).rstrip(b"=")
        return f"{text.decode()}.{self._seal(text)}"

    def read(self, value: bytes) -> Session | None:
        """Read what ``sign`` wrote; None for what is not ours, is over or was ended."""
        text, _, seal = value.partition(b".")
        if not text or len(value) > LONGEST or not hmac.compare_digest(seal, self._seal(text).encode()):
            return None
        session = _decode(base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4)))
        return None if session.until < self._wall() or session.nonce in self._ended else session

    def end(self, session: Session) -> None:
        """End a session before its time."""
        self._end(session.nonce, session.until)

    def _end(self, nonce: str, until: float) -> None:
        now = self._wall()
        while self._ended and (len(self._ended) >= MOST_ENDED or next(iter(self._ended.values())) < now):
            self._ended.popitem(last=False)
        self._ended[nonce] = until

    def _proof_of(self, user: Mapping[str, Any]) -> str:
        return self._proof(str(user.get("password") or "").encode())

    def _proof(self, secret: bytes | None) -> str:
        """Digest what a session hangs on. Keyed: who has a cookie cannot try out master keys against it."""
        return hmac.new(self._secret, b"proof\0" + (secret or b""), hashlib.sha256).hexdigest()[:32]

    def _seal(self, text: bytes) -> str:
        return hmac.new(self._secret, text, hashlib.sha256).hexdigest()


def user_caller(id_: str, body: Mapping[str, Any], identity: Identity) -> Caller | None:
    """Return the caller that a user is without a key; None where a row that it hangs on cannot be read."""
    try:
        return identity.described(f"page user {id_}".encode(), {"user_id": id_, "user_role": body.get("user_role")})
    except (Bad, ValueError):
        return None


def cookies(headers: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    """Read the cookies of a request; the first of a name counts."""
    found: dict[bytes, bytes] = {}
    for part in headers.get(b"cookie", b"")[: 4 * LONGEST].split(b";"):
        name, _, value = part.strip().partition(b"=")
        found.setdefault(name, value)
    return found


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
