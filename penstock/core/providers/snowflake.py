"""Which kind of token a Snowflake key is.

https://docs.snowflake.com/en/developer-guide/snowflake-rest-api/authentication : the header is optional; Snowflake
looks at the token where it is missing. So it is sent only where the kind is known.
"""

from __future__ import annotations

import binascii
from binascii import a2b_base64

TYPE = b"x-snowflake-authorization-token-type"
_PAT = b"pat/"


def token_headers(key: bytes) -> list[tuple[bytes, bytes]]:
    """Return the headers of a key: LiteLLM's ``pat/`` before it marks a programmatic access token; a JWT whose issuer
    ends in a public key's fingerprint is one of a key pair."""
    if key.startswith(_PAT):
        return [(b"authorization", b"Bearer " + key[len(_PAT) :]), (TYPE, b"PROGRAMMATIC_ACCESS_TOKEN")]
    bearer = [(b"authorization", b"Bearer " + key)]
    return [*bearer, (TYPE, b"KEYPAIR_JWT")] if _is_key_pair(key) else bearer


def _is_key_pair(key: bytes) -> bool:
    parts = key.split(b".")
    if len(parts) != 3:
        return False
    claims = parts[1].replace(b"-", b"+").replace(b"_", b"/")
    try:
        return b"SHA256:" in a2b_base64(claims + b"=" * (-len(claims) % 4))
    except binascii.Error:
        return False
