"""Tokens that are fetched: how long they are used, who waits, and what a token endpoint may answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from penstock.core.errors import GatewayError
from penstock.runtime.cloud import oauth, tokens
from penstock.runtime.cloud.tokens import Token, Tokens
from tests.runtime.cloud.issuer import Issuer, issuing


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with issuing() as made:
        yield made


class Source:
    """What fetches. ``gate``: held until it is set; ``error``: raised instead."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0
        self.count = 0
        self.life = 3600.0
        self.error: GatewayError | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def fetch(self) -> Token:
        self.count += 1
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return Token(b"authorization: Bearer t%d\r\n" % self.count, self.now + self.life)


async def made() -> tuple[Source, Tokens]:
    source = Source()
    return source, Tokens(source.fetch, lambda: source.now)


async def lines(found: Tokens) -> bytes:
    return await found.lines(None, "POST", b"")  # type: ignore[arg-type]


async def turn() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_one_fetch_for_many_requests() -> None:
    source, found = await made()
    source.gate.clear()
    waiting = [asyncio.create_task(lines(found)) for _ in range(50)]
    await turn()
    waiting[0].cancel()  # who asked first hangs up
    source.gate.set()
    told = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(told[0], asyncio.CancelledError)
    assert set(told[1:]) == {b"authorization: Bearer t1\r\n"} and source.count == 1


async def test_renewed_at_four_fifths_of_its_life_and_nobody_waits() -> None:
    source, found = await made()
    await lines(found)
    source.now += 3600 * 0.8 - 1
    assert await lines(found) == b"authorization: Bearer t1\r\n" and source.count == 1
    source.now += 2
    source.gate.clear()
    for _ in range(10):  # the fetch hangs, and every one of these has its answer at once
        assert await asyncio.wait_for(lines(found), 0.5) == b"authorization: Bearer t1\r\n"
        await turn()
    assert source.count == 2
    source.gate.set()
    await turn()
    assert await lines(found) == b"authorization: Bearer t2\r\n"


async def test_a_renewal_that_fails_is_told_once_and_tried_again_later(caplog: pytest.LogCaptureFixture) -> None:
    source, found = await made()
    await lines(found)
    source.now += 3600 * 0.8 + 1
    source.error = GatewayError("connect", "no route")
    source.gate.clear()
    with caplog.at_level(logging.WARNING, logger="penstock"):
        for _ in range(10):
            assert await lines(found) == b"authorization: Bearer t1\r\n"
        source.gate.set()
        await turn()
    assert [record.getMessage() for record in caplog.records] == ["no route"]
    assert await lines(found) == b"authorization: Bearer t1\r\n" and source.count == 2
    source.now += tokens.AGAIN + 1
    source.error = None
    await lines(found)
    await turn()
    assert await lines(found) == b"authorization: Bearer t3\r\n"


async def test_without_a_token_a_failure_is_held_for_a_while() -> None:
    source, found = await made()
    source.error = GatewayError("not_configured", "wrong secret")
    for _ in range(20):
        with pytest.raises(GatewayError, match="wrong secret"):
            await lines(found)
    assert source.count == 1
    source.now += tokens.HOLD + 0.1
    source.error = None
    assert await lines(found) == b"authorization: Bearer t2\r\n"


async def test_a_token_is_not_used_to_its_very_end() -> None:
    source, found = await made()
    await lines(found)
    source.now += 3600 - tokens.LATE + 0.1
    assert await lines(found) == b"authorization: Bearer t2\r\n"
    source.life = 4.0
    source.now += 3600
    await lines(found)
    source.now += 2.9
    assert await lines(found) == b"authorization: Bearer t3\r\n"  # a short one is used for three quarters of its life


async def test_another_loop_has_its_own_renewal() -> None:
    source, found = await made()
    source.gate.clear()
    mine = asyncio.create_task(lines(found))
    await turn()

    def elsewhere() -> bytes:
        async def fetch() -> Token:
            return Token(b"authorization: Bearer other\r\n", source.now + 3600)

        found._fetch = fetch
        return asyncio.run(lines(found))

    assert await asyncio.to_thread(elsewhere) == b"authorization: Bearer other\r\n"
    source.gate.set()
    assert (await mine).startswith(b"authorization: Bearer ")


def test_an_account_has_one_set_of_tokens() -> None:
    first = tokens.shared(("a", "bc"), lambda: Tokens(Source().fetch))
    assert tokens.shared(("a", "bc"), lambda: Tokens(Source().fetch)) is first
    assert tokens.shared(("ab", "c"), lambda: Tokens(Source().fetch)) is not first
    tokens._SHARED.clear()


# The endpoint ---------------------------------------------------------------------------------------------------------


async def test_a_form_is_posted_and_the_answer_read(issuer: Issuer) -> None:
    told = await oauth.fetch("Acme", issuer.url + "/t?x=1", {"grant_type": "a b&c"}, env={}, headers={"X-Y": "z"})
    token = oauth.token_of("Acme", told, now=100.0)
    assert token == Token(b"authorization: Bearer tok-1\r\n", 3700.0)
    (asked,) = issuer.asked
    assert (asked.method, asked.path, asked.query) == ("POST", "/t", {"x": "1"})
    assert asked.form == {"grant_type": "a b&c"} and asked.headers["x-y"] == "z"


