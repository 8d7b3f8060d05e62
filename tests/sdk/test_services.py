"""Services that have a name: ``success_callback = ["langfuse"]``."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from typing import Any

import pytest

from penstock import sdk
from penstock.mock import Mock
from tests.sdk.conftest import ASKED, always
from tests.sinks.made import SECRETS, SERVICES, environment
from tests.sinks.vendors import LangfuseStandIn, Vendor, open_vendor

MODEL = "openai/gpt-4o-mini"


@pytest.mark.parametrize("name", SERVICES)
async def test_s1_48_a_service_gets_an_event_of_each_call(to: dict[str, Any], mock: Mock, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_vendor(SERVICES[name][0]()) as vendor:
        for key, value in environment(name, vendor).items():
            monkeypatch.setenv(key, value)
        sdk.success_callback, sdk.failure_callback = [name], [name]
        await asyncio.to_thread(sdk.close)  # the addresses of the last test are no longer there
        await sdk.acompletion(MODEL, ASKED, metadata={"session_id": "s"}, **to)
        async for _ in await sdk.acompletion(MODEL, ASKED, stream=True, **to):
            pass
        await asyncio.to_thread(sdk.completion, MODEL, ASKED, **to)
        await sdk.aembedding("openai/text-embedding-3-small", "x", **to)
        mock.script = always(status=429)
        with pytest.raises(sdk.RateLimitError):
            await sdk.acompletion(MODEL, ASKED, num_retries=0, **to)
        await asyncio.to_thread(sdk.flush)
        assert vendor.wrong == [] and len(set(vendor.taken)) == 5
        assert not any(b"sk-of-the-call" in asked.body for asked in vendor.asked)


async def test_one_that_is_not_set_up_is_told_once_and_may_be_later(to: dict[str, Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    async with open_vendor(LangfuseStandIn()) as vendor:
        sdk.success_callback = ["langfuse"]
        await asyncio.to_thread(sdk.close)
        for name in ("LANGFUSE_PUBLIC_KEY", "LANGFUSE_SECRET_KEY"):
            monkeypatch.delenv(name, raising=False)
        for _ in range(2):
            await sdk.acompletion(MODEL, ASKED, **to)
        await asyncio.to_thread(sdk.flush)  # both are told before there is something to tell them to
        assert caplog.text.count("'langfuse' is not called: it needs LANGFUSE_PUBLIC_KEY") <= 1
        for key, value in environment("langfuse", vendor).items():
            monkeypatch.setenv(key, value)
        await sdk.acompletion(MODEL, ASKED, **to)
        await asyncio.to_thread(sdk.flush)
        assert len(vendor.taken) == 1


async def test_a_service_that_is_down_costs_no_call(to: dict[str, Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    vendor: Vendor = LangfuseStandIn()
    await vendor.start()
    await vendor.stop()
    for key, value in environment("langfuse", vendor).items():
        monkeypatch.setenv(key, value)
    sdk.success_callback = ["langfuse"]
    await asyncio.to_thread(sdk.close)
    answer = await sdk.acompletion(MODEL, ASKED, **to)
    assert answer.choices[0].message.content
    await asyncio.to_thread(sdk.flush, 0.3)
    await asyncio.to_thread(sdk.close)
    assert not any(secret in caplog.text for secret in SECRETS)


async def test_messages_are_kept_out_and_no_log_tells_nobody(to: dict[str, Any]) -> None:
    heard: list[Any] = []
    sdk.success_callback = [lambda kwargs, response, start, end: heard.append((kwargs, response))]
    await sdk.acompletion(MODEL, ASKED, **to, **{"no-log": True})
    sdk.turn_off_message_logging = True
    try:
        answer = await sdk.acompletion(MODEL, ASKED, **to)
    finally:
        sdk.turn_off_message_logging = False
    await asyncio.to_thread(sdk.flush)
    [(kwargs, response)] = heard
    assert "hello" not in repr(heard) and response.choices[0].message.content == "redacted-by-litellm"
    assert response.usage.total_tokens == answer.usage.total_tokens == kwargs["standard_logging_object"]["total_tokens"]


PROGRAM = """
from penstock import sdk
sdk.success_callback = ["langfuse"]
print(sdk.completion("openai/gpt-4o-mini", [{"role": "user", "content": "hi"}], api_base=BASE, api_key="k").choices[0].message.content)
"""


async def test_a_program_that_ends_has_sent_what_waited(mock: Mock) -> None:
    async with open_vendor(LangfuseStandIn()) as vendor:
        env = {**os.environ, **environment("langfuse", vendor)}
        program = PROGRAM.replace("BASE", repr(f"{mock.url}/v1"))
        done = await asyncio.to_thread(
            subprocess.run, [sys.executable, "-c", program], env=env, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        assert len(vendor.taken) == 1 and vendor.wrong == []
