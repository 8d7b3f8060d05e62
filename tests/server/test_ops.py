"""The small operations through the quick door: what the upstream is asked, what the client gets, what is recorded."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from penstock.mock import Rule, Script, Step
from penstock.mock.embeddings import vector
from tests.door import open_door


def yaml(model: str = "openai/real-model", base: str = "{mock}/v1", info: str = "{}", **params: object) -> str:
    more = "".join(f", {key}: {json.dumps(value)}" for key, value in params.items())
    return f"""
model_list:
  - model_name: m
    litellm_params: {{model: {model}, api_base: "{base}", api_key: sk-upstream{more}}}
    model_info: {info}
router_settings: {{num_retries: 0}}
"""


def decoded(body: bytes) -> dict:
    return json.loads(body)


# ---- embeddings


@pytest.mark.parametrize("path", ["/v1/embeddings", "/embeddings"])
async def test_embeddings_are_openais_list_with_the_alias(path, tmp_path):
    async with open_door(tmp_path, yaml(input_cost_per_token="0.01", output_cost_per_token=0)) as door:
        status, headers, body = await door.post({"model": "m", "input": ["one", "two words"]}, path)
        told = decoded(body)
        assert status == 200 and told["object"] == "list" and told["model"] == "m"
        assert [row["index"] for row in told["data"]] == [0, 1]
        assert told["data"][1] == {"object": "embedding", "index": 1, "embedding": vector("two words", 8)}
        assert told["usage"] == {"prompt_tokens": 3, "total_tokens": 3}
        assert headers["x-litellm-model-group"] == "m" and headers["x-litellm-response-cost"] == "0.03"
        [sent] = door.mock.received
        assert sent.path == "/v1/embeddings" and sent.json == {"model": "real-model", "input": ["one", "two words"]}
        [record] = door.records
        assert record.usage.fresh == 3 and record.cost == Decimal("0.03") and record.target == "openai/real-model"
        assert record.path == path and record.tries == 1 and record.ttft_ms is not None


async def test_base64_is_made_here_where_the_upstream_is_not_known_to_make_it(tmp_path):
    from base64 import b64decode
    from struct import unpack

    async with open_door(tmp_path, yaml()) as door:
        _, _, body = await door.post({"model": "m", "input": "x", "encoding_format": "base64", "dimensions": 4}, "/v1/embeddings")
        [row] = decoded(body)["data"]
        assert list(unpack("<4f", b64decode(row["embedding"]))) == vector("x", 4)
        assert "encoding_format" not in door.mock.received[0].json and door.mock.received[0].json["dimensions"] == 4


async def test_base64_passes_where_it_is_known(tmp_path):
    async with open_door(tmp_path, yaml("hosted_vllm/e")) as door:
        _, _, body = await door.post({"model": "m", "input": "x", "encoding_format": "base64"}, "/v1/embeddings")
        assert isinstance(decoded(body)["data"][0]["embedding"], str)
        assert door.mock.received[0].json["encoding_format"] == "base64"


async def test_a_long_list_goes_in_batches_and_comes_back_in_order(tmp_path):
    texts = [f"text {n}" for n in range(7)]
    async with open_door(tmp_path, yaml(info="{embedding_batch_size: 3}")) as door:
        _, headers, body = await door.post({"model": "m", "input": texts}, "/v1/embeddings")
        told = decoded(body)
        assert [row["embedding"] for row in told["data"]] == [vector(text, 8) for text in texts]
        assert [row["index"] for row in told["data"]] == list(range(7))
        assert sorted(len(sent.json["input"]) for sent in door.mock.received) == [1, 3, 3]
        assert told["usage"]["prompt_tokens"] == 14 == door.records[0].usage.fresh
        assert float(headers["x-penstock-overhead-ms"]) >= 0
        await door.settle()


async def test_a_batch_that_fails_fails_the_request(tmp_path):
    async with open_door(tmp_path, yaml(info="{embedding_batch_size: 1}")) as door:
        door.mock.script = Script(rules=[Rule(contains="three", step=Step(status=429, error="Slow down."))])
        status, _, body = await door.post({"model": "m", "input": ["one", "two", "three", "four"]}, "/v1/embeddings")
        assert status == 429 and "Slow down." in decoded(body)["error"]["message"]
        await door.settle()


async def test_tokens_pass_as_they_are(tmp_path):
    async with open_door(tmp_path, yaml(info="{embedding_batch_size: 1}")) as door:
        await door.post({"model": "m", "input": [1, 2, 3]}, "/v1/embeddings")
        assert [sent.json["input"] for sent in door.mock.received] == [[1, 2, 3]]
        await door.post({"model": "m", "input": [[1, 2], [3]]}, "/v1/embeddings")
        assert [sent.json["input"] for sent in door.mock.received[1:]] == [[[1, 2]], [[3]]]


async def test_ollama_is_asked_in_its_own_words(tmp_path):
    async with open_door(tmp_path, yaml("ollama/nomic", "{mock}")) as door:
        _, headers, body = await door.post({"model": "m", "input": ["a", "b"], "keep_alive": "5m"}, "/v1/embeddings")
        told = decoded(body)
        assert told["data"][1]["embedding"] == vector("b", 8) and told["model"] == "m"
        assert told["usage"] == {"prompt_tokens": 2, "total_tokens": 2}
        [sent] = door.mock.received
        assert sent.path == "/api/embed" and sent.json == {"model": "nomic", "input": ["a", "b"], "keep_alive": "5m"}
        status, _, body = await door.post({"model": "m", "input": [1, 2]}, "/v1/embeddings")
        assert status == 400 and "texts, not tokens" in decoded(body)["error"]["message"]


async def test_ollamas_clients_reach_every_target_in_batches(tmp_path):
    async with open_door(tmp_path, yaml(info="{embedding_batch_size: 2}")) as door:
        _, _, body = await door.post({"model": "m", "input": ["a", "b", "c"]}, "/api/embed")
        told = decoded(body)
        assert told["embeddings"] == [vector(text, 8) for text in "abc"] and told["prompt_eval_count"] == 3
        _, _, body = await door.post({"model": "m", "prompt": "a"}, "/api/embeddings")
        assert decoded(body) == {"embedding": vector("a", 8)}


async def test_usage_is_counted_where_nobody_tells_it(tmp_path):
    async with open_door(tmp_path) as door:
        door.mock.script = Script.always(usage="absent")
        _, _, body = await door.post({"model": "m", "input": "four letters"}, "/v1/embeddings")
        assert decoded(body)["usage"]["prompt_tokens"] > 0 and door.records[0].usage.estimated


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({}, "'input' is missing"),
        ({"input": []}, "empty list"),
        ({"input": 5}, "'input' is a number"),
        ({"input": "x", "encoding_format": 3}, "'encoding_format'"),
        ({"input": "x", "dimensions": 0}, "'dimensions' must be 1 or more"),
    ],
)
async def test_bad_embedding_requests_never_reach_an_upstream(fields, says, tmp_path):
    async with open_door(tmp_path) as door:
        status, _, body = await door.post({"model": "m", **fields}, "/v1/embeddings")
        assert status == 400 and says in decoded(body)["error"]["message"] and not door.mock.received


@pytest.mark.parametrize(
    ("key", "path", "fields"),
    [
        ("completion_model", "/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}]}),
        ("completion_model", "/v1/messages", {"max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}),
        ("completion_model", "/v1/responses", {"input": "x"}),
        ("completion_model", "/v1/completions", {"prompt": "x"}),
        ("embedding_model", "/v1/embeddings", {"input": "x"}),
        ("moderation_model", "/v1/moderations", {"input": "x"}),
    ],
)
async def test_a_configured_model_answers_whatever_is_asked_for(key, path, fields, tmp_path):
    """LiteLLM: "force the model". The answer carries the name that the client asked for."""
    async with open_door(tmp_path, yaml() + f"general_settings: {{{key}: m}}\n") as door:
        for named, told in (({}, "m"), ({"model": "gone"}, "gone"), ({"model": "m"}, "m")):
            status, _, body = await door.post({**named, **fields}, path)
            assert status == 200 and decoded(body)["model"] == told, body
        sent = {received.json["model"] for received in door.mock.received}
        assert "gone" not in sent
        status, _, body = await door.post({"model": "gone", "query": "x", "documents": ["a"]}, "/v1/rerank")
        assert status == 400, body


# ---- completions

OFFICIAL = "openrouter/llama"  # a vendor of chats only


def chunks(body: bytes) -> list[dict]:
    lines = [line[6:] for line in body.split(b"\n") if line.startswith(b"data: ")]
    assert lines[-1] == b"[DONE]"
    return [json.loads(line) for line in lines[:-1]]


@pytest.mark.parametrize("path", ["/v1/completions", "/completions"])
async def test_completions_pass_to_a_server_that_has_them(path, tmp_path):
    async with open_door(tmp_path, yaml("hosted_vllm/base")) as door:
        body = {"model": "m", "prompt": ["hello", "bye"], "echo": True, "logprobs": 1, "best_of": 1}
        status, headers, answer = await door.post(body, path)
        told = decoded(answer)
        assert status == 200 and told["object"] == "text_completion" and told["model"] == "m"
        assert [choice["text"] for choice in told["choices"]] == ["hellomock/echo: hello", "byemock/echo: bye"]
        assert headers["x-penstock-lane"] == "same"
        [sent] = door.mock.received
        assert sent.path == "/v1/completions" and sent.json == {**body, "model": "base"}
        assert door.records[0].usage.output == told["usage"]["completion_tokens"]


async def test_completions_become_a_chat_where_there_are_only_chats(tmp_path):
    async with open_door(tmp_path, yaml(OFFICIAL)) as door:
        body = {"model": "m", "prompt": "hello", "max_tokens": 9, "echo": True, "logprobs": 2}
        status, headers, answer = await door.post(body, "/v1/completions")
        told = decoded(answer)
        assert status == 200 and told["object"] == "text_completion" and told["model"] == "m"
        [choice] = told["choices"]
        assert choice["text"] == "hellomock/echo: hello" and choice["finish_reason"] == "stop"
        assert choice["logprobs"]["tokens"] and choice["logprobs"]["text_offset"][0] == len("hello")
        assert headers["x-penstock-lane"] == "cross" and headers["x-penstock-dropped"] == "extra.prompt_logprobs"
        [sent] = door.mock.received
        assert sent.path == "/v1/chat/completions"
        assert sent.json["messages"] == [{"role": "user", "content": "hello"}] and sent.json["top_logprobs"] == 2
        assert not {"prompt", "echo"} & sent.json.keys()


@pytest.mark.parametrize("model", ["hosted_vllm/base", OFFICIAL])
async def test_streamed_completions(model, tmp_path):
    async with open_door(tmp_path, yaml(model)) as door:
        body = {"model": "m", "prompt": "hello", "stream": True, "stream_options": {"include_usage": True}}
        status, headers, answer = await door.post(body, "/v1/completions")
        told = chunks(answer)
        assert status == 200 and headers["content-type"].startswith("text/event-stream")
        assert {chunk["model"] for chunk in told} == {"m"} and {chunk["object"] for chunk in told} == {"text_completion"}
        *rest, last = told
        assert "".join(chunk["choices"][0]["text"] for chunk in rest) == "mock/echo: hello"
        assert [c["choices"][0]["finish_reason"] for c in rest if c["choices"][0]["finish_reason"]] == ["stop"]
        assert last["choices"] == [] and last["usage"]["completion_tokens"] > 0
        assert len({chunk["id"] for chunk in told}) == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_several_prompts_become_several_chats(stream, tmp_path):
    async with open_door(tmp_path, yaml(OFFICIAL)) as door:
        body = {"model": "m", "prompt": ["one", "two", "three"], "n": 2, "echo": True, "stream": stream}
        status, _, answer = await door.post(body, "/v1/completions")
        assert status == 200
        if stream:
            texts = dict.fromkeys(range(6), "")
            for chunk in chunks(answer):
                for choice in chunk["choices"]:
                    texts[choice["index"]] += choice["text"]
            said = list(texts.values())
        else:
            said = [choice["text"] for choice in decoded(answer)["choices"]]
        assert [text.split("mock")[0] for text in said] == ["one", "one", "two", "two", "three", "three"]
        assert len(door.mock.received) == 3 and door.records[0].usage.output > 0
        assert not any(sent.json.get("stream") for sent in door.mock.received)
        await door.settle()


async def test_a_suffix_becomes_an_instruction(tmp_path):
    async with open_door(tmp_path, yaml(OFFICIAL)) as door:
        await door.post({"model": "m", "prompt": "def f(", "suffix": "return 1"}, "/v1/completions")
        [sent] = door.mock.received
        assert [turn["role"] for turn in sent.json["messages"]] == ["system", "user"]
        assert sent.json["messages"][1]["content"] == "<prefix>def f(</prefix>\n<suffix>return 1</suffix>"


async def test_an_engine_without_completions_is_asked_as_a_chat_from_then_on(tmp_path):
    async with open_door(tmp_path) as door:
        door.mock.script = Script(rules=[Rule(path="/v1/completions", step=Step(status=404))])
        for prompt in ("one", ["one", "two"]):
            status, _, answer = await door.post({"model": "m", "prompt": prompt}, "/v1/completions")
            assert status == 200 and decoded(answer)["choices"][0]["text"] == "mock/echo: one"
        assert [sent.path for sent in door.mock.received] == ["/v1/completions"] + ["/v1/chat/completions"] * 3


async def test_a_first_request_of_several_prompts_finds_out_too(tmp_path):
    async with open_door(tmp_path) as door:
        door.mock.script = Script(rules=[Rule(path="/v1/completions", step=Step(status=404))])
        status, _, answer = await door.post({"model": "m", "prompt": ["one", "two"]}, "/v1/completions")
        assert status == 200 and [c["text"] for c in decoded(answer)["choices"]] == ["mock/echo: one", "mock/echo: two"]


async def test_the_mode_of_a_deployment_settles_it(tmp_path):
    async with open_door(tmp_path, yaml("hosted_vllm/base", info="{mode: chat}")) as door:
        await door.post({"model": "m", "prompt": "one"}, "/v1/completions")
        assert door.mock.received[0].path == "/v1/chat/completions"


async def test_tokens_cannot_become_a_chat(tmp_path):
    async with open_door(tmp_path, yaml(OFFICIAL)) as door:
        status, _, body = await door.post({"model": "m", "prompt": [1, 2, 3]}, "/v1/completions")
        error = decoded(body)["error"]
        assert status == 400 and error["param"] == "prompt" and "tokens" in error["message"]


async def test_completions_reach_messages_and_ollama_models(tmp_path):
    async with open_door(tmp_path, yaml("anthropic/claude-x", "{mock}")) as door:
        status, headers, answer = await door.post({"model": "m", "prompt": "hello", "n": 2}, "/v1/completions")
        told = decoded(answer)
        assert status == 200 and told["choices"][0]["text"] == "mock/echo: hello" and told["usage"]["total_tokens"] > 0
        assert door.mock.received[0].path == "/v1/messages" and headers["x-penstock-dropped"] == "n"


@pytest.mark.parametrize(
    ("fields", "says"), [({}, "'prompt' is missing"), ({"prompt": []}, "empty list"), ({"prompt": {}}, "is an object")]
)
async def test_bad_completion_requests(fields, says, tmp_path):
    async with open_door(tmp_path) as door:
        status, _, body = await door.post({"model": "m", **fields}, "/v1/completions")
        assert status == 400 and says in decoded(body)["error"]["message"] and not door.mock.received


@pytest.mark.parametrize(("path", "fields"), [("/v1/embeddings", {"input": "x"}), ("/v1/completions", {"prompt": "x"})])
async def test_errors_retries_and_fallbacks_are_those_of_chats(path, fields, tmp_path):
    text = yaml().replace("num_retries: 0", 'num_retries: 1, fallbacks: [{"m": ["spare"]}]').replace(
        "router_settings",
        '  - model_name: spare\n    litellm_params: {model: openai/spare-model, api_base: "{mock}/v1", api_key: k}\nrouter_settings',
    )
    async with open_door(tmp_path, text) as door:
        door.mock.script = Script(rules=[Rule(model="real-model", step=Step(status=500, error="Their words."))])
        status, headers, body = await door.post({"model": "m", **fields}, path)
        assert status == 200 and decoded(body)["model"] == "m" and headers["x-litellm-attempted-fallbacks"] == "1"
        assert [sent.json["model"] for sent in door.mock.received] == ["real-model", "real-model", "spare-model"]
        door.mock.script = Script.always(status=401, error="No such key.")
        status, _, body = await door.post({"model": "m", **fields}, path)
        assert status == 401 and "AuthenticationError: OpenAIException - No such key." in decoded(body)["error"]["message"]


# ---- rerank

DOCUMENTS = ["a cat sat", "the query words here", "query alone"]
ASK = {"model": "m", "query": "query words", "documents": DOCUMENTS}


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/v2/rerank"])
@pytest.mark.parametrize(
    ("model", "base", "sent_path", "sent_keys"),
    [
        ("cohere/rerank-v3.5", "{mock}", "/v2/rerank", {"model", "query", "documents", "top_n"}),
        ("jina_ai/jina-reranker", "{mock}/v1", "/v1/rerank", {"model", "query", "documents", "top_n"}),
        ("voyage/rerank-2.5", "{mock}/v1", "/v1/rerank", {"model", "query", "documents", "top_k"}),
        ("hosted_vllm/bge", "{mock}", "/v1/rerank", {"model", "query", "documents", "top_n"}),
        ("llama_cpp/bge", "{mock}/v1", "/v1/rerank", {"model", "query", "documents", "top_n"}),
        ("tei/bge", "{mock}", "/rerank", {"model", "query", "texts"}),
        ("huggingface/BAAI/bge", "{mock}/v1", "/rerank", {"model", "query", "texts"}),
    ],
)
async def test_every_make_of_reranker_answers_in_coheres_form(path, model, base, sent_path, sent_keys, tmp_path):
    async with open_door(tmp_path, yaml(model, base)) as door:
        status, headers, body = await door.post({**ASK, "top_n": 2, "return_documents": True}, path)
        told = decoded(body)
        assert status == 200 and told["model"] == "m" and told["id"] and "meta" in told
        assert [row["index"] for row in told["results"]] == [1, 2]
        assert told["results"][0] == {"index": 1, "relevance_score": 1.0, "document": {"text": DOCUMENTS[1]}}
        [sent] = door.mock.received
        assert sent.path == sent_path and sent.json.keys() == sent_keys
        assert headers["x-litellm-model-group"] == "m"


async def test_searches_and_tokens_are_billed(tmp_path):
    async with open_door(tmp_path, yaml("cohere/rerank-v3.5", "{mock}")) as door:
        _, headers, body = await door.post({**ASK, "documents": ["x"] * 101}, "/v2/rerank")
        assert decoded(body)["meta"]["billed_units"] == {"search_units": 2}
        assert headers["x-litellm-response-cost"] == "0.004" and door.records[0].cost == Decimal("0.004")
    async with open_door(tmp_path, yaml("voyage/rerank-2", "{mock}")) as door:
        _, headers, body = await door.post(ASK, "/rerank")
        tokens = decoded(body)["usage"]["total_tokens"]
        assert tokens > 0 and door.records[0].usage.fresh == tokens
        assert door.records[0].cost == tokens * Decimal("5e-8")


async def test_what_only_cohere_takes_is_reported(tmp_path):
    async with open_door(tmp_path, yaml("voyage/rerank-2", "{mock}")) as door:
        _, headers, _ = await door.post({**ASK, "max_tokens_per_doc": 100}, "/rerank")
        assert headers["x-penstock-dropped"] == "max_tokens_per_doc"


async def test_objects_are_ranked_by_their_fields(tmp_path):
    async with open_door(tmp_path, yaml("cohere/rerank-v3.5", "{mock}")) as door:
        objects = [{"title": "T", "text": "no"}, {"title": "query words", "text": "x"}]
        body = {**ASK, "documents": objects, "rank_fields": ["title"], "return_documents": True}
        _, _, answer = await door.post(body, "/rerank")
        assert decoded(answer)["results"][0]["document"] == objects[1]
        assert door.mock.received[0].json["documents"] == ["title: T", "title: query words"]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"documents": ["x"]}, "'query' is missing"),
        ({"query": "q"}, "'documents' is missing"),
        ({"query": "q", "documents": []}, "'documents' is empty"),
        ({"query": "q", "documents": [1]}, "'documents[0]' is a number"),
        ({"query": "q", "documents": ["x"], "top_n": 0}, "'top_n' is 0"),
    ],
)
async def test_bad_rerank_requests(fields, says, tmp_path):
    async with open_door(tmp_path) as door:
        status, _, body = await door.post({"model": "m", **fields}, "/rerank")
        assert status == 400 and says in decoded(body)["error"]["message"] and not door.mock.received
