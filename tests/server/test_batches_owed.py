"""A provider's batches are paid once, by whoever made them: from their results, or from what they tell themselves."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.server.books import MASTER, open_books
from tests.server.managed import YAML, Managed, open_managed

HAIKU, SONNET = "claude-haiku-4-5", "claude-sonnet-4-5"
DUE = Decimal("0.00175") + Decimal("0.0105")
"""1000 + 500 tokens of Haiku at half of $1 and $5, 2000 + 1000 of Sonnet at half of $3 and $15."""


def succeeded(id_: str, model: str, read: int, written: int) -> dict[str, Any]:
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": model, "stop_reason": "end_turn"}
    message |= {"content": [{"type": "text", "text": 'a "usage" \\n'}], "usage": {"input_tokens": read, "output_tokens": written}}
    return {"custom_id": id_, "result": {"type": "succeeded", "message": message}}


RESULTS = [
    succeeded("a", HAIKU, 400, 200),
    {"custom_id": "b", "result": {"type": "errored", "error": {"type": "error", "error": {"type": "overloaded_error"}}}},
    succeeded("c", SONNET, 2000, 1000),
    {"custom_id": "d", "result": {"type": "expired"}},
    succeeded("e", HAIKU, 600, 300),
]


class Vendor(BaseHTTPRequestHandler):
    """Anthropic's batches, and those of a provider in OpenAI's form that tells nothing of their use but in results."""

    protocol_version = "HTTP/1.1"
    asked: list[tuple[str, str]]
    told: dict[str, Any]  # how many looks until it has ended; whether results fail

    def log_message(self, *args: Any) -> None:
        pass

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("content-length") or 0))
        path = self.path.partition("?")[0]
        self.asked.append((self.command, path))
        base = f"http://127.0.0.1:{self.server.server_port}"  # type: ignore[attr-defined]
        kind, status, data = "application/json", 200, b""
        if path.endswith("/results") or path.endswith("/content"):
            kind = "application/x-jsonl" if path.endswith("/results") else "application/octet-stream"
            rows = RESULTS if path.endswith("/results") else OUTPUT
            data = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
            if self.told.get("broken"):
                status, kind, data = 500, "application/json", b'{"error": {"message": "no"}}'
        elif self.command == "DELETE":
            data = b'{"id": "msgbatch_theirs", "type": "message_batch_deleted"}'
        elif "/messages/" in path:
            over = self._look()
            told: dict[str, Any] = {"id": "msgbatch_theirs", "type": "message_batch", "processing_status": "ended" if over else "in_progress"}
            told["results_url"] = f"{base}/v1/messages/batches/msgbatch_theirs/results" if over else None
            data = json.dumps(told).encode()
        else:
            over = self._look()
            status_ = "completed" if over else "in_progress"
            data = json.dumps({"id": "batch_theirs", "object": "batch", "status": status_, "output_file_id": "file-out" if over else None}).encode()
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _look(self) -> bool:
        if self.command == "POST":
            return False
        self.told["looks"] = self.told.get("looks", 0) - 1
        return bool(self.told["looks"] < 0)

    do_GET = do_POST = do_DELETE = _answer


OUTPUT = [
    {"custom_id": "a", "response": {"status_code": 200, "body": {"model": "gpt-4o-mini", "usage": {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}}}},
    {"custom_id": "b", "response": {"status_code": 500, "body": {"usage": {"prompt_tokens": 9, "completion_tokens": 9, "total_tokens": 18}}}},
]


@pytest.fixture
def vendor() -> Iterator[tuple[str, list[Any], dict[str, Any]]]:
    asked: list[Any] = []
    told: dict[str, Any] = {}
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("V", (Vendor,), {"asked": asked, "told": told}))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked, told
    server.shutdown()
    thread.join()
    server.server_close()


def env(url: str) -> dict[str, str]:
    return {"ANTHROPIC_API_KEY": "sk-ant-vendors", "ANTHROPIC_API_BASE": url, "OPENAI_API_KEY": "sk-v", "OPENAI_API_BASE": f"{url}/v1"}


ASKED = {"requests": [{"custom_id": "a", "params": {"model": HAIKU, "max_tokens": 9, "messages": []}}]}
PATH = "/v1/messages/batches"


async def made(managed: Managed) -> str:
    for name in ("one", "two"):
        await managed.key(name)
    batch = await managed.good(f"{PATH}?custom_llm_provider=anthropic", ASKED, "one")
    return f"{PATH}/{batch['id']}"


async def results(managed: Managed, path: str, key: str) -> int:
    headers = {"authorization": f"Bearer {managed.keys[key]}"}
    status, _, data = await managed.door.ask("GET", f"{path}/results", headers=headers)
    if status == 200:
        assert [json.loads(row) for row in data.splitlines()] == RESULTS, "what the client is given is untouched"
    return status


async def paid(managed: Managed) -> list[tuple[Decimal, str, str]]:
    await managed.door.settle()
    return [(record.cost, record.key, record.model) for record in managed.door.records if record.cost]


OWED = [(Decimal("0.00175"), "one", HAIKU), (Decimal("0.0105"), "one", SONNET)]


@pytest.mark.parametrize("first", ["results", "look", "delete", "admin looks", "admin's results", "together"])
async def test_whoever_sees_first_that_it_has_ended_has_its_maker_pay_and_nobody_pays_twice(first, tmp_path, vendor):
    url, _, told = vendor
    async with open_managed(tmp_path, YAML, env=env(url)) as managed:
        path = await made(managed)
        told["looks"] = 1
        assert (await managed.good(path, key="one"))["processing_status"] == "in_progress" and await paid(managed) == []
        key = "master" if "admin" in first else "one"
        if first == "together":
            await asyncio.gather(*(results(managed, path, key) for key in ("one", "master", "one")), *(managed.good(path, key="one") for _ in range(3)))
        elif "results" in first:
            assert await results(managed, path, key) == 200
        elif first == "delete":
            await managed.good(path, key=key, method="DELETE")
        else:
            await managed.good(path, key=key)
        assert await paid(managed) == OWED
        if first != "delete":
            for key in ("one", "master", "one"):
                assert await results(managed, path, key) == 200
                await managed.good(path, key=key)
            await managed.good("/anthropic" + path)
            await managed.good(path, key="one", method="DELETE")
        assert (await managed.ask(path, key="one"))[0] == 404
        assert await paid(managed) == OWED


@pytest.mark.parametrize("looks", ["/anthropic", ""])
async def test_a_batch_that_is_made_on_the_providers_own_path_is_paid_by_its_maker_too(looks, tmp_path, vendor):
    url, _, told = vendor
    async with open_managed(tmp_path, YAML, env=env(url)) as managed:
        for name in ("one", "two"):
            await managed.key(name)
        batch = await managed.good("/anthropic" + PATH, ASKED, "one")
        told["looks"] = 1
        for key in ("two", "master", "one", "one") if looks else ("one", "master", "one"):
            await managed.good(f"{looks}{PATH}/{batch['id']}", key=key)
        await managed.good(f"/anthropic{PATH}/{batch['id']}", key="two")
        assert await paid(managed) == OWED
        made = await managed.good("/openai/v1/batches", {"input_file_id": "f", "endpoint": "/v1/x"}, "two")
        for _ in range(2):
            await managed.good(f"/openai/v1/batches/{made['id']}", key="master")
        assert await paid(managed) == [*OWED, (Decimal("0.000105"), "two", "gpt-4o-mini")]


async def test_a_batch_that_somebody_else_made_is_nobodys_to_pay(tmp_path, vendor):
    url, _, _ = vendor
    async with open_managed(tmp_path, YAML, env=env(url)) as managed:
        await managed.key("one")
        for path in ("/anthropic/v1/messages/batches/msgbatch_theirs", "/openai/v1/batches/batch_theirs"):
            await managed.good(path, key="one")
        assert await paid(managed) == [] and await managed.door.gateway.batches.store.batch("msgbatch_theirs") is None


async def test_only_its_maker_reads_it_and_is_led_here_for_the_results(tmp_path, vendor):
    url, asked, told = vendor
    async with open_managed(tmp_path, YAML, env=env(url)) as managed:
        path = await made(managed)
        count = len(asked)
        assert await results(managed, path, "two") == 404 and (await managed.ask(path, key="two"))[0] == 404
        assert len(asked) == count and await paid(managed) == []
        told["looks"] = 0
        batch = await managed.good(path, key="one")
        assert batch["results_url"].endswith(path + "/results") and not batch["results_url"].startswith(url)


async def test_results_that_cannot_be_read_are_paid_by_the_next_look(tmp_path, vendor):
    url, _, told = vendor
    async with open_managed(tmp_path, YAML, env=env(url)) as managed:
        path = await made(managed)
        told["broken"] = True
        assert (await managed.good(path, key="one"))["processing_status"] == "ended" and await paid(managed) == []
        del told["broken"]
        await managed.good(path, key="one")
        assert await paid(managed) == OWED


async def test_who_is_gone_pays_nothing_and_it_is_written_down_once(tmp_path, vendor):
    url, _, _ = vendor
    async with open_managed(tmp_path, YAML, env=env(url)) as managed:
        path = await made(managed)
        owner = f"key {managed.id('one')}"
        await managed.good("/key/delete", {"keys": [managed.keys["one"]]})
        for _ in range(2):
            await managed.good(path)
        assert await paid(managed) == [(cost, owner, model) for cost, _, model in OWED]


async def test_a_provider_that_tells_nothing_of_a_batch_is_paid_by_its_output_file(tmp_path, vendor):
    url, _, told = vendor
    async with open_managed(tmp_path, YAML, env=env(url)) as managed:
        await managed.key("one")
        batch = await managed.good("/v1/batches?custom_llm_provider=openai", {"input_file_id": "f", "endpoint": "/v1/x"}, "one")
        told["looks"] = 1
        for key in ("one", "master", "one", "one"):
            await managed.good(f"/v1/batches/{batch['id']}", key=key)
        assert await paid(managed) == [(Decimal("0.000105"), "one", "gpt-4o-mini")]


async def test_what_is_owed_counts_in_the_books_also_over_a_budget(tmp_path, vendor):
    url, _, _ = vendor
    async with open_books(tmp_path, env=env(url)) as door:
        key = await door.key("one", max_budget=0.001, spend=0)
        headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        status, _, data = await door.ask("POST", f"{PATH}?custom_llm_provider=anthropic", json.dumps(ASKED).encode(), headers)
        assert status == 200, data
        id_ = json.loads(data)["id"]
        for _ in range(2):
            assert (await door.ask("GET", f"{PATH}/{id_}", headers={"authorization": f"Bearer {MASTER}"}))[0] == 200
        await door.settle()
        assert door.books.ledger.spent(door.account(key)) == int(DUE * 10**12)
        assert (await door.chat(key))[0] == 422, "and the budget is spent"
