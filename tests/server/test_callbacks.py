"""`success_callback`, `failure_callback`, `callbacks`: who is told of a request, and what."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from typing import Any

import pytest

from penstock.config import load
from penstock.mock import Script
from penstock.runtime.review import review
from tests.door import until
from tests.served import open_service
from tests.server.observed import SAYS, UPSTREAM, YAML, Served, serve
from tests.sinks.made import SERVICES, environment
from tests.sinks.vendors import PUBLIC, SECRET, WebhookStandIn, open_vendor


@pytest.mark.parametrize("name", SERVICES)
async def test_s0_27_and_s1_48_each_service_gets_one_event_per_request(tmp_path, name):
    async with serve(tmp_path, f"success_callback: [{name}], failure_callback: [{name}]", name) as served:
        for stream in (False, True):
            assert await served.ask({"stream": stream}) == 200
            assert await served.ask({"stream": stream, "model": "claude", "max_tokens": 9}, "/v1/messages") == 200
        assert await served.ask({"model": "v", "input": "x"}, "/v1/embeddings") == 200
        served.door.mock.script = Script.always(status=429)
        assert await served.ask() == 429
        await served.told()
        assert served.vendor.wrong == [] and len(served.vendor.taken) == 6
        assert len(set(served.vendor.taken)) == 6
        assert not any(UPSTREAM.encode() in asked.body for asked in served.vendor.asked)


async def test_which_of_them_hears_what(tmp_path):
    async with serve(tmp_path, "success_callback: [webhook]") as served:
        assert await served.ask() == 200
        assert await served.ask({"model": "nobody"}) == 400
        assert [one["status"] for one in await served.payloads()] == ["success"]
    async with serve(tmp_path, "failure_callback: [webhook]") as served:
        assert await served.ask() == 200
        assert await served.ask({"model": "nobody"}) == 400
        [one] = await served.payloads()
        assert one["status"] == "failure" and one["error_information"]["error_class"] == "BadRequestError"
        assert one["error_information"]["error_code"] == "400" and "nobody" in one["error_str"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("path", "body", "kind"),
    [
        ("/v1/chat/completions", {"model": "m"}, "acompletion"),
        ("/v1/chat/completions", {"model": "claude"}, "acompletion"),
        ("/v1/messages", {"model": "m", "max_tokens": 40}, "anthropic_messages"),
        ("/v1/responses", {"model": "m", "input": "what is up"}, "aresponses"),
        ("/v1/completions", {"model": "m", "prompt": "what is up"}, "atext_completion"),
    ],
)
async def test_the_payload_has_what_was_asked_and_said(tmp_path, path, body, kind, stream):
    async with serve(tmp_path) as served:
        served.door.mock.script = Script.always(text="the quick brown fox")
        assert await served.ask({"stream": stream, "temperature": 0.5, "user": "u-1", **body}, path) == 200
        [one] = await served.payloads()
        assert one["call_type"] == kind and one["stream"] is stream and one["status"] == "success"
        assert "what is up" in json.dumps(one["messages"]) and "the quick brown fox" in json.dumps(one["response"])
        assert one["model_parameters"]["temperature"] == 0.5 and one["end_user"] == "u-1"
        assert one["total_tokens"] == one["prompt_tokens"] + one["completion_tokens"] > 0
        assert one["response_cost"] > 0 and one["startTime"] <= one["completionStartTime"] <= one["endTime"]
        assert one["model_group"] == body["model"] and one["custom_llm_provider"] in ("openai", "anthropic")


async def test_nothing_is_done_where_nothing_is_configured(tmp_path):
    async with open_service(tmp_path, YAML) as door:
        assert door.gateway.engine.observer is None and door.service.callbacks.told() == {}


def test_names_that_send_nothing_are_told_by_check(tmp_path):
    settings = "litellm_settings: {callbacks: [langsmith, stdout, audit, my.own], failure_callback: sentry}\n"
    path = tmp_path / "config.yaml"
    path.write_text(f"{YAML}\n{settings}callback_settings: {{audit: {{callback_type: generic_api}}}}\n")
    loaded = load(path, {})
    told = [(one.path, one.message.partition(" here")[0]) for one in review(loaded.config, {}) if "callback" in one.path]
    assert told == [
        ("litellm_settings.callbacks", "the callback 'langsmith' sends nothing"),
        ("litellm_settings.failure_callback", "the callback 'sentry' sends nothing"),
    ]


async def test_messages_are_kept_out(tmp_path):
    async def seen(settings: str, body: Mapping[str, Any] | None = None, **headers: str) -> str:
        async with serve(tmp_path, f"callbacks: [webhook], {settings}") as served:
            served.door.mock.script = Script.always(text="the quick brown fox")
            assert await served.ask(body, **headers) == 200
            payloads = await served.payloads()
            return json.dumps(payloads)

    def silent(text: str) -> bool:
        return "what is up" not in text and "brown fox" not in text and "redacted-by-litellm" in text

    assert silent(await seen("turn_off_message_logging: true"))
    assert silent(await seen("turn_off_message_logging: true", x_litellm_disable_message_redaction="true"))
    assert silent(await seen("drop_params: true", x_litellm_enable_message_redaction="true"))
    assert silent(await seen("drop_params: true", {"metadata": {"turn_off_message_logging": True}}))
    assert "what is up" in await seen("turn_off_message_logging: false")
    assert await seen("drop_params: true", {"no-log": True}) == "[]"
    assert "what is up" in await seen("global_disable_no_log_param: true", {"no-log": True})
    large = {"no-log": True, "messages": [{"role": "user", "content": "x" * 600_000}]}
    assert await seen("drop_params: true", large) == "[]"


async def test_what_is_left_out(tmp_path):
    settings = "callbacks: [webhook], redact_user_api_key_info: true, standard_logging_payload_excluded_fields: [response]"
    async with serve(tmp_path, settings) as served:
        assert await served.ask() == 200
        [one] = await served.payloads()
        assert one["response"] is None and not any(name.startswith("user_api_key") for name in one["metadata"])


@pytest.mark.parametrize("may", [True, False])
async def test_a_request_may_say_where_it_does_not_go(tmp_path, may):
    async with serve(tmp_path, f"callbacks: [webhook], allow_dynamic_callback_disabling: {str(may).lower()}") as served:
        assert await served.ask(x_litellm_disable_callbacks="langfuse, webhook") == 200
        assert len(await served.payloads()) == (0 if may else 1)


@pytest.mark.parametrize("mount", ["", "/api/v1"])
async def test_s0_16_and_s0_17_metadata_and_extra_body_are_told(tmp_path, mount):
    async with serve(tmp_path) as served:
        said = {"user_id": "7", "project": "p", "session_id": "s"}
        path = f"{mount}/chat/completions" if mount else "/v1/chat/completions"
        assert await served.ask({"metadata": said, "extra_body": {"custom_option": 1}}, path) == 200
        [one] = await served.payloads()
        assert one["metadata"]["requester_metadata"] == said
        assert one["model_parameters"]["extra_body"] == {"custom_option": 1}


async def test_what_is_too_large_says_how_large_it_is(tmp_path):
    async with serve(tmp_path) as served:
        assert await served.ask({"user": "u", "messages": [{"role": "user", "content": "x" * 600_000}]}) == 200
        [one] = await served.payloads()
        assert one["messages"]["truncated"] is True and one["messages"]["bytes"] > 600_000 and one["end_user"] == "u"


async def test_secrets_are_taken_out(tmp_path):
    async with serve(tmp_path) as served:
        content = f"my key is {UPSTREAM}, yours sk-proj-0123456789abcdefghij"
        assert await served.ask({"messages": [{"role": "user", "content": content}], "metadata": {"k": UPSTREAM}}) == 200
        text = json.dumps(await served.payloads())
        assert UPSTREAM not in text and "sk-proj" not in text and "my key is [redacted]" in text


async def test_health_tells_of_the_queues(tmp_path):
    async with serve(tmp_path) as served:
        await served.ask()
        await served.told()
        _, told = await served.door.call("/health")
        assert told["callbacks"] == {"webhook": {"waiting": 0, "written": 1}}
        served.vendor.mood = 400
        await served.ask()
        await served.told()
        _, told = await served.door.call("/health")
        assert told["callbacks"]["webhook"]["refused"] == 1


async def test_requests_go_on_while_a_service_hangs(tmp_path):
    async with serve(tmp_path) as served:
        served.vendor.mood = "hangs"
        for _ in range(30):
            assert await served.ask() == 200
        [shipper] = served.callbacks._made.values()
        await until(lambda: shipper.waiting == 30)
        served.vendor.mood = "well"
        await served.vendor.stop()
        await served.vendor.start()
        assert await shipper.flush(30) and len(served.vendor.taken) == 30


async def test_a_reload_keeps_a_queue_that_is_the_same(tmp_path, caplog):
    async with serve(tmp_path, "callbacks: [webhook, langfuse]") as served:
        assert "langfuse is not called: it needs LANGFUSE_PUBLIC_KEY" in caplog.text
        [before] = served.callbacks._made.values()
        text = served.door.path.read_text()
        served.door.path.write_text(text + f"environment_variables: {{LANGFUSE_PUBLIC_KEY: {PUBLIC}, LANGFUSE_SECRET_KEY: {SECRET}}}")
        await served.door.service.read_again()
        assert len(served.callbacks._made) == 2
        served.door.path.write_text(text.replace("[webhook, langfuse]", "[webhook]"))
        await served.door.service.read_again()
        [after] = served.callbacks._made.values()
        assert before.sink is not None and await served.ask() == 200 and after.name == "webhook"
        served.door.path.write_text(text.replace("callbacks: [webhook, langfuse]", "drop_params: true"))
        await served.door.service.read_again()
        assert served.door.gateway.engine.observer is None


async def test_the_same_queue_stays_over_a_reload(tmp_path):
    async with serve(tmp_path) as served:
        [before] = served.callbacks._made.values()
        await served.door.service.read_again()
        assert [*served.callbacks._made.values()] == [before]


async def test_a_webhook_of_its_own_name(tmp_path):
    async with open_vendor(WebhookStandIn()) as vendor:
        more = f"callback_settings: {{audit: {{callback_type: generic_api, endpoint: '{vendor.url}/x', headers: {{x-own: 'yes'}}}}}}"
        async with serve(tmp_path, "callbacks: [audit]", more=more) as served:
            await served.ask()
            await served.told()
            assert len(vendor.taken) == 1 and vendor.asked[0].path == "/x" and served.vendor.asked == []


# The operator's own Python ----------------------------------------------------------------------------------------------

CODE = """
from litellm.integrations.custom_logger import CustomLogger
heard = []

