"""`LiteLLMProvider`: one model as an object, in this process or behind a gateway.

`LiteLLMProvider(model="openai/gpt-4o")` asks in this process, by the service; so do those of `ProviderFactory`.
`LiteLLMProvider(base_url=..., default_model=..., timeout=...)` asks a gateway; what is not given is what
`LITELLM_BASE_URL` and `LITELLM_EXTRACTION_MODEL` say. `get_llm_provider("extraction")` reads the rest of the variables.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from penstock.core.providers import get as get_row
from penstock.sdk.answers import ModelResponse
from penstock.sdk.asking import TransportError, get, key_of_gateway
from penstock.sdk.client import Client
from penstock.sdk.exceptions import SdkError, class_of
from penstock.sdk.service import LiteLLMService, get_litellm_service

if TYPE_CHECKING:
    from penstock.sdk.langchain import ChatPenstock

GATEWAY_URL = "http://localhost:4000"
TIMEOUT = 120.0  # seconds: models on the machines of their users are slow
MOST_TOKENS = 2000
SYSTEM = "You are a helpful assistant."
TASKS = ("extraction", "explanation")
_HEALTH_WITHIN = 5.0


class LLMProviderError(Exception):
    """A provider could not do what it was asked for. The exception of the SDK is its `__cause__`."""


class LLMConnectionError(LLMProviderError):
    """Nobody answers there."""


class LLMTimeoutError(LLMProviderError):
    """It took longer than the provider's timeout."""


class LLMAuthenticationError(LLMProviderError):
    """The key is missing or not valid."""


class LLMRateLimitError(LLMProviderError):
    """More was asked than is allowed now."""


class LLMModelNotFoundError(LLMProviderError):
    """There is no such model."""


class LLMInvalidResponseError(LLMProviderError):
    """The answer is not what was asked for."""


# The first whose class it is.
_TOLD: tuple[tuple[str, type[LLMProviderError]], ...] = (
    ("Timeout", LLMTimeoutError),
    ("APIConnectionError", LLMConnectionError),
    ("AuthenticationError", LLMAuthenticationError),
    ("RateLimitError", LLMRateLimitError),
    ("NotFoundError", LLMModelNotFoundError),
)


class ProviderAnswer(ModelResponse):
    """The answer to a chat, which prints as its text."""

    def __str__(self) -> str:
        return "".join(choice.message.content or "" for choice in self.choices)


