"""A webhook (LiteLLM's ``generic_api``): payloads as JSON, a list for each batch, to an address of the operator's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from penstock.core.mask import Mask
from penstock.sinks.base import Unavailable, Unset, check

if TYPE_CHECKING:
    from penstock.sinks.base import Payload, Settings

NAME = "webhook"
FORMATS = ("json_array", "ndjson", "single")


class Webhook:
    """Writes to one address."""

    def __init__(self, settings: Settings) -> None:
        options = settings.options
        given = str(options.get("endpoint") or "")
        variables = settings.variables
        if given:
            variables = type(variables)({}, {"GENERIC_LOGGER_ENDPOINT": given})
        self._url = variables.address("GENERIC_LOGGER_ENDPOINT")
        self._format = str(options.get("log_format") or FORMATS[0])
        if self._format not in FORMATS:
            raise Unset(f"has the log_format {self._format[:40]!r}, which is none of {', '.join(FORMATS)}")
        own = _pairs(settings.variables.get("GENERIC_LOGGER_HEADERS"))
        own |= {str(name): str(value) for name, value in (options.get("headers") or {}).items()}
        kind = "application/x-ndjson" if self._format == "ndjson" else "application/json"
        self._headers = {"content-type": kind} | {name.lower(): value for name, value in own.items()}
        self._secrets = Mask((*own.values(), *(value.partition(" ")[2] for value in own.values())))
        self._post = settings.post

    async def write(self, batch: Sequence[Payload]) -> int:
        """Send a batch: at once, or one by one."""
        encoded = [msgspec.json.encode(payload, enc_hook=str) for payload in batch]
        if self._format != "single":
            body = b"\n".join(encoded) + b"\n" if self._format == "ndjson" else b"[%b]" % b",".join(encoded)
            check(await self._post(self._url, self._headers, body), NAME, self._secrets)
            return 0
        for at, body in enumerate(encoded):
            try:
                reply = await self._post(self._url, self._headers, body)
            except Unavailable as error:
                error.written = at
                raise
            check(reply, NAME, self._secrets, at, 1)
        return 0

    async def close(self) -> None:
        """Do nothing: connections are the pool's."""


def _pairs(text: str) -> dict[str, str]:
    """Read headers as LiteLLM writes them in a variable: ``Name=value,Other=value``."""
    found: dict[str, str] = {}
    for one in text.split(","):
        name, equals, value = one.partition("=")
        if equals and name.strip():
            found[name.strip()] = value.strip()
    return found
