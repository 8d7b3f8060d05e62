"""Files through every door: received in portions, kept on disk, sent in portions."""

from __future__ import annotations

import asyncio
import json
import shutil
from typing import Any

import msgspec
import pytest

from penstock.stores.files_disk import FileFolder
from tests.door import Door, open_door, parse, until
from tests.doors import each_door
from tests.server.test_batches import form

MIB = 1024 * 1024
DATA = bytes(range(256)) * (12 * 1024)  # 3 MiB


async def send(door: Door, body: bytes, path: str = "/v1/files", **headers: str) -> tuple[int, Any]:
    _, lines = form(b"")
    status, _, answer = await door.ask("POST", path, body, {**lines, **headers})
    return status, json.loads(answer)


def left(door: Door) -> list[str]:
    """What is on the disk."""
    folder = door.gateway.batches.folder.path
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


@each_door
@pytest.mark.parametrize("data", [DATA, b"small\r\n--boun", b""], ids=["large", "small", "empty"])
async def test_a_file_is_given_back_as_it_was_sent(opened, data, tmp_path):
    async with opened(tmp_path) as door:
        body, _ = form(data, "user_data", "../a/Öl.bin")
        status, file = await send(door, body)
        assert status == 200 and file["bytes"] == len(data) and file["filename"] == ".._a_Öl.bin", file
        status, headers, got = await door.ask("GET", f"/v1/files/{file['id']}/content")
        assert status == 200 and got == data and headers["content-length"] == str(len(data))
        assert headers["content-disposition"] == "attachment" and headers["x-content-type-options"] == "nosniff"
        status, headers, got = await door.ask("HEAD", f"/v1/files/{file['id']}/content")
        assert status == 200 and got == b"" and headers["content-length"] == str(len(data))
        assert left(door) == [file["id"]] and door.gateway.held.size == 0


@pytest.mark.parametrize("prefix", ["/files", "/olla/litellm/v1/files", "/api/v1/files"])
async def test_files_are_below_every_prefix(prefix, tmp_path):
    async with open_door(tmp_path, max_body=MIB, max_upload=64 * MIB) as door:
        status, file = await send(door, form(DATA, "user_data")[0], prefix)
        assert status == 200, file
        status, _, got = await door.ask("GET", f"{prefix}/{file['id']}/content")
        assert status == 200 and got == DATA


async def test_a_large_file_is_never_held_as_a_whole(tmp_path):
    async with open_door(tmp_path, max_body=MIB, max_upload=64 * MIB) as door:
        door.gateway.held.limit = 2 * MIB
        body, lines = form(DATA * 8, "user_data")
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
        head = "".join(f"{name}: {value}\r\n" for name, value in {"host": "localhost", "transfer-encoding": "chunked", **lines}.items())
        writer.write(f"POST /v1/files HTTP/1.1\r\n{head}\r\n".encode())
        for at in range(0, len(body), 100_000):
            part = body[at : at + 100_000]
            writer.write(b"%x\r\n%b\r\n" % (len(part), part))
            await writer.drain()
        writer.write(b"0\r\n\r\n")
        status, _, answer = parse(await reader.readuntil(b"}"))
        assert status == 200 and json.loads(answer)["bytes"] == 24 * MIB
        # Who does not read is not sent to: the file stays on the disk, and not in memory.
        writer.write(f"GET /v1/files/{json.loads(answer)['id']}/content HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".encode())
        await asyncio.sleep(0.3)
        [connection] = door.state.connections
        assert connection.transport.get_write_buffer_size() < 2 * MIB
        got = await reader.read()
        assert got.partition(b"\r\n\r\n")[2] == DATA * 8
        writer.close()


