"""LiteLLM's credentials, opened with its salt key: `SecretBox` of NaCl, or AES-256-GCM where that was switched on.
Either way the key is the SHA-256 of the salt key."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from typing import Any

GCM = "v2:gcm:"
_SHORTEST = 24 + 16  # bytes of a sealed empty text: nonce and tag


class Missing(Exception):
    """A library that opens credentials is not installed."""


class WrongKey(ValueError):
    """A value looks sealed, and the salt key does not open it."""


def opened(value: Any, salt_key: str) -> Any:
    """Return a value with every text in it opened; what was never sealed stays as it is. Raises ``WrongKey``."""
    if isinstance(value, Mapping):
        return {name: opened(inner, salt_key) for name, inner in value.items()}
    if isinstance(value, list):
        return [opened(inner, salt_key) for inner in value]
    return open_text(value, salt_key) if isinstance(value, str) else value


def open_text(text: str, salt_key: str) -> str:
    """Open a text. Raises ``WrongKey``, and ``Missing``."""
    key = hashlib.sha256(salt_key.encode()).digest()
    if text.startswith(GCM):
        return _open_gcm(_decoded(text[len(GCM) :]), key)
    sealed = _decoded(text)
    return text if len(sealed) < _SHORTEST else _open_box(sealed, key)


def _decoded(text: str) -> bytes:
    """Decode base64 of either alphabet; b"" for what is none. A name or an address has signs that it has not."""
    try:
        return base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError):
        return b""


def _open_box(sealed: bytes, key: bytes) -> str:
    try:
        from nacl.exceptions import CryptoError
        from nacl.secret import SecretBox
    except ImportError:
        raise Missing("LiteLLM's credentials need PyNaCl: pip install 'penstock[litellm]'") from None
    try:
        return bytes(SecretBox(key).decrypt(sealed)).decode()
    except (CryptoError, ValueError):
        raise WrongKey from None


def _open_gcm(sealed: bytes, key: bytes) -> str:
    try:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError:
        raise Missing("LiteLLM's credentials need cryptography: pip install 'penstock[litellm]'") from None
    try:
        return AESGCM(key).decrypt(sealed[:12], sealed[12:], None).decode()
    except (InvalidTag, ValueError):
        raise WrongKey from None
