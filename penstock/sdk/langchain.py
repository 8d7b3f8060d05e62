"""A chat model of LangChain over a `LiteLLMProvider`: whole, streamed, async, with tools and structured output.

Loaded when somebody asks for one: `langchain-core` is an extra.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.exceptions import OutputParserException
from langchain_core.language_models import LanguageModelInput
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, convert_to_openai_messages
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.output_parsers import JsonOutputParser, PydanticOutputParser
from langchain_core.output_parsers.openai_tools import make_invalid_tool_call, parse_tool_call
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable, RunnableMap, RunnablePassthrough
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import BaseModel, Field

from penstock.sdk.arguments import schema_of
from penstock.sdk.models import token_counter

_FORCED = {"any": "required", "required": "required", "auto": "auto", "none": "none"}


class ChatPenstock(BaseChatModel):
    """A model that ``provider``, a `LiteLLMProvider`, asks. ``options``: arguments of all its calls."""

    provider: Any = Field(exclude=True)
    options: dict[str, Any] = Field(default_factory=dict)

    @property
    def _llm_type(self) -> str:
        return "penstock"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model": self.provider.model, "base_url": self.provider.base_url}

    @property
    def model_name(self) -> str:
        """Return whom it asks."""
        name: str = self.provider.model
        return name

    def get_num_tokens(self, text: str) -> int:
        """Estimate the tokens of a text, as the SDK does."""
        return token_counter(self.provider.model, text=text)

    def _asked(self, messages: list[BaseMessage], stop: list[str] | None, options: Mapping[str, Any]) -> dict[str, Any]:
        given = {**self.options, **options}
        given.pop("ls_structured_output_format", None)  # for those who trace
        if stop is not None:
            given["stop"] = stop
        return {**given, "messages": convert_to_openai_messages(messages)}

    # Whole ------------------------------------------------------------------------------------------------------------

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **options: Any,
    ) -> ChatResult:
        return _result(self.provider.chat_completion(**self._asked(messages, stop, options)))

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **options: Any,
    ) -> ChatResult:
        return _result(await self.provider.achat_completion(**self._asked(messages, stop, options)))

    # Streamed ---------------------------------------------------------------------------------------------------------

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **options: Any,
    ) -> Iterator[ChatGenerationChunk]:
        asked = {"stream_options": {"include_usage": True}, **self._asked(messages, stop, options), "stream": True}
        with self.provider.chat_completion(**asked) as stream:
            for chunk in stream:
                for part in _parts(chunk):
                    if run_manager is not None:
                        run_manager.on_llm_new_token(part.text, chunk=part)
                    yield part

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **options: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        asked = {"stream_options": {"include_usage": True}, **self._asked(messages, stop, options), "stream": True}
        async with await self.provider.achat_completion(**asked) as stream:
            async for chunk in stream:
                for part in _parts(chunk):
                    if run_manager is not None:
                        await run_manager.on_llm_new_token(part.text, chunk=part)
                    yield part

    # Tools and forms --------------------------------------------------------------------------------------------------

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | dict[str, Any] | bool | None = None,
        **options: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Return the model with tools. ``tool_choice``: "any", "auto", "none", a tool's name, or True for the only
        one."""
        written = [convert_to_openai_tool(tool) for tool in tools]
        if tool_choice is True:
            tool_choice = written[0]["function"]["name"]
        if isinstance(tool_choice, str):
            named = {"type": "function", "function": {"name": tool_choice}}
            options["tool_choice"] = _FORCED.get(tool_choice, named)
        elif tool_choice:
            options["tool_choice"] = tool_choice
        return self.bind(tools=written, **options)

    def with_structured_output(
        self, schema: dict[str, Any] | type, *, include_raw: bool = False, **options: Any
    ) -> Runnable[LanguageModelInput, Any]:
        """Return the model with answers of a schema. ``method``: "function_calling", "json_schema" or "json_mode"."""
        method = options.pop("method", "function_calling")
        if method == "function_calling":
            return super().with_structured_output(schema, include_raw=include_raw, **options)
        pydantic = isinstance(schema, type) and issubclass(schema, BaseModel)
        if method == "json_mode":
            form: dict[str, Any] = {"type": "json_object"}
        elif method != "json_schema":
            raise ValueError(f"method is {method!r}, and must be function_calling, json_schema or json_mode")
        elif pydantic:
            form = schema_of(schema)  # type: ignore[arg-type]
        else:
            function = convert_to_openai_tool(schema, strict=True)["function"]
            named = {"name": function["name"], "schema": function["parameters"], "strict": True}
            form = {"type": "json_schema", "json_schema": named}
        model = self.bind(response_format=form)
        parser: Any = PydanticOutputParser(pydantic_object=schema) if pydantic else JsonOutputParser()  # type: ignore[arg-type]
        if not include_raw:
            return model | parser
        good = RunnablePassthrough.assign(parsed=itemgetter("raw") | parser, parsing_error=lambda _: None)
        bad = RunnablePassthrough.assign(parsed=lambda _: None)
        return RunnableMap(raw=model) | good.with_fallbacks([bad], exception_key="parsing_error")


def _result(answer: Any) -> ChatResult:
    """Write an answer as LangChain has it."""
    told = {"model_name": answer.model, "id": answer.id, "cost": answer._hidden_params.get("response_cost")}
    made = []
    for choice in answer.choices:
        message, calls, invalid = choice.message, [], []
        for call in message.tool_calls or ():
            raw = call.model_dump()
            try:
                calls.append(parse_tool_call(raw, return_id=True))
            except OutputParserException as error:
                invalid.append(make_invalid_tool_call(raw, str(error)))
        read = AIMessage(
            content=message.content or "",
            additional_kwargs=_beside(message),
            tool_calls=[call for call in calls if call is not None],
            invalid_tool_calls=invalid,
            usage_metadata=_usage(answer.usage),
            response_metadata={**told, "finish_reason": choice.finish_reason},
            id=answer.id,
        )
        made.append(ChatGeneration(message=read, generation_info={"finish_reason": choice.finish_reason}))
    return ChatResult(generations=made, llm_output=told)


def _parts(chunk: Any) -> Iterator[ChatGenerationChunk]:
    """Write a chunk of a stream as LangChain has it. One without a choice has the usage."""
    for choice in chunk.choices or ():
        delta = choice.delta
        calls = [
            tool_call_chunk(
                name=call.function.name or None if call.function else None,
                args=call.function.arguments if call.function else None,
                id=call.id,
                index=call.index,
            )
            for call in delta.tool_calls or ()
        ]
        reason = choice.finish_reason
        info = {"finish_reason": reason, "model_name": chunk.model} if reason else {}
        message = AIMessageChunk(
            content=delta.content or "",
            additional_kwargs=_beside(delta),
            tool_call_chunks=calls,
            response_metadata=info,
            id=chunk.id,
        )
        yield ChatGenerationChunk(message=message, generation_info=info or None)
    if chunk.usage:
        yield ChatGenerationChunk(message=AIMessageChunk(content="", usage_metadata=_usage(chunk.usage), id=chunk.id))


def _beside(message: Any) -> dict[str, Any]:
    names = ("reasoning_content", "refusal")
    return {name: message[name] for name in names if message.get(name)}


def _usage(usage: Any) -> UsageMetadata | None:
    if not usage:
        return None
    asked, said = usage.prompt_tokens or 0, usage.completion_tokens or 0
    return UsageMetadata(input_tokens=asked, output_tokens=said, total_tokens=usage.total_tokens or asked + said)
