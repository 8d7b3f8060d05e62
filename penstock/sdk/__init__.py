"""Penstock in your own program: the gateway's engine without a server, under the names of LiteLLM's SDK.

    from penstock.sdk import completion

    answer = completion("openai/gpt-4o-mini", [{"role": "user", "content": "Hello"}])
    print(answer.choices[0].message.content)

Loaded at the first use of a name: importing this package costs nothing. See docs/sdk.md.
"""

# ruff: noqa: F401  (the names that type checkers see are listed once, in _HOMES)
from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from penstock.sdk.answers import (
        BinaryResponse,
        ChatCompletionMessageToolCall,
        Choices,
        Delta,
        EmbeddingResponse,
        Function,
        ImageResponse,
        Message,
        ModelResponse,
        ModelResponseStream,
        ModerationResponse,
        RerankResponse,
        ResponsesAPIResponse,
        StreamingChoices,
        TextCompletionResponse,
        TranscriptionResponse,
        Usage,
    )
    from penstock.sdk.background import close
    from penstock.sdk.client import AsyncClient, Client
    from penstock.sdk.functions import validate_environment
    from penstock.sdk.joining import stream_chunk_builder
    from penstock.sdk.models import (
        UnknownModel,
        completion_cost,
        cost_per_token,
        get_llm_provider,
        get_max_tokens,
        get_model_info,
        register_model,
        supports,
        supports_audio_input,
        supports_audio_output,
        supports_computer_use,
        supports_function_calling,
        supports_native_streaming,
        supports_parallel_function_calling,
        supports_pdf_input,
        supports_prompt_caching,
        supports_reasoning,
        supports_response_schema,
        supports_system_messages,
        supports_tool_choice,
        supports_url_context,
        supports_vision,
        supports_web_search,
        token_counter,
    )
    from penstock.sdk.router import Router
    from penstock.sdk.streams import Stream
    from penstock.sdk.telling import CustomLogger, flush

# Who is told how calls end: functions of one argument (the answer) or of LiteLLM's four, and `CustomLogger` objects.
success_callback: list[Any] = []
failure_callback: list[Any] = []
callbacks: list[Any] = []  # told of both
turn_off_message_logging = False  # they hear nothing of what was asked and said

_HOMES = {
    "answers": """
    BinaryResponse ChatCompletionMessageToolCall Choices Delta EmbeddingResponse Function ImageResponse Message
    ModelResponse ModelResponseStream ModerationResponse RerankResponse ResponsesAPIResponse StreamingChoices
    TextCompletionResponse TranscriptionResponse Usage
    """,
    "background": "close",
    "client": "AsyncClient Client",
    "exceptions": """
    OpenAIError BadRequestError UnsupportedParamsError ContextWindowExceededError ContentPolicyViolationError
    RejectedRequestError ImageFetchError LiteLLMUnknownProvider PaymentRequiredError AuthenticationError
    PermissionDeniedError NotFoundError Timeout UnprocessableEntityError RateLimitError InternalServerError
    BadGatewayError ServiceUnavailableError MidStreamFallbackError APIConnectionError APIError
    APIResponseValidationError JSONSchemaValidationError BudgetExceededError GuardrailRaisedException
    BlockedPiiEntityError InvalidRequestError
    """,
    "functions": "validate_environment",
    "joining": "stream_chunk_builder",
    "models": """
    UnknownModel completion_cost cost_per_token get_llm_provider get_max_tokens get_model_info register_model
    supports supports_audio_input supports_audio_output supports_computer_use supports_function_calling
    supports_native_streaming supports_parallel_function_calling supports_pdf_input supports_prompt_caching
    supports_reasoning supports_response_schema supports_system_messages supports_tool_choice supports_url_context
    supports_vision supports_web_search token_counter
    """,
    "router": "Router",
    "streams": "Stream",
    "telling": "CustomLogger flush",
}
_FUNCTIONS = (
    "completion text_completion embedding rerank moderation image_generation image_edit speech transcription "
    "responses anthropic_messages batch_completion"
).split()
_HOME = {name: home for home, names in _HOMES.items() for name in names.split()}
_HOME |= {name: "functions" for one in _FUNCTIONS for name in (one, f"a{one}")}
__all__ = [*sorted(["callbacks", "failure_callback", "success_callback", "turn_off_message_logging", *_HOME])]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    module = import_module(f"{__name__}.{home}")
    found = module.find_function(name) if name in _FUNCTIONS or name[1:] in _FUNCTIONS else getattr(module, name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return __all__
