"""Why a request goes where it goes: the page, the header, the command."""

from __future__ import annotations

import asyncio
import json
import time

import pytest
from click.testing import CliRunner

from penstock.cli.explain import explain
from penstock.core.record import Record
from penstock.mock import Script, Step
from penstock.runtime.line import Line, Places
from penstock.runtime.record_text import as_json, as_text
from tests.door import HELLO, open_door
from tests.server.test_routing import ask, config, says

OTHER = '  - {model_name: other, litellm_params: {model: openai/c, api_base: "{mock}/v1", api_key: sk-u}}\n'


def with_fallback(settings: str) -> str:
    return config("a", "b", settings=f"fallbacks: [{{m: [other]}}], {settings}").replace("router_s", OTHER + "router_s")


def parts(ms: dict[str, float]) -> float:
    """The sum of what the time splits into."""
    before = () if "body" in ms else ("auth",)  # a call whose body came later begins when it was there
    return sum(ms.get(name, 0.0) for name in (*before, "queue", "read", "waits", "upstream", "translate"))


async def test_the_page_names_who_is_left_out_and_why(tmp_path):
    async with open_door(tmp_path, with_fallback("cooldown_time: 30")) as door:
        door.mock.script = says(a=Step(status=429, headers={"retry-after": None}))
        for _ in range(10):
            await ask(door)
        status, _, body = await door.ask("GET", "/v1/route/explain?model=m")
        told = json.loads(body)
        assert status == 200 and told["model"] == "m" and told["fallbacks"] == {"any other error": ["other"]}
        first, second = told["groups"]
        assert [first["group"], second["group"]] == ["m", "other"] and first["strategy"] == "simple-shuffle"
        by_name = {one["deployment"]: one for one in first["candidates"]}
        assert "rests for" in by_name["openai/a"]["left_out"] and not by_name["openai/a"]["may_be_asked"]
        assert by_name["openai/b"]["may_be_asked"] and by_name["openai/b"]["requests_this_minute"] >= 5
        status, _, body = await door.post({**HELLO, "tags": ["x"]}, path="/v1/route/explain")
        assert status == 200 and json.loads(body)["groups"][0]["group"] == "m"
        assert b"sk-u" not in body
        for query in ("", "?model=", "?model=nope"):
            assert (await door.ask("GET", f"/v1/route/explain{query}"))[0] == 400


async def test_a_client_that_asks_is_told_what_each_attempt_did(tmp_path, no_pauses):
    async with open_door(tmp_path, with_fallback("cooldown_time: 30")) as door:
        assert "x-penstock-route" not in (await ask(door))[1]
        door.mock.script = says(a=Step(status=500), b=Step(status=503))
        for stream in (False, True):
            _, headers, _ = await door.post({**HELLO, "stream": stream}, x_penstock_route="1")
            told = json.loads(headers["x-penstock-route"])
            assert {one["deployment"] for one in told["candidates"]} == {"openai/a", "openai/b"}
            names = [(one["deployment"], one.get("error")) for one in told["attempts"]]
            assert set(names[:-1]) <= {("openai/a", "upstream_error"), ("openai/b", "upstream_unavailable")}
            assert names[-1] == ("openai/c", None) and told["attempts"][-1]["group"] == "other"
            ms = told["ms"]
            assert parts(ms) == pytest.approx(ms["total"], abs=0.1) and ms["ttft"] <= ms["total"]
            assert sum(one["upstream"] for one in told["attempts"]) == pytest.approx(ms["upstream"], abs=0.05)
            assert all(one["first_byte"] <= one["upstream"] + 0.05 for one in told["attempts"])
        door.mock.script = Script(default=Step(status=401))
        status, headers, _ = await door.post(HELLO, x_penstock_route="1")
        told = json.loads(headers["x-penstock-route"])
        assert status >= 400 and all(one["error"] == "upstream_auth" for one in told["attempts"])


async def test_the_same_deployment_again_is_told_again(tmp_path):
    async with open_door(tmp_path, config("a", settings="")) as door:
        door.mock.queue([Step(status=500, headers={"retry-after": "0"})])
        _, headers, _ = await door.post(HELLO, x_penstock_route="1")
        told = json.loads(headers["x-penstock-route"])["attempts"]
        assert [one.get("error") for one in told] == ["upstream_error", None]


