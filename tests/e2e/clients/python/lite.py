"""LiteLLM's own client against the gateway. Runs in LiteLLM's environment: what to ask in variables, one JSON object out.

EACH is asked of each model of MODELS (only the functions named in CASES, if any), ONCE of the first, and every prompt of
ERRORS is one that the upstream answers with an error. OPEN: the address of a gateway without keys.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from typing import Any, Literal

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # the map of the wheel, not today's from the network

import litellm
from pydantic import BaseModel

litellm.suppress_debug_info = True
litellm.telemetry = False

URL, KEY, PNG = os.environ["GATEWAY"], os.environ["KEY"], os.environ["PNG"]
BARE = {"api_key": KEY, "num_retries": 0, "max_retries": 0, "timeout": 30}
CHAT = {"api_base": f"{URL}/v1", **BARE}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string", "enum": ["Rome", "Oslo"]}}, "required": ["city"]}
WEATHER = {"type": "function", "function": {"name": "get_weather", "description": "The weather", "parameters": SCHEMA}}
CALL = 'call get_weather {"city": "Rome"}'


class Person(BaseModel):
    name: Literal["Ada", "Bob"]
    grown: bool


def user(content: Any) -> list[Any]:
    return [{"role": "user", "content": content}]


def counted(usage: Any) -> bool:
    return usage.prompt_tokens > 0 and usage.completion_tokens > 0 and usage.total_tokens > 0


def told(made: Any) -> dict[str, Any]:
    """What every ModelResponse says."""
    choice = made.choices[0]
    return {
        "text": choice.message.content,
        "finish": choice.finish_reason,
        "model": made.model,
        "counted": counted(made.usage),
    }


async def whole(model: str) -> Any:
    made = await asyncio.to_thread(litellm.completion, model=f"openai/{model}", messages=user("hello"), **CHAT)
    return told(made)


async def streamed(model: str) -> Any:
    def ask() -> Any:
        options = {"include_usage": True}
        chunks = list(litellm.completion(
            model=f"openai/{model}", messages=user("hello"), stream=True, stream_options=options, **CHAT
        ))  # fmt: skip
        made: Any = litellm.stream_chunk_builder(chunks, messages=user("hello"))
        deltas = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        return {"deltas": deltas, "many": len(chunks) > 3, **told(made)}

    return await asyncio.to_thread(ask)


async def asynchronous(model: str) -> Any:
    return told(await litellm.acompletion(model=f"openai/{model}", messages=user("hello"), **CHAT))


async def asynchronous_stream(model: str) -> Any:
    text = ""
    async for chunk in await litellm.acompletion(
        model=f"openai/{model}", messages=user("hello"), stream=True, **CHAT
    ):
        text += chunk.choices[0].delta.content or ""
    return text


async def _tools(model: str, **options: Any) -> Any:
    messages = user(CALL)
    first = await litellm.acompletion(model=model, messages=messages, tools=[WEATHER], **options)
    message = first.choices[0].message
    (call,) = message.tool_calls
    result = {"role": "tool", "tool_call_id": call.id, "content": "rain"}
    second = await litellm.acompletion(
        model=model, messages=[*messages, message.model_dump(), result], tools=[WEATHER], **options
    )
    return {
        "finish": first.choices[0].finish_reason,
        "name": call.function.name,
        "args": json.loads(call.function.arguments),
        "text": second.choices[0].message.content,
    }


async def tools(model: str) -> Any:
    return await _tools(f"openai/{model}", **CHAT)


async def tools_streamed(model: str) -> Any:
    chunks = []
    async for chunk in await litellm.acompletion(
        model=f"openai/{model}", messages=user(CALL), tools=[WEATHER], stream=True, **CHAT
    ):
        chunks.append(chunk)
    made: Any = litellm.stream_chunk_builder(chunks)
    (call,) = made.choices[0].message.tool_calls
    return {"name": call.function.name, "args": json.loads(call.function.arguments), "id": bool(call.id)}


async def structured(model: str) -> Any:
    made = await litellm.acompletion(
        model=f"openai/{model}", messages=user("who?"), response_format=Person, **CHAT
    )
    return Person.model_validate_json(made.choices[0].message.content).model_dump()


async def vision(model: str) -> Any:
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
    made = await litellm.acompletion(
        model=f"openai/{model}", messages=user([{"type": "text", "text": "look"}, image]), **CHAT
    )
    return made.choices[0].message.content


async def through_litellm_proxy(model: str) -> Any:
    """As users of the LiteLLM proxy write it."""
    made = await litellm.acompletion(model=f"litellm_proxy/{model}", messages=user("hello"), **CHAT)
    return told(made)


async def through_messages(model: str) -> Any:
    """LiteLLM believes that the gateway is Anthropic."""
    return await _tools(f"anthropic/{model}", api_base=URL, **BARE)


async def through_ollama(model: str) -> Any:
    """LiteLLM believes that the gateway is an Ollama."""
    made = await litellm.acompletion(model=f"ollama_chat/{model}", messages=user("hello"), api_base=URL, **BARE)
    return made.choices[0].message.content


async def responses(model: str) -> Any:
    made: Any = await litellm.aresponses(model=f"openai/{model}", input="hello", **CHAT)
    text = "".join(part.text for item in made.output if item.type == "message" for part in item.content)
    return {"text": text, "status": made.status, "model": made.model, "counted": made.usage.total_tokens > 0}


async def responses_streamed(model: str) -> Any:
    text, kinds = "", []
    stream: Any = await litellm.aresponses(model=f"openai/{model}", input="hello", stream=True, **CHAT)
    async for event in stream:
        kind = str(getattr(event.type, "value", event.type))
        kinds.append(kind)
        text += event.delta if kind == "response.output_text.delta" else ""
    return {"text": text, "last": kinds[-1]}


async def messages(model: str) -> Any:
    """Whole only: LiteLLM's streams of it run inside its proxy and import what only that installs."""
    made: Any = await litellm.anthropic.messages.acreate(
        model=f"anthropic/{model}", messages=user("hello"), max_tokens=100, api_base=URL, api_key=KEY
    )
    return {"text": made["content"][0]["text"], "stop": made["stop_reason"], "model": made["model"]}


