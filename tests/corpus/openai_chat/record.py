"""Records the ``llama_*`` files of this folder from a running llama-server:
``python record.py http://127.0.0.1:PORT KEY`` (then names of cases, for some of them only).

Each request goes out whole and streamed, with a seed so that both answers have the same text.
Errors are kept as ``{"status", "headers", "body"}``.
"""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
CLOCK = {
    "type": "function",
    "function": {
        "name": "get_time",
        "parameters": {"type": "object", "properties": {"zone": {"enum": ["UTC", "CET"]}}},
    },
}
ASK = [{"role": "user", "content": "What is the weather in Paris?"}]
CALL = {
    "role": "assistant",
    "content": None,
    "tool_calls": [
        {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city":"Paris"}'}}
    ],
}
SCHEMA = {
    "type": "object",
    "properties": {"ok": {"type": "boolean"}, "n": {"enum": [1, 2, 3]}},
    "required": ["ok", "n"],
    "additionalProperties": False,
}
CASES: dict[str, dict[str, Any]] = {
    "text": {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Say hi"}]},
    "stop": {"messages": [{"role": "user", "content": "Say hi"}], "stop": ["e"]},
    "length": {"messages": [{"role": "user", "content": "Say hi"}], "max_tokens": 4},
    "tools_auto": {"messages": ASK, "tools": [WEATHER, CLOCK], "tool_choice": "auto", "max_tokens": 64},
    "tools_required": {"messages": ASK, "tools": [WEATHER], "tool_choice": "required", "max_tokens": 900, "seed": 8},
    "tools_parallel": {
        "messages": ASK,
        "tools": [WEATHER, CLOCK],
        "tool_choice": "required",
        "parallel_tool_calls": True,
        "max_tokens": 900,
        "seed": 5,
    },
    "tool_result": {
        "messages": [*ASK, CALL, {"role": "tool", "tool_call_id": "call_1", "content": "18 C, sunny"}],
        "tools": [WEATHER],
        "tool_choice": "none",
        "max_tokens": 40,
    },
    "json_schema": {
        "messages": [{"role": "user", "content": "Answer"}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": SCHEMA}},
        "max_tokens": 100,
    },
    "logprobs": {"messages": [{"role": "user", "content": "Hi"}], "logprobs": True, "top_logprobs": 2, "max_tokens": 6},
    "n2": {"messages": [{"role": "user", "content": "Hi"}], "n": 2, "max_tokens": 8},
}


def post(base: str, key: str, body: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
    request = urllib.request.Request(
        f"{base}/v1/chat/completions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json", "Authorization": f"Bearer {key}"},
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), error.read()


def save_error(name: str, status: int, headers: dict[str, str], body: bytes) -> None:
    kept = {key.lower(): value for key, value in headers.items() if key.lower() in ("content-type", "retry-after")}
    text = json.dumps({"status": status, "headers": kept, "body": body.decode()}, indent=1)
    (HERE / f"llama_error_{name}.json").write_text(text + "\n")


def main(base: str, key: str, *names: str) -> None:
    for name in names or CASES:
        case = CASES[name]
        # At temperature 0 the model repeats itself for ever; a seed makes both answers equal just as well.
        body = {"model": "tiny", "temperature": 1, "seed": 7, "max_tokens": 200, **case}
        (HERE / f"llama_{name}.request.json").write_text(json.dumps(body, indent=1) + "\n")
        status, _, whole = post(base, key, body)
        assert status == 200, (name, whole)
        (HERE / f"llama_{name}.json").write_bytes(whole)
        status, _, streamed = post(base, key, {**body, "stream": True, "stream_options": {"include_usage": True}})
        assert status == 200, (name, streamed)
        (HERE / f"llama_{name}.sse").write_bytes(streamed)
    hello = [{"role": "user", "content": "Hi"}]
    save_error("401", *post(base, "wrong", {"model": "tiny", "messages": hello}))
    long = [{"role": "user", "content": "word " * 400_000}]
    save_error("context", *post(base, key, {"model": "tiny", "messages": long}))
    save_error("bad_request", *post(base, key, {"model": "tiny", "messages": "no"}))


if __name__ == "__main__":
    main(*sys.argv[1:])
