"""Files and batches over HTTP, run by the gateway itself."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

from penstock.mock import Rule, Script, Step
from tests.server.managed import YAML, Managed, open_managed

CHAT = "/v1/chat/completions"


def form(content: bytes, purpose: str = "batch", name: str = "in.jsonl", **fields: str) -> tuple[bytes, dict[str, str]]:
    """A form with a file: its body and its headers."""
    out = b""
    for field, value in {"purpose": purpose, **fields}.items():
        out += f'--bound\r\nContent-Disposition: form-data; name="{field}"\r\n\r\n{value}\r\n'.encode()
    out += f'--bound\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'.encode()
    out += b"Content-Type: application/jsonl\r\n\r\n" + content + b"\r\n--bound--\r\n"
    return out, {"content-type": "multipart/form-data; boundary=bound"}


def line(custom_id: Any, text: str = "hello", url: str = CHAT, model: str = "m", **more: Any) -> dict[str, Any]:
    body = {"model": model, "messages": [{"role": "user", "content": text}], **more}
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": body}


def jsonl(rows: list[Any]) -> bytes:
    return b"".join((row if isinstance(row, bytes) else json.dumps(row).encode()) + b"\n" for row in rows)


async def send(
    managed: Managed, content: bytes, key: str = "master", path: str = "/v1/files", **more: str
) -> tuple[int, Any]:
    body, headers = form(content, **more)
    headers["authorization"] = f"Bearer {managed.keys.get(key, key)}"
    status, _, answer = await managed.door.ask("POST", path, body, headers)
    return status, json.loads(answer)


async def make(
    managed: Managed, rows: list[Any], key: str = "master", endpoint: str = CHAT, **more: Any
) -> dict[str, Any]:
    status, file = await send(managed, jsonl(rows), key)
    assert status == 200, file
    return await managed.good(
        "/v1/batches", {"input_file_id": file["id"], "endpoint": endpoint, "completion_window": "24h", **more}, key
    )


async def ended(
    managed: Managed, id_: str, key: str = "master", seconds: float = 20.0, path: str = "/v1/batches"
) -> dict[str, Any]:
    end = time.monotonic() + seconds
    while True:
        batch = await managed.good(f"{path}/{id_}", key=key)
        if (
            batch.get("status") in ("completed", "failed", "expired", "cancelled")
            or batch.get("processing_status") == "ended"
        ):
            return batch
        assert time.monotonic() < end, batch
        await asyncio.sleep(0.05)


async def results(
    managed: Managed, batch: dict[str, Any], key: str = "master"
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is in the files of results, by custom_id: no id twice, in neither nor in both."""
    found: list[dict[str, Any]] = []
    for name in ("output_file_id", "error_file_id"):
        rows = {}
        if batch[name] is not None:
            status, _, data = await managed.door.ask(
                "GET", f"/v1/files/{batch[name]}/content", headers=head(managed, key)
            )
            assert status == 200 and data.endswith(b"\n")
            for raw in data.splitlines():
                row = json.loads(raw)
                assert row["custom_id"] not in rows
                rows[row["custom_id"]] = row
        found.append(rows)
    assert not found[0].keys() & found[1].keys()
    return found[0], found[1]


