"""What each service is told of a request, in its own words: recorded once, compared whole."""

from __future__ import annotations

import json

import pytest

from penstock.sinks import SINKS, otlp
from penstock.sinks.base import Refused, Reply, Settings, Unavailable, Unset, Variables
from tests.sinks.made import SECRETS, make_sink, open_post, payload
from tests.sinks.vendors import (
    HELICONE,
    PUBLIC,
    SECRET,
    HeliconeStandIn,
    LangfuseStandIn,
    MLflowStandIn,
    WebhookStandIn,
    attributes,
    fields,
    open_vendor,
)

FAILED = {"status": 429, "error": "upstream_rate_limit", "message": "slow down", "said": None}


def langfuse(**env):
    given = {"LANGFUSE_PUBLIC_KEY": PUBLIC, "LANGFUSE_SECRET_KEY": SECRET, **env}
    return SINKS["langfuse"](Settings(Variables(given), None, tags=("cache_hit", "user_api_key_alias")))


def test_langfuse_gets_a_trace_and_a_generation():
    trace, generation = langfuse().events(payload())
    assert trace == {
        "id": "call-1-trace",
        "type": "trace-create",
        "timestamp": "2026-09-21T14:13:20.750Z",
        "body": {
            "id": "call-1",
            "timestamp": "2026-09-21T14:13:20.000Z",
            "name": "litellm-acompletion",
            "userId": "u-7",
            "sessionId": "s-1",
            "tags": ["red", "user_api_key_alias:alice", "cache_hit:False"],
            "input": [{"role": "user", "content": "what is up"}],
            "output": {"role": "assistant", "content": "the sky"},
        },
    }
    assert generation["body"] == {
        "id": "call-1-generation",
        "traceId": trace["body"]["id"],
        "name": "litellm-acompletion",
        "startTime": "2026-09-21T14:13:20.000Z",
        "endTime": "2026-09-21T14:13:20.750Z",
        "completionStartTime": "2026-09-21T14:13:20.120Z",
        "model": "gpt-4o-mini",
        "modelParameters": {"temperature": 0.5, "tools": '[{"type":"function"}]'},
        "input": [{"role": "user", "content": "what is up"}],
        "output": {"role": "assistant", "content": "the sky"},
        "usage": {"input": 10, "output": 5, "total": 15, "unit": "TOKENS", "totalCost": 0.00012},
        "usageDetails": {"input": 8, "output": 5, "total": 15, "cache_read_input_tokens": 2},
        "costDetails": {"total": 0.00012},
        "level": "DEFAULT",
        "metadata": {
            "project": "p",
            "user_api_key_hash": "k-hash",
            "user_api_key_alias": "alice",
            "user_api_key_user_id": "bob",
            "user_api_key_team_id": "t-1",
            "user_api_key_end_user_id": "u-7",
            "user_api_key_request_route": "/v1/chat/completions",
            "requester_ip_address": "10.0.0.9",
            "litellm_call_id": "call-1",
            "model_group": "fast",
            "model_id": "d1",
            "custom_llm_provider": "openai",
            "cache_hit": False,
        },
    }


def test_langfuse_goes_by_what_a_request_says():
    said = {"trace_id": "t", "trace_name": "n", "trace_user_id": "tu", "generation_name": "gn", "generation_id": "gi",
            "version": "v", "trace_release": "r", "parent_observation_id": "po", "mask_input": True, "mine": 1}  # fmt: skip
    trace, generation = langfuse().events(payload(metadata=said))
    body, made = trace["body"], generation["body"]
    assert (body["id"], body["name"], body["userId"], body["release"], body["input"]) == ("t", "n", "tu", "r", "redacted")
    assert (made["id"], made["name"], made["traceId"], made["version"]) == ("gi", "gn", "t", "v")
    assert made["parentObservationId"] == "po" and made["input"] == "redacted" and made["output"]["content"] == "the sky"
    assert made["metadata"]["mine"] == 1 and "trace_id" not in made["metadata"]
    trace, _ = langfuse().events(payload(metadata={"existing_trace_id": "old"}))
    assert trace["body"].keys().isdisjoint(("name", "input", "output")) and trace["body"]["id"] == "old"


def test_langfuse_is_told_of_failures():
    _, generation = langfuse().events(payload(**FAILED))
    assert generation["body"]["level"] == "ERROR" and generation["body"]["statusMessage"] == "slow down"
    assert generation["body"]["output"] == "slow down"


