"""Values that are kept so that whoever reads the database alone cannot read them: AES-256 in GCM.

The key follows from the server's secret (HKDF-SHA256, RFC 5869), so a sealed value is worth nothing without that. Each
value has a nonce of its own, and is bound to where it stands: moved to another row it does not open. The cipher is
the package cryptography's, an extra, which is imported when the first value is sealed or opened.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import importlib.util
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MISSING = "values that are kept sealed need the package cryptography: pip install 'penstock[credentials]'"
_FORM = "sealed1"
_NONCE = 12  # bytes, as GCM wants them: random ones of this length are safe for four thousand million values
_ALSO = b"penstock: values at rest"


class BadSeal(ValueError):
    """A value that does not open. The message completes a sentence that begins with the value."""


class NoCipher(OSError):
    """The package with the cipher is missing."""


def can_seal() -> bool:
    """Tell whether the cipher is installed, without importing it."""
    return importlib.util.find_spec("cryptography") is not None


def is_sealed(value: str) -> bool:
    """Tell whether a value has the form of a sealed one."""
    return value.startswith(f"{_FORM}:")


class Sealer:
    """Seals values with a server's secret. ``mark``: which secret it is, as sealed values tell it."""

    def __init__(self, secret: bytes) -> None:
        # HKDF: extract with a salt of ours, then expand once, as one block of SHA-256 is the whole key.
        extracted = hmac.digest(b"penstock", secret, "sha256")
        self._key = hmac.digest(extracted, _ALSO + b"\x01", "sha256")
        self.mark = hmac.digest(extracted, b"mark\x01", "sha256")[:4].hex()
        self._made: AESGCM | None = None

    def __repr__(self) -> str:
        return f"Sealer({self.mark})"

    def _cipher(self) -> AESGCM:
        if self._made is None:
            try:
                from cryptography.hazmat.primitives.ciphers.aead import AESGCM
            except ImportError:
                raise NoCipher(None, MISSING) from None
            self._made = AESGCM(self._key)
        return self._made

    def seal(self, value: bytes, place: str) -> str:
        """Seal a value for a place, such as ``credential/NAME``. Raises ``NoCipher``."""
        nonce = os.urandom(_NONCE)
        data = nonce + self._cipher().encrypt(nonce, value, place.encode())
        return f"{_FORM}:{self.mark}:{base64.b64encode(data).decode()}"

    def open(self, sealed: str, place: str) -> bytes:
        """Open what was sealed for a place. Raises ``BadSeal``, ``NoCipher``."""
        form, _, rest = sealed.partition(":")
        mark, _, text = rest.partition(":")
        if form != _FORM or not text:
            raise BadSeal("is no sealed value")
        if mark != self.mark:
            raise BadSeal(f"was sealed with another secret of the server's ({mark[:8]}; this one's is {self.mark})")
        cipher = self._cipher()
        from cryptography.exceptions import InvalidTag

        try:
            data = base64.b64decode(text, validate=True)
            return cipher.decrypt(data[:_NONCE], data[_NONCE:], place.encode())
        except (InvalidTag, ValueError, binascii.Error):
            raise BadSeal("was changed since it was sealed, or sealed for another place") from None