async def test_the_command_asks_a_running_gateway(tmp_path):
    async with open_door(tmp_path, with_fallback("cooldown_time: 30"), master_key="sk-m") as door:
        body = tmp_path / "request.json"
        body.write_text(json.dumps({**HELLO, "tags": ["x"]}))

        async def run(*args: str) -> tuple[int, str]:
            ran = await asyncio.to_thread(CliRunner().invoke, explain, ["--url", door.url, *args])
            return ran.exit_code, ran.output

        code, text = await run("--model", "m", "--body", str(body), "--key", "sk-m")
        assert code == 0 and "+ openai/a" in text and "after any other error: other" in text
        code, text = await run("--model", "m", "--key", "sk-m", "--json")
        assert code == 0 and json.loads(text)["model"] == "m"
        for args, said in (
            (("--model", "m"), "api key"),
            (("--model", "nope", "--key", "sk-m"), "no such model"),
        ):
            code, text = await run(*args)
            assert code == 1 and said in text.lower()
    ran = CliRunner().invoke(explain, ["--url", "http://127.0.0.1:1", "--model", "m"])
    assert ran.exit_code == 1 and "is the gateway running?" in ran.output


async def test_the_page_tells_what_a_request_s_own_words_make_of_the_plan(tmp_path):
    third = OTHER.replace("name: other", "name: third")
    text = (
        with_fallback("cooldown_time: 30")
        .replace("[other]}", "[other]}, {other: [third]}")
        .replace("router_s", third + "router_s")
    )
    async with open_door(tmp_path, text) as door:
        told = json.loads((await door.ask("GET", "/v1/route/explain?model=m"))[2])
        assert [group["group"] for group in told["groups"]] == ["m", "other", "third"]
        assert told["groups"][1]["fallbacks"] == {"any other error": ["third"]}
        _, _, body = await door.post({**HELLO, "fallbacks": ["third"], "num_retries": 7}, path="/v1/route/explain")
        told = json.loads(body)
        assert told["retries"] == 7 and told["fallbacks"] == {"any other error": ["third"]}
        _, _, body = await door.post({**HELLO, "disable_fallbacks": True}, path="/v1/route/explain")
        assert json.loads(body)["fallbacks"] == {}
        status, _, body = await door.post({**HELLO, "fallbacks": ["thrd"]}, path="/v1/route/explain")
        assert status == 400 and b"fallbacks[0] names the model 'thrd'" in body


def told_by(headers) -> dict:
    return json.loads(headers["x-penstock-route"])


async def test_the_time_of_each_attempt_splits(tmp_path):
    """A connection is opened once, and said to be kept after that; the wait before another try is a part of its own."""
    async with open_door(tmp_path, config("a", settings="retry_after: 1")) as door:
        door.mock.queue([Step(status=500, headers={"retry-after": None}), Step(latency_ms=200)])
        _, headers, _ = await door.post(HELLO, x_penstock_route="1")
        told = told_by(headers)
        first, second = told["attempts"]
        assert first["connect"] > 0 and not first["kept"] and second["connect"] == 0 and second["kept"]
        assert first["error"] == "upstream_error" and first["upstream"] >= first["connect"]
        assert 200 <= second["first_byte"] <= second["upstream"] < 900
        ms = told["ms"]
        assert 1000 <= ms["waits"] < 1400 and "queue" not in ms
        assert parts(ms) == pytest.approx(ms["total"], abs=0.1)


async def test_translating_is_told_apart_from_the_upstream(tmp_path):
    text = config("a").replace("openai/a", "anthropic/claude-x").replace("/v1", "")
    async with open_door(tmp_path, text) as door:
        long = {**HELLO, "messages": [{"role": "user", "content": "x" * 50} for _ in range(2000)]}
        _, headers, _ = await door.post(long, x_penstock_route="1")
        assert headers["x-penstock-lane"] == "cross"
        ms, [attempt] = told_by(headers)["ms"], told_by(headers)["attempts"]
        assert ms["translate"] == attempt["translate"] > 1 and parts(ms) == pytest.approx(ms["total"], abs=0.1)