async def test_langfuse_counts_what_is_refused_one_by_one():
    vendor = LangfuseStandIn()
    async with open_vendor(vendor), open_post() as post:
        sink = make_sink("langfuse", vendor, post)
        batch = [payload(number, metadata={"trace_id": f"t{number}"}) for number in range(4)]
        vendor.bad = frozenset({"t1", "t2"})
        assert await sink.write(batch) == 2
        vendor.bad_status = 500
        with pytest.raises(Unavailable):
            await sink.write(batch)
        vendor.bad, vendor.bad_status = frozenset({"t0", "t1", "t2", "t3"}), 400
        with pytest.raises(Refused):
            await sink.write(batch)


async def test_langfuse_takes_large_batches_in_parts():
    vendor = LangfuseStandIn()
    async with open_vendor(vendor), open_post() as post:
        sink = make_sink("langfuse", vendor, post)
        large = {"messages": [{"role": "user", "content": "x" * 600_000}]}
        assert await sink.write([payload(number, asked=large) for number in range(5)]) == 0
        assert len(vendor.asked) > 1 and vendor.taken == [f"call-{number}" for number in range(5)]


@pytest.mark.parametrize(
    ("kind", "asked", "path", "url"),
    [
        ("acompletion", {"messages": [{"role": "user", "content": "x"}]}, "/oai/v1/log", "https://api.openai.com/v1/chat/completions"),
        ("anthropic_messages", {"messages": [{"role": "user", "content": "x"}]}, "/anthropic/v1/log", "https://api.anthropic.com/v1/messages"),
        ("aembedding", {"input": ["x"]}, "/oai/v1/log", "https://api.openai.com/v1/embeddings"),
        ("arerank", {"query": "x"}, "/custom/v1/log", "custom-model-nopath"),
        ("completion", {"messages": [{"role": "user", "content": "x"}]}, "/oai/v1/log", "https://api.openai.com/v1/chat/completions"),
    ],
)  # fmt: skip
def test_helicone_gets_the_request_and_the_answer(kind, asked, path, url):
    sink = SINKS["helicone"](Settings(Variables({"HELICONE_API_KEY": HELICONE}), None))
    found, body = sink.entry(payload(call_type=kind, asked=asked))
    [(field, content)] = asked.items()
    assert found == path and body["providerRequest"]["url"] == url
    assert body["providerRequest"]["json"] == {"model": "gpt-4o-mini", field: content, "temperature": 0.5, "tools": [{"type": "function"}]}
    assert body["providerResponse"]["status"] == 200 and body["providerResponse"]["json"]["id"] == "chatcmpl-1"
    assert body["timing"] == {"startTime": {"seconds": 1790000000, "milliseconds": 0}, "endTime": {"seconds": 1790000000, "milliseconds": 750}}
    meta = body["providerRequest"]["meta"]
    assert meta["Helicone-User-Id"] == "u-7" and meta["Helicone-Session-Id"] == "s-1" and meta["Helicone-Property-Key"] == "alice"


def test_helicone_is_told_of_failures_and_properties():
    sink = SINKS["helicone"](Settings(Variables({"HELICONE_API_KEY": HELICONE}), None))
    said = {"Helicone-Property-Conversation": "c-9", "Helicone-Auth": "Bearer other", "plain": "x"}
    _, body = sink.entry(payload(**FAILED, metadata=said))
    assert body["providerResponse"]["status"] == 429 and body["providerResponse"]["json"]["error"]["type"] == "RateLimitError"
    meta = body["providerRequest"]["meta"]
    assert meta["Helicone-Property-Conversation"] == "c-9" and meta["Helicone-Auth"] == f"Bearer {HELICONE}" and "plain" not in meta


async def test_mlflow_gets_a_span():
    vendor = MLflowStandIn()
    async with open_vendor(vendor), open_post() as post:
        sink = make_sink("mlflow", vendor, post)
        await sink.write([payload(), payload(2, call_type="aembedding", asked={"input": "x"}), payload(3, **FAILED)])
        assert vendor.wrong == []
        one, two, three = vendor.spans
        assert one["mlflow.spanType"] == "CHAT_MODEL" and two["mlflow.spanType"] == "EMBEDDING"
        assert one["mlflow.spanInputs"]["messages"] == [{"role": "user", "content": "what is up"}]
        assert one["mlflow.spanInputs"]["temperature"] == 0.5 and one["mlflow.spanOutputs"]["id"] == "chatcmpl-1"
        assert one["mlflow.chat.tokenUsage"] == {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15, "cache_read_input_tokens": 2}
        assert one["mlflow.llm.cost"] == {"total_cost": 0.00012} and one["session.id"] == "s-1"
        assert "mlflow.spanOutputs" not in three


