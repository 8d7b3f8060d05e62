"""What a program may ask for: a row each, with the arguments in LiteLLM's order."""

from __future__ import annotations

from typing import Any, NamedTuple

from penstock.runtime.chats import CHAT, MESSAGES, RESPONSES
from penstock.runtime.operations import OPERATIONS as SMALL
from penstock.runtime.surface import Surface
from penstock.sdk import answers
from penstock.sdk.answers import Answer


class Operation(NamedTuple):
    """An operation. ``named``: its arguments in their order; ``needs``: those without which it is none. ``whole`` and
    ``part``: what an answer is, and an event of a stream. ``default``: the model where none is named. ``files``:
    arguments that are files, which make its body a form. ``metadata``: the vendor takes it, too; of the others only
    callbacks and gateways hear."""

    name: str
    path: str
    surface: Surface
    named: tuple[str, ...]
    needs: frozenset[str]
    whole: type[Answer] | None
    part: type[Answer] | None = None
    default: str = ""
    files: tuple[str, ...] = ()
    metadata: bool = False

    def bind(self, args: tuple[Any, ...], options: dict[str, Any]) -> dict[str, Any]:
        """Put arguments under their names. Raises TypeError as a call of a plain function does."""
        given = options
        if args:
            if len(args) > len(self.named):
                raise TypeError(f"{self.name}() takes {len(self.named)} positional arguments, not {len(args)}")
            given = dict(zip(self.named, args, strict=False))
            if twice := given.keys() & options.keys():
                raise TypeError(f"{self.name}() got multiple values for argument {min(twice)!r}")
            given |= options
        given = {name: value for name, value in given.items() if value is not None}
        if not self.needs <= given.keys():
            raise TypeError(f"{self.name}() misses the argument {min(self.needs - given.keys())!r}")
        return given


def _row(
    name: str, path: str, surface: Surface, named: str, needs: str, whole: type[Answer] | None, **more: Any
) -> Operation:
    return Operation(name, path, surface, tuple(named.split()), frozenset(needs.split()), whole, **more)


_ROWS = (
    _row(
        "completion",
        "/v1/chat/completions",
        CHAT,
        "model messages timeout temperature top_p n stream stream_options stop max_completion_tokens max_tokens",
        "model messages",
        answers.ModelResponse,
        part=answers.ModelResponseStream,
    ),
    _row(
        "text_completion",
        "/v1/completions",
        SMALL["/completions"],
        "prompt model best_of echo frequency_penalty logit_bias logprobs max_tokens n presence_penalty stop stream",
        "prompt model",
        answers.TextCompletionResponse,
        part=answers.TextCompletionResponse,
    ),
    _row(
        "embedding",
        "/v1/embeddings",
        SMALL["/embeddings"],
        "model input dimensions encoding_format timeout api_base api_version api_key",
        "model input",
        answers.EmbeddingResponse,
    ),
    _row(
        "rerank",
        "/v1/rerank",
        SMALL["/rerank"],
        "model query documents custom_llm_provider top_n",
        "model query documents",
        answers.RerankResponse,
    ),
    _row(
        "moderation",
        "/v1/moderations",
        SMALL["/moderations"],
        "input model api_key custom_llm_provider",
        "input",
        answers.ModerationResponse,
        default="openai/omni-moderation-latest",
    ),
    _row(
        "image_generation",
        "/v1/images/generations",
        SMALL["/images/generations"],
        "prompt model n quality response_format size style user timeout",
        "prompt model",
        answers.ImageResponse,
        part=answers.ImageResponse,
    ),
    _row(
        "image_edit",
        "/v1/images/edits",
        SMALL["/images/edits"],
        "image prompt model mask n quality response_format size user",
        "image prompt",
        answers.ImageResponse,
        part=answers.ImageResponse,
        default="openai/dall-e-2",
        files=("image", "mask"),
    ),
    _row("speech", "/v1/audio/speech", SMALL["/audio/speech"], "model input voice", "model input", None),
    _row(
        "transcription",
        "/v1/audio/transcriptions",
        SMALL["/audio/transcriptions"],
        "model file language prompt response_format timestamp_granularities temperature",
        "model file",
        answers.TranscriptionResponse,
        part=answers.TranscriptionResponse,
        files=("file",),
    ),
    _row(
        "responses",
        "/v1/responses",
        RESPONSES,
        "input model",
        "input model",
        answers.ResponsesAPIResponse,
        part=answers.ResponsesAPIResponse,
        metadata=True,
    ),
    _row(
        "anthropic_messages",
        "/v1/messages",
        MESSAGES,
        "max_tokens messages model",
        "max_tokens messages model",
        answers.AnthropicMessage,
        part=answers.AnthropicMessage,
        metadata=True,
    ),
)
OPERATIONS = {row.name: row for row in _ROWS}
