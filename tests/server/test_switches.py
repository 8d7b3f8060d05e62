"""The fast ways can be switched off, and nothing is heard or answered differently."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys

import pytest

from penstock.mock import Script
from penstock.server.doors import quick
from tests.door import HELLO, open_door
from tests.rules.repo import ROOT

# What differs from one request to the next.
CHANGES = re.compile(rb'[0-9a-f]{8}-[0-9a-f-]{27}|chatcmpl-\w+|"created":\d+|overhead-ms: [\d.]+|call-id: \S+|model-id: \S+')


async def told(tmp_path) -> list[bytes]:
    """What a client is told on one connection: whole, streamed, a page, an error, and a second whole answer."""
    answers = []
    async with open_door(tmp_path) as door:
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
        for method, path, body in (
            ("POST", "/v1/chat/completions", HELLO),
            ("POST", "/v1/chat/completions", HELLO),
            ("POST", "/v1/chat/completions", {**HELLO, "stream": True}),
            ("GET", "/health/liveliness", None),
            ("POST", "/v1/chat/completions", {"model": "m"}),
            ("POST", "/v1/chat/completions", HELLO),
        ):
            data = b"" if body is None else json.dumps(body).encode()
            head = f"{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
            writer.write(head.encode() + b"content-length: %d\r\n\r\n" % len(data) + data)
            answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 3)
            length = re.search(rb"content-length: (\d+)", answer)
            answer += await (reader.readuntil(b"0\r\n\r\n") if length is None else reader.readexactly(int(length[1])))
            answers.append(CHANGES.sub(b"-", answer))
        writer.close()
        await door.settle()
        assert [record.status for record in door.records] == [200, 200, 200, 400, 200]
        # Who leaves in mid-answer is noticed either way.
        door.mock.script = Script.always(latency_ms=2000)
        _, leaving = await asyncio.open_connection("127.0.0.1", door.port)
        data = json.dumps(HELLO).encode()
        leaving.write(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
            b"content-length: %d\r\n\r\n" % len(data) + data
        )
        await door.mock.wait_for(5)
        leaving.transport.abort()
        await door.settle()
        assert door.records[-1].error == "client_gone"
    return answers


@pytest.mark.parametrize("off", ["DRIVES", "LESSONS", "both"])
async def test_without_a_fast_way_the_same_is_told(tmp_path, monkeypatch, off):
    fast = await told(tmp_path)
    for name, value in (("DRIVES", False), ("LESSONS", 0)):
        if off in (name, "both"):
            monkeypatch.setattr(quick, name, value)
    assert await told(tmp_path) == fast


@pytest.mark.parametrize(
    ("variable", "name"), [("PENSTOCK_DRIVEN", "quick.DRIVES"), ("PENSTOCK_KNOWN_HEADS", "known.LESSONS")]
)
def test_the_environment_switches_them(variable, name):
    code = f"from penstock.server.doors import known, quick; print(bool({name}))"
    for value, means in (("0", "False"), ("1", "True"), ("", "True")):
        env = {**os.environ, variable: value}
        run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=True)
        assert run.stdout.strip() == means
