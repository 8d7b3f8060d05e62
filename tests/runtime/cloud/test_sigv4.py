"""Signatures byte for byte as the vendor's own library makes them."""

from __future__ import annotations

import datetime
from unittest import mock
from urllib.parse import quote

from botocore import auth as botocore_auth
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from penstock.runtime.cloud.aws import Keys
from penstock.runtime.cloud.sigv4 import Signing

WORDS = st.text("abcXYZ019-._~ :/+%é", min_size=1, max_size=12)
QUERY = st.lists(st.tuples(st.text("abc-_.", min_size=1, max_size=4), st.text("xyz09-._~", max_size=4)), max_size=3)


def theirs(
    keys: Keys, region: str, method: str, url: str, body: bytes, when: datetime.datetime, content_type: str
) -> dict[str, str]:
    headers = {"content-type": content_type} if content_type else {}
    request = AWSRequest(method=method, url=url, data=body, headers=headers)
    signer = SigV4Auth(Credentials(keys.access, keys.secret, keys.token or None), "bedrock", region)
    with mock.patch.object(botocore_auth, "get_current_datetime", lambda: when):
        signer.add_auth(request)
    return {name.lower(): value for name, value in request.headers.items()}


def ours(
    keys: Keys, region: str, method: str, url: str, body: bytes, when: datetime.datetime, content_type: str
) -> dict[str, str]:
    with mock.patch.object(botocore_auth, "get_current_datetime", lambda: when):
        told = Signing(keys, region, "bedrock").lines(method, url, body, content_type)
    return dict(line.split(": ", 1) for line in told.decode().split("\r\n") if line)


@given(
    st.builds(Keys, st.text("AKIA019", min_size=4, max_size=20), WORDS, st.sampled_from(["", "FwoGZXIvYXdzEBY+/=="])),
    st.sampled_from(["us-east-1", "eu-central-1", "us-gov-west-1"]),
    st.sampled_from(["POST", "GET"]),
    st.lists(WORDS, min_size=1, max_size=3),
    QUERY,
    st.binary(max_size=300),
    st.datetimes(datetime.datetime(2020, 1, 1), datetime.datetime(2035, 1, 1)),
    st.sampled_from(["", "application/json"]),
)
def test_every_signature_is_the_vendors(
    keys: Keys,
    region: str,
    method: str,
    words: list[str],
    query: list[tuple[str, str]],
    body: bytes,
    when: datetime.datetime,
    content_type: str,
) -> None:
    path = "/model/" + "/".join(quote(word, safe="") for word in words) + "/converse"
    asked = "&".join(f"{name}={value}" for name, value in query)
    url = f"https://bedrock-runtime.{region}.amazonaws.com{path}" + (f"?{asked}" if asked else "")
    made = ours(keys, region, method, url, body, when, content_type)
    wanted = theirs(keys, region, method, url, body, when, content_type)
    assert made == {name: value for name, value in wanted.items() if name in made}
    assert {"authorization", "x-amz-date"} <= made.keys() and ("x-amz-security-token" in made) == bool(keys.token)


def test_the_model_is_escaped_twice_in_what_is_signed() -> None:
    """``:`` is %3A in the request line and %253A in the signature: the usual mistake, told as a 403."""
    keys = Keys("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
    when = datetime.datetime(2026, 11, 20, 8, 30)
    url = "https://bedrock-runtime.us-east-1.amazonaws.com/model/arn%3Aaws%3Abedrock%3Ax%2Fy/converse-stream"
    assert ours(keys, "us-east-1", "POST", url, b"{}", when, "") == {
        name: value
        for name, value in theirs(keys, "us-east-1", "POST", url, b"{}", when, "").items()
        if name in ("authorization", "x-amz-date")
    }


def test_nobody_shows_the_secret() -> None:
    keys = Keys("AKID", "secret", "token")
    shown = repr(keys) + repr(Signing(keys, "us-east-1", "bedrock"))
    assert "secret" not in shown and "token" not in shown
