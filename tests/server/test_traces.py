"""Traces: a span for each request and one below it for each attempt, in the trace that the client began, and on to the
upstream; nothing that was said, unless that is wanted."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from penstock.mock import Script, Step
from tests.server.observed import YAML, Served, serve
from tests.server.test_hedge import weighted
from tests.server.test_routing import says
from tests.sinks.vendors import OtelStandIn

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
COMES = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "rojo=1"}
OTEL = "callbacks: [otel]"


async def spans(served: Served) -> list[dict[str, Any]]:
    await served.told()
    vendor = served.vendor
    assert isinstance(vendor, OtelStandIn) and vendor.wrong == []
    found, vendor.spans = vendor.spans, []
    return found


def upstream(served: Served, at: int = -1) -> dict[str, str]:
    return dict(served.door.mock.received[at].headers)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("path", "body", "operation"),
    [
        ("/v1/chat/completions", {}, "chat"),
        ("/v1/messages", {"model": "claude", "max_tokens": 9}, "chat"),
        ("/v1/chat/completions", {"model": "claude"}, "chat"),
        ("/v1/embeddings", {"model": "v", "input": "what is up"}, "embeddings"),
    ],
)
async def test_a_request_is_a_span_with_one_below_it(tmp_path, path, body, operation, stream):
    if operation == "embeddings" and stream:
        return
    async with serve(tmp_path, OTEL, "otel") as served:
        said = {} if operation == "embeddings" else {"stream": stream, "temperature": 0.5}
        assert await served.ask({**said, **body}, path, **COMES) == 200
        server, client = await spans(served)
        assert (server["kind"], server["name"], server["trace"], server["parent"]) == ("server", f"POST {path}", TRACE, PARENT)
        assert (client["kind"], client["trace"], client["parent"]) == ("client", TRACE, server["id"])
        assert server["state"] == client["state"] == "rojo=1" and server["service"] == "penstock"
        assert server["start"] <= client["start"] <= client["end"] <= server["end"] + 1_000_000
        told = client["attributes"]
        assert told["gen_ai.operation.name"] == operation
        assert told["gen_ai.provider.name"] in ("openai", "anthropic") and client["name"] == f"{operation} {told['gen_ai.request.model']}"
        assert told["gen_ai.usage.input_tokens"] > 0 and told["gen_ai.response.model"]
        assert told["server.address"] == "127.0.0.1" and told["server.port"] > 0 and client["status"] == 0
        if operation == "chat":
            assert told["gen_ai.usage.output_tokens"] > 0 and told["gen_ai.request.temperature"] == 0.5
            assert ("gen_ai.response.time_to_first_chunk" in told) is stream
        assert server["attributes"]["http.response.status_code"] == 200 and server["attributes"]["penstock.attempts"] == 1
        # The upstream goes on below the attempt, not below the client's own span.
        sent = upstream(served)
        assert sent["traceparent"] == f"00-{TRACE}-{client['id']}-01" and sent["tracestate"] == "rojo=1"


async def test_baggage_stays_here(tmp_path):
    async with serve(tmp_path, OTEL, "otel") as served:
        assert await served.ask(baggage="user=alice,plan=gold", **COMES) == 200
        sent = upstream(served)
        assert "baggage" not in sent and "alice" not in str(sent) and "traceparent" in sent
    async with serve(tmp_path, OTEL + ", forward_traceparent_to_llm_provider: false", "otel") as served:
        assert await served.ask(**COMES) == 200
        assert not {"traceparent", "tracestate"} & upstream(served).keys()
        assert len(await spans(served)) == 2
    async with serve(tmp_path) as served:
        assert await served.ask(**COMES) == 200
        assert not {"traceparent", "tracestate", "baggage"} & upstream(served).keys()


async def test_each_attempt_is_a_span(tmp_path):
    yaml = YAML.replace("num_retries: 0", "num_retries: 2, allowed_fails: 100")
    async with serve(tmp_path, OTEL, "otel", yaml=yaml) as served:
        served.door.mock.script = Script(queue=(Step(status=503), Step(text="fine")))
        assert await served.ask() == 200
        server, first, second = await spans(served)
        assert [one["parent"] for one in (first, second)] == [server["id"]] * 2 and server["parent"] == ""
        assert first["status"] == 2 and first["attributes"]["http.response.status_code"] == 503
        assert first["attributes"]["error.type"] and "gen_ai.usage.input_tokens" not in first["attributes"]
        assert second["status"] == 0 and second["attributes"]["gen_ai.usage.input_tokens"] > 0
        assert [one["attributes"]["penstock.attempt"] for one in (first, second)] == [1, 2]
        assert first["end"] <= second["start"] and server["attributes"]["penstock.attempts"] == 2
        assert "waited before another attempt" in server["events"]
        parents = [dict(one.headers)["traceparent"].split("-")[2] for one in served.door.mock.received]
        assert parents == [first["id"], second["id"]]


async def test_an_attempt_beside_another_is_a_span(tmp_path):
    async with serve(tmp_path, OTEL, "otel", yaml=weighted()) as served:
        served.door.mock.script = says(a=Step(latency_ms=1500, text="from a"), b=Step(text="from b"))
        assert await served.ask({"model": "m"}) == 200
        server, late, quick = await spans(served)
        assert late["attributes"]["penstock.let_go"] is True and late["status"] == 0
        assert quick["status"] == 0 and quick["start"] < late["end"] <= server["end"] + 50_000_000
        assert "gen_ai.usage.input_tokens" in quick["attributes"] and "gen_ai.usage.input_tokens" not in late["attributes"]


async def test_failures(tmp_path):
    async with serve(tmp_path, OTEL, "otel") as served:
        served.door.mock.script = Script.always(status=503)
        assert await served.ask() == 503
        server, client = await spans(served)
        assert server["status"] == client["status"] == 2 and server["message"]
        assert server["attributes"]["error.type"] == "ServiceUnavailableError"
        assert await served.ask({"model": "nobody"}, **COMES) == 400
        [server] = await spans(served)  # nobody was asked; and it is no error of the server's
        assert (server["status"], server["attributes"]["http.response.status_code"]) == (0, 400)
        assert (server["trace"], server["parent"]) == (TRACE, PARENT)


async def test_content_is_only_told_where_it_is_wanted(tmp_path):
    async def seen(settings: str = OTEL, more: str = "", env: str = "", **body: Any) -> str:
        options = {"variables": {"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": env}} if env else {}
        async with serve(tmp_path, settings, "otel", more, **options) as served:
            served.door.mock.script = Script.always(text="the quick brown fox")
            assert await served.ask(body) == 200
            found = await spans(served)
            assert len(found) == 2
            return str(found)

    on = "callback_settings: {otel: {message_logging: true}}"
    for text in (await seen(), await seen(env="false"), await seen(OTEL + ", turn_off_message_logging: true", on)):
        assert "what is up" not in text and "brown fox" not in text
    for text in (await seen(more=on), await seen(env="true"), await seen(env="span_only", stream=True)):
        assert "what is up" in text and "the quick brown fox" in text and re.search(r"'gen_ai.input.messages': '\[", text)


async def test_a_trace_that_is_not_kept_elsewhere_is_not_kept_here(tmp_path):
    async with serve(tmp_path, OTEL, "otel") as served:
        assert await served.ask(traceparent=f"00-{TRACE}-{PARENT}-00") == 200
        assert await spans(served) == []
        assert upstream(served)["traceparent"].endswith("-00")
        assert await served.ask({"no-log": True}) == 200 and await spans(served) == []
        assert await served.ask(x_litellm_disable_callbacks="otel") == 200 and await spans(served) == []
    async with serve(tmp_path, OTEL, "otel", variables={"OTEL_TRACES_SAMPLER": "always_off"}) as served:
        assert await served.ask() == 200 and await served.ask({"model": "nobody"}) == 400
        assert await spans(served) == []


async def test_a_cache_hit_asks_nobody(tmp_path):
    settings = OTEL + ", cache: true, cache_params: {type: local}"
    async with serve(tmp_path, settings, "otel") as served:
        assert await served.ask() == 200 and await served.ask() == 200
        found = await spans(served)
        assert [span["kind"] for span in found] == ["server", "client", "server"]
        assert found[2]["events"] == ["answered from the cache"] and found[2]["attributes"]["penstock.cache_hit"] is True


async def test_a_client_that_asks_for_its_route_is_told(tmp_path):
    async with serve(tmp_path, OTEL, "otel") as served:
        status, headers, _ = await served.door.post({"model": "m", "messages": [{"role": "user", "content": "x"}]}, x_penstock_route="1")
        assert status == 200 and '"deployment"' in headers["x-penstock-route"] and '"auth"' in headers["x-penstock-route"]
        status, headers, _ = await served.door.post({"model": "m", "messages": [{"role": "user", "content": "x"}]})
        assert status == 200 and "x-penstock-route" not in headers
        assert len(await spans(served)) == 4


async def test_what_a_receiver_does_not_take_is_counted(tmp_path):
    async with serve(tmp_path, OTEL, "otel") as served:
        assert isinstance(served.vendor, OtelStandIn)
        served.vendor.rejects = 1
        assert await served.ask() == 200
        await served.told()
        assert served.callbacks.told()["otel"]["refused"] == 1


async def test_what_guards_found_is_an_event(tmp_path):
    guard = {"guardrail": "hide-secrets", "mode": "pre_call", "default_on": True}
    more = f"guardrails: {json.dumps([{'guardrail_name': 'secrets', 'litellm_params': guard}])}\n"
    async with serve(tmp_path, OTEL, "otel", more) as served:
        secret = "ghp_" + "a1B2c3D4e5" * 4
        assert await served.ask({"messages": [{"role": "user", "content": f"use {secret} now"}]}) == 200
        server, client = await spans(served)
        assert server["events"] == ["guard"] and client["events"] == ["the answer begins"]
        assert secret not in served.door.mock.received[-1].body.decode()
    async with serve(tmp_path, more=more) as served:
        assert await served.ask({"messages": [{"role": "user", "content": f"use {secret} now"}]}) == 200
        [one] = await served.payloads()
        [ran] = one["guardrail_information"]
        assert (ran["guardrail_name"], ran["guardrail_mode"]) == ("secrets", "pre_call")
        assert ran["guardrail_status"] == "guardrail_intervened" and one["metadata"]["applied_guardrails"] == ["secrets"]
        assert secret not in json.dumps(one)
