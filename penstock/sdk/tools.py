"""Chats in which a model calls functions of the program: the model is asked, its calls are run, it is asked again.

A call that cannot be run (no such tool, arguments that are no object, a handler that raises) is answered with its
error: models mend their calls by that. Rounds are bounded; behind the last one the model is asked to answer without
tools.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from penstock.sdk.answers import Choices, Message, ModelResponse

MAX_ROUNDS = 10
AT_ONCE = 16  # calls of one answer that run together
_LONGEST_ERROR = 2000  # characters of an exception that a model is told
# Of a message, what goes back to the model; thinking, because some want their own to be there behind a call.
_SENT_BACK = ("role", "content", "tool_calls", "reasoning_content", "thinking_blocks")


class ToolDefinition:
    """A function that a model may call. ``parameters``: a JSON schema of an object."""

    def __init__(self, name: str, description: str = "", parameters: Mapping[str, Any] | None = None) -> None:
        self.name = name
        self.description = description
        self.parameters: dict[str, Any] = dict(parameters or {"type": "object", "properties": {}})

    def __repr__(self) -> str:
        return f"ToolDefinition(name={self.name!r}, description={self.description!r}, parameters={self.parameters!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ToolDefinition) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]  # its fields may be changed

    def to_openai(self) -> dict[str, Any]:
        """Return it as an entry of a request's `tools`."""
        function = {"name": self.name, "description": self.description, "parameters": self.parameters}
        return {"type": "function", "function": function}

    def model_dump(self, **_: Any) -> dict[str, Any]:
        """Return the same as `to_openai`: so it may stand in the `tools` of every call of the SDK."""
        return self.to_openai()


def written_tools(tools: Sequence[ToolDefinition | Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Write tools as a request has them."""
    return [one.to_openai() if isinstance(one, ToolDefinition) else dict(one) for one in tools]


@dataclass
class ToolCall:
    """A call of a model's. ``result``: what the model is told; ``error``: why it could not be run, "" where it was."""

    id: str
    name: str
    arguments: Any
    result: str = ""
    error: str = ""


class Conversation:
    """A chat with tools on its way. ``messages``: all that was said. ``handlers``: tool -> function."""

    def __init__(
        self, messages: Sequence[Any], handlers: Mapping[str, Callable[..., Any]], max_rounds: int, choice: Any
    ) -> None:
        if max_rounds < 1:
            raise ValueError(f"max_rounds is {max_rounds}, and must be 1 or more")
        self.messages: list[Any] = list(messages)
        self._handlers = handlers
        self._left = max_rounds
        self._choice = choice
        self._calls: list[ToolCall] = []
        self._rounds = 0
        self._cost = 0.0

    def choice(self) -> dict[str, Any]:
        """Return what the next request says of tools: what the caller wants in the first, nothing in those behind it
        (a forced call would be forced for ever), and "none" when the rounds are used up."""
        if self._rounds >= self._left:
            return {"tool_choice": "none"}
        return {"tool_choice": self._choice} if self._choice is not None and not self._rounds else {}

    def read(self, answer: ModelResponse) -> list[ToolCall]:
        """Note an answer; return its calls, none where it is the last one."""
        self._cost += answer._hidden_params.get("response_cost") or 0.0
        if not answer.choices:  # some filters answer so
            return []
        message = answer.choices[0].message
        said = message.model_dump(exclude_none=True)
        self.messages.append({"content": None} | {key: said[key] for key in _SENT_BACK if key in said})
        if not message.tool_calls or self._rounds >= self._left:
            return []
        self._rounds += 1
        return [ToolCall(one.id or "", one.function.name or "", one.function.arguments) for one in message.tool_calls]

    def run(self, calls: list[ToolCall]) -> None:
        """Run the calls of an answer, side by side where there are several."""
        if len(calls) == 1:
            self._run(calls[0])
        else:
            contexts = [contextvars.copy_context() for _ in calls]
            with ThreadPoolExecutor(min(len(calls), AT_ONCE), "penstock-tools") as pool:
                list(pool.map(lambda context, call: context.run(self._run, call), contexts, calls))
        self._tell(calls)

    async def arun(self, calls: list[ToolCall]) -> None:
        """Run the calls of an answer, without blocking the loop: plain functions in threads."""
        await asyncio.gather(*(self._arun(call) for call in calls))
        self._tell(calls)

    def _run(self, call: ToolCall) -> None:
        try:
            found = self._handler(call)(**call.arguments)
            if inspect.isawaitable(found):  # in a thread: this one may have a loop that runs
                with ThreadPoolExecutor(1, "penstock-tools") as pool:
                    found = pool.submit(asyncio.run, _awaited(found)).result()
            call.result = _text(found)
        except Exception as error:  # boundary: a handler is anybody's function, and the model is told what it raises
            _fail(call, error)

    async def _arun(self, call: ToolCall) -> None:
        try:
            handler = self._handler(call)
            if inspect.iscoroutinefunction(handler):
                found = await handler(**call.arguments)
            else:
                found = await asyncio.to_thread(handler, **call.arguments)
                if inspect.isawaitable(found):
                    found = await found
            call.result = _text(found)
        except Exception as error:  # boundary: a handler is anybody's function, and the model is told what it raises
            _fail(call, error)

    def _handler(self, call: ToolCall) -> Callable[..., Any]:
        """Return the function of a call, and read its arguments. Raises LookupError and ValueError, in words for a
        model."""
        handler = self._handlers.get(call.name)
        if handler is None:
            raise LookupError(f"there is no tool {call.name!r}; there are: {', '.join(self._handlers) or 'none'}")
        given = call.arguments
        try:
            call.arguments = json.loads(given) if given else {}
        except ValueError as error:
            raise ValueError(f"the arguments are no JSON: {error}") from None
        if not isinstance(call.arguments, dict):
            raise ValueError(f"the arguments must be a JSON object, not {given[:100]}")
        return handler

    def _tell(self, calls: list[ToolCall]) -> None:
        self._calls += calls
        self.messages += [{"role": "tool", "tool_call_id": call.id, "content": call.result} for call in calls]

    def told(self, answer: ModelResponse) -> dict[str, Any]:
        """Return what came of it: `response`, the text; `tool_calls`, `messages`, `rounds`, `cost`; `answer`."""
        choice = answer.choices[0] if answer.choices else Choices(message=Message())
        return {
            "response": choice.message.content or "",
            "tool_calls": [vars(call).copy() for call in self._calls],
            "messages": self.messages,
            "rounds": self._rounds,
            "cost": self._cost,
            "finish_reason": choice.finish_reason,
            "answer": answer,
        }


async def _awaited(found: Awaitable[Any]) -> Any:
    return await found


def _text(found: Any) -> str:
    """Write what a handler returned for the model: a text as it is, everything else as JSON."""
    return found if isinstance(found, str) else json.dumps(found, ensure_ascii=False, default=str)


def _fail(call: ToolCall, error: Exception) -> None:
    call.error = f"{type(error).__name__}: {error}"[:_LONGEST_ERROR]
    call.result = json.dumps({"error": call.error}, ensure_ascii=False)