@pytest.mark.parametrize(
    ("told", "ends_at"),
    [
        ({"expires_in": "60"}, 160.0),
        ({"expires_in": 60, "expires_on": 5}, 160.0),
        ({"expires_on": "170"}, 170.0),
        ({"expiration": 180}, 180.0),
        ({}, 100.0 + oauth.UNTOLD_LIFE),
        ({"expires_in": "soon"}, 100.0 + oauth.UNTOLD_LIFE),
        ({"expires_in": 0}, 100.0 + oauth.UNTOLD_LIFE),
        ({"expires_in": True}, 100.0 + oauth.UNTOLD_LIFE),
    ],
)
def test_the_life_of_a_token(told: dict[str, Any], ends_at: float) -> None:
    assert oauth.token_of("Acme", {"access_token": "t", **told}, now=100.0).ends_at == ends_at


@pytest.mark.parametrize("token", [None, "", 7, "a\r\nx-evil: 1", "tokén"])
def test_what_is_no_token(token: object) -> None:
    with pytest.raises(GatewayError, match="access_token") as caught:
        oauth.token_of("Acme", {"access_token": token})
    assert caught.value.kind == "connect"
    assert "evil" not in caught.value.message


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, "not_configured"), (401, "not_configured"), (408, "connect"), (429, "connect"), (500, "connect")],
)
async def test_a_refusal_has_the_endpoints_words_and_no_secret(issuer: Issuer, status: int, kind: str) -> None:
    issuer.status = status
    issuer.answer = {
        "error": "invalid_client",
        "error_description": "AADSTS7000215: Invalid secret.\r\nclient_secret=hunter2hunter2 is wrong",
    }
    with pytest.raises(GatewayError, match="Acme: it answered .*invalid_client, AADSTS7000215") as caught:
        await oauth.fetch("Acme", issuer.url, {"client_secret": "hunter2hunter2"}, env={})
    assert caught.value.kind == kind
    assert "hunter2" not in caught.value.message and "\n" not in caught.value.message


@pytest.mark.parametrize("raw", [b"<html>", b"[]", b'"x"', b"", b"{}"])
async def test_an_answer_that_is_none(issuer: Issuer, raw: bytes) -> None:
    issuer.raw = raw
    with pytest.raises(GatewayError, match="no JSON object") as caught:
        await oauth.fetch("Acme", issuer.url, {}, env={})
    assert caught.value.kind == "connect" and "html" not in caught.value.message


async def test_an_endless_answer_is_cut_off(issuer: Issuer) -> None:
    issuer.raw = b'{"access_token": "' + b"a" * oauth.MAX_ANSWER + b'"}'
    with pytest.raises(GatewayError) as caught:
        await oauth.fetch("Acme", issuer.url, {}, env={})
    assert caught.value.kind == "connect" and len(caught.value.message) < 600


async def test_a_redirect_is_not_followed(issuer: Issuer) -> None:
    issuer.status, issuer.location = 307, issuer.url + "/elsewhere"
    with pytest.raises(GatewayError, match="it answered 307"):
        await oauth.fetch("Acme", issuer.url + "/t", {"client_secret": "s"}, env={})
    assert [asked.path for asked in issuer.asked] == ["/t"]


@pytest.mark.parametrize(
    "url",
    [
        "http://login.example.com/token",
        "http://169.254.169.254/token",
        "http://10.0.0.7/token",
        "ftp://x/y",
        "file:///etc/passwd",
        "https://user:pw@login.example.com/t",
        "no url",
        "https://h/a b",
    ],
)
async def test_where_no_secret_is_sent(url: str) -> None:
    with pytest.raises(GatewayError) as caught:
        await oauth.fetch("Acme", url, {"client_secret": "hunter2"}, env={})
    assert caught.value.kind == "not_configured" and "hunter2" not in caught.value.message
    assert "pw@" not in caught.value.message


async def test_nobody_listens() -> None:
    with pytest.raises(GatewayError, match="No token of Acme: ") as caught:
        await oauth.fetch("Acme", "http://127.0.0.1:9/t", {}, env={})
    assert caught.value.kind == "connect"


async def test_a_proxy_is_used_but_not_for_the_machines_own_services(issuer: Issuer) -> None:
    env = {"https_proxy": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"}
    with pytest.raises(GatewayError, match="127.0.0.1:9"):
        await oauth.fetch("Acme", "https://login.example.com/t", {}, env=env)
    assert (await oauth.fetch("IMDS", issuer.url, None, env=env, metadata=True))["access_token"] == "tok-1"
    assert issuer.asked[0].method == "GET"


def test_headers_of_given_tokens() -> None:
    assert oauth.header("ZenApiKey", " abc\n") == b"authorization: ZenApiKey abc\r\n"
    with pytest.raises(GatewayError):
        oauth.header("Bearer", "a\nb")
    # RFC 6749, 2.3.1: both are form-encoded before they are joined
    assert oauth.basic("a:b", "c") == "Basic YSUzQWI6Yw=="
