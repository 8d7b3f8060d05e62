"""LangChain's clients of OpenAI and of Anthropic against the gateway. Runs in an environment of their own: what to ask in
variables, one JSON object out. Every function of EACH is asked of each model of MODELS, through each kind of client.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from typing import Any, Literal

from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel

URL, KEY, PNG = os.environ["GATEWAY"], os.environ["KEY"], os.environ["PNG"]
CALL = 'call get_weather {"city": "Rome"}'


def chat(model: str, key: str = KEY, **more: Any) -> Any:
    return ChatOpenAI(model=model, base_url=f"{URL}/v1", api_key=key, max_retries=0, timeout=30, stream_usage=True, **more)


def responses(model: str, key: str = KEY) -> Any:
    return chat(model, key, use_responses_api=True)


def messages(model: str, key: str = KEY) -> Any:
    return ChatAnthropic(model=model, base_url=URL, api_key=key, max_retries=0, timeout=30, max_tokens=500)


CLIENTS: dict[str, Callable[..., Any]] = {"chat": chat, "responses": responses, "messages": messages}


@tool
def get_weather(city: Literal["Rome", "Oslo"]) -> str:  # few words to choose from: random ones come to no end
    """The weather of a city."""
    return f"rain in {city}"


class Person(BaseModel):
    """Somebody."""

    name: Literal["Ada", "Bob"]
    grown: bool


def read(message: Any) -> dict[str, Any]:
    usage = message.usage_metadata or {}
    about = message.response_metadata
    return {
        "text": message.text,
        "model": about.get("model_name") or about.get("model"),
        "finish": about.get("finish_reason") or about.get("stop_reason") or about.get("status"),
        "counted": usage.get("input_tokens", 0) > 0 and usage.get("output_tokens", 0) > 0,
    }


async def whole(llm: Any) -> Any:
    asked = [SystemMessage("Be brief."), HumanMessage("hello")]
    return read(await asyncio.to_thread(llm.invoke, asked))


async def asynchronous(llm: Any) -> Any:
    return (await llm.ainvoke("hello")).text


async def streamed(llm: Any) -> Any:
    def ask() -> Any:
        made: Any = None
        deltas = ""
        for chunk in llm.stream("hello"):
            deltas += chunk.text
            made = chunk if made is None else made + chunk
        return {"deltas": deltas, **read(made)}

    return await asyncio.to_thread(ask)


async def asynchronous_stream(llm: Any) -> Any:
    return "".join([chunk.text async for chunk in llm.astream("hello")])


async def tools(llm: Any) -> Any:
    able = llm.bind_tools([get_weather])
    asked: list[Any] = [HumanMessage(CALL)]
    first = await able.ainvoke(asked)
    (call,) = first.tool_calls
    result = ToolMessage(get_weather.invoke(call["args"]), tool_call_id=call["id"])
    second = await able.ainvoke([*asked, first, result])
    return {"name": call["name"], "args": call["args"], "text": second.text}


async def tools_streamed(llm: Any) -> Any:
    able = llm.bind_tools([get_weather])
    made: Any = None
    async for chunk in able.astream(CALL):
        made = chunk if made is None else made + chunk
    (call,) = made.tool_calls
    result = ToolMessage("rain", tool_call_id=call["id"])
    again = await able.ainvoke([HumanMessage(CALL), made, result])
    return {"name": call["name"], "args": call["args"], "text": again.text}


async def forced(llm: Any) -> Any:
    made = await llm.bind_tools([get_weather], tool_choice="any").ainvoke("hello")
    return [call["name"] for call in made.tool_calls]


async def structured(llm: Any) -> Any:
    return (await llm.with_structured_output(Person).ainvoke("who?")).model_dump()


async def structured_by_tool(llm: Any) -> Any:
    return (await llm.with_structured_output(Person, method="function_calling").ainvoke("who?")).model_dump()


async def structured_by_schema(llm: Any) -> Any:
    return (await llm.with_structured_output(Person, method="json_schema").ainvoke("who?")).model_dump()


async def vision(llm: Any) -> Any:
    image = {"type": "image", "base64": PNG, "mime_type": "image/png"}
    return (await llm.ainvoke([HumanMessage([{"type": "text", "text": "look"}, image])])).text


async def batch(llm: Any) -> Any:
    return [made.text for made in await llm.abatch(["one", "two"])]


EACH = [whole, asynchronous, streamed, asynchronous_stream, tools, tools_streamed, forced]
EACH += [structured, structured_by_tool, structured_by_schema, vision, batch]


async def embeddings(model: str) -> Any:
    # Without the check it does not cut texts with a tokenizer, which it would have to download.
    made = OpenAIEmbeddings(model=model, base_url=f"{URL}/v1", api_key=KEY, check_embedding_ctx_length=False)
    rows = await made.aembed_documents(["one", "two"])
    return {"rows": len(rows), "floats": all(isinstance(value, float) for row in rows for value in row)}


async def outcome(asked: Awaitable[Any]) -> Any:
    try:
        return await asked
    except Exception as error:  # boundary: an exception is the answer that the test looks at
        return {"error": type(error).__name__, "status": getattr(error, "status_code", None), "says": str(error)[:2000]}


async def main() -> None:
    names = set(os.environ.get("CASES", "").split())
    models = os.environ["MODELS"].split()
    asked: dict[str, Awaitable[Any]] = {}
    for model in models:
        for kind, make in CLIENTS.items():
            llm = make(model)
            for case in EACH:
                if not names or case.__name__ in names:
                    asked[f"{case.__name__} {kind} {model}"] = outcome(case(llm))
    for kind, make in CLIENTS.items() if not names else ():
        asked[f"wrong_key {kind}"] = outcome(make(models[0], "sk-wrong").ainvoke("hello"))
        asked[f"busy {kind}"] = outcome(make(models[0]).ainvoke("fail with 429"))
    if not names:
        asked["embeddings"] = outcome(embeddings(models[0]))
    found = dict(zip(asked, await asyncio.gather(*asked.values()), strict=True))
    print("\n" + json.dumps(found))


if __name__ == "__main__":
    asyncio.run(main())