class Logger(CustomLogger):
    async def async_log_success_event(self, kwargs, response_obj, start_time, end_time):
        heard.append(("ok", kwargs, response_obj, (end_time - start_time).total_seconds()))
    async def async_log_failure_event(self, kwargs, response_obj, start_time, end_time):
        heard.append(("failed", kwargs, response_obj, str(kwargs["exception"])))
    async def async_pre_call_hook(self, user_api_key_dict, cache, data, call_type):
        heard.append(("never",))

class Batches:
    async def write(self, batch):
        heard.append(("batch", [one["litellm_call_id"] for one in batch]))

def one(response):
    heard.append(("one", response.model, response.usage.total_tokens))

async def four(kwargs, completion_response, start_time, end_time):
    heard.append(("four", kwargs["model"], completion_response["choices"][0]["message"]["content"]))

instance, quiet, batches = Logger(), Logger(message_logging=False), Batches()
number = 7
"""


async def hear(tmp_path, name: str, requests: int = 1, code: str = CODE) -> tuple[list[Any], Served]:
    (tmp_path / "mine.py").write_text(code)
    async with serve(tmp_path, f"callbacks: [mine.{name}]") as served:
        served.door.mock.script = Script.always(text="the sky")
        for _ in range(requests):
            assert await served.ask() == 200
        await served.ask({"model": "nobody"})
        await served.told()
        module = sys.modules.pop("penstock_custom.mine", None)
        return getattr(module, "heard", []), served


async def test_a_custom_logger_is_called(tmp_path, caplog):
    heard, _ = await hear(tmp_path, "instance")
    assert [one[0] for one in heard] == ["ok", "failed"]
    _, kwargs, response, took = heard[0]
    assert response.choices[0].message.content == "the sky" and response.usage.total_tokens > 0 and took > 0
    assert kwargs["standard_logging_object"]["model_group"] == "m" and kwargs["messages"] == SAYS["messages"]
    assert heard[1][2] is None and "BadRequestError" in heard[1][3]
    assert "has hooks that are not called here: async_pre_call_hook" in caplog.text


async def test_a_logger_may_want_no_messages(tmp_path):
    heard, _ = await hear(tmp_path, "quiet")
    text = repr(heard[0])
    assert "what is up" not in text and "the sky" not in text and "redacted-by-litellm" in text


async def test_functions_of_one_and_of_four(tmp_path):
    heard, _ = await hear(tmp_path, "one")
    assert heard[0][:2] == ("one", "m") and heard[0][2] > 0
    heard, _ = await hear(tmp_path, "four")
    assert heard[0] == ("four", "gpt-4o-mini", "the sky")


async def test_an_object_with_write_gets_batches(tmp_path):
    heard, served = await hear(tmp_path, "batches", 3)
    assert sum(len(one[1]) for one in heard) == 4 and heard[0][0] == "batch"


async def test_code_goes_on_over_reloads_and_is_loaded_anew_when_it_comes_back(tmp_path):
    (tmp_path / "mine.py").write_text(CODE)
    async with serve(tmp_path, "callbacks: [mine.one]") as served:
        [before] = served.callbacks._made.values()
        text = served.door.path.read_text()
        served.door.path.write_text(text + "environment_variables: {LANGFUSE_HOST: 'http://127.0.0.1:9'}\n")
        await served.door.service.read_again()
        assert [*served.callbacks._made.values()] == [before] and await served.ask() == 200
        await served.told()
        assert len(sys.modules["penstock_custom.mine"].heard) == 1
        served.door.path.write_text(text.replace("[mine.one]", "[]"))
        await served.door.service.read_again()
        served.door.path.write_text(text)
        await served.door.service.read_again()
        assert await served.ask() == 200
        await served.told()
        assert len(sys.modules.pop("penstock_custom.mine").heard) == 1


async def test_a_writer_that_blocks_holds_up_nobody(tmp_path):
    code = CODE + "\nclass Slow:\n    async def write(self, batch):\n        time.sleep(0.5)\n        heard.append(len(batch))\nslow = Slow()\n"
    (tmp_path / "mine.py").write_text("import time\n" + code)
    async with serve(tmp_path, "callbacks: [mine.slow]") as served:
        assert await served.ask() == 200
        [shipper] = served.callbacks._made.values()
        await until(lambda: shipper.waiting == 1 and shipper._taken == 1)
        began = time.perf_counter()
        assert await served.ask() == 200 and time.perf_counter() - began < 0.3
        await served.told()
        assert sum(sys.modules.pop("penstock_custom.mine").heard) == 2


@pytest.mark.parametrize(
    ("name", "code", "what"),
    [
        ("gone", CODE, "has no 'gone'"),
        ("number", CODE, "is int, and neither a function nor an object"),
        ("instance", "1/0", "division by zero"),
        ("instance", "x = (", "was never closed"),
    ],
)
async def test_one_that_cannot_be_used_is_told_of(tmp_path, caplog, name, code, what):
    assert (await hear(tmp_path, name, code=code))[0] == []
    assert f"the callback mine.{name} cannot be used" in caplog.text and what in caplog.text


async def test_what_a_callback_raises_costs_nobody(tmp_path):
    _, served = await hear(tmp_path, "instance", code=CODE.replace('heard.append(("ok"', 'raise OSError(("ok"'))
    assert any("the callback Logger failed" in line for line in served.door.lines)


async def test_a_callback_that_blocks_holds_up_nobody(tmp_path):
    code = CODE + "\nimport time\ndef sleeps(kwargs, response, start, end):\n    time.sleep(0.3)\n    heard.append(1)\n"
    heard, _ = await hear(tmp_path, "sleeps", 3, code)
    assert heard == [1] * 4


async def test_the_end_sends_what_waits(tmp_path):
    async with open_vendor(WebhookStandIn()) as vendor:
        yaml = f"{YAML}\nlitellm_settings: {{callbacks: [webhook]}}\n"
        async with open_service(tmp_path, yaml, environment("webhook", vendor)) as door:
            served = Served(door, vendor)
            for _ in range(3):
                assert await served.ask() == 200
            await door.settle()
        assert len(vendor.taken) == 3
