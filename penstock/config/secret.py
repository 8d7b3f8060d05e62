"""A text that must not be shown: API keys, passwords, the master key."""

from __future__ import annotations

import hmac
import re
from typing import Any, NoReturn

WELL_KNOWN_KEYS = frozenset(
    {
        "sk-1234",
        "sk-1234...",
        "sk-12345",
        "sk-123456",
        "sk-12345678",
        "sk-123456789",
        "sk-1234567890",
        "sk-litellm",
        "sk-litellm-master-key",
        "sk-master-key",
        "sk-master",
        "sk-admin",
        "sk-test",
        "sk-key",
        "sk-xxx",
        "sk-xxxx",
        "sk-...",
        "sk-changeme",
        "sk-change-me",
        "sk-your-key",
        "sk-your-master-key",
        "sk-password",
        "anything",
        "dummy",
        "changeme",
        "change-me",
        "password",
        "secret",
        "test",
        "1234",
        "12345",
        "123456",
        "12345678",
        "123456789",
        "your-master-key",
        "your_master_key",
    }
)
"""Keys printed in tutorials and samples (S3's `.env` has `sk-1234...`): anyone may guess them."""

_SHOW_FROM = 16
_SAYS_SECRET = re.compile(
    r"secret|passw|passphrase|credential|assertion|authorization|bearer|cookie|signature|apikey", re.IGNORECASE
)
_SHORT = frozenset("key token auth pass sig jwt".split())
_SAYS_WHERE = frozenset("path file url uri name type endpoint alias".split())  # of a secret, which is not there
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")


def is_secret_name(name: str) -> bool:
    """Tell whether the name of a key, header or variable says that its value is secret (`azure_ad_token`, `X-Api-Key`,
    `clientsecret`), and not where a secret is (`private_key_path`)."""
    words = [word.lower() for word in _WORDS.findall(name[:200])]
    if not words or words[-1] in _SAYS_WHERE:
        return False
    said = _SAYS_SECRET.search(name) is not None or not _SHORT.isdisjoint(words)
    return said or words[-1].endswith(("key", "token"))


class Secret:
    """Text whose `repr` and `str` show at most its first three and last four characters.

    Comparison with another `Secret` or a `str` takes the same time wherever the two differ. Neither pickle nor a JSON
    encoder accepts it (TypeError), so it cannot slip into a log line or a cache; `reveal()` is the only way to the
    text.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text itself, for the one place that sends or checks it."""
        return self._text

    def is_well_known(self) -> bool:
        """Tell whether the text is a key that samples and tutorials print."""
        return self._text.strip().lower() in WELL_KNOWN_KEYS

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Secret):
            other = other._text
        if not isinstance(other, str):
            return NotImplemented
        mine, theirs = self._text.encode("utf-8", "surrogatepass"), other.encode("utf-8", "surrogatepass")
        return hmac.compare_digest(mine, theirs)

    def __hash__(self) -> int:
        return hash(self._text)

    def __str__(self) -> str:
        # Short keys would be half revealed by their ends, so those show nothing at all.
        if len(self._text) < _SHOW_FROM:
            return "***"
        return f"{self._text[:3]}...{self._text[-4:]}"

    def __repr__(self) -> str:
        return f"Secret({self})"

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Secret:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a Secret is not pickled; call reveal() where the text is needed")