class LiteLLMProvider:
    """One model. ``options``: arguments of all its calls (`temperature`, `api_key`, ...)."""

    name = "litellm"

    def __init__(
        self,
        base_url: str | None = None,
        default_model: str | None = None,
        timeout: float | None = None,
        *,
        model: str | None = None,
        service: LiteLLMService | None = None,
        **options: Any,
    ) -> None:
        self.timeout = TIMEOUT if timeout is None else float(timeout)
        self.options = options
        self._client: Client | None = None
        self._service = service
        if base_url is None and (model is not None or service is not None):
            self.base_url = ""
            self._service = service or get_litellm_service()
            self.model = self._service.name_model(model or default_model)
        else:
            self.base_url = (base_url or os.environ.get("LITELLM_BASE_URL") or GATEWAY_URL).rstrip("/")
            self.model = model or default_model or os.environ.get("LITELLM_EXTRACTION_MODEL") or "extraction-model"
            self._client = Client(base_url=self.base_url)
        self.default_model = self.model

    def _arguments(self, messages: Sequence[Any], options: dict[str, Any]) -> dict[str, Any]:
        given = {"model": self.model, "timeout": self.timeout, **self.options, **options, "messages": messages}
        return given if self._service is None else self._service.chat_arguments(given)

    @property
    def _asks(self) -> Client:
        """Return the client that is asked: the service's own may be another after a change of its config."""
        client = self._client if self._service is None else self._service.client
        if client is None:
            raise RuntimeError("this provider was closed")
        return client

    # A chat -----------------------------------------------------------------------------------------------------------

    def chat_completion(self, messages: Sequence[Any], **options: Any) -> Any:
        """Ask for the answer to a chat: an object that prints as its text and has `choices`; with `stream` its
        chunks."""
        return _answer(self._asks.completion(**self._arguments(messages, options)))

    async def achat_completion(self, messages: Sequence[Any], **options: Any) -> Any:
        """Ask for the answer to a chat, awaited."""
        return _answer(await self._asks.acompletion(**self._arguments(messages, options)))

    def get_langchain_llm(self, **options: Any) -> ChatPenstock:
        """Return a chat model of LangChain. Raises ImportError where `langchain-core` is not installed."""
        try:
            from penstock.sdk.langchain import ChatPenstock  # LangChain takes a second to load
        except ImportError as missing:
            text = f"get_langchain_llm() needs langchain-core ({missing}): pip install 'penstock[langchain]'"
            raise ImportError(text) from missing
        return ChatPenstock(provider=self, options=options)

    # One prompt -------------------------------------------------------------------------------------------------------

    async def generate(
        self,
        prompt: str,
        model: str | None = None,
        system_prompt: str | None = None,
        temperature: float = 0.3,
        max_tokens: int | None = None,
        **options: Any,
    ) -> str:
        """Ask one question; return the text. Raises `LLMConnectionError`, `LLMTimeoutError`, ..., all of them
        `LLMProviderError`."""
        messages = [{"role": "system", "content": system_prompt or SYSTEM}, {"role": "user", "content": prompt}]
        asked = {"temperature": temperature, "max_tokens": max_tokens or MOST_TOKENS, **options}
        if model is not None:
            asked["model"] = model
        try:
            answer = await self.achat_completion(messages, **asked)
        except SdkError as error:
            raise self._told(error) from error
        return str(answer)

    async def generate_json(
        self,
        prompt: str,
        model: str | None = None,
        system_prompt: str | None = None,
        temperature: float = 0.3,
        max_tokens: int | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        """Ask for a JSON object. Where there are words around it, what stands from the first brace to the last one
        counts. Raises what `generate` does, and `LLMInvalidResponseError`."""
        form = {"response_format": {"type": "json_object"}, **options}
        text = await self.generate(prompt, model, system_prompt, temperature, max_tokens, **form)
        for part in (text, text[text.find("{") : text.rfind("}") + 1]):
            try:
                found = json.loads(part)
            except ValueError:
                continue
            if isinstance(found, dict):
                return found
        raise LLMInvalidResponseError(f"{self.model} was asked for a JSON object and answered {text[:200]!r}")

    def _told(self, error: SdkError) -> LLMProviderError:
        where = f" at {self.base_url}" if self.base_url else ""
        kind = next((kind for name, kind in _TOLD if isinstance(error, class_of(name))), LLMProviderError)
        if kind is LLMTimeoutError:
            return kind(f"{self.model}{where} did not answer within {self.timeout:g} s: {error.message}")
        if kind is LLMConnectionError:
            return kind(f"Cannot connect to {self.model}{where}. Does the service run? {error.message}")
        return kind(f"{self.model}{where}: {error.message}")

    # The gateway ------------------------------------------------------------------------------------------------------

    async def check_health(self) -> bool:
        """Tell whether the gateway answers. Without one there is nothing that could be down."""
        if not self.base_url:
            return True
        try:
            status, _ = await get(f"{self.base_url}/health", min(self.timeout, _HEALTH_WITHIN), key_of_gateway())
        except TransportError:
            return False
        return status == 200

    async def list_models(self) -> list[str]:
        """List the models that may be asked for: those of the gateway, without one its own. Raises
        `LLMConnectionError` where nobody answers, `LLMProviderError` for a refusal."""
        if not self.base_url:
            return [self.model]
        try:
            status, body = await get(f"{self.base_url}/models", self.timeout, key_of_gateway())
        except TransportError as error:
            raise LLMConnectionError(f"Cannot connect to {self.base_url}. Does the service run? {error}") from error
        try:
            rows = json.loads(body)["data"] if status == 200 else None
            return [str(row["id"]) for row in rows]  # type: ignore[union-attr]
        except (ValueError, LookupError, TypeError):
            raise LLMProviderError(f"{self.base_url}/models answered {status}: {body[:200]!r}") from None

    async def close(self) -> None:
        """Take no more calls for the gateway. Connections are the SDK's, which other clients share."""
        self._client = None


def _answer(given: Any) -> Any:
    if not isinstance(given, ModelResponse):
        return given
    made = ProviderAnswer(given)
    made.__dict__.update(given.__dict__)
    return made


# The five variables ---------------------------------------------------------------------------------------------------


def get_llm_provider(task: str) -> LiteLLMProvider:
    """Return who does a task, "extraction" or "explanation": `EXTRACTION_PROVIDER` or `EXPLANATION_PROVIDER` says who.
    "litellm", the default, is the gateway at `LITELLM_BASE_URL` with the model `LITELLM_EXTRACTION_MODEL` or
    `LITELLM_EXPLANATION_MODEL`; another provider is asked in this process, with the model that its own variable of
    that form names (`OLLAMA_EXTRACTION_MODEL`). Raises ValueError that names what is wrong."""
    name = str(getattr(task, "value", task)).lower()
    if name not in TASKS:
        raise ValueError(f"there is no task {name!r}; there are {' and '.join(TASKS)}")
    variable = f"{name.upper()}_PROVIDER"
    provider = os.environ.get(variable, LiteLLMProvider.name).strip().lower()
    model_variable = f"{provider.upper().replace('-', '_')}_{name.upper()}_MODEL"
    model = os.environ.get(model_variable)
    if provider == LiteLLMProvider.name:
        return LiteLLMProvider(default_model=model or f"{name}-model")
    if get_row(provider) is None:
        raise ValueError(f"{variable} is {provider!r}, and there is no such provider; for a gateway it is 'litellm'")
    if not model:
        raise ValueError(f"{variable} is {provider!r}, and {model_variable} does not say which of its models")
    return LiteLLMProvider(model=model if model.startswith(f"{provider}/") else f"{provider}/{model}")
