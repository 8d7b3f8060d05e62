"""AWS Signature Version 4 of one request, by the vendor's own library.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

from __future__ import annotations

from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from penstock.runtime.cloud.aws import Keys


class Signing:
    """Signs requests to one service in one region."""

    __slots__ = ("_auth",)

    def __init__(self, keys: Keys, region: str, service: str) -> None:
        make = S3SigV4Auth if service == "s3" else SigV4Auth  # its paths are encoded once, and its bodies named
        self._auth = make(Credentials(keys.access, keys.secret, keys.token or None), service, region)

    def lines(self, method: str, url: str, body: bytes, content_type: str = "") -> bytes:
        """Render the header lines (CRLF-ended) that carry the signature: time, session's token, Authorization. ``url``
        as it is in the request line; ``content_type`` is signed where there is one."""
        request = AWSRequest(method, url, {"content-type": content_type} if content_type else {}, body)
        self._auth.add_auth(request)
        told = [(name.lower(), value) for name, value in request.headers.items()]
        return "".join(f"{name}: {value}\r\n" for name, value in told if name != "content-type").encode()
