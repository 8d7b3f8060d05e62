"""What only a real engine can show: a cancelled call stops the work, and a hundred calls share four slots."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.e2e.conftest import LLAMA_KEY, MASTER_KEY, Line
from tests.e2e.serving import seed3, serving, until

ALIAS = "extraction-model-lmstudio"
ASK = [{"role": "user", "content": "Go on for ever."}]
ENDLESS = {"ignore_eos": True}


@pytest.fixture(scope="module")
def real(llama, tmp_path_factory):
    folder = tmp_path_factory.mktemp("real")
    with serving(folder, seed3(llama.url, LLAMA_KEY), LITELLM_MASTER_KEY=MASTER_KEY) as gateway:
        yield Line(gateway, True)


@pytest.mark.serial
async def test_a_cancel_frees_the_slot_within_half_a_second(real, llama):
    """Streamed only: this server goes on with a whole answer even when its own client resets the connection (tried with
    a bare socket); that the gateway hangs up then, too, is seen with the mock."""
    waits = []
    async with real.asynchronous() as client:
        for _ in range(3):
            answer = await client.chat.completions.create(
                model=ALIAS, messages=ASK, max_tokens=15_000, stream=True, extra_body=ENDLESS
            )
            assert (await answer.__anext__()).model == ALIAS
            await asyncio.to_thread(until, lambda: llama.busy() == 1, 10)
            await answer.close()
            left = time.monotonic()
            await asyncio.to_thread(until, lambda: llama.busy() == 0, 10)
            waits.append(time.monotonic() - left)
    assert min(waits) < 0.5, waits  # the other two may have met a busy machine
    record = until(lambda: [r for r in real.gateway.records() if r["status"] == 499][-1:], 3)[0]
    assert record["error"] == "client_gone" and record["stream"]
    assert record["tokens_out"] > 0, "tokens that were streamed are accounted for"


@pytest.mark.serial
async def test_cancelling_half_of_many_leaves_the_others_whole(real, llama):
    async with real.asynchronous() as client:

        async def one(number: int) -> int:
            chunks = 0
            stream = await client.chat.completions.create(
                model=ALIAS, messages=ASK, max_tokens=15_000 if number % 2 else 12, stream=True, extra_body=ENDLESS
            )
            async for chunk in stream:
                chunks, last = chunks + 1, chunk
                if number % 2 and chunks == 3:
                    await stream.close()
                    return 0
            assert last.choices[0].finish_reason == "length"
            return chunks

        counts = await asyncio.wait_for(asyncio.gather(*(one(number) for number in range(16))), 30)
    assert all(count > 3 for count in counts[::2]) and not any(counts[1::2])
    await asyncio.to_thread(until, lambda: llama.busy() == 0, 5, "every slot is free again")


@pytest.mark.serial
def test_the_first_tokens_come_at_once_and_not_at_the_end(real, llama):
    until(lambda: llama.busy() == 0, 10)
    began = time.monotonic()
    stream = real.client().chat.completions.create(
        model=ALIAS, messages=ASK, max_tokens=500, stream=True, extra_body=ENDLESS
    )
    first = None
    for _ in stream:
        first = first or time.monotonic() - began
    assert first < (time.monotonic() - began) / 2
