"""Why a request goes where it goes: the page, the header, the command."""

from __future__ import annotations

import asyncio
import json

from click.testing import CliRunner

from penstock.cli.explain import explain
from penstock.mock import Script, Step
from tests.door import HELLO, open_door
from tests.server.test_routing import ask, config, says

OTHER = '  - {model_name: other, litellm_params: {model: openai/c, api_base: "{mock}/v1", api_key: sk-u}}\n'


def with_fallback(settings: str) -> str:
    return config("a", "b", settings=f"fallbacks: [{{m: [other]}}], {settings}").replace("router_s", OTHER + "router_s")


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
            assert (
                abs(ms["upstream_and_waits"] + ms["gateway"] - ms["total"]) < 0.05
                and ms["before_routing"] < ms["total"]
            )
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
