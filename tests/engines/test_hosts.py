"""Engines of a config through a real gateway: started by need, queued, swapped, restarted, seen and stopped."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import anthropic
import pytest

from tests.e2e.serving import clean_env, run_serve
from tests.engines.hosting import Asked, Place, engine, hosting, processes, wait_until, write

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds what is left in /proc")
AB = {"a": engine("a"), "b": engine("b")}


def comments(asked: Asked) -> list[str]:
    return [line for line in asked.lines if line.startswith(":")]


def reload(place: Place, folder: Path, yaml: str) -> None:
    count = place.served.output().count("reloaded")
    (folder / "config.yaml").write_text(yaml)
    place.served.send(signal.SIGHUP)
    wait_until(lambda: place.served.output().count("reloaded") > count, what=place.served.output())


def test_two_share_one_slot_and_each_starts_with_its_first_request(tmp_path: Path) -> None:
    with hosting(tmp_path, write(AB)) as place:
        assert [row["state"] for row in place.get("/engines")["data"]] == ["unloaded", "unloaded"]
        assert place.says("a") == "a says hello"
        assert place.says("b") == "b says hello"
        told = place.get("/engines")
        assert told["slots"] == {"used": 1, "of": 1}
        a, b = told["data"]
        assert (a["state"], b["state"], b["in_flight"], b["queue"]) == ("unloaded", "ready", 0, 0)
        assert a["memory"] is None and b["memory"] > 5_000_000, "the keeper and the engine"
        assert abs(time.time() - b["since"]) < 20 and b["serves"] == ["b"]


def test_a_look_at_the_health_loads_no_engine_and_ends_none(tmp_path: Path) -> None:
    with hosting(tmp_path, write(AB)) as place:
        def states() -> list[str]:
            return [row["state"] for row in place.get("/engines")["data"]]

        told = place.get("/health?live=true")
        assert states() == ["unloaded", "unloaded"] and told["unhealthy_count"] == 0
        assert [row["not_asked"] for row in told["healthy_endpoints"]] == [f"the engine {one} is not loaded" for one in "ab"]
        assert place.says("b") == "b says hello"
        told = place.get("/health?live=true")
        assert states() == ["unloaded", "ready"] and told["healthy_count"] == 2
        assert ["not_asked" in row for row in told["healthy_endpoints"]] == [True, False]


def test_who_waits_is_told_his_place_and_nobody_is_cut_off(tmp_path: Path) -> None:
    with hosting(tmp_path, write({"a": engine("a"), "b": engine("b", "--load", "3")}, swap_after=0)) as place:
        running = place.chat("a", "slow 6", stream=True)
        place.until("a", in_flight=1)
        made = []
        for path, stream in (
            ("chat/completions", True),
            ("chat/completions", True),
            ("chat/completions", False),
            ("messages", True),
        ):
            made.append(place.chat("b", stream=stream, path=f"/v1/{path}"))
            place.until("b", queue=len(made))  # each comes after the one before
        first, second, plain, pinged = made
        assert "[DONE]" in (running.wait() and running.text) and running.text.count('"content"') == 30
        for asked in (first, second, plain, pinged):
            asked.wait()
        told = [comments(asked) for asked in (first, second, pinged)]
        for number, lines in enumerate(told):
            assert lines and all("in the queue; engine b " in line for line in lines), lines
            found = re.match(r": penstock: place (\d) of (\d) in the queue", lines[0])
            assert found and int(found[1]) == (1, 2, 4)[number] <= int(found[2]) <= 4, lines
        assert any("engine b waits for room" in line for line in told[0])
        assert any("engine b is loading" in line for line in told[0])
        assert "[DONE]" in first.text and "message_stop" in pinged.text
        assert json.loads(plain.text)["choices"][0]["message"]["content"] == "b says hello", (
            "no comment in a whole answer"
        )


def test_vendors_libraries_read_over_what_is_told(tmp_path: Path) -> None:
    with hosting(tmp_path, write({"a": engine("a", "--load", "3.5")})) as place:
        with anthropic.Anthropic(base_url=place.served.url, api_key="dummy") as client:
            with client.messages.stream(
                model="a", max_tokens=9, messages=[{"role": "user", "content": "hello"}]
            ) as stream:
                assert "".join(stream.text_stream) == "0 1 "


def test_after_max_wait_requests_go_to_a_fallback(tmp_path: Path) -> None:
    rest = {"router_settings": {"fallbacks": [{"b": ["a"]}], "num_retries": 2}}
    with hosting(tmp_path, write(AB, rest, max_wait="3s", swap_after="1h")) as place:
        assert place.says("a") == "a says hello"
        running = place.chat("a", "slow 30", stream=True)
        place.until("a", in_flight=1)
        begun = time.monotonic()
        asked = place.chat("b")
        assert asked.wait()["choices"][0]["message"]["content"] == "a says hello"
        assert asked.wait()["model"] == "b", "the name that was asked for"
        assert 2.9 < time.monotonic() - begun < 8, "it waited once, and was not tried again"
        running.leave()


def test_a_stream_that_was_told_its_place_still_goes_to_a_fallback(tmp_path: Path) -> None:
    rest = {"router_settings": {"fallbacks": [{"b": ["a"]}]}}
    with hosting(tmp_path, write(AB, rest, max_wait="4s", swap_after="1h")) as place:
        running = place.chat("a", "slow 30", stream=True)
        place.until("a", in_flight=1)
        asked = place.chat("b", stream=True)
        asked.wait()
        assert asked.status == 200 and "engine b waits for room" in comments(asked)[0]
        assert "[DONE]" in asked.text and '"error"' not in asked.text and '"model":"b"' in asked.text.replace(" ", "")
        alone = write(AB, max_wait="4s", swap_after="1h")
        reload(place, tmp_path, alone)
        told = place.chat("b", stream=True)
        told.wait()
        assert "was not there within 4 s" in told.lines[-2] + told.lines[-3] + told.lines[-4], "an error in band"
        running.leave()


def test_without_a_fallback_the_wait_ends_in_an_error_that_says_why(tmp_path: Path) -> None:
    with hosting(tmp_path, write({"a": engine("a", "--load", "30")}, max_wait="1s")) as place:
        asked = place.chat("a")
        error = asked.wait()["error"]
        assert asked.status == 503
        assert error["message"].startswith("The engine 'a' was not there within 1 s (engines.max_wait). It is loading")
        stream = place.chat("a", stream=True)
        stream.wait()
        assert stream.status == 503, "nothing was told yet, so it is a status"


def test_a_request_waits_no_longer_than_it_says_itself(tmp_path: Path) -> None:
    with hosting(tmp_path, write({"a": engine("a", "--load", "4")})) as place:
        body = {"model": "a", "messages": [{"role": "user", "content": "hello"}], "timeout": 1}
        begun = time.monotonic()
        asked = Asked(place.served, "/v1/chat/completions", body)
        error = asked.wait()["error"]
        assert asked.status == 503 and "within 1 s, which is as long as the request lets it take" in error["message"]
        assert time.monotonic() - begun < 3.5
        assert place.says("a") == "a says hello", "the engine came all the same"


def test_a_client_that_leaves_frees_its_place(tmp_path: Path) -> None:
    with hosting(tmp_path, write(AB, swap_after="1h")) as place:
        running = place.chat("a", "slow 6")
        place.until("a", in_flight=1)
        asked = [place.chat("b", stream=number == 0) for number in range(2)]
        place.until("b", queue=2)
        for one in asked:
            one.leave()
        place.until("b", queue=0, state="unloaded")
        running.wait()
        assert place.row("a")["state"] == "ready", "nobody wants its room any more"


def test_one_that_does_not_start_says_what_it_wrote_and_comes_back(tmp_path: Path) -> None:
    flag = tmp_path / "fail"
    flag.touch()
    with hosting(tmp_path, write({"a": engine("a", "--fail", str(flag))})) as place:
        error = place.says("a")
        assert "The engine 'a' does not start" in error["message"] and "exit code 3" in error["message"]
        assert "    error: out of memory" in error["message"]
        row = place.row("a")
        assert row["state"] == "failed" and "out of memory" in row["error"] and row["failures"] == 1
        assert "does not start" in place.says("a")["message"], "nobody waits for it meanwhile"
        flag.unlink()
        status, row = place.post("/engines/a/start")
        assert (status, row["state"], row["error"]) == (200, "ready", None)
        assert place.says("a") == "a says hello"


def test_one_that_crashes_is_started_again_and_the_answer_says_how_it_ended(tmp_path: Path) -> None:
    rest = {"router_settings": {"num_retries": 0}}
    with hosting(tmp_path, write({"a": engine("a")}, rest)) as place:
        stream = place.chat("a", "crash", stream=True)
        stream.wait()
        assert "The engine 'a' ended with exit code 9 while it answered" in stream.text
        assert "GGML_ASSERT: the server met a bug" in stream.text, "who asks may see all of it"
        assert '"content":"1 "' in stream.text.replace(" ", "", 0).replace('": ', '":')
        row = place.until("a", state="ready")
        assert row["failures"] == 1
        error = place.chat("a", "crash").wait()["error"]
        assert "ended with exit code 9 while it answered" in error["message"]
        assert "[the engine" not in error["message"]
        assert place.says("a") == "a says hello", "who comes next waits for it"


def test_others_are_not_shown_what_an_engine_wrote_while_it_served(tmp_path: Path) -> None:
    rest = {
        "general_settings": {"master_key": "sk-master-9f31aa77", "custom_auth": "auth.user_api_key_auth"},
        "router_settings": {"num_retries": 0},
    }
    (tmp_path / "auth.py").write_text(
        "async def user_api_key_auth(request, api_key):\n"
        "    if api_key != 'sk-somebody':\n        raise Exception('no')\n"
        "    from penstock.runtime.custom_auth import UserAPIKeyAuth\n"
        "    return UserAPIKeyAuth(api_key=api_key)\n"
    )
    with hosting(tmp_path, write({"a": engine("a")}, rest)) as place:
        body = {"model": "a", "messages": [{"role": "user", "content": "crash"}]}
        mine = Asked(place.served, "/v1/chat/completions", body, authorization="Bearer sk-somebody")
        told = mine.wait()
        assert "while it answered" in told["error"]["message"] and "GGML_ASSERT" not in told["error"]["message"]


def test_preload_ttl_and_the_default_that_comes_back(tmp_path: Path) -> None:
    models = {
        "small": engine("small", environment={"CUDA_VISIBLE_DEVICES": "7"}),
        "big": engine("big", ttl="3s"),
        "eye": engine("eye"),
    }
    groups = [{"together": ["small", "eye"]}]
    with hosting(tmp_path, write(models, default="small", preload=["eye"], groups=groups)) as place:
        place.until("small", state="ready")
        place.until("eye", state="ready")
        assert "with 7 devices" in place.get("/engines/small/logs")
        assert place.says("big") == "big says hello"
        assert place.row("small")["state"] == place.row("eye")["state"] == "unloaded"
        place.until("big", state="unloaded")
        place.until("small", state="ready")


def test_a_reload_keeps_what_did_not_change(tmp_path: Path) -> None:
    models = {name: engine(name) for name in "abc"}
    with hosting(tmp_path, write(models, slots=3, preload=["a", "b", "c"])) as place:
        before = {name: place.until(name, state="ready")["pid"] for name in "abc"}
        running = place.chat("b", "slow 6", stream=True)
        place.until("b", in_flight=1)
        del models["c"]
        reload(
            place,
            tmp_path,
            write({**models, "b": engine("b", "--load", "0.2"), "a": {**models["a"], "ttl": "1h"}}, slots=2),
        )
        assert place.row("a")["pid"] == before["a"] and place.row("a")["ttl"] == 3600
        assert place.row("b")["state"] == "draining", "it answers somebody"
        assert "[DONE]" in str(running.wait())
        assert place.says("b") == "b says hello"
        assert place.row("b")["pid"] not in (None, before["b"])
        assert place.says("c")["code"] == "400" and "error" in place.get("/engines/c")
        other = {"model_name": "x", "litellm_params": {"model": "openai/x", "api_base": "http://127.0.0.1:9"}}
        reload(place, tmp_path, json.dumps({"model_list": [other]}))
        wait_until(lambda: place.get("/engines")["data"] == [], what="all are gone")


def test_they_are_stopped_unloaded_and_started_by_hand(tmp_path: Path) -> None:
    with hosting(tmp_path, write(AB)) as place:
        assert place.post("/engines/a/start")[1]["state"] == "ready"
        running = place.chat("a", "slow 5")
        place.until("a", in_flight=1)
        assert place.post("/engines/a/stop")[1]["state"] == "draining"
        refused = place.chat("a")
        assert "is stopped; POST /engines/a/start" in refused.wait()["error"]["message"] and refused.status == 503
        assert running.wait()["choices"], "who was being answered is"
        place.until("a", state="stopped")
        assert place.post("/engines/a/start")[1]["state"] == "ready"
        assert place.post("/engines/a/unload")[1]["state"] in ("stopping", "unloaded")
        place.until("a", state="unloaded")
        assert place.says("a") == "a says hello"
        status, told = place.post("/engines/x/start")
        assert status == 404 and "They are: a, b" in told["error"]["message"]


def test_a_log_is_shown_and_followed(tmp_path: Path) -> None:
    with hosting(tmp_path, write(AB, {"environment_variables": {"MY_API_KEY": "sk-very-secret-11"}})) as place:
        place.says("a")
        assert place.get("/engines/a/logs") == "loading a with no devices\nasked for hello"
        assert place.get("/engines/a/logs?lines=1") == "asked for hello"
        events = Asked(place.served, "/engines/a/logs?follow", None, "GET", accept="text/event-stream")
        plain = Asked(place.served, "/engines/a/logs?follow=true&lines=0", None, "GET")
        wait_until(lambda: len(events.lines) >= 4)
        place.chat("a", "tell sk-very-secret-11").wait()
        wait_until(lambda: "data: asked for tell" in events.text and "asked for tell" in plain.text)
        assert "sk-very-secret-11" not in events.text + plain.text
        assert events.lines[:2] == ["data: loading a with no devices", ""]
        assert plain.lines == [plain.lines[0]], "only what came since"
        events.leave()
        bad = Asked(place.served, "/engines/a/logs?lines=x", None, "GET")
        assert "'lines' must be a number" in bad.wait()["error"]["message"] and bad.status == 400
        place.served.send(signal.SIGTERM)
        plain.wait(8)
        assert plain.done, "the gateway does not wait for who follows"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_end_of_the_gateway_is_theirs(tmp_path: Path, number: int) -> None:
    mark = f"mark-{os.urandom(8).hex()}"
    models = {name: engine(name) for name in "ab"} | {"c": engine("c", "--load", "60")}
    with hosting(tmp_path, write(models, slots=3, preload=["a", "b", "c"]), TEST_RUN_MARK=mark) as place:
        place.until("a", state="ready")
        place.until("b", state="ready")
        place.until("c", state="starting")
        assert sum("slowserver" in line and "keeper" not in line for line in processes(mark)) == 3
        place.served.send(number)
        place.served.process.wait(15)
        wait_until(lambda: processes(mark) == [], 0.2 if number == signal.SIGTERM else 20, str(processes(mark)))


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    import socket

    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with hosting(tmp_path, write({"a": engine("a", port=port)})) as place:
            assert f"port {port} is taken: give it another one with engines.models.a.port" in place.says("a")["message"]


def test_several_processes_are_refused(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(write(AB))
    ended = run_serve(tmp_path, "--config", "config.yaml", "--workers", "2", "--port", "0")
    assert ended.returncode == 1
    assert "engines: they need a gateway of one process" in ended.stderr + ended.stdout


def test_what_is_not_configured_is_not_imported(tmp_path: Path) -> None:
    script = """
import sys
import penstock.server.service, penstock.server.run, penstock.config
from pathlib import Path
loaded = penstock.config.load(Path("config.yaml"), {})
assert loaded.config.engines is None
print([name for name in sys.modules if name.startswith(("penstock.engines", "penstock.config.engines", "penstock.runtime.hosts"))])
"""
    (tmp_path / "config.yaml").write_text("model_list: []\n")
    ended = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=clean_env(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.stdout.strip() == "[]", ended.stdout + ended.stderr
    with hosting(tmp_path, "model_list: []\n") as place:
        asked = Asked(place.served, "/engines", None, "GET")
        assert asked.wait() == {"object": "list", "data": []} and asked.status == 200
        asked = Asked(place.served, "/engines/x", None, "GET")
        assert "has no engines" in asked.wait()["error"]["message"] and asked.status == 404
