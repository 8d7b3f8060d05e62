"""A container of Azure's Blob storage in which answers are kept: plain HTTP with the gateway's own transport; who asks
is told by the account's key (Shared Key), else by a token of Entra ID, as LiteLLM's DefaultAzureCredential gets one.

https://learn.microsoft.com/rest/api/storageservices/blob-service-rest-api, authorize-with-shared-key.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import html
import re
from collections.abc import AsyncIterator, Mapping
from email.utils import formatdate
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from penstock.core.errors import GatewayError, shed
from penstock.runtime.account import word
from penstock.runtime.cloud import entra
from penstock.runtime.cloud.line import Line, refused
from penstock.stores.answers_objects import ObjectAnswers

if TYPE_CHECKING:
    from penstock.config.cache import CacheSettings
    from penstock.runtime.cloud.tokens import Tokens
    from penstock.runtime.means import Means
    from penstock.stores.base import Answers

VERSION = "2021-08-06"
SCOPE = "https://storage.azure.com/.default"
_NAMES = re.compile(r"<Name>([^<]*)</Name>")
_NEXT = re.compile(r"<NextMarker>([^<]*)</NextMarker>")
_BLOB = {"x-ms-blob-type": "BlockBlob"}
_NO_HEADERS: Mapping[str, str] = {}


def open_azure_blob(settings: CacheSettings, env: Mapping[str, str], means: Means) -> Answers:
    """Keep answers in Azure's Blob storage. Raises "not_configured" for a key that is none, or half an account."""
    params = settings.params
    base = word(params.get("azure_account_url")) or env.get("AZURE_STORAGE_ACCOUNT_URL", "").strip()
    key = word(params.get("azure_account_key")) or env.get("AZURE_STORAGE_ACCOUNT_KEY", "").strip()
    line = Line(means, base, what="the storage account")
    signs = SharedKey(base, key) if key else None
    tokens = entra.tokens_for(SCOPE, base, env) if signs is None else None
    return ObjectAnswers(AzureContainer(line, base, word(params.get("azure_blob_container")), signs, tokens))


class SharedKey:
    """Signs requests with the key of a storage account. Raises "not_configured" for what is no key."""

    def __init__(self, base: str, key: str) -> None:
        try:
            self._key = base64.b64decode(key, validate=True)
        except binascii.Error:
            raise GatewayError("not_configured", "azure_account_key is not in base64.") from None
        parts = urlsplit(base)
        labels = (parts.hostname or "").split(".")
        # An emulator has the account's name in the path; so has an address of numbers.
        self.account = parts.path.strip("/").partition("/")[0] or labels[0]

    def header(self, method: str, target: str, headers: Mapping[str, str], size: int) -> str:
        """Return the value of ``Authorization``. ``headers``: all of the request's that begin with x-ms-."""
        path, _, query = target.partition("?")
        named = [f"\n{name.lower()}:{value}" for name, value in sorted(parse_qsl(query, keep_blank_values=True))]
        told = "".join(f"{name}:{value}\n" for name, value in sorted(headers.items()))
        # Content-Encoding, -Language, -Length, -MD5, -Type, Date, four conditions and Range: all but the length empty.
        plain = f"{method}\n\n\n{size or ''}" + "\n" * 9
        text = f"{plain}{told}/{self.account}{path}{''.join(named)}"
        digest = hmac.new(self._key, text.encode(), hashlib.sha256).digest()
        return f"SharedKey {self.account}:{base64.b64encode(digest).decode()}"


class AzureContainer:
    """A ``Bucket`` in Azure. ``signs``: with the account's key; else ``tokens`` tell who asks."""

    def __init__(self, line: Line, base: str, name: str, signs: SharedKey | None, tokens: Tokens | None) -> None:
        prefix = urlsplit(base).path.rstrip("/")
        self.where = f"{line.base}{prefix}/{name}"
        self._line, self._signs, self._tokens = line, signs, tokens
        self._root = f"{prefix}/{quote(name)}"

    async def get(self, name: str) -> bytes | None:
        status, data = await self._ask("GET", f"/{quote(name)}")
        if status == 404:
            return None
        if status != 200:
            raise refused(self.where, status)
        return data

    async def put(self, name: str, data: bytes) -> None:
        status, told = await self._ask("PUT", f"/{quote(name)}", data, _BLOB)
        if status == 404 and b"ContainerNotFound" in told:
            made, _ = await self._ask("PUT", "?restype=container", b"")
            if made not in (201, 409):  # 409: another gateway was faster
                raise refused(self.where, made)
            status, _ = await self._ask("PUT", f"/{quote(name)}", data, _BLOB)
        if status != 201:
            raise refused(self.where, status)

    async def delete(self, name: str) -> None:
        status, _ = await self._ask("DELETE", f"/{quote(name)}")
        if status not in (202, 404):
            raise refused(self.where, status)

    async def list(self, prefix: str) -> AsyncIterator[str]:
        """Yield the names that begin so, page by page."""
        query = {"restype": "container", "comp": "list", "prefix": prefix}
        while True:
            status, data = await self._ask("GET", "?" + urlencode(query, quote_via=quote, safe=""))
            if status == 404:
                return  # the first answer makes it
            if status != 200:
                raise refused(self.where, status)
            text = data.decode("utf-8", "replace")
            for name in _NAMES.findall(text):
                yield html.unescape(name)
            more = _NEXT.search(text)
            if more is None or not more[1]:
                return
            query["marker"] = html.unescape(more[1])

    async def _ask(
        self, method: str, path: str, body: bytes | None = None, more: Mapping[str, str] = _NO_HEADERS
    ) -> tuple[int, bytes]:
        target = self._root + path
        headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": VERSION, **more}
        lines = b""
        if self._signs is not None:
            authorization = self._signs.header(method, target, headers, len(body or b""))
            lines = b"authorization: %b\r\n" % authorization.encode("ascii", "replace")
        elif self._tokens is not None:
            try:
                lines = await self._tokens.current()
            except GatewayError as error:
                shed(error)
                raise OSError(error.message) from None
        lines += b"".join([f"{name}: {value}\r\n".encode() for name, value in headers.items()])
        return await self._line.ask(method, target, body, lines)
