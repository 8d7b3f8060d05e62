"""Passwords of users, as they are kept: derived with scrypt and a salt of their own, so that the database gives none
away. Nothing shows them, and nobody can read them back."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import os

from penstock.core.errors import GatewayError

SHORTEST, LONGEST = 8, 1024
_N, _R, _P = 2**14, 8, 1  # 16 MiB and some 50 ms for each try (RFC 7914, OWASP)
_MOST = 64 * 1024 * 1024


async def derive(password: str) -> str:
    """Return what is kept of a password. Raises "bad_request" for one that is too short. In a thread: it takes long on
    purpose."""
    if not SHORTEST <= len(password) <= LONGEST:
        text = f"password: it must have {SHORTEST} characters at least, and {LONGEST} at most."
        raise GatewayError("bad_request", text, param="password")
    salt = os.urandom(16)
    made = await asyncio.to_thread(_derive, password, salt, _N, _R, _P)
    return "$".join(("scrypt", str(_N), str(_R), str(_P), _text(salt), _text(made)))


async def matches(password: str, kept: str) -> bool:
    """Tell whether a password is the one that was kept."""
    form, _, rest = kept.partition("$")
    parts = rest.split("$")
    if form != "scrypt" or len(parts) != 5 or len(password) > LONGEST:
        return False
    cost, blocks, lanes = (int(one) for one in parts[:3])
    salt, wanted = (base64.b64decode(one) for one in parts[3:])
    return hmac.compare_digest(await asyncio.to_thread(_derive, password, salt, cost, blocks, lanes), wanted)


def _derive(password: str, salt: bytes, cost: int, blocks: int, lanes: int) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=cost, r=blocks, p=lanes, maxmem=_MOST, dklen=32)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


NOBODYS = "$".join(("scrypt", str(_N), str(_R), str(_P), _text(b"\0" * 16), _text(b"\0" * 32)))
"""What is kept of a password that nobody has: comparing with it takes as long as with anybody's."""
