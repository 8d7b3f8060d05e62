"""What is not to be sent is sent to none of the sinks, whatever its form."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import Any

import pytest

from penstock.mock import Script
from penstock.sinks import LOCAL, SINKS
from tests.served import open_service
from tests.server import test_bucket_sinks
from tests.server.observed import YAML, Served
from tests.sinks.made import SERVICES, environment
from tests.sinks.vendors import (
    OTEL,
    PUBLIC,
    SECRET,
    BucketStandIn,
    LangfuseOtelStandIn,
    OtelStandIn,
    Vendor,
    WebhookStandIn,
    open_vendor,
)

OTHERS: dict[str, tuple[type[Vendor], dict[str, str]]] = {
    "arize_phoenix": (OtelStandIn, {"PHOENIX_COLLECTOR_HTTP_ENDPOINT": "{url}", "PHOENIX_API_KEY": OTEL}),
    "phoenix": (OtelStandIn, {"PHOENIX_COLLECTOR_HTTP_ENDPOINT": "{url}/", "PHOENIX_API_KEY": OTEL}),
    "langfuse_otel": (
        LangfuseOtelStandIn,
        {"LANGFUSE_HOST": "{url}", "LANGFUSE_PUBLIC_KEY": PUBLIC, "LANGFUSE_SECRET_KEY": SECRET},
    ),
    **{
        name: (WebhookStandIn, {"GENERIC_LOGGER_ENDPOINT": "{url}/in", "GENERIC_LOGGER_HEADERS": "x-own=yes"})
        for name in ("generic_api", "generic")
    },
    **{name: (BucketStandIn, {}) for name in test_bucket_sinks.SETTINGS},
}
EVERY = [*SERVICES, *OTHERS]


@asynccontextmanager
async def serve(tmp_path, name: str, settings: str = ""):
    kind, env = OTHERS[name] if name in OTHERS else (SERVICES[name][0], {})
    async with open_vendor(kind()) as vendor:
        more = ""
        if name in test_bucket_sinks.SETTINGS:
            more = test_bucket_sinks.SETTINGS[name].partition("], ")[2].removesuffix("}") if name != "gcs_bucket" else ""
            env = {"GCS_BUCKET_NAME": "records/logs", "STORAGE_EMULATOR_HOST": vendor.url}
        elif name in SERVICES:
            env = environment(name, vendor)
        said = ", ".join(one for one in (f"callbacks: [{name}]", more, settings) if one)
        env = {key: value.replace("{url}", vendor.url) for key, value in env.items()}
        yaml = f"{YAML}\nlitellm_settings: {{{said}}}\n".replace("{url}", vendor.url)
        yaml += "callback_settings: {otel: {message_logging: true}}\n"
        async with open_service(tmp_path, yaml, env) as door:
            door.mock.script = Script.always(text="the quick brown fox")
            yield Served(door, vendor)


def test_every_sink_is_looked_at():
    assert set(EVERY) == SINKS.keys() - LOCAL


async def seen(served: Served, **body: Any) -> str:
    assert await served.ask(body) == 200
    await served.told()
    assert served.vendor.wrong == []
    return b"".join(asked.body for asked in served.vendor.asked).decode("latin-1")


@pytest.mark.parametrize("name", EVERY)
async def test_messages_and_requests_are_kept_out(tmp_path, name):
    async with serve(tmp_path, name) as served:
        assert await seen(served, **{"no-log": True}) == ""
        quiet = await seen(served, metadata={"turn_off_message_logging": True})
        assert quiet and "what is up" not in quiet and "brown fox" not in quiet
        text = await seen(served)  # and it is there where nobody says so: the looks above can fail
        assert "what is up" in text and "quick brown fox" in text
    async with serve(tmp_path, name, "turn_off_message_logging: true") as served:
        text = await seen(served)
        assert text and "what is up" not in text and "brown fox" not in text
