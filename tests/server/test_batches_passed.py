"""Files and batches that a provider has: passed on to it, and known as their maker's from then on."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.server.managed import YAML, Managed, open_managed
from tests.server.test_batches import form, head, send


class Vendor(BaseHTTPRequestHandler):
    """A provider that has files and batches: what it was asked, and what it says."""

    asked: list[tuple[str, str, dict[str, str], bytes]]
    states = ["completed"]

    def log_message(self, *args: Any) -> None:
        pass

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        self.asked.append((self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body))
        path, status, told = self.path.partition("?")[0], 200, {}
        if path == "/v1/files" and self.command == "POST":
            told = {"id": "file-theirs", "object": "file", "purpose": "batch", "bytes": 5, "filename": "in.jsonl"}
        elif path == "/v1/batches" and self.command == "POST":
            told = {"id": "batch_theirs", "object": "batch", "status": "in_progress", "input_file_id": "file-theirs"}
        elif path == "/v1/batches/batch_theirs":
            used = {"input_tokens": 1000, "output_tokens": 100, "total_tokens": 1100, "input_tokens_details": {"cached_tokens": 0}}
            told = {"id": "batch_theirs", "object": "batch", "status": self.states[0], "output_file_id": "file-out"}
            told |= {"model": "gpt-4o-mini", "usage": used}
            del self.states[: len(self.states) > 1]
        elif path in ("/v1/files/file-theirs", "/v1/files/file-out"):
            told = {"id": path.rpartition("/")[2], "object": "file", "deleted": self.command == "DELETE"}
        elif path == "/v1/files/file-out/content":
            told = {"line": 1}
        elif path == "/v1/files":
            told = {"object": "list", "data": [{"id": "everybodys"}]}
        else:
            status, told = 404, {"error": {"message": "none"}}
        data = json.dumps(told).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_DELETE = _answer


@pytest.fixture
def vendor() -> Iterator[tuple[str, list[Any]]]:
    asked: list[Any] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("V", (Vendor,), {"asked": asked}))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1", asked
    server.shutdown()
    thread.join()
    server.server_close()


def env(url: str) -> dict[str, str]:
    return {"OPENAI_API_KEY": "sk-the-vendors-own-key", "OPENAI_API_BASE": url}


async def content(managed: Managed, id_: str, key: str) -> tuple[int, bytes]:
    status, _, data = await managed.door.ask("GET", f"/v1/files/{id_}/content", headers=head(managed, key))
    return status, data


@pytest.mark.parametrize("way", ["query", "header", "form"])
async def test_a_provider_has_it_and_its_maker_alone_may_read_it(way, tmp_path, vendor):
    url, asked = vendor
    async with open_managed(tmp_path, YAML, env=env(url)) as managed:
        await managed.key("one")
        await managed.key("two")
        body, headers = form(b"12345", **({"custom_llm_provider": "openai"} if way == "form" else {}))
        headers |= head(managed, "one") | ({"custom-llm-provider": "openai"} if way == "header" else {})
        status, _, answer = await managed.door.ask("POST", "/v1/files" + ("?custom_llm_provider=openai" if way == "query" else ""), body, headers)
        assert status == 200 and json.loads(answer)["id"] == "file-theirs"
        method, path, sent, data = asked[0]
        assert (method, path, sent["authorization"]) == ("POST", "/v1/files", "Bearer sk-the-vendors-own-key")
        assert b"12345" in data and b'name="purpose"' in data and b"custom_llm_provider" not in data and "custom-llm-provider" not in sent
        made = await managed.good("/v1/batches", {"input_file_id": "file-theirs", "endpoint": "/v1/chat/completions", "completion_window": "24h"}, "one")
        assert made["id"] == "batch_theirs" and json.loads(asked[-1][3])["input_file_id"] == "file-theirs"
        assert (await managed.ask("/v1/batches/batch_theirs", key="two"))[0] == 404
        assert (await managed.good("/v1/batches/batch_theirs", key="one"))["output_file_id"] == "file-out"
        assert await content(managed, "file-out", "one") == (200, b'{"line": 1}')
        assert asked[-1][1] == "/v1/files/file-out/content"
        count = len(asked)
        for id_ in ("file-out", "file-theirs"):
            assert (await content(managed, id_, "two"))[0] == 404
            assert (await managed.ask(f"/v1/files/{id_}?custom_llm_provider=openai", key="two"))[0] == 404
        assert (await managed.ask("/v1/batches", {"input_file_id": "file-theirs", "endpoint": "/v1/x"}, "two"))[0] == 404
        assert len(asked) == count, "the provider is not even asked"
        assert {row["id"] for row in (await managed.good("/v1/files", key="one"))["data"]} == {"file-theirs", "file-out"}
        assert [row["status"] for row in (await managed.good("/v1/batches", key="one"))["data"]] == ["completed"]
        assert (await managed.good("/v1/files/file-theirs", key="one", method="DELETE"))["deleted"]
        assert (await managed.ask("/v1/files/file-theirs", key="one"))[0] == 404


async def test_lists_of_a_whole_account_are_an_admins(tmp_path, vendor):
    url, asked = vendor
    async with open_managed(tmp_path, YAML, env=env(url)) as managed:
        await managed.key("one")
        assert (await managed.ask("/v1/files?custom_llm_provider=openai", key="one"))[0] == 403 and asked == []
        assert (await managed.good("/v1/files?custom_llm_provider=openai&limit=3"))["data"] == [{"id": "everybodys"}]
        assert asked[0][1] == "/v1/files?limit=3"
        assert (await managed.ask("/v1/batches/none?custom_llm_provider=openai"))[0] == 404


async def test_nothing_is_passed_on_where_that_is_off_or_nobody_knows_the_provider(tmp_path, vendor):
    url, asked = vendor
    async with open_managed(tmp_path, YAML + "general_settings: {pass_through: false}\n", env=env(url)) as managed:
        status, told = await send(managed, b"1", custom_llm_provider="openai")
        assert status == 401 and "pass_through" in told["error"]["message"] and asked == []
        status, told = await send(managed, b"1", custom_llm_provider="nobody")
        assert status == 400 and told["error"]["param"] == "custom_llm_provider"
        assert list(managed.door.gateway.batches.folder.path.iterdir()) == [], "what was received is gone again"


async def test_a_batch_of_a_providers_is_paid_once_at_the_price_of_batches(tmp_path, vendor, monkeypatch):
    url, _ = vendor
    monkeypatch.setattr(Vendor, "states", ["in_progress", "in_progress", "completed"])
    async with open_managed(tmp_path, YAML, env=env(url)) as managed:
        await managed.key("one")
        await send(managed, b"12345", "one", custom_llm_provider="openai")
        made = await managed.good("/v1/batches", {"input_file_id": "file-theirs", "endpoint": "/v1/x"}, "one")
        for key in ("one", "master", "master", "one", "one"):
            await managed.good(f"/v1/batches/{made['id']}", key=key)
        await managed.good("/openai/v1/batches/batch_theirs")
        await managed.door.settle()
        paid = [record for record in managed.door.records if record.cost]
        assert [(record.cost, record.key, record.model) for record in paid] == [(Decimal("0.000105"), "one", "gpt-4o-mini")]