def head(managed: Managed, key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {managed.keys.get(key, key)}"}


async def test_a_batch_is_run_and_told(tmp_path):
    async with open_managed(tmp_path) as managed:
        rows = [line(f"r{number}", f"question {number}") for number in range(20)] + [line("bad", model="nobody")]
        batch = await make(managed, rows, metadata={"night": "one"})
        assert (batch["object"], batch["status"], batch["metadata"]) == ("batch", "validating", {"night": "one"})
        done = await ended(managed, batch["id"])
        assert done["status"] == "completed" and done["request_counts"] == {"total": 21, "completed": 20, "failed": 1}
        assert done["created_at"] <= done["in_progress_at"] <= done["finalizing_at"] <= done["completed_at"]
        good, bad = await results(managed, done)
        assert set(good) == {f"r{number}" for number in range(20)} and set(bad) == {"bad"}
        response = good["r7"]["response"]
        assert response["status_code"] == 200 and response["request_id"] and good["r7"]["error"] is None
        assert response["body"]["object"] == "chat.completion" and response["body"]["model"] == "m"
        assert (
            bad["bad"]["response"]["status_code"] == 400
            and "nobody" in bad["bad"]["response"]["body"]["error"]["message"]
        )
        sent = [asked.json["messages"][0]["content"] for asked in managed.door.mock.received]
        assert sorted(sent) == sorted(f"question {number}" for number in range(20)), "each is asked once"
        assert (
            done["usage"]["total_tokens"]
            == sum(row["response"]["body"]["usage"]["total_tokens"] for row in good.values())
            > 0
        )
        output = await managed.good(f"/v1/files/{done['output_file_id']}")
        assert output["purpose"] == "batch_output" and output["expires_at"] > output["created_at"]


async def test_faults_of_an_input_file_are_told_with_their_lines(tmp_path):
    async with open_managed(tmp_path) as managed:
        rows = [
            line("a"),
            b"{not json",
            line("a"),
            line("c", url="/v1/embeddings"),
            {"custom_id": 7, "method": "GET", "url": CHAT, "body": []},
            b"",
        ]
        done = await ended(managed, (await make(managed, rows))["id"])
        assert done["status"] == "failed" and done["failed_at"] and done["output_file_id"] is None
        faults = [(fault["line"], fault["code"], fault["param"]) for fault in done["errors"]["data"]]
        assert faults == [
            (2, "invalid_json_line", None),
            (3, "duplicate_custom_id", "custom_id"),
            (4, "mismatched_url", "url"),
            (5, "invalid_custom_id", "custom_id"),
            (5, "invalid_method", "method"),
            (5, "invalid_request_body", "body"),
        ]
        empty = await ended(managed, (await make(managed, [b"", b"  "]))["id"])
        assert [fault["code"] for fault in empty["errors"]["data"]] == ["empty_file"]
        assert managed.door.mock.received == [], "nothing of it is asked"


async def test_what_is_wrong_with_a_batch_or_a_file_is_said(tmp_path):
    async with open_managed(tmp_path) as managed:
        _, file = await send(managed, jsonl([line("a")]))
        _, other = await send(managed, b"x", purpose="user_data")
        for wrong, param in (
            ({"endpoint": "/v1/nothing"}, "endpoint"),
            ({"completion_window": "1h"}, "completion_window"),
            ({"input_file_id": None}, "input_file_id"),
            ({"input_file_id": "file-none"}, "id"),
            ({"input_file_id": other["id"]}, "input_file_id"),
            ({"metadata": {"a": 1}}, "metadata"),
            ({"custom_llm_provider": "nobody"}, "custom_llm_provider"),
        ):
            body = {"input_file_id": file["id"], "endpoint": CHAT, "completion_window": "24h", **wrong}
            assert (await managed.bad("/v1/batches", body))[2] == param, wrong
        assert (await send(managed, b"x", purpose="nothing"))[0] == 400
        assert (await send(managed, b"x", **{"expires_after[anchor]": "created_at", "expires_after[seconds]": "5"}))[
            0
        ] == 400
        _, short = await send(
            managed, b"x", **{"expires_after[anchor]": "created_at", "expires_after[seconds]": "7200"}
        )
        assert short["expires_at"] == short["created_at"] + 7200
        assert (await managed.bad("/v1/batches?limit=0", method="GET"))[2] == "limit"
        status, _, _ = await managed.door.ask(
            "GET", "/v1/files/..%2f..%2fsecret/content", headers=head(managed, "master")
        )
        assert status == 404


async def test_files_and_batches_are_their_keys_own(tmp_path):
    async with open_managed(tmp_path) as managed:
        await managed.key("one")
        await managed.key("two")
        batch = await make(managed, [line("a")], "one")
        done = await ended(managed, batch["id"], "one")
        for id_ in (done["input_file_id"], done["output_file_id"]):
            for method, path in (("GET", ""), ("GET", "/content"), ("DELETE", "")):
                status, _, _ = await managed.door.ask(method, f"/v1/files/{id_}{path}", headers=head(managed, "two"))
                assert status == 404, path
            assert (await managed.good(f"/v1/files/{id_}", key="master"))["id"] == id_, "an admin may"
        assert (await managed.bad(f"/v1/batches/{batch['id']}", key="two"))[0] == 404
        assert (await managed.bad(f"/v1/batches/{batch['id']}/cancel", {}, "two"))[0] == 404
        assert (await managed.bad("/v1/batches", {"input_file_id": done["input_file_id"], "endpoint": CHAT}, "two"))[
            0
        ] == 404
        assert (
            (await managed.good("/v1/batches", key="two"))["data"]
            == []
            == (await managed.good("/v1/files", key="two"))["data"]
        )
        assert [row["id"] for row in (await managed.good("/v1/batches", key="one"))["data"]] == [batch["id"]]
        assert {row["id"] for row in (await managed.good("/v1/files", key="one"))["data"]} == {
            done["input_file_id"],
            done["output_file_id"],
        }
        gone = await managed.good(f"/v1/files/{done['input_file_id']}", key="one", method="DELETE")
        assert gone == {"id": done["input_file_id"], "object": "file", "deleted": True}
        assert (await managed.bad(f"/v1/files/{done['input_file_id']}", key="one"))[0] == 404


async def test_lists_are_read_in_parts(tmp_path):
    async with open_managed(tmp_path) as managed:
        ids = [(await send(managed, b"%d" % number, purpose="user_data"))[1]["id"] for number in range(5)]
        first = await managed.good("/v1/files?limit=2")
        assert [row["id"] for row in first["data"]] == ids[:2:-1] and first["has_more"] and first["last_id"] == ids[3]
        rest = await managed.good(f"/v1/files?limit=9&after={ids[3]}&purpose=user_data")
        assert [row["id"] for row in rest["data"]] == ids[2::-1] and not rest["has_more"]
        assert [row["id"] for row in (await managed.good("/v1/files?order=asc"))["data"]] == ids
        assert (await managed.good("/v1/files?purpose=batch"))["data"] == []


async def test_a_batch_is_cancelled_and_every_line_has_a_result(tmp_path):
    script = Script(rules=[Rule(step=Step(latency_ms=150))])
    async with open_managed(tmp_path, YAML + "general_settings: {batch_concurrency: 3}\n", script=script) as managed:
        batch = await make(managed, [line(f"r{number}") for number in range(40)])
        while not managed.door.mock.received:
            await asyncio.sleep(0.01)
        told = await managed.good(f"/v1/batches/{batch['id']}/cancel", {})
        assert told["status"] == "cancelling" and told["cancelling_at"]
        done = await ended(managed, batch["id"])
        assert done["status"] == "cancelled" and done["cancelled_at"]
        good, bad = await results(managed, done)
        assert len(good) + len(bad) == 40 and 1 <= len(good) < 40
        assert {row["error"]["code"] for row in bad.values()} == {"batch_cancelled"} and all(
            row["response"] is None for row in bad.values()
        )
        assert len(managed.door.mock.received) == len(good), "what was asked has its answer"
        assert done["request_counts"] == {"total": 40, "completed": len(good), "failed": len(bad)}
        assert (await managed.good(f"/v1/batches/{batch['id']}/cancel", {}))["status"] == "cancelled"


async def test_no_more_lines_are_on_their_way_than_may_be(tmp_path):
    script = Script(rules=[Rule(step=Step(latency_ms=30))])
    async with open_managed(tmp_path, YAML + "general_settings: {batch_concurrency: 2}\n", script=script) as managed:
        made = [await make(managed, [line(f"{n}-{number}") for number in range(6)]) for n in range(2)]
        most = 0
        while {(await managed.good(f"/v1/batches/{one['id']}"))["status"] for one in made} != {"completed"}:
            most = max(most, len([one for one in managed.door.gateway.active if one.path == CHAT]))
            await asyncio.sleep(0.005)
        assert most == 2


async def test_a_batch_is_over_after_a_day(tmp_path, monkeypatch):
    monkeypatch.setattr("penstock.server.batches.openai.WINDOW", 0.5)
    script = Script(rules=[Rule(step=Step(latency_ms=300))])
    async with open_managed(tmp_path, YAML + "general_settings: {batch_concurrency: 1}\n", script=script) as managed:
        done = await ended(managed, (await make(managed, [line(f"r{number}") for number in range(20)]))["id"])
        assert done["status"] == "expired" and done["expired_at"]
        good, bad = await results(managed, done)
        assert (
            len(good) + len(bad) == 20 and good and {row["error"]["code"] for row in bad.values()} == {"batch_expired"}
        )


async def test_who_is_over_a_limit_waits_and_a_stream_is_refused(tmp_path):
    script = Script(rules=[Rule(nth=(1, 2), step=Step(status=429))])
    async with open_managed(tmp_path, script=script) as managed:
        done = await ended(managed, (await make(managed, [line("good"), line("streams", stream=True)]))["id"])
        good, bad = await results(managed, done)
        assert set(good) == {"good"} and len(managed.door.mock.received) == 3
        assert bad["streams"]["response"]["body"]["error"]["param"] == "stream"


async def test_a_key_that_is_blocked_meanwhile_asks_no_more(tmp_path):
    script = Script(rules=[Rule(step=Step(latency_ms=100))])
    async with open_managed(tmp_path, YAML + "general_settings: {batch_concurrency: 1}\n", script=script) as managed:
        key = await managed.key("one")
        batch = await make(managed, [line(f"r{number}") for number in range(10)], "one")
        while not managed.door.mock.received:
            await asyncio.sleep(0.01)
        await managed.good("/key/block", {"key": key})
        done = await ended(managed, batch["id"])
        good, bad = await results(managed, done)
        assert bad and {row["response"]["status_code"] for row in bad.values()} == {401} and len(good) < 10


async def test_messages_in_batches_for_every_model(tmp_path):
    async with open_managed(tmp_path) as managed:
        await managed.key("one")
        await managed.key("two")
        params = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hello"}]}
        asked = [{"custom_id": "a", "params": params}, {"custom_id": "b", "params": params | {"model": "nobody"}}]
        path = "/v1/messages/batches"
        made = await managed.good(path, {"requests": asked}, "one")
        assert (
            made["type"] == "message_batch"
            and made["processing_status"] == "in_progress"
            and made["request_counts"]["processing"] == 2
        )
        done = await ended(managed, made["id"], "one", path=path)
        assert done["request_counts"] == {"processing": 0, "succeeded": 1, "errored": 1, "canceled": 0, "expired": 0}
        assert done["ended_at"] and done["results_url"].endswith(f"/v1/messages/batches/{made['id']}/results")
        status, headers, data = await managed.door.ask(
            "GET", f"{path}/{made['id']}/results", headers=head(managed, "one")
        )
        assert status == 200 and headers["content-type"] == "application/x-jsonl"
        rows = {row["custom_id"]: row["result"] for row in map(json.loads, data.splitlines())}
        assert (
            rows["a"]["type"] == "succeeded"
            and rows["a"]["message"]["type"] == "message"
            and rows["a"]["message"]["model"] == "m"
        )
        assert (
            rows["b"]["type"] == "errored"
            and rows["b"]["error"]["type"] == "error"
            and rows["b"]["error"]["error"]["message"]
        )
        status, told = await managed.ask(f"{path}/{made['id']}", key="two")
        assert status == 404 and told["type"] == "error"
        more = [await managed.good(path, {"requests": asked[:1]}, "one") for _ in range(2)]
        page = await managed.good(f"{path}?limit=2", key="one")
        assert [row["id"] for row in page["data"]] == [more[1]["id"], more[0]["id"]] and page["has_more"]
        back = await managed.good(f"{path}?limit=1&before_id={made['id']}", key="one")
        assert [row["id"] for row in back["data"]] == [more[0]["id"]]
        assert (await managed.good("/v1/batches", key="one"))["data"] == [], "they are no batches of OpenAI's"
        gone = await managed.good(f"{path}/{made['id']}", key="one", method="DELETE")
        assert gone == {"id": made["id"], "type": "message_batch_deleted"}
        assert (await managed.ask(f"{path}/{made['id']}/results", key="one"))[0] == 404
        for wrong in (
            [],
            [asked[0], asked[0]],
            [{"custom_id": "a b", "params": params}],
            [{"custom_id": "a", "params": 5}],
        ):
            assert (await managed.ask(path, {"requests": wrong}, "one"))[0] == 400


async def test_messages_are_cancelled(tmp_path):
    script = Script(rules=[Rule(step=Step(latency_ms=200))])
    async with open_managed(tmp_path, YAML + "general_settings: {batch_concurrency: 1}\n", script=script) as managed:
        params = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hello"}]}
        path = "/v1/messages/batches"
        made = await managed.good(path, {"requests": [{"custom_id": f"r{n}", "params": params} for n in range(9)]})
        assert (await managed.ask(f"{path}/{made['id']}", method="DELETE"))[0] == 400
        assert (await managed.ask(f"{path}/{made['id']}/results"))[0] == 404
        told = await managed.good(f"{path}/{made['id']}/cancel", {})
        assert told["processing_status"] == "canceling" and told["cancel_initiated_at"]
        done = await ended(managed, made["id"], path=path)
        counts = done["request_counts"]
        assert counts["canceled"] >= 1 and counts["canceled"] + counts["succeeded"] == 9 and not counts["processing"]
        _, _, data = await managed.door.ask("GET", f"{path}/{made['id']}/results", headers=head(managed, "master"))
        assert (
            sorted(json.loads(raw)["result"]["type"] for raw in data.splitlines())
            == ["canceled"] * counts["canceled"] + ["succeeded"] * counts["succeeded"]
        )


async def test_who_only_a_request_can_name_makes_no_batch(tmp_path, monkeypatch):
    async with open_managed(tmp_path) as managed:
        room = managed.door.gateway.batches
        assert room.find_owner("key nobody") is None and room.find_owner("") is None and room.find_owner("token x") is None
        monkeypatch.setattr(room, "find_owner", lambda tenant: None)
        _, file = await send(managed, jsonl([line("a")]))
        status, text, _ = await managed.bad("/v1/batches", {"input_file_id": file["id"], "endpoint": CHAT})
        assert status == 403 and "virtual key" in text


async def test_a_key_that_is_gone_asks_no_more(tmp_path):
    script = Script(rules=[Rule(step=Step(latency_ms=100))])
    async with open_managed(tmp_path, YAML + "general_settings: {batch_concurrency: 1}\n", script=script) as managed:
        key = await managed.key("one")
        batch = await make(managed, [line(f"r{number}") for number in range(10)], "one")
        while not managed.door.mock.received:
            await asyncio.sleep(0.01)
        await managed.good("/key/delete", {"keys": [key]})
        good, bad = await results(managed, await ended(managed, batch["id"]))
        assert len(good) < 10 and {row["response"]["body"]["error"]["message"].partition(",")[0] for row in bad.values()} == {"Authentication Error"}


async def test_a_batch_goes_on_after_a_fault_of_the_store(tmp_path, monkeypatch):
    monkeypatch.setattr("penstock.server.batches.room.REST", 0.05)
    async with open_managed(tmp_path) as managed:
        room, failing = managed.door.gateway.batches, [OSError("away"), ValueError("a bug"), OSError("away")]
        real = room.store.waiting

        async def waiting(now: float, limit: int = 20) -> Any:
            if failing:
                raise failing.pop()
            return await real(now, limit)

        monkeypatch.setattr(room.store, "waiting", waiting)
        done = await ended(managed, (await make(managed, [line("a")]))["id"])
        assert done["status"] == "completed" and not failing
