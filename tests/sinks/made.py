"""Payloads and sinks for tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

from penstock.core.admit.caller import Caller
from penstock.core.ir import Usage
from penstock.core.record import Record
from penstock.runtime.http import Pool
from penstock.runtime.posting import poster
from penstock.sinks import SINKS
from penstock.sinks.base import Post, Settings, Sink, Variables
from penstock.sinks.payload import Told, error_of, payload_of
from tests.sinks.vendors import (
    DATADOG,
    HELICONE,
    OTEL,
    PUBLIC,
    SECRET,
    TOKEN,
    DatadogLLMStandIn,
    DatadogStandIn,
    HeliconeStandIn,
    LangfuseStandIn,
    MLflowStandIn,
    OtelStandIn,
    Vendor,
    WebhookStandIn,
)

SERVICES: Mapping[str, tuple[type[Vendor], Mapping[str, str]]] = {
    "langfuse": (
        LangfuseStandIn,
        {"LANGFUSE_PUBLIC_KEY": PUBLIC, "LANGFUSE_SECRET_KEY": SECRET, "LANGFUSE_HOST": "{url}"},
    ),
    "helicone": (HeliconeStandIn, {"HELICONE_API_KEY": HELICONE, "HELICONE_API_BASE": "{url}"}),
    "mlflow": (MLflowStandIn, {"MLFLOW_TRACKING_URI": "{url}", "MLFLOW_TRACKING_TOKEN": TOKEN}),
    "otel": (
        OtelStandIn,
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "{url}", "OTEL_EXPORTER_OTLP_HEADERS": f"Authorization=Bearer%20{OTEL}"},
    ),
    "datadog": (DatadogStandIn, {"DD_API_KEY": DATADOG, "DD_BASE_URL": "{url}", "DD_ENV": "test"}),
    "datadog_llm_observability": (DatadogLLMStandIn, {"DD_API_KEY": DATADOG, "DD_BASE_URL": "{url}"}),
    "webhook": (
        WebhookStandIn,
        {"GENERIC_LOGGER_ENDPOINT": "{url}/in", "GENERIC_LOGGER_HEADERS": "Authorization=Bearer hook-very-secret-3,x-own=yes"},
    ),
}
SECRETS = (SECRET, HELICONE, TOKEN, OTEL, "hook-very-secret-3", DATADOG)


def environment(name: str, vendor: Vendor) -> dict[str, str]:
    """The variables of a service, for its stand-in."""
    return {key: value.replace("{url}", vendor.url) for key, value in SERVICES[name][1].items()}


def make_sink(name: str, vendor: Vendor, post: Post, **options: Any) -> Sink:
    return SINKS[name](Settings(Variables(environment(name, vendor)), post, options))


def payload(number: int = 1, **other: Any) -> dict[str, Any]:
    """A payload. ``other``: of the record, or of what is told."""
    record = Record(
        at=1_790_000_000.75, call_id=f"call-{number}", request_id="r", key="alice", client="10.0.0.9", method="POST",
        path="/v1/chat/completions", model="fast", target="openai/gpt-4o-mini", target_id="d1", provider="openai",
        status=200, ms=750.0, ttft_ms=120.0, usage=Usage(fresh=8, cache_read=2, output=5), cost=Decimal("0.00012"),
    )  # fmt: skip
    for name in list(other):
        if name in Record.__struct_fields__:
            setattr(record, name, other.pop(name))
    given: dict[str, Any] = {
        "call_type": "acompletion",
        "call_id": record.call_id,
        "model": "fast",
        "start": record.at - record.ms / 1000,
        "end": record.at,
        "asked": {"messages": [{"role": "user", "content": "what is up"}]},
        "parameters": {"temperature": 0.5, "tools": [{"type": "function"}]},
        "said": {"id": "chatcmpl-1", "choices": [{"index": 0, "message": {"role": "assistant", "content": "the sky"}}]},
        "metadata": {"project": "p", "session_id": "s-1"},
        "session": "s-1",
        "tags": ["red"],
        "end_user": "u-7",
        "record": record,
        "caller": Caller("alice", False, key="k-hash", team="t-1", user="bob"),
        "error": error_of(record),
    }
    return payload_of(Told(**{**given, **other}))


@asynccontextmanager
async def open_post() -> AsyncIterator[Post]:
    """The gateway's own way to send."""
    pool = Pool()
    try:
        yield poster(pool)
    finally:
        await pool.close()