async def seed(model: str) -> Any:
    """The call of a service's guide, word by word but for its address (seed S0-20), at a gateway without keys."""
    made = await asyncio.to_thread(
        litellm.completion,
        model="openai/qwen3:14b-q4_K_M",
        messages=[{"role": "user", "content": "where?"}],
        api_base=f"{os.environ['OPEN']}/api/v1",
        api_key="not-needed",
        guided_json=SCHEMA,
        metadata={"user_id": "u1", "project": "p", "session_id": "s"},
        extra_body={"custom_option": "x"},
    )
    return {"text": json.loads(made.choices[0].message.content), "model": made.model, "kind": type(made).__name__}


async def embedding(model: str) -> Any:
    made = await litellm.aembedding(model=f"openai/{model}", input=["one", "two"], **CHAT)
    sync: Any = await asyncio.to_thread(litellm.embedding, model=f"openai/{model}", input=["one"], **CHAT)
    first = made.data[0]["embedding"]
    return {
        "rows": len(made.data),
        "floats": all(isinstance(value, float) for value in first),
        "same": sync.data[0]["embedding"] == first,
        "counted": made.usage.prompt_tokens > 0,
    }


async def text_completion(model: str) -> Any:
    made: Any = await litellm.atext_completion(model=f"text-completion-openai/{model}", prompt="hello", **CHAT)
    return made.choices[0].text


async def cost_header(model: str) -> Any:
    """Where tools of LiteLLM's users find what the proxy said of an answer."""
    made: Any = await litellm.acompletion(model=f"litellm_proxy/{model}", messages=user("hello"), **CHAT)
    headers = made._hidden_params["additional_headers"]
    return {
        "cost": float(headers["llm_provider-x-litellm-response-cost"]) > 0,
        "id": bool(headers["llm_provider-x-litellm-model-id"]),
    }


async def wrong_key(model: str) -> Any:
    await litellm.acompletion(model=f"openai/{model}", messages=user("x"), **{**CHAT, "api_key": "sk-wrong"})


async def unknown_model(model: str) -> Any:
    await litellm.acompletion(model="openai/nobody-has-this", messages=user("x"), **CHAT)


def failing(prompt: str, stream: bool = False) -> Callable[[str], Awaitable[Any]]:
    async def ask(model: str) -> Any:
        made = await litellm.acompletion(model=f"openai/{model}", messages=user(prompt), stream=stream, **CHAT)
        if stream:
            async for _ in made:
                pass

    return ask


async def outcome(case: Callable[[str], Awaitable[Any]], model: str) -> Any:
    try:
        return await case(model)
    except Exception as error:  # boundary: an exception is the answer that the test looks at
        return {"error": type(error).__name__, "status": getattr(error, "status_code", None), "says": str(error)[:2000]}


EACH = [
    *(whole, streamed, asynchronous, asynchronous_stream, tools, tools_streamed, structured, vision),
    *(through_litellm_proxy, through_messages, through_ollama),
    *(responses, responses_streamed, messages),
]
ONCE = [seed, embedding, text_completion, cost_header, wrong_key, unknown_model]


async def main() -> None:
    names = set(os.environ.get("CASES", "").split())
    models = os.environ["MODELS"].split()
    asked = {f"{case.__name__} {model}": outcome(case, model)
             for model in models for case in EACH if not names or case.__name__ in names}  # fmt: skip
    asked |= {case.__name__: outcome(case, models[0]) for case in ONCE if not names or case.__name__ in names}
    for prompt in json.loads(os.environ.get("ERRORS", "[]")):
        asked[f"error {prompt}"] = outcome(failing(prompt), models[0])
        asked[f"error streamed {prompt}"] = outcome(failing(prompt, stream=True), models[0])
    found = dict(zip(asked, await asyncio.gather(*asked.values()), strict=True))
    print("\n" + json.dumps(found))


if __name__ == "__main__":
    asyncio.run(main())
    sys.stdout.flush()
    os._exit(0)  # LiteLLM's background threads would take their time
