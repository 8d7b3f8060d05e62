"""Key-pair tokens for Snowflake: a JWT that we sign ourselves, anew before its hour is over.

https://docs.snowflake.com/en/developer-guide/snowflake-rest-api/authentication ("Using key pair authentication"):
``iss`` is ACCOUNT.USER.SHA256:fingerprint of the public key, ``sub`` ACCOUNT.USER, RS256, at most an hour. A token that
was given (``SNOWFLAKE_JWT``, a programmatic access token, OAuth) needs none of this.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import time
from typing import TYPE_CHECKING, Any

import msgspec

from penstock.core.errors import GatewayError
from penstock.core.providers.resolve import credential
from penstock.core.providers.snowflake import TYPE
from penstock.runtime.cloud import oauth
from penstock.runtime.cloud.tokens import Token, Tokens, shared

if TYPE_CHECKING:
    from penstock.runtime.account import Account
    from penstock.runtime.endpoint import Signer

LIFE = 3540.0  # seconds; an hour is the most that Snowflake takes


def signer(account: Account) -> Signer | None:
    """Make what signs an account's requests; None where a given token does. Raises "not_configured" for half an
    account, ``ImportError`` without the package cryptography."""
    env = account.env
    own = account.setting("private_key") or account.setting("private_key_path")
    if account.setting("api_key") or (not own and credential(account.provider, None, env)):
        return None

    def told(name: str, *more: str) -> str:
        found = (account.setting(name), *(env.get(variable, "").strip() for variable in more))
        return next((one for one in found if one), "")

    text = told("private_key", "SNOWFLAKE_PRIVATE_KEY")
    path = told("private_key_path", "SNOWFLAKE_PRIVATE_KEY_PATH", "SNOWFLAKE_PRIVATE_KEY_FILE")
    if not text and not path:
        return None
    locator = told("account_id", "SNOWFLAKE_ACCOUNT_ID", "SNOWFLAKE_ACCOUNT")
    user = told("snowflake_user", "SNOWFLAKE_USER")
    for name, variable, value in (
        ("account_id", "SNOWFLAKE_ACCOUNT_ID", locator),
        ("snowflake_user", "SNOWFLAKE_USER", user),
    ):
        if not value:
            missing = f"{account.label}: for a token from a private key also give {name} (or {variable})"
            raise GatewayError("not_configured", f"{missing} in litellm_params.")
    import cryptography  # noqa: F401

    secret = told("private_key_passphrase", "SNOWFLAKE_PRIVATE_KEY_PASSPHRASE", "PRIVATE_KEY_PASSPHRASE")

    async def fetch() -> Token:
        return await asyncio.to_thread(_signed, text, path, secret, locator, user)

    return shared(("snowflake", text, path, secret, locator, user), lambda: Tokens(fetch))


def _signed(text: str, path: str, secret: str, locator: str, user: str) -> Token:
    """Make and sign a new token. Runs in a thread: signing takes milliseconds, and the key may be a file."""
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import padding

    key = _key(text, path, secret)
    public = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    fingerprint = base64.b64encode(hashlib.sha256(public).digest()).decode()
    # A locator has its region behind a dot, which is no part of the name here.
    who = f"{locator.partition('.')[0].upper()}.{user.upper()}"
    now = int(time.time())
    claims = {"iss": f"{who}.SHA256:{fingerprint}", "sub": who, "iat": now, "exp": now + int(LIFE)}
    signed = b".".join(_part(one) for one in ({"alg": "RS256", "typ": "JWT"}, claims))
    mark = key.sign(signed, padding.PKCS1v15(), hashes.SHA256())
    jwt = (signed + b"." + base64.urlsafe_b64encode(mark).rstrip(b"=")).decode()
    return Token(oauth.header("Bearer", jwt) + b"%b: KEYPAIR_JWT\r\n" % TYPE, now + LIFE)


def _part(value: object) -> bytes:
    return base64.urlsafe_b64encode(msgspec.json.encode(value)).rstrip(b"=")


def _key(text: str, path: str, secret: str) -> Any:
    """Load the private key, from its text or its file. Raises "not_configured", never showing it."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    pem = text.replace("\\n", "\n").encode()  # one line, as environments hold it
    if not text:
        try:
            with open(path, "rb") as file:
                pem = file.read(64 * 1024)
        except OSError as error:
            told = f"The private key {path!r} for Snowflake cannot be read: {error.strerror}."
            raise GatewayError("not_configured", told) from None
    try:
        key = serialization.load_pem_private_key(pem, secret.encode() or None)
    except (ValueError, TypeError):
        told = "The private key for Snowflake is no PEM (PKCS#8) key, or its passphrase is missing or wrong."
        raise GatewayError("not_configured", told) from None
    if not isinstance(key, RSAPrivateKey):
        raise GatewayError("not_configured", "The private key for Snowflake is no RSA key.")
    return key
