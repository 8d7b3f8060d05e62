"""/v1/embeddings of a conversation: vLLM's own form passes to servers that may be vLLM, and is refused by all others."""

from __future__ import annotations

import json

import pytest

from penstock.mock.embeddings import vector
from tests.door import open_door

TALK = [{"role": "user", "content": "hello"}, {"role": "user", "content": [{"type": "text", "text": "there"}]}]
TAKES = ("hosted_vllm/bge", "openai/bge", "openai_like/bge", "litellm_proxy/bge")
REFUSES = ("cohere/embed-v4.0", "ollama/nomic", "voyage/voyage-3", "tei/bge", "gemini/gemini-embedding-001", "azure/e")
YAML = "model_list:\n" + "".join(
    f"  - model_name: {model.partition('/')[0]}\n"
    f"    litellm_params: {{model: {model}, api_base: '{{mock}}/v1', api_key: sk-upstream-secret}}\n"
    for model in (*TAKES, *REFUSES)
)


@pytest.mark.parametrize("name", [model.partition("/")[0] for model in TAKES])
@pytest.mark.parametrize("encoding", ["float", "base64"])
async def test_it_passes_whole(tmp_path, name, encoding):
    async with open_door(tmp_path, YAML) as door:
        sent = {"model": name, "messages": TALK, "encoding_format": encoding, "add_generation_prompt": True}
        status, _, body = await door.post(sent, "/v1/embeddings")
        told = json.loads(body)
        assert status == 200 and told["model"] == name and len(told["data"]) == 1, body
        if encoding == "float":
            assert told["data"][0]["embedding"] == pytest.approx(vector("hello there", 8))
        [received] = door.mock.received
        assert received.json["messages"] == TALK and received.json["add_generation_prompt"] is True
        assert "input" not in received.json and received.json["model"] == "bge"
        assert door.records[0].usage.fresh > 0


@pytest.mark.parametrize("name", [model.partition("/")[0] for model in REFUSES])
async def test_who_embeds_texts_only_says_so(tmp_path, name):
    async with open_door(tmp_path, YAML) as door:
        status, _, body = await door.post({"model": name, "messages": TALK}, "/v1/embeddings")
        error = json.loads(body)["error"]
        assert (status, error["param"]) == (400, "messages") and "'input'" in error["message"]
        assert not door.mock.received


@pytest.mark.parametrize("sent", [{"messages": []}, {"messages": "hello"}, {"messages": TALK, "input": "x"}, {}])
async def test_what_is_wrong_is_said(tmp_path, sent):
    async with open_door(tmp_path, YAML) as door:
        status, _, body = await door.post({"model": "hosted_vllm", **sent}, "/v1/embeddings")
        assert status == 400 and json.loads(body)["error"]["param"] in ("messages", "input")
        assert not door.mock.received