async def test_what_is_no_file_leaves_nothing_behind(tmp_path):
    async with open_door(tmp_path, max_upload=2 * MIB) as door:
        good, _ = form(b"x" * 2000, "user_data")
        part = b'--bound\r\nContent-Disposition: form-data; name="file"; filename="b"\r\n\r\ny\r\n--bound--\r\n'
        for body, status, param in (
            (good.replace(b'filename="in.jsonl"', b""), 400, "file"),
            (good.removesuffix(b"--bound--\r\n") + part, 400, "file"),
            (good[:-20], 400, None),
            (good.replace(b"user_data", b"nothing"), 400, "purpose"),
            (form(b"x" * (2 * MIB), "user_data")[0], 413, None),
        ):
            assert (got := await send(door, body))[0] == status and got[1]["error"]["param"] == param, got
        status, _, _ = await door.ask("POST", "/v1/files", b"{}", {"content-type": "application/json"})
        assert status == 415
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
        lines = "content-type: multipart/form-data; boundary=bound\r\ncontent-length: 1500000\r\n"
        writer.write(f"POST /v1/files HTTP/1.1\r\nhost: localhost\r\n{lines}\r\n".encode() + form(b"x" * 1_200_000)[0][:1_100_000])
        await until(lambda: len(left(door)) == 1)
        writer.close()  # who leaves in the middle
        await until(lambda: left(door) == [])
        await door.settle()
        assert left(door) == [] and door.gateway.held.size == 0 and reader is not None


async def test_a_batch_file_has_a_limit_of_its_own(tmp_path):
    yaml = "general_settings: {max_batch_file_size_mb: 1, max_batch_file_records: 2}\n"
    async with open_door(tmp_path, yaml) as door:
        assert (await send(door, form(b"x" * (MIB + 1))[0]))[0] == 413
        assert (await send(door, form(b"x" * (MIB + 1), "user_data")[0]))[0] == 200
        row = b'{"custom_id": "%d", "method": "POST", "url": "/v1/chat/completions", "body": {}}\n'
        _, file = await send(door, form(b"".join(row % number for number in range(3)))[0])
        asked = {"input_file_id": file["id"], "endpoint": "/v1/chat/completions"}
        batch = json.loads((await door.post(asked, "/v1/batches"))[2])
        while batch["status"] == "validating":
            await asyncio.sleep(0.02)
            batch = json.loads((await door.ask("GET", f"/v1/batches/{batch['id']}"))[2])
        assert batch["status"] == "failed" and batch["errors"]["data"][0]["code"] == "too_many_requests"


async def test_files_that_are_over_are_deleted(tmp_path, monkeypatch):
    async with open_door(tmp_path) as door:
        _, file = await send(door, form(b"x")[0])
        room = door.gateway.batches
        kept = await room.store.file(file["id"])
        assert kept is not None and kept.expires_at
        await room.store.add_file(msgspec.structs.replace(kept, expires_at=1.0))
        (room.folder.path / "batch_gone").write_bytes(b"x")
        await room._sweep()
        assert left(door) == ["batch_gone"], "it may be that of a batch that is being made"
        monkeypatch.setattr("penstock.server.batches.room.MAKING", -1.0)
        room._swept = 0.0
        await room._sweep()
        assert left(door) == [] and await room.store.file(file["id"]) is None


async def test_several_workers_without_a_database_have_no_files(tmp_path):
    async with open_door(tmp_path) as door:
        door.gateway.several = True
        status, told = await send(door, form(b"x")[0])
        assert status == 501 and "--state-dir" in told["error"]["message"]


def test_a_folder_knows_its_files_and_no_others(tmp_path):
    folder = FileFolder(tmp_path / "files")
    (tmp_path / "secret").write_text("s")
    for id_ in ("../secret", "", ".", "a/b", "a" * 65, "a\n", "ä"):
        assert not folder.has(id_)
        with pytest.raises(FileNotFoundError):
            folder.place(id_)
    assert folder.put("file-1", [b"a\n", b"b\n"]) == 4 and folder.has("file-1")
    assert (folder.path / "file-1").stat().st_mode & 0o777 == 0o600 and folder.path.stat().st_mode & 0o777 == 0o700
    first = folder.lock("batch_1")
    assert first is not None and folder.lock("batch_1") is None
    first.close()
    again = folder.lock("batch_1")
    assert again is not None
    again.close()


async def test_a_disk_that_is_nearly_full_takes_no_file(tmp_path, monkeypatch):
    async with open_door(tmp_path) as door:
        free = shutil.disk_usage(tmp_path)._replace(free=1024 * MIB + MIB)
        monkeypatch.setattr(shutil, "disk_usage", lambda path: free)
        body, _ = form(DATA, "user_data", "large.bin")
        status, told = await send(door, body)
        assert status == 507 and left(door) == []
        assert "min_free_disk_mb" in told["error"]["message"] and told["error"]["type"] == "internal_server_error"
        status, _ = await send(door, form(b"small", "user_data", "small.bin")[0])
        assert status == 200
