"""``SERVER_ROOT_PATH``: the gateway behind a path of a shared host, as LiteLLM's documentation has it. All of it is below
the path, and at / as well."""

from __future__ import annotations

import json

import pytest

from penstock.server.site import Site, root_of
from penstock.server.surfaces import SURFACES
from tests.door import open_door

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
BODIES = {
    "/v1/chat/completions": CHAT,
    "/v1/messages": {**CHAT, "max_tokens": 9},
    "/v1/responses": {"model": "m", "input": "hi"},
    "/api/v1/chat/completions": CHAT,  # below a mount
    "/olla/litellm/v1/chat/completions": CHAT,
    "/v1beta/models/m:generateContent": {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]},
    "/api/chat": {**CHAT, "stream": False},
}


@pytest.mark.parametrize("root", ["/llm", "/a/b"])
async def test_everything_is_below_the_path_and_at_the_root(tmp_path, root):
    async with open_door(tmp_path) as door:
        door.gateway.site = Site(root=root)
        for path, body in BODIES.items():
            for place in (path, root + path):
                status, _, answer = await door.post(body, place)
                assert status == 200, (place, answer)
        for path in ("/v1/models", "/health", "/health/liveliness", "/openapi.json", "/"):
            assert (await door.ask("GET", path))[0] == (await door.ask("GET", root + path))[0] == 200
        assert (await door.ask("GET", root))[0] == 200
        assert f"127.0.0.1:{door.port}{root}/v1".encode() in (await door.ask("GET", root))[2]


async def test_errors_below_it_name_the_whole_path(tmp_path):
    async with open_door(tmp_path) as door:
        door.gateway.site = Site(root="/llm")
        status, _, body = await door.ask("GET", "/llm/v1/modles")
        said = json.loads(body)["error"]["message"]
        assert status == 404 and "/llm/v1/modles" in said and "Did you mean /llm/v1/models?" in said
        status, _, body = await door.ask("GET", "/llm/v1/chat/completions")
        assert status == 405 and "/llm/v1/chat/completions" in json.loads(body)["error"]["message"]
        status, _, body = await door.post({}, "/llm/v1/messages")
        assert status == 400 and json.loads(body)["type"] == "error", "in the shape of the path's dialect"
        for near in ("/llmx/v1/models", "/other/v1/models"):
            assert (await door.ask("GET", near))[0] == 404


async def test_what_is_passed_through_goes_on_without_the_path(tmp_path):
    text = """
model_list:
  - {model_name: m, litellm_params: {model: openai/m, api_base: "{mock}/v1", api_key: k, use_in_pass_through: true}}
"""
    async with open_door(tmp_path, text) as door:
        door.gateway.site = Site(root="/llm")
        status, _, body = await door.post(CHAT, "/llm/openai/v1/chat/completions")
        assert status == 200, body
        assert door.mock.received[-1].path == "/v1/chat/completions"


@pytest.mark.parametrize(
    ("text", "root"), [("", ""), ("/", ""), ("llm", "/llm"), ("/llm/", "/llm"), (" /a/b/ ", "/a/b")]
)
def test_how_the_path_may_be_written(text, root):
    assert root_of(text) == root


def test_large_forms_below_the_path_are_passed_on_while_they_come():
    site = Site(root="/llm")
    uploads = [path for path, surface in SURFACES.items() if surface.upload]
    assert uploads and all(site.upload_at(path) and site.upload_at("/llm" + path) for path in uploads)
