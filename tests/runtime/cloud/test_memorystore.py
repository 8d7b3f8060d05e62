"""Memorystore with IAM authentication: the password is a token of the service account, got when a connection is opened."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock.config.redis import find_redis
from penstock.core.errors import GatewayError
from penstock.runtime.cloud import google_transport, vertex
from penstock.runtime.redis_token import with_token
from penstock.stores.answers_redis import RedisAnswers
from penstock.stores.redis_client import Unreachable
from tests.redis_servers import settings
from tests.runtime.cloud.issuer import Issuer, issuing
from tests.search_redis import open_search_redis

ADDRESS = "cache@project.iam.gserviceaccount.com"
PATH = f"/v1/projects/-/serviceAccounts/{ADDRESS}:generateAccessToken"


@pytest.fixture
def issuer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Issuer]:
    """A machine with an account of its own, and who issues tokens to it and by it."""
    with issuing() as made:
        file = tmp_path / "own.json"
        file.write_text(json.dumps({"type": "authorized_user", "client_id": "c", "client_secret": "s", "refresh_token": "r"}))
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
        plain = google_transport.Transport.__call__

        def ask(self: Any, url: str, *args: Any, **named: Any) -> Any:
            for host in ("oauth2", "iamcredentials"):
                url = url.replace(f"https://{host}.googleapis.com", made.url)
            return plain(self, url, *args, **named)

        monkeypatch.setattr(google_transport.Transport, "__call__", ask)
        made.answer = {"access_token": "ya-own", "expires_in": 3600, "token_type": "Bearer"}
        made.answers[PATH] = {"accessToken": "ya-cache", "expireTime": "2099-01-01T00:00:00Z"}
        vertex._SHARED.clear()
        yield made
        vertex._SHARED.clear()


@pytest.mark.parametrize("named", [ADDRESS, f"projects/-/serviceAccounts/{ADDRESS}"])
async def test_the_token_of_the_service_account_is_the_password(named: str, issuer: Issuer) -> None:
    async with open_search_redis(password="ya-cache") as redis:
        answers = RedisAnswers(with_token(settings(url=redis.url, gcp_service_account=named)))
        try:
            await answers.ping()
            assert redis.said == [b"ya-cache"]
            [own, cache] = issuer.asked
            assert cache.path == PATH and cache.headers["authorization"] == "Bearer ya-own"
            assert cache.json["scope"] == [vertex.SCOPE]
            await answers._client.connection_pool.disconnect()
            await answers.ping()
            assert redis.said == [b"ya-cache"] * 2 and len(issuer.asked) == 2, "one token for as long as it is good"
        finally:
            await answers.close()


async def test_a_token_that_cannot_be_had_is_as_a_redis_that_is_away(issuer: Issuer) -> None:
    issuer.status = 403
    async with open_search_redis(password="ya-cache") as redis:
        answers = RedisAnswers(with_token(settings(url=redis.url, gcp_service_account=ADDRESS)))
        try:
            with pytest.raises(Unreachable, match="No Google Cloud token"):
                await answers.ping()
        finally:
            await answers.close()


def test_without_google_auth_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "google.auth", None)
    with pytest.raises(GatewayError, match=r"penstock\[vertex\]"):
        with_token(settings(host="h", gcp_service_account=ADDRESS))


def test_its_authorities_mean_tls_and_yield_to_those_of_redis() -> None:
    def read(**given: Any) -> tuple[bool, str | None]:
        found = find_redis("here", {"host": "h", **given}, {}).settings
        assert found is not None
        return found.tls, found.ca_file

    assert read(gcp_ssl_ca_certs="g.pem") == (True, "g.pem")
    assert read(gcp_ssl_ca_certs="g.pem", ssl_ca_certs="r.pem") == (True, "r.pem")
    assert read(gcp_ssl_ca_certs="g.pem", ssl=False) == (False, "g.pem")
    assert with_token(settings(host="h")).token is None
