"""Answers in Azure's Blob storage: who is said to ask, and what is said of accounts that are none."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from penstock.config.cache import CacheSettings
from penstock.core.errors import GatewayError
from penstock.runtime.cloud.azure_blob import SharedKey, open_azure_blob
from penstock.runtime.http import Pool
from tests.buckets import AZURE_ACCOUNT, AZURE_KEY, Bucket
from tests.runtime.cloud.issuer import Issuer, issuing


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with issuing() as made:
        yield made


def opened(base: str, env: dict[str, str], pool: Any = None, **params: str) -> Any:
    given = {"azure_account_url": base, "azure_blob_container": "bucket", **params}
    return open_azure_blob(CacheSettings(kind="azure-blob", params=given), env, SimpleNamespace(pool=pool))  # type: ignore[arg-type]


@pytest.mark.parametrize("how", ["a service principal", "the identity of the machine"])
async def test_without_a_key_it_is_a_token_for_storage(how: str, issuer: Issuer) -> None:
    bucket = Bucket("azure-blob")
    bucket.token = "tok-1"
    server = await asyncio.start_server(bucket.serve, "127.0.0.1", 0)
    base = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/{AZURE_ACCOUNT}"
    env = {"AZURE_AUTHORITY_HOST": issuer.url, "AZURE_POD_IDENTITY_AUTHORITY_HOST": issuer.url, "AZURE_SCOPE": "api://other"}
    if how == "a service principal":
        env |= {"AZURE_TENANT_ID": "t-1", "AZURE_CLIENT_ID": "c-1", "AZURE_CLIENT_SECRET": "s-1"}
    pool = Pool()
    try:
        answers = opened(base, env, pool)
        for number in range(3):
            await answers.put(f"k{number}", b"v", 60)
        assert await answers.get("k1") == b"v" and await answers.delete(["k1", "k1"]) == 1
        [asked] = issuer.asked
        if how == "a service principal":
            assert asked.path == "/t-1/oauth2/v2.0/token" and asked.form["scope"] == "https://storage.azure.com/.default"
        else:
            assert asked.path == "/metadata/identity/oauth2/token" and asked.query["resource"] == "https://storage.azure.com"
        bucket.token = "another"
        with pytest.raises(OSError, match="bucket answers 403"):
            await answers.get("k2")
    finally:
        await pool.close()
        server.close()


async def test_a_container_that_another_gateway_has_just_made_is_no_fault() -> None:
    bucket = Bucket("azure-blob")
    server = await asyncio.start_server(bucket.serve, "127.0.0.1", 0)
    base = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/{AZURE_ACCOUNT}"
    pool = Pool()
    try:
        answers = opened(base, {"AZURE_STORAGE_ACCOUNT_KEY": AZURE_KEY}, pool)
        assert await answers.get("k") is None and not bucket.made
        await answers.ping()
        await asyncio.gather(*(answers.put(f"k{number}", b"v", 60) for number in range(5)))
        assert len(bucket.objects) == 5
    finally:
        await pool.close()
        server.close()


def test_accounts_by_host_and_by_path() -> None:
    assert SharedKey("https://mine.blob.core.windows.net", AZURE_KEY).account == "mine"
    assert SharedKey("https://mine.blob.core.windows.net/", AZURE_KEY).account == "mine"
    assert SharedKey("http://127.0.0.1:10000/devstoreaccount1", AZURE_KEY).account == "devstoreaccount1"


@pytest.mark.parametrize(
    ("base", "env", "params", "said"),
    [
        ("https://a.blob.core.windows.net", {}, {"azure_account_key": "not base64!"}, "azure_account_key is not in base64"),
        ("nowhere", {}, {"azure_account_key": AZURE_KEY}, "The address of the storage account is no URL"),
        ("https://a.blob.core.windows.net", {"AZURE_CLIENT_SECRET": "s", "AZURE_CLIENT_ID": "c"}, {}, "tenant_id"),
    ],
)
def test_what_cannot_work_is_said_without_its_secrets(base: str, env: dict[str, str], params: dict[str, str], said: str) -> None:
    with pytest.raises(GatewayError) as refused:
        opened(base, env, None, **params)
    assert refused.value.kind == "not_configured" and said in refused.value.message
    assert AZURE_KEY not in refused.value.message and "not base64!" not in refused.value.message
