"""Records the ``llama_*`` files of this folder from a running llama-server: ``python record.py URL KEY``.

Each request goes out whole and streamed, see ``record``. Errors are kept as ``{"status", "headers", "body"}``.
Requests stand beside as ``NAME.request.json``.
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
    "name": "get_weather",
    "description": "Weather of a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    "strict": False,
}
CLOCK = {
    "type": "function",
    "name": "get_time",
    "parameters": {"type": "object", "properties": {"zone": {"enum": ["UTC", "CET"]}}},
    "strict": False,
}
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}
ASK = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "What is the weather in Paris?"}]}
CALL = {"type": "function_call", "call_id": "call_1", "name": "get_weather", "arguments": '{"city":"Paris"}'}
RESULT = {"type": "function_call_output", "call_id": "call_1", "output": "18 C, sunny"}
HELLO = {"type": "output_text", "text": "Hello", "annotations": []}
SAID = {"type": "message", "role": "assistant", "content": [HELLO]}
CASES: dict[str, dict[str, Any]] = {
    "text": {"instructions": "Be brief.", "input": "Say hi", "max_output_tokens": 64},
    "turns": {
        "input": [ASK, SAID, {"role": "user", "content": "Again"}],
        "max_output_tokens": 40,
    },
    "length": {"input": "Say hi", "max_output_tokens": 4},
    "json_schema": {
        "input": "Say hi",
        "text": {"format": {"type": "json_schema", "name": "answer", "schema": SCHEMA, "strict": True}},
        "max_output_tokens": 200,
    },
    "tools_auto": {"input": [ASK], "tools": [WEATHER, CLOCK], "tool_choice": "auto", "max_output_tokens": 64},
    "tools_required": {"input": [ASK], "tools": [WEATHER, CLOCK], "tool_choice": "required", "max_output_tokens": 300},
    "tool_result": {"input": [ASK, CALL, RESULT], "tools": [WEATHER], "max_output_tokens": 40},
}
WANTED = {"tools_required": b'"function_call"'}
ERRORS: dict[str, tuple[dict[str, Any], bool]] = {
    "error_401": ({"input": "Say hi"}, False),
    "error_bad_request": ({"max_output_tokens": 8}, True),
    "error_context": ({"input": "a b " * 200_000, "max_output_tokens": 8}, True),
}


def post(url: str, key: str, body: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
    headers = {"content-type": "application/json", "authorization": f"Bearer {key}"}
    request = urllib.request.Request(f"{url}/v1/responses", json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as error:
        return error.code, {key.lower(): value for key, value in error.headers.items()}, error.read()


def record(url: str, key: str, name: str, case: dict[str, Any]) -> None:
    """At temperature 0 both answers say the same. Calls come only at random: both are asked until they call, and only
    their shape is alike."""
    wanted = WANTED.get(name)
    body = {"model": "tiny", "temperature": 1 if wanted else 0, **case}
    for suffix, extra in (("json", {}), ("sse", {"stream": True})):
        for _ in range(200):
            data = post(url, key, {**body, **extra})[2]
            if wanted is None or wanted in data:
                break
        print(name, suffix, len(data))
        (HERE / f"llama_{name}.{suffix}").write_bytes(data)
    (HERE / f"llama_{name}.request.json").write_text(json.dumps(body, indent=2) + "\n")


def main(url: str, key: str) -> None:
    for name, case in CASES.items():
        record(url, key, name, case)
    for name, (case_, right) in ERRORS.items():
        status, headers, data = post(url, key if right else "wrong", {"model": "tiny", **case_})
        print(name, status, len(data))
        kept = {"status": status, "headers": headers, "body": data.decode()}
        (HERE / f"llama_{name}.json").write_text(json.dumps(kept, indent=2) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