async def test_mlflow_finds_its_experiment_by_name_and_makes_it():
    vendor = MLflowStandIn()
    async with open_vendor(vendor), open_post() as post:
        env = {"MLFLOW_TRACKING_URI": vendor.url, "MLFLOW_TRACKING_TOKEN": "mlflow-token-very-secret-5", "MLFLOW_EXPERIMENT_NAME": "o'ne"}
        sink = SINKS["mlflow"](Settings(Variables(env), post))
        await sink.write([payload()])
        await sink.write([payload(2)])
        assert vendor.experiments["o'ne"] == "1" and vendor.taken == ["call-1", "call-2"]
        assert [asked.path.rpartition("/")[2] for asked in vendor.asked] == ["search", "create", "traces", "traces"]


def test_otlp_writes_every_kind_of_value():
    values = {"a": "ä", "b": True, "c": -7, "d": 1.5, "e": [1, None, "x"], "f": {"g": {"h": 2**63}}, "i": None}
    span = otlp.Span(b"t" * 16, b"s" * 8, "n", 1, 2, values)
    resource = fields(otlp.request_of([span], {"service.name": "x"}, "y"))[1][0]
    written = attributes(fields(fields(resource)[2][0])[2][0], 9)
    assert written == {**values, "f": {"g": {"h": str(2**63)}}}


@pytest.mark.parametrize("form", ["json_array", "ndjson", "single"])
async def test_a_webhook_has_three_forms(form):
    class Any(WebhookStandIn):
        def take(self, asked):
            return 200, b""

    vendor = Any()
    async with open_vendor(vendor), open_post() as post:
        sink = make_sink("webhook", vendor, post, log_format=form, headers={"X-Team": "a"})
        await sink.write([payload(1), payload(2)])
        bodies = [asked.body.decode() for asked in vendor.asked]
        rows = [row for body in bodies for row in (json.loads(body) if form == "json_array" else map(json.loads, body.splitlines()))]
        assert [row["litellm_call_id"] for row in rows] == ["call-1", "call-2"] and len(bodies) == (2 if form == "single" else 1)
        assert vendor.asked[0].headers["x-team"] == "a" and vendor.asked[0].headers["authorization"] == "Bearer hook-very-secret-3"


async def test_a_file_is_added_to_and_may_be_moved_away(tmp_path):
    path = tmp_path / "records.jsonl"
    sink = SINKS["file"](Settings(Variables({}), None, {"path": str(path)}))
    await sink.write([payload(1)])
    path.rename(tmp_path / "old.jsonl")
    await sink.write([payload(2), payload(3)])
    assert [json.loads(line)["litellm_call_id"] for line in path.read_text().splitlines()] == ["call-2", "call-3"]
    assert path.stat().st_mode & 0o077 == 0
    with pytest.raises(Unavailable, match="Is a directory"):
        await SINKS["file"](Settings(Variables({}), None, {"path": str(tmp_path)})).write([payload()])


async def test_stdout_gets_lines(capfd):
    await SINKS["stdout"](Settings(Variables({}), None)).write([payload(1), payload(2)])
    assert [json.loads(line)["litellm_call_id"] for line in capfd.readouterr().out.splitlines()] == ["call-1", "call-2"]


@pytest.mark.parametrize(
    ("name", "env", "what"),
    [
        ("langfuse", {}, "needs LANGFUSE_PUBLIC_KEY"),
        ("langfuse", {"LANGFUSE_PUBLIC_KEY": "p"}, "needs LANGFUSE_SECRET_KEY or LANGFUSE_SECRET"),
        ("helicone", {}, "needs HELICONE_API_KEY"),
        ("webhook", {}, "needs GENERIC_LOGGER_ENDPOINT"),
        ("webhook", {"GENERIC_LOGGER_ENDPOINT": "ftp://x"}, "begins with http:// or https://"),
        ("file", {}, "needs callback_settings.file.path"),
    ],
)
def test_what_is_missing_is_named(name, env, what):
    with pytest.raises(Unset, match=what):
        SINKS[name](Settings(Variables(env), None))


@pytest.mark.parametrize("host", ["169.254.169.254", "metadata.google.internal", "[fd00:ec2::254]", "2852039166"])
async def test_no_sink_asks_a_clouds_metadata_service(host):
    async with open_post() as post:
        with pytest.raises(Refused, match="metadata service"):
            await post(f"http://{host}/x", {}, b"")


async def test_errors_tell_no_secrets():
    for name, vendor in (("langfuse", LangfuseStandIn()), ("helicone", HeliconeStandIn())):

        async def post(url, headers, body):
            return Reply(400, json.dumps({"you": headers["authorization"], "key": SECRET, "other": HELICONE}).encode())

        with pytest.raises(Refused) as caught:
            await make_sink(name, vendor, post).write([payload()])
        assert not any(secret in str(caught.value) for secret in SECRETS) and "400" in str(caught.value)
