"""``enable_jwt_auth``: bearer tokens that an identity provider has signed. Its keys are kept, and fetched anew off the
path of requests; a token that was good is remembered until it is over."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
import urllib.request
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from penstock.config.jwt_auth import JwtSettings
from penstock.core.admit.caller import Caller
from penstock.core.admit.claims import read_claims
from penstock.core.admit.holders import Bad
from penstock.core.errors import GatewayError
from penstock.runtime.http import in_task

if TYPE_CHECKING:
    from penstock.runtime.exchange import Exchange
    from penstock.runtime.identity import Identity

log = logging.getLogger("penstock")
ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
LONGEST = 16 * 1024  # bytes of a token
LARGEST = 1024 * 1024  # bytes of a document of keys
PATIENCE = 10.0  # seconds for one
AGAIN = 30.0  # seconds, at least, between two looks for a key that is not known
LEEWAY = 30.0  # seconds that clocks may differ
MOST = 10_000  # tokens that are remembered
_MISSING = "they need a package that is not installed; pip install 'penstock[jwt]'"
TEAM = b"x-litellm-team-id"
Fetch = Callable[[str], bytes]


def fetch(url: str) -> bytes:
    """Get a document of keys; blocks. Raises ``OSError`` and ``ValueError``."""
    if not url.startswith(("https://", "http://")):
        raise ValueError(f"{url[:60]!r} is no address of keys: write https://...")
    with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
        data: bytes = answer.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise ValueError(f"the keys at {url[:60]} are over {LARGEST} bytes")
    return data


class JwtAuth:
    """Says whom tokens belong to. ``wall``: unix time."""

    def __init__(self, settings: JwtSettings, get: Fetch = fetch, wall: Callable[[], float] = time.time) -> None:
        import jwt  # by the extra "jwt"

        self.settings = settings
        self._jwt = jwt
        self._get = get
        self._wall = wall
        self._keys: dict[str, Any] = {}  # by id
        self._read_at = 0.0
        self._asked_at = 0.0
        self._fetching: asyncio.Task[None] | None = None
        self._good: dict[bytes, tuple[float, int, Caller]] = {}  # digest -> (until, revision of rows, whom)

    def takes(self, key: bytes) -> bool:
        """Tell whether a key has the form of a token."""
        return key.count(b".") == 2 and key[:2] == b"ey"

    def known(self, exchange: Exchange, key: bytes, identity: Identity) -> Caller | None:
        """Return whom a token belongs to that was good before, and still is."""
        found = None if TEAM in exchange.headers else self._good.get(hashlib.sha256(key).digest())
        if found is None or found[0] <= self._wall() or found[1] != _revision(identity):
            return None
        if self._wall() - self._read_at > self.settings.public_key_ttl:
            self._fetch_soon()  # nobody waits for it
        return found[2]

    async def identify(self, exchange: Exchange, key: bytes, identity: Identity) -> Caller:
        """Return whom a token belongs to. Raises "unauthorized" and "forbidden"."""
        await in_task()
        claims = await self._verify(key)
        asked = exchange.headers.get(TEAM, b"").decode("latin-1").strip()
        given = read_claims(claims, self.settings, identity.stored, asked)
        subject = f"jwt {given.get('team_id', '')}/{given.get('user_id', '')}".encode()
        try:
            caller = identity.described(subject, given)
        except (Bad, ValueError) as error:
            log.error("enable_jwt_auth: what is stored for a token's holder cannot be read: %s", error)
            text = "Authentication Error, the limits of this caller cannot be read."
            raise GatewayError("unauthorized", text) from None
        until = claims.get("exp")
        if isinstance(until, int | float) and not asked:
            if len(self._good) >= MOST:
                self._good.clear()
            self._good[hashlib.sha256(key).digest()] = (float(until), _revision(identity), caller)
        return caller

    async def _verify(self, token: bytes) -> Mapping[str, Any]:
        """Check a token's signature and times; return its claims."""
        if len(token) > LONGEST:
            raise _refused("it is longer than tokens are")
        try:
            head = self._jwt.get_unverified_header(token)
        except self._jwt.PyJWTError:
            raise _refused("it is none") from None
        if head.get("alg") not in ALGORITHMS:
            raise _refused("its algorithm is not one of those that are taken")
        key = await self._key(str(head.get("kid") or ""))
        try:
            found: dict[str, Any] = self._jwt.decode(
                token,
                key,
                algorithms=ALGORITHMS,
                audience=self.settings.audience or None,
                issuer=self.settings.issuer or None,
                options={"verify_aud": bool(self.settings.audience), "require": ["exp"]},
                leeway=LEEWAY,
            )
        except self._jwt.ExpiredSignatureError:
            raise GatewayError("key_expired", "Authentication Error, this token has expired.") from None
        except (self._jwt.PyJWTError, TypeError, ValueError) as error:
            raise _refused(type(error).__name__) from None
        return found

    async def _key(self, id_: str) -> Any:
        """Return the key of an id; that which is the only one, where a token names none."""
        now = self._wall()
        if not self._keys or (id_ and id_ not in self._keys and now - self._asked_at > AGAIN):
            await asyncio.shield(self._fetch_soon())
        elif now - self._read_at > self.settings.public_key_ttl:
            self._fetch_soon()
        if id_ in self._keys:
            return self._keys[id_]
        if not id_ and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        if not self._keys:
            text = "Tokens cannot be checked now: the identity provider's keys could not be fetched."
            raise GatewayError("overloaded", text, retry_after=5)
        raise _refused("no key is known by which it could be signed")

    def _fetch_soon(self) -> asyncio.Task[None]:
        task = self._fetching
        if task is None or task.done():
            task = self._fetching = asyncio.get_running_loop().create_task(self._fetch())
        return task

    async def _fetch(self) -> None:
        """Read the keys of all addresses. Where one cannot be read the keys of before stay."""
        self._asked_at = self._wall()
        found: dict[str, Any] = {}
        for url in self.settings.urls:
            try:
                data = await asyncio.to_thread(self._get, url)
                for number, one in enumerate(msgspec.json.decode(data)["keys"]):
                    try:
                        found[str(one.get("kid") or number)] = self._jwt.PyJWK(one)
                    except self._jwt.PyJWTError:
                        continue  # of a kind that nobody here can check
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                log.warning("enable_jwt_auth: the keys at %s cannot be read: %s", url[:100], error)
                found = {**self._keys, **found}
        if found:
            self._keys, self._read_at = found, self._wall()


class NoJwt:
    """Takes no token, and says what is missing."""

    def takes(self, key: bytes) -> bool:
        return key.count(b".") == 2 and key[:2] == b"ey"

    def known(self, exchange: Exchange, key: bytes, identity: Identity) -> Caller | None:
        return None

    async def identify(self, exchange: Exchange, key: bytes, identity: Identity) -> Caller:
        raise GatewayError("not_installed", f"Tokens cannot be checked: {_MISSING}.")


def open_jwt(settings: JwtSettings) -> JwtAuth | NoJwt:
    """Make who says whom tokens belong to."""
    try:
        return JwtAuth(settings)
    except ImportError:
        log.error("general_settings.enable_jwt_auth: %s; no token is taken until it is there", _MISSING)
        return NoJwt()


def _revision(identity: Identity) -> int:
    return 0 if identity.keyring is None else identity.keyring.revision


def _refused(why: str) -> GatewayError:
    return GatewayError("unauthorized", f"Authentication Error, the token is not good: {why}.")
