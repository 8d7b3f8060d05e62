"""Seed 1: what its table says that each provider has, asked of each."""

from __future__ import annotations

import json

import pytest

from penstock.mock import Script
from penstock.mock.script import Step
from tests.door import open_door
from tests.seeds.test_s0_shared import PIXEL, SAYS, sent, told
from tests.seeds.test_s1_router import ENV, LAS, WILD

ADDRESS = {
    **ENV,
    "GROQ_API_KEY": "sk-groq",
    "GROQ_API_BASE": "{mock}/v1",
    "TOGETHERAI_API_KEY": "sk-together",
    "TOGETHERAI_API_BASE": "{mock}/v1",
    "DEEPSEEK_API_KEY": "sk-deep",
    "DEEPSEEK_API_BASE": "{mock}/v1",
}
CLAUDE, FLASH = "anthropic/claude-3-5-sonnet-20241022", "gemini/gemini-2.0-flash-exp"
GROQ, TOGETHER = "groq/llama-3.3-70b-versatile", "together_ai/meta-llama/Llama-3.3-70B-Instruct-Turbo"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {"type": "function", "function": {"name": "get_weather", "description": "The weather.", "parameters": SCHEMA}}
CALLS = [{"role": "user", "content": 'call get_weather {"city": "Rome"}'}]


def door_of(tmp_path, model: str):
    provider = model.partition("/")[0]
    upstream = {"groq": "GROQ", "together_ai": "TOGETHERAI", "deepseek": "DEEPSEEK"}.get(provider)
    text = WILD if upstream is None else WILD.replace('{model: "*"}', '{model: "*", api_base: os.environ/' + upstream + "_API_BASE}")
    return open_door(tmp_path, text, env=ADDRESS)


@pytest.mark.parametrize("model", ["openai/gpt-4o", CLAUDE, FLASH])
async def test_s1_54_pictures(model, tmp_path):
    parts = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": PIXEL}}]
    async with door_of(tmp_path, model) as door:
        body = {"model": model, "max_tokens": 9, "messages": [{"role": "user", "content": parts}]}
        answer = await told(door, body, LAS + "/chat/completions")
        assert answer["choices"][0]["message"]["content"]
        assert PIXEL.partition(",")[2] in json.dumps(sent(door)), "the picture's own bytes arrive"


@pytest.mark.parametrize("model", ["openai/gpt-4o", CLAUDE, FLASH, GROQ, TOGETHER])
@pytest.mark.parametrize("stream", [False, True])
async def test_s1_54_tools(model, stream, tmp_path):
    async with door_of(tmp_path, model) as door:
        body = {"model": model, "max_tokens": 50, "tools": [WEATHER], "messages": CALLS, "stream": stream}
        status, _, answer = await door.post(body, LAS + "/chat/completions")
        assert status == 200, answer
        if stream:
            chunks = [json.loads(line[6:]) for line in answer.decode().split("\n\n") if line.startswith("data: {")]
            calls = [call for chunk in chunks for choice in chunk["choices"] for call in choice["delta"].get("tool_calls") or ()]
            name, arguments = calls[0]["function"]["name"], "".join(call["function"].get("arguments") or "" for call in calls)
            assert chunks[-1]["choices"] == [] or any(one["choices"][0]["finish_reason"] == "tool_calls" for one in chunks if one["choices"])
        else:
            choice = json.loads(answer)["choices"][0]
            assert choice["finish_reason"] == "tool_calls"
            name, arguments = (choice["message"]["tool_calls"][0]["function"][key] for key in ("name", "arguments"))
        assert name == "get_weather" and json.loads(arguments) == {"city": "Rome"}


async def test_s1_54_speech_and_its_transcription(tmp_path):
    async with open_door(tmp_path, WILD, env=ENV) as door:
        status, headers, sound = await door.post({"model": "openai/tts-1", "input": "hello", "voice": "alloy"}, LAS + "/v1/audio/speech")
        assert status == 200 and headers["content-type"].startswith("audio/") and sound and sent(door)["model"] == "tts-1"
        form = b'--b\r\ncontent-disposition: form-data; name="model"\r\n\r\nopenai/whisper-1\r\n'
        form += b'--b\r\ncontent-disposition: form-data; name="file"; filename="a.wav"\r\ncontent-type: audio/wav\r\n\r\n' + sound + b"\r\n--b--\r\n"
        status, _, body = await door.ask("POST", LAS + "/v1/audio/transcriptions", form, {"content-type": "multipart/form-data; boundary=b"})
        assert status == 200 and json.loads(body)["text"], body
        assert b"whisper-1" in door.mock.received[-1].body and b"openai/" not in door.mock.received[-1].body


async def test_s1_54_and_s1_21_what_deepseek_thought(tmp_path):
    async with door_of(tmp_path, "deepseek/x") as door:
        door.mock.script = Script(default=Step(reasoning="first this"))
        answer = await told(door, {"model": "deepseek/deepseek-reasoner", **SAYS}, LAS + "/chat/completions")
        assert answer["choices"][0]["message"]["reasoning_content"] == "first this"


async def test_s1_54_a_prompt_of_six_megabytes_reaches_gemini(tmp_path):
    words = "a million tokens " * 370_000
    async with open_door(tmp_path, WILD, env=ENV, script=Script(context_tokens=2_000_000)) as door:  # as Google's has
        body = {"model": "gemini/gemini-1.5-pro", "messages": [{"role": "user", "content": words}]}
        answer = await told(door, body, LAS + "/chat/completions")
        assert answer["choices"][0]["message"]["content"] and len(words) > 6_000_000
        assert sent(door)["contents"][0]["parts"][0]["text"] == words
