"""A stand-in for a bucket, over HTTP: Amazon's S3, Google's Cloud Storage or a container of Azure's Blob storage, as far
as answers are kept there."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from penstock.config.cache import CacheSettings
from penstock.runtime.cloud.azure_blob import VERSION, open_azure_blob
from penstock.runtime.cloud.buckets import open_gcs, open_s3
from penstock.runtime.http import Pool
from penstock.stores.answers_objects import ObjectAnswers

PAGE = 300  # objects in a listing
ACCOUNT = {"s3_aws_access_key_id": "AKIDEXAMPLE", "s3_aws_secret_access_key": "wJalrXUtnFEMI", "s3_region_name": "eu-x-1"}
AZURE_ACCOUNT, AZURE_KEY = "devstoreaccount1", base64.b64encode(b"a key of thirty-two bytes or so").decode()
OPENERS = {"s3": open_s3, "gcs": open_gcs, "azure-blob": open_azure_blob}


class Bucket:
    """``objects`` by name; ``asked``: method, target and headers of each request; ``refuses``: a status for all."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.objects: dict[str, bytes] = {}
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.refuses = 0
        self.port = 0
        self.token = ""  # Azure's: by which who asks is known, instead of a key
        self.made = kind != "azure-blob"  # a container is made with the first answer

    def signed(self, method: str, target: str, headers: dict[str, str]) -> bool:
        """Whether a request has the signature that the vendor's own library makes."""
        url = f"http://127.0.0.1:{self.port}{target}"
        request = AWSRequest(method, url, {"X-Amz-Content-SHA256": headers["x-amz-content-sha256"]})
        request.context["timestamp"] = headers["x-amz-date"]
        keys = Credentials(ACCOUNT["s3_aws_access_key_id"], ACCOUNT["s3_aws_secret_access_key"])
        auth = S3SigV4Auth(keys, "s3", ACCOUNT["s3_region_name"])
        request.headers["X-Amz-Date"] = headers["x-amz-date"]
        canonical = auth.canonical_request(request)
        return auth.signature(auth.string_to_sign(request, canonical), request) in headers["authorization"]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                first, *lines = head.decode("latin-1").strip().split("\r\n")
                method, target, _ = first.split(" ")
                headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines)}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                self.asked.append((method, target, headers))
                answer = self.azure if self.kind == "azure-blob" else self.answer
                status, told = (self.refuses, b"no") if self.refuses else answer(method, target, body)
                writer.write(b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n%b" % (status, len(told), told))
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def answer(self, method: str, target: str, body: bytes) -> tuple[int, bytes]:
        parts = urlsplit(target)
        query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
        root = "/bucket" if self.kind == "s3" else "/storage/v1/b/bucket/o"
        if method == "POST":
            assert parts.path == f"/upload{root}" and query["uploadType"] == "media"
            self.objects[query["name"]] = body
            return 200, b"{}"
        assert parts.path == root or parts.path.startswith(root + "/"), target
        name = unquote(parts.path[len(root) + 1 :])
        if method == "PUT":
            self.objects[name] = body
            return 200, b""
        if method == "DELETE":
            return (204, b"") if self.objects.pop(name, None) is not None or self.kind == "s3" else (404, b"")
        if name:
            return (200, self.objects[name]) if name in self.objects else (404, b"")
        return 200, self.listing(query)

    def azure(self, method: str, target: str, body: bytes) -> tuple[int, bytes]:
        """https://learn.microsoft.com/rest/api/storageservices/: Put Blob, Get Blob, Delete Blob, List Blobs, Create Container."""
        headers, parts = self.asked[-1][2], urlsplit(target)
        assert headers["x-ms-version"] == VERSION and "x-ms-date" in headers
        known = headers["authorization"] == f"Bearer {self.token}" if self.token else azure_signed(method, target, headers)
        if not known:
            return 403, b"<Code>AuthenticationFailed</Code>"
        query = {key: values[-1] for key, values in parse_qs(parts.query, keep_blank_values=True).items()}
        root = f"/{AZURE_ACCOUNT}/bucket"
        assert parts.path == root or parts.path.startswith(root + "/"), target
        name = unquote(parts.path[len(root) + 1 :])
        if method == "PUT" and not name:
            assert query == {"restype": "container"} and body == b"" and headers["content-length"] == "0"
            status, self.made = (409, True) if self.made else (201, True)
            return status, b""
        if not self.made:
            return 404, b"<?xml version='1.0'?><Error><Code>ContainerNotFound</Code></Error>"
        if method == "PUT":
            assert headers["x-ms-blob-type"] == "BlockBlob"
            self.objects[name] = body
            return 201, b""
        if method == "DELETE":
            return (202, b"") if self.objects.pop(name, None) is not None else (404, b"<Code>BlobNotFound</Code>")
        if name:
            return (200, self.objects[name]) if name in self.objects else (404, b"<Code>BlobNotFound</Code>")
        assert query.pop("restype") == "container" and query.pop("comp") == "list" and set(query) <= {"prefix", "marker"}
        return 200, self.listing(query)

    def listing(self, query: dict[str, str]) -> bytes:
        after = query.get("continuation-token") or query.get("pageToken") or query.get("marker") or ""
        found = sorted(name for name in self.objects if name.startswith(query["prefix"]) and name > after)
        page, more = found[:PAGE], found[PAGE - 1] if len(found) > PAGE else ""
        if self.kind == "gcs":
            return json.dumps({"items": [{"name": name} for name in page]} | ({"nextPageToken": more} if more else {})).encode()
        if self.kind == "azure-blob":
            blobs = "".join(f"<Blob><Name>{name}</Name></Blob>" for name in page)
            return f"\ufeff<?xml version='1.0'?><EnumerationResults><Blobs>{blobs}</Blobs><NextMarker>{more}</NextMarker></EnumerationResults>".encode()
        keys = "".join(f"<Contents><Key>{name}</Key></Contents>" for name in page)
        token = f"<IsTruncated>true</IsTruncated><NextContinuationToken>{more}</NextContinuationToken>" if more else ""
        return f'<?xml version="1.0"?><ListBucketResult>{keys}{token}</ListBucketResult>'.encode()


def azure_signed(method: str, target: str, headers: dict[str, str]) -> bool:
    """Whether a request has the signature of authorize-with-shared-key (versions from 2015-02-21)."""
    parts = urlsplit(target)
    length = headers.get("content-length", "")
    standard = ["", "", "" if length == "0" else length, *[""] * 8]
    named = sorted((name, value) for name, value in headers.items() if name.startswith("x-ms-"))
    queried = sorted((key, ",".join(sorted(values))) for key, values in parse_qs(parts.query, keep_blank_values=True).items())
    lines = [method, *standard, *(f"{name}:{value}" for name, value in named), f"/{AZURE_ACCOUNT}{parts.path}"]
    text = "\n".join(lines + [f"{key}:{value}" for key, value in queried])
    digest = hmac.digest(base64.b64decode(AZURE_KEY), text.encode(), hashlib.sha256)
    return headers["authorization"] == f"SharedKey {AZURE_ACCOUNT}:{base64.b64encode(digest).decode()}"


@asynccontextmanager
async def open_bucket(
    kind: str, clock: Callable[[], float], path: str = "", port: int = 0
) -> AsyncIterator[tuple[ObjectAnswers, Bucket]]:
    """A place in a bucket, and the bucket. ``port``: where nothing listens, instead."""
    bucket = Bucket(kind)
    server = await asyncio.start_server(bucket.serve, "127.0.0.1", 0)
    bucket.port = server.sockets[0].getsockname()[1]
    base = f"http://127.0.0.1:{port or bucket.port}"
    pool = Pool()
    means: Any = SimpleNamespace(pool=pool)
    params = {"s3_bucket_name": "bucket", "s3_endpoint_url": base, **ACCOUNT, "s3_path": path}
    if kind == "gcs":
        params = {"gcs_bucket_name": "bucket", "gcs_path": path}
    if kind == "azure-blob":
        params = {"azure_account_url": f"{base}/{AZURE_ACCOUNT}", "azure_blob_container": "bucket", "azure_account_key": AZURE_KEY}
    made: Any = OPENERS[kind](CacheSettings(kind=kind, params=params), {"STORAGE_EMULATOR_HOST": base}, means)
    made._clock = clock
    try:
        yield made, bucket
    finally:
        await made.close()
        await pool.close()
        server.close()
