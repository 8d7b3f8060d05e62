"""The journal: what came and how it ended, in a file that is complete when the mock is killed."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import time
import urllib.request
import zlib
from pathlib import Path
from typing import Any

import pytest

from penstock.mock import Mock, Script, spawn
from tests.mock.conftest import chat


def read(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def ask(url: str, mark: str, stream: bool = False) -> bytes:
    headers = {"content-type": "application/json", "x-request-id": mark}
    body = json.dumps(chat(mark, stream=stream)).encode()
    with urllib.request.urlopen(urllib.request.Request(url + "/v1/chat/completions", body, headers), timeout=5) as got:
        return bytes(got.read())


async def test_answers_are_counted_with_the_sum_of_their_bytes(tmp_path: Path) -> None:
    file = tmp_path / "journal"
    async with Mock(journal=str(file)) as mock:
        for mark, stream in (("a", False), ("b", True)):
            got = await asyncio.to_thread(ask, mock.url, mark, stream)
            *_, began, ended = read(file)
            assert (began["id"], began["end"]) == (mark, "began")
            assert (ended["id"], ended["end"], ended["status"]) == (mark, "answered", 200)
            assert (ended["bytes"], ended["sum"]) == (len(got), zlib.crc32(got))
            assert (ended["events"] > 3) is stream


async def test_who_hung_up_is_told(tmp_path: Path) -> None:
    file = tmp_path / "journal"
    async with Mock(Script.always(cut_after_events=2, cut="end"), journal=str(file)) as mock:
        await asyncio.to_thread(ask, mock.url, "ours", True)
        mock.script = Script.always(latency_ms=60_000)
        _, writer = await asyncio.open_connection(mock.host, mock.port)
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nx-request-id: theirs\r\ncontent-length: 0\r\n\r\n")
        await mock.wait_for(2)
        writer.close()
        await mock.wait_for(2, complete=True)
    ends = {(line["id"], line["end"]): line for line in read(file)}
    assert set(ends) == {("ours", "began"), ("ours", "cut"), ("theirs", "began"), ("theirs", "left")}
    assert ends["ours", "cut"]["events"] == 2


def test_it_outlives_a_mock_that_is_killed(tmp_path: Path) -> None:
    file, script = tmp_path / "journal", tmp_path / "script.json"
    script.write_text('{"rules": [{"when": {"contains": "hang"}, "do": {"latency_ms": 60000}}]}')
    with spawn("--journal", str(file), "--script", str(script)) as mock:
        ask(mock.url, "served")
        with socket.create_connection(("127.0.0.1", int(mock.url.rpartition(":")[2]))) as open_until_then:
            open_until_then.sendall(
                b"POST /v1/chat/completions HTTP/1.1\r\nx-request-id: hang\r\ncontent-length: 4\r\n\r\nhang"
            )
            end = time.monotonic() + 5
            while len(read(file)) < 3 and time.monotonic() < end:
                time.sleep(0.01)
            mock.process.send_signal(signal.SIGKILL)
            mock.process.wait(5)
    assert [(line["id"], line["end"]) for line in read(file)] == [
        ("served", "began"), ("served", "answered"), ("hang", "began"),
    ]  # fmt: skip


def test_a_journal_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="cannot write the journal .*no-folder"):
        with spawn("--journal", str(tmp_path / "no-folder" / "journal")):
            pass
