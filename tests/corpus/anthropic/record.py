"""Records the ``llama_*`` files of this folder from a running llama-server: ``python record.py URL KEY``.

Each request goes out whole and streamed (see ``record``) and stands beside as ``NAME.request.json``. Errors are kept as
``{"status", "headers", "body"}``.
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
    "name": "get_weather",
    "description": "Weather of a city",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
CLOCK = {"name": "get_time", "input_schema": {"type": "object", "properties": {"zone": {"enum": ["UTC", "CET"]}}}}
HI = [{"role": "user", "content": "Say hi"}]
ASK = [{"role": "user", "content": [{"type": "text", "text": "What is the weather in Paris?"}]}]
CALL = {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Paris"}}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "18 C, sunny"}]}
SYSTEM = [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]
CASES: dict[str, dict[str, Any]] = {
    "text": {"system": "Be brief.", "messages": HI, "max_tokens": 64},
    "system_blocks": {"system": SYSTEM, "messages": HI, "max_tokens": 64},
    "stop": {"messages": HI, "stop_sequences": ["e"], "max_tokens": 64},
    "length": {"messages": HI, "max_tokens": 4},
    "tools_auto": {"messages": ASK, "tools": [WEATHER, CLOCK], "tool_choice": {"type": "auto"}, "max_tokens": 64},
    "tools_any": {"messages": ASK, "tools": [WEATHER, CLOCK], "tool_choice": {"type": "any"}, "max_tokens": 300},
    "tools_named": {
        "messages": ASK,
        "tools": [WEATHER, CLOCK],
        "tool_choice": {"type": "tool", "name": "get_weather", "disable_parallel_tool_use": True},
        "max_tokens": 200,
    },
    "tool_result": {
        "messages": [*ASK, {"role": "assistant", "content": [CALL]}, {"role": "user", "content": [RESULT]}],
        "tools": [WEATHER],
        "max_tokens": 40,
    },
}
WANTED = {"tools_auto": "tool_use", "tools_any": "tool_use", "tools_named": "tool_use"}
ERRORS: dict[str, tuple[dict[str, Any] | None, bool]] = {
    "error_401": ({"messages": HI, "max_tokens": 8}, False),
    "error_bad_request": ({"max_tokens": 8}, True),
    "error_context": ({"messages": [{"role": "user", "content": "a b " * 200_000}], "max_tokens": 8}, True),
}


def post(url: str, key: str, body: dict[str, Any] | None) -> tuple[int, dict[str, str], bytes]:
    headers = {"content-type": "application/json", "x-api-key": key, "anthropic-version": "2023-06-01"}
    request = urllib.request.Request(f"{url}/v1/messages", json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as error:
        return error.code, {key.lower(): value for key, value in error.headers.items()}, error.read()


def record(url: str, key: str, name: str, case: dict[str, Any]) -> None:
    """At temperature 0 both answers say the same. This model calls tools only when it is let to ramble, and the server
    takes no seed on this surface: for tools both are asked until each ends as wanted, and only their shape is alike."""
    wanted = WANTED.get(name)
    body = {"model": "tiny", "temperature": 1 if wanted else 0, **case}
    for suffix, extra in (("json", {}), ("sse", {"stream": True})):
        for _ in range(200):
            data = post(url, key, {**body, **extra})[2]
            if wanted is None or b'"stop_reason":"%b"' % wanted.encode() in data:
                break
        print(name, suffix, len(data))
        (HERE / f"llama_{name}.{suffix}").write_bytes(data)
    (HERE / f"llama_{name}.request.json").write_text(json.dumps(body, indent=2) + "\n")


def main(url: str, key: str) -> None:
    for name, case in CASES.items():
        record(url, key, name, case)
    for name, (case_, right) in ERRORS.items():
        status, headers, data = post(url, key if right else "wrong", {"model": "tiny", **(case_ or {})})
        print(name, status, len(data))
        kept = {"status": status, "headers": headers, "body": data.decode()}
        (HERE / f"llama_{name}.json").write_text(json.dumps(kept, indent=2) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
