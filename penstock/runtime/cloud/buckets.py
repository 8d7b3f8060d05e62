"""Buckets in which answers are kept: Amazon S3 and what speaks like it, and Google Cloud Storage. Plain HTTP with the
gateway's own transport; who asks is told by AWS's signature, and by Google's access tokens.

https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations.html, https://cloud.google.com/storage/docs/json_api/v1.
"""

from __future__ import annotations

import html
import re
from collections.abc import AsyncIterator, Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import msgspec

from penstock.core.errors import GatewayError, shed
from penstock.runtime.account import word
from penstock.runtime.cloud import aws
from penstock.runtime.cloud.line import Line, refused
from penstock.runtime.http import Tls
from penstock.stores.answers_objects import ObjectAnswers

if TYPE_CHECKING:
    from penstock.config.cache import CacheSettings
    from penstock.runtime.cloud.sigv4 import Signing
    from penstock.runtime.cloud.tokens import Tokens
    from penstock.runtime.means import Means
    from penstock.stores.base import Answers

_REGIONS = ("AWS_REGION_NAME", "AWS_REGION", "AWS_DEFAULT_REGION")
_GOOGLE = "https://storage.googleapis.com"
_EMULATOR = "STORAGE_EMULATOR_HOST"  # where Google's own libraries look for a stand-in, which wants no token
_KEYS = re.compile(r"<Key>([^<]*)</Key>")
_NEXT = re.compile(r"<NextContinuationToken>([^<]*)</NextContinuationToken>")
_SERVICE = "s3"


def open_s3(settings: CacheSettings, env: Mapping[str, str], means: Means) -> Answers:
    """Keep answers in S3. Raises "not_installed" without botocore, "not_configured" for half a pair of keys."""
    params = settings.params
    return ObjectAnswers(s3_bucket(params, env, means), word(params.get("s3_path")))


def s3_bucket(params: Mapping[str, Any], env: Mapping[str, str], means: Means) -> S3Bucket:
    """Open a bucket of S3's by its settings in LiteLLM's names. Raises as ``open_s3`` does."""
    if find_spec("botocore") is None:
        text = "A bucket of S3's needs the package 'botocore': pip install 'penstock[bedrock]'."
        raise GatewayError("not_installed", text)
    region = word(params.get("s3_region_name")) or next((env[name] for name in _REGIONS if env.get(name)), "us-east-1")
    scheme = "http" if params.get("s3_use_ssl") is False else "https"
    base = word(params.get("s3_endpoint_url")) or f"{scheme}://s3.{region}.amazonaws.com"
    account = _account(params, env, region)
    verify = params.get("s3_verify", True)
    tls = None if verify is True else Tls(verify=False) if verify is False else Tls(ca_file=str(verify))
    return S3Bucket(Line(means, base, tls), word(params.get("s3_bucket_name")), aws.key_ring(account), region)


def open_gcs(settings: CacheSettings, env: Mapping[str, str], means: Means) -> Answers:
    """Keep answers in Google Cloud Storage. Raises "not_installed" without google-auth, "not_configured" for a file
    that is no account."""
    params = settings.params
    return ObjectAnswers(gcs_bucket(params, env, means), word(params.get("gcs_path")))


def gcs_bucket(params: Mapping[str, Any], env: Mapping[str, str], means: Means) -> GoogleBucket:
    """Open a bucket of Google's by its settings in LiteLLM's names. Raises as ``open_gcs`` does."""
    base, tokens = env.get(_EMULATOR, ""), None
    if not base:
        try:
            from penstock.runtime.cloud.vertex import tokens_of

            tokens = tokens_of(word(params.get("gcs_path_service_account")) or env.get("GCS_PATH_SERVICE_ACCOUNT", ""))
        except ImportError:
            text = "A bucket of Google's needs the package 'google-auth': pip install 'penstock[vertex]'."
            raise GatewayError("not_installed", text) from None
    elif "://" not in base:
        base = f"http://{base}"
    name = word(params.get("gcs_bucket_name")) or env.get("GCS_BUCKET_NAME", "")
    return GoogleBucket(Line(means, base or _GOOGLE), name, tokens)


def _account(params: Mapping[str, Any], env: Mapping[str, str], region: str) -> aws.Settings:
    names = ("s3_aws_access_key_id", "s3_aws_secret_access_key", "s3_aws_session_token")
    access, secret, token = (word(params.get(name)) for name in names)
    if not access and not secret:
        access, secret, token = (env.get(name.removeprefix("s3_").upper(), "").strip() for name in names)
    if bool(access) != bool(secret):
        text = "There is only half of a pair of AWS keys: set s3_aws_access_key_id and s3_aws_secret_access_key."
        raise GatewayError("not_configured", text)
    return aws.Settings(access, secret, token, profile=env.get("AWS_PROFILE", "").strip(), region=region)


