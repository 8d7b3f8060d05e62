"""`LiteLLMService`: one object for all that a program asks of models, with defaults, a cache and a sum of costs.

    from penstock.sdk.service import get_litellm_service

    svc = get_litellm_service()
    answer = svc.chat_completion(messages=[{"role": "user", "content": "Hello!"}], model="llama3.2", provider="ollama")

It is a client of the SDK: the same engine, answers and exceptions. See docs/las.md.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from penstock.core.pictures import address_of_bytes, address_of_text
from penstock.core.providers import get
from penstock.sdk.client import Client
from penstock.sdk.costs import Costs
from penstock.sdk.service_config import OLLAMA_BASE_URL, LiteLLMConfig
from penstock.sdk.tools import MAX_ROUNDS, Conversation, ToolDefinition, written_tools

if TYPE_CHECKING:
    from penstock.core.record import Record
    from penstock.runtime.state import State

__all__ = ["LiteLLMConfig", "LiteLLMService", "ToolDefinition", "get_litellm_service"]

_numbers = itertools.count(1)  # of services: what one keeps is no other's


class LiteLLMService:
    """Asks models by name and provider. ``config`` may be replaced; `_setup_litellm` then puts it into effect."""

    def __init__(self, config: LiteLLMConfig | None = None) -> None:
        self.config = config or LiteLLMConfig()
        self._number = next(_numbers)
        self._costs = Costs()
        self._setup_litellm()

    def _setup_litellm(self) -> None:
        """Put the config into effect. Raises ValueError for what cannot be."""
        self.config.check()
        settings: dict[str, Any] = {"drop_params": True}  # defaults of ours must not make a model refuse
        if self.config.enable_caching:
            settings |= {"cache": True, "cache_params": {"type": "local", "namespace": f"service-{self._number}"}}
        self.client = Client({"litellm_settings": settings}, hears=self.hear)

    def update_config(self, **changes: Any) -> LiteLLMConfig:
        """Change settings by their names, and put them into effect. Raises TypeError for a name that is none, and
        ValueError for a value that cannot be: then nothing changes."""
        self.config = self.config.changed(changes)
        self._setup_litellm()
        return self.config

    # Costs ------------------------------------------------------------------------------------------------------------

    def costs(self) -> dict[str, Any]:
        """Return what calls have cost: `total_cost`, `requests`, tokens, and the same `by_model`."""
        return self._costs.told()

    def reset_costs(self) -> None:
        """Begin to count anew."""
        self._costs.reset()

    def hear(self, record: Record) -> None:
        """Count what a request cost, where that is wanted."""
        if self.config.enable_cost_tracking:
            self._costs.add(record)

    # Who is asked -----------------------------------------------------------------------------------------------------

    def name_model(self, model: str | None = None, provider: str | None = None) -> str:
        """Return `provider/model`. A name that begins with its provider stays; the default provider is put before one
        that begins with none."""
        name = model or self.config.default_model
        if not isinstance(name, str) or not isinstance(provider, str | None):
            raise TypeError(f"model and provider are names, not {name!r:.100} and {provider!r:.100}")
        if provider is None:
            first, slash, _ = name.partition("/")
            if slash and get(first) is not None:
                return name
            provider = self.config.default_provider
        return name if name.startswith(f"{provider}/") else f"{provider}/{name}"

    def fill_chat(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Fill in what a chat does not say: `model` (of which `provider` becomes a part), `temperature`,
        `max_tokens`."""
        filled = self.fill_model(fields)
        if filled.get("temperature") is None:
            filled["temperature"] = self.config.temperature
        if filled.get("max_tokens") is None and filled.get("max_completion_tokens") is None:
            filled["max_tokens"] = self.config.max_tokens
        return filled

    def fill_model(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Fill in which model is asked."""
        filled = dict(fields)
        filled["model"] = self.name_model(filled.get("model"), filled.pop("provider", None))
        return filled

    def address_of(self, model: str) -> dict[str, Any]:
        """Return the arguments that lead to a model where the config says where it is."""
        url, row = self.config.ollama_base_url, get(model.partition("/")[0])
        if url.rstrip("/") == OLLAMA_BASE_URL or row is None or "OLLAMA_BASE_URL" not in row.bases:
            return {}
        return {"api_base": url}

    def state_of(self, model: str, fallbacks: Sequence[Any] = ()) -> State:
        """Return the state in which requests for a model are answered. Raises the SDK's exceptions."""
        given = {"model": model, "fallbacks": list(fallbacks), **self.address_of(model)}
        return self.client.state_of({name: value for name, value in given.items() if value})

    # Calls ------------------------------------------------------------------------------------------------------------

    def _chat(self, messages: Any, model: str | None, provider: str | None, options: dict[str, Any]) -> dict[str, Any]:
        return self.chat_arguments({**options, "messages": messages, "model": model, "provider": provider})

    def chat_arguments(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments with which the client is asked for the answer to a chat."""
        filled = self.fill_chat(given)
        if filled.get("tools"):
            filled["tools"] = written_tools(filled["tools"])
        return {**self.address_of(filled["model"]), **filled}

    def chat_completion(
        self,
        messages: Sequence[Any],
        model: str | None = None,
        provider: str | None = None,
        stream: bool = False,
        **options: Any,
    ) -> Any:
        """Ask for the answer to a chat: a `ModelResponse`, or with `stream` its chunks as they come. ``options``: what
        `penstock.sdk.completion` takes."""
        return self.client.completion(**self._chat(messages, model, provider, _with_stream(options, stream)))

    async def achat_completion(
        self,
        messages: Sequence[Any],
        model: str | None = None,
        provider: str | None = None,
        stream: bool = False,
        **options: Any,
    ) -> Any:
        """Ask for the answer to a chat, awaited."""
        return await self.client.acompletion(**self._chat(messages, model, provider, _with_stream(options, stream)))

    def chat_with_tools(
        self,
        messages: Sequence[Any],
        tools: Sequence[ToolDefinition | Mapping[str, Any]],
        tool_handlers: Mapping[str, Callable[..., Any]],
        model: str | None = None,
        provider: str | None = None,
        max_rounds: int = MAX_ROUNDS,
        tool_choice: Any = None,
        **options: Any,
    ) -> dict[str, Any]:
        """Ask until the model has called all the tools it wants, and answered. Returns a dict: `response` is the
        text; see `Conversation.told`."""
        chat = _conversation(messages, tool_handlers, max_rounds, tool_choice, options)
        while True:
            answer = self.chat_completion(chat.messages, model, provider, tools=tools, **chat.choice(), **options)
            calls = chat.read(answer)
            if not calls:
                return chat.told(answer)
            chat.run(calls)

    async def achat_with_tools(
        self,
        messages: Sequence[Any],
        tools: Sequence[ToolDefinition | Mapping[str, Any]],
        tool_handlers: Mapping[str, Callable[..., Any]],
        model: str | None = None,
        provider: str | None = None,
        max_rounds: int = MAX_ROUNDS,
        tool_choice: Any = None,
        **options: Any,
    ) -> dict[str, Any]:
        """Ask until the model has called all the tools it wants, and answered, awaited. Handlers may be async."""
        chat = _conversation(messages, tool_handlers, max_rounds, tool_choice, options)
        while True:
            answer = await self.achat_completion(
                chat.messages, model, provider, tools=tools, **chat.choice(), **options
            )
            calls = chat.read(answer)
            if not calls:
                return chat.told(answer)
            await chat.arun(calls)

    def vision_completion(
        self,
        prompt: str,
        image_url: str | bytes | os.PathLike[str],
        model: str | None = None,
        provider: str | None = None,
        **options: Any,
    ) -> Any:
        """Ask about a picture: a URL, a data URI, bare base64, bytes, or a `pathlib.Path`."""
        return self.chat_completion(_seeing(prompt, image_url), model, provider, **options)

    async def avision_completion(
        self,
        prompt: str,
        image_url: str | bytes | os.PathLike[str],
        model: str | None = None,
        provider: str | None = None,
        **options: Any,
    ) -> Any:
        """Ask about a picture, awaited."""
        return await self.achat_completion(_seeing(prompt, image_url), model, provider, **options)

    def _embedding(self, given: Any, model: str | None, provider: str | None, options: dict[str, Any]) -> Any:
        filled = self.fill_model({**options, "input": given, "model": model, "provider": provider})
        return {**self.address_of(filled["model"]), **filled}

    def create_embedding(
        self, input: str | Sequence[Any], model: str | None = None, provider: str | None = None, **options: Any
    ) -> Any:
        """Ask for the vectors of texts: `data[i].embedding`."""
        return self.client.embedding(**self._embedding(input, model, provider, options))

    async def acreate_embedding(
        self, input: str | Sequence[Any], model: str | None = None, provider: str | None = None, **options: Any
    ) -> Any:
        """Ask for the vectors of texts, awaited."""
        return await self.client.aembedding(**self._embedding(input, model, provider, options))


def _with_stream(options: dict[str, Any], stream: bool) -> dict[str, Any]:
    return {**options, "stream": True} if stream else options


def _conversation(
    messages: Sequence[Any],
    handlers: Mapping[str, Callable[..., Any]],
    max_rounds: int,
    choice: Any,
    options: dict[str, Any],
) -> Conversation:
    if options.get("stream"):
        raise TypeError("a chat with tools has no stream: its answer is known when all tools were called")
    return Conversation(messages, handlers, max_rounds, choice)


def _seeing(prompt: str, picture: str | bytes | os.PathLike[str]) -> list[dict[str, Any]]:
    if isinstance(picture, os.PathLike):
        with open(picture, "rb") as file:
            picture = file.read()
    url = address_of_text(picture) if isinstance(picture, str) else address_of_bytes(bytes(picture))
    parts = [{"type": "text", "text": prompt}, {"type": "image_url", "image_url": {"url": url}}]
    return [{"role": "user", "content": parts}]


_lock = threading.Lock()


@cache
def _service() -> LiteLLMService:
    return LiteLLMService()


def get_litellm_service() -> LiteLLMService:
    """Return the service of this process, made at the first call."""
    with _lock:
        return _service()
