"""`s3_v2` and `gcs_bucket`: an object for each request, in a bucket that the gateway's own transport writes to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from tests.served import open_service
from tests.server.observed import YAML, Served
from tests.sinks.vendors import PUBLIC, SECRET, BucketStandIn, open_vendor

S3 = (
    '{callbacks: [s3_v2], s3_callback_params: {s3_bucket_name: records, s3_path: logs, s3_endpoint_url: "{url}", '
    f"s3_region_name: eu-central-1, s3_aws_access_key_id: {PUBLIC}, s3_aws_secret_access_key: {SECRET}}}}}"
)
SETTINGS = {"s3_v2": S3, "s3": S3.replace("s3_v2", "s3"), "gcs_bucket": "{callbacks: [gcs_bucket]}"}


@asynccontextmanager
async def serve(tmp_path, name: str, settings: str = "") -> AsyncIterator[tuple[Served, BucketStandIn]]:
    async with open_vendor(BucketStandIn()) as vendor:
        assert isinstance(vendor, BucketStandIn)
        yaml = f"{YAML}\nlitellm_settings: {settings or SETTINGS[name]}\n".replace("{url}", vendor.url)
        env = {"GCS_BUCKET_NAME": "records/logs", "STORAGE_EMULATOR_HOST": vendor.url}
        async with open_service(tmp_path, yaml, env) as door:
            yield Served(door, vendor), vendor


@pytest.mark.parametrize("name", SETTINGS)
async def test_an_object_for_each_request(tmp_path, name):
    async with serve(tmp_path, name) as (served, vendor):
        for _ in range(20):
            assert await served.ask() == 200
        assert await served.ask({"model": "nobody"}) == 400
        await served.told()
        assert vendor.wrong == [] and len(vendor.objects) == 21
        assert all(key.startswith(f"logs/{datetime.now(UTC):%Y-}") for key in vendor.objects)
        failed = [key for key, told in vendor.objects.items() if told["status"] == "failure"]
        assert len(failed) == 1 and ("failure-" in failed[0]) is (name == "gcs_bucket")
        assert served.callbacks.told()[name] == {"waiting": 0, "written": 21}


@pytest.mark.parametrize("name", ["s3_v2", "gcs_bucket"])
async def test_what_passes_is_tried_again_and_is_there_once(tmp_path, name):
    async with serve(tmp_path, name) as (served, vendor):
        vendor.mood = 503
        for _ in range(12):
            assert await served.ask() == 200
        await served.callbacks.observer.finish()
        [shipper] = served.callbacks._made.values()
        await shipper.flush(0.6)
        assert shipper.counts.written == 0 and "503" in shipper.trouble and SECRET not in shipper.trouble
        vendor.mood = "well"
        await served.told()
        assert len(vendor.objects) == 12 and shipper.counts.written == 12 and shipper.counts.unsent == 0


@pytest.mark.parametrize("name", ["s3_v2", "gcs_bucket"])
async def test_what_is_refused_is_counted(tmp_path, name, caplog):
    async with serve(tmp_path, name) as (served, vendor):
        vendor.mood = 403
        for _ in range(3):
            assert await served.ask() == 200
        await served.told()
        assert served.callbacks.told()[name]["refused"] == 3 and vendor.objects == {}
        assert any("403" in line and "were refused" in line for line in [*served.door.lines, caplog.text])


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ("{callbacks: [s3_v2]}", "needs s3_bucket_name in litellm_settings.s3_callback_params"),
        ("{callbacks: [s3_v2], s3_callback_params: {s3_bucket_name: b, s3_aws_access_key_id: x}}", "half of a pair"),
    ],
)
async def test_what_is_not_set_is_told(tmp_path, settings, why, caplog):
    async with serve(tmp_path, "s3_v2", settings) as (served, vendor):
        assert await served.ask() == 200
        await served.told()
        assert vendor.asked == [] and why in caplog.text + "".join(served.door.lines)