class S3Bucket:
    """A ``Bucket`` of S3's, by its path: a name with dots fits no certificate as a part of the host."""

    def __init__(self, line: Line, name: str, keys: aws.KeyRing, region: str) -> None:
        from penstock.runtime.cloud.sigv4 import Signing

        self.where = f"s3://{name}"
        self._make = Signing
        self._line, self._root, self._ring, self._region = line, f"/{quote(name)}", keys, region
        self._signed: tuple[aws.Keys, Signing] | None = None

    async def get(self, name: str) -> bytes | None:
        status, data = await self._ask("GET", f"/{quote(name)}")
        if status == 404:
            return None
        if status != 200:
            raise refused(self.where, status)
        return data

    async def put(self, name: str, data: bytes) -> None:
        status, _ = await self._ask("PUT", f"/{quote(name)}", data)
        if status != 200:
            raise refused(self.where, status)

    async def delete(self, name: str) -> None:
        status, _ = await self._ask("DELETE", f"/{quote(name)}")
        if status not in (200, 204, 404):
            raise refused(self.where, status)

    async def list(self, prefix: str) -> AsyncIterator[str]:
        """Yield the names that begin so, page by page."""
        query = {"list-type": "2", "prefix": prefix}
        while True:
            status, data = await self._ask("GET", "?" + urlencode(sorted(query.items()), quote_via=quote, safe=""))
            if status != 200:
                raise refused(self.where, status)
            text = data.decode("utf-8", "replace")
            for name in _KEYS.findall(text):
                yield html.unescape(name)
            more = _NEXT.search(text)
            if more is None:
                return
            query["continuation-token"] = html.unescape(more[1])

    async def _ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        try:
            keys = await self._ring.keys()
        except GatewayError as error:
            shed(error)
            raise OSError(error.message) from None
        if self._signed is None or self._signed[0] is not keys:
            self._signed = (keys, self._make(keys, self._region, _SERVICE))
        target = self._root + path
        lines = self._signed[1].lines(method, self._line.base + target, body or b"")
        return await self._line.ask(method, target, body, lines)


class _Item(msgspec.Struct):
    name: str


class _Listing(msgspec.Struct, rename={"more": "nextPageToken"}):
    items: list[_Item] = []
    more: str = ""


class GoogleBucket:
    """A ``Bucket`` of Google's. ``tokens``: None for a stand-in."""

    def __init__(self, line: Line, name: str, tokens: Tokens | None) -> None:
        self.where = f"gs://{name}"
        self._line, self._tokens = line, tokens
        self._root = f"/storage/v1/b/{quote(name, safe='')}/o"

    async def get(self, name: str) -> bytes | None:
        status, data = await self._ask("GET", f"{self._root}/{quote(name, safe='')}?alt=media")
        if status == 404:
            return None
        if status != 200:
            raise refused(self.where, status)
        return data

    async def put(self, name: str, data: bytes) -> None:
        query = urlencode({"uploadType": "media", "name": name}, quote_via=quote, safe="")
        status, _ = await self._ask("POST", f"/upload{self._root}?{query}", data)
        if status != 200:
            raise refused(self.where, status)

    async def delete(self, name: str) -> None:
        status, _ = await self._ask("DELETE", f"{self._root}/{quote(name, safe='')}")
        if status not in (200, 204, 404):
            raise refused(self.where, status)

    async def list(self, prefix: str) -> AsyncIterator[str]:
        """Yield the names that begin so, page by page."""
        query = {"prefix": prefix}
        while True:
            status, data = await self._ask("GET", f"{self._root}?{urlencode(query, quote_via=quote, safe='')}")
            if status != 200:
                raise refused(self.where, status)
            try:
                page = msgspec.json.decode(data, type=_Listing)
            except msgspec.DecodeError:
                raise OSError(f"{self.where} answers with no list of objects") from None
            for item in page.items:
                yield item.name
            if not page.more:
                return
            query["pageToken"] = page.more

    async def _ask(self, method: str, target: str, body: bytes | None = None) -> tuple[int, bytes]:
        lines = b""
        if self._tokens is not None:
            try:
                lines = await self._tokens.current()
            except GatewayError as error:
                shed(error)
                raise OSError(error.message) from None
        return await self._line.ask(method, target, body, lines)