@pytest.mark.parametrize("where", ["gate", "group"])
async def test_time_in_a_line_is_told(tmp_path, where):
    at_gate = where == "gate"
    text = config("a", more="" if at_gate else "max_parallel_requests: 1")
    async with open_door(tmp_path, text) as door:
        door.gateway.gate.places = Places(1, Line()) if at_gate else None
        door.mock.script = Script(default=Step(latency_ms=300))
        answers = await asyncio.gather(*(door.post(HELLO, x_penstock_route="1") for _ in range(2)))
        first, second = sorted((told_by(headers)["ms"] for _, headers, _ in answers), key=lambda ms: ms["total"])
        assert "queue" not in first and second["queue"] >= 200 and second["auth"] < 100
        assert parts(second) == pytest.approx(second["total"], abs=0.1)


async def test_a_body_that_comes_later_is_no_time_of_the_gateway(tmp_path):
    async with open_door(tmp_path, config("a")) as door:
        body = json.dumps(HELLO).encode()
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
        head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\nx-penstock-route: 1\r\n"
        writer.write(head + b"content-length: %d\r\n\r\n" % len(body))
        await asyncio.sleep(0.3)
        writer.write(body)
        answer = await reader.readuntil(b"\r\n\r\n")
        writer.close()
        [line] = [line for line in answer.split(b"\r\n") if line.startswith(b"x-penstock-route: ")]
        ms = json.loads(line.partition(b": ")[2])["ms"]
        assert ms["body"] >= 250 and ms["total"] < 200 and ms["auth"] < 50


async def test_the_rest_of_a_stream_is_in_the_record(tmp_path):
    async with open_door(tmp_path, config("a")) as door:
        door.mock.script = Script(default=Step(tokens_per_second=40))
        began = time.monotonic()
        _, headers, _ = await door.post({**HELLO, "stream": True}, x_penstock_route="1")
        took = (time.monotonic() - began) * 1000
        at_head = told_by(headers)["ms"]
        await asyncio.sleep(0.05)
        [record] = door.kept.records
        assert record.route is not None
        at_end = record.route["ms"]
        assert at_end["ttft"] == at_head["ttft"] <= at_head["total"] and "stream" not in at_head
        assert at_end["total"] == pytest.approx(at_head["total"] + at_end["stream"], abs=1)
        assert at_head["total"] < at_end["total"] <= took + 50
        assert [one["deployment"] for one in record.route["attempts"]] == ["openai/a"]
        await door.post(HELLO)
        await asyncio.sleep(0.05)
        assert door.kept.records[-1].route is None


async def test_a_stream_that_breaks_off_is_told_in_the_record(tmp_path):
    async with open_door(tmp_path, config("a")) as door:
        door.mock.script = Script(default=Step(cut_after_events=3))
        _, headers, _ = await door.post({**HELLO, "stream": True}, x_penstock_route="1")
        assert "error" not in told_by(headers)["attempts"][0]
        await asyncio.sleep(0.05)
        [attempt] = door.kept.records[-1].route["attempts"]
        assert attempt["error"] == "broken_stream"


async def test_the_one_that_was_asked_beside_and_let_go_is_in_the_record(tmp_path):
    async with open_door(tmp_path, config("a", "b", settings="hedge_after: 100ms")) as door:
        door.mock.script = says(a=Step(latency_ms=1000))
        for _ in range(10):
            _, headers, _ = await door.post(HELLO, x_penstock_route="1")
            if len(told_by(headers)["attempts"]) == 2 or told_by(headers)["ms"]["total"] > 90:
                break
        await asyncio.sleep(0.05)
        told = {one["deployment"]: one for one in door.kept.records[-1].route["attempts"]}
        assert told["openai/a"]["let_go"] and "let_go" not in told["openai/b"]
        assert told["openai/b"]["translate"] < 90


def test_a_record_s_route_is_one_word_of_a_log_line():
    record = Record(at=0.0, call_id="c", request_id="r", key="", client="", method="POST", path="/", route={"ms": {"total": 1.5}})
    assert ' route={"ms":{"total":1.5}}\n' in as_text(record)
    assert json.loads(as_json(record))["route"] == {"ms": {"total": 1.5}}
    spaced = Record(at=0.0, call_id="c", request_id="r", key="", client="", method="POST", path="/", route={"a": "b c\n"})
    assert len(as_text(spaced).splitlines()) == 1
