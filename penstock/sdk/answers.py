"""Answers as objects: dicts whose fields are also attributes, under the class names of LiteLLM's types.

A field that an answer of its kind may have and this one has not reads as None (`message.tool_calls`); any other name is
an AttributeError. What came beside the body (cost, provider, headers) stands in `_hidden_params`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Any, ClassVar

import msgspec


class Fields(dict[str, Any]):
    """A JSON object: `answer.usage` is `answer["usage"]`. `model_dump()` gives plain dicts."""

    _absent: ClassVar[Mapping[str, Any]] = {}  # what a field reads as that is not there
    _kinds: ClassVar[Mapping[str, type[Fields]]] = {}  # field -> the class of the objects in it

    _raw = True  # what is in it are still plain dicts

    def __init__(self, given: Mapping[str, Any] | None = None, /, **fields: Any) -> None:
        super().__init__(given or (), **fields)

    def _ripen(self) -> None:
        """Make objects of the dicts in it: when somebody first looks, for most of an answer is never looked at."""
        for name, value in super().items():  # most are plain, and stay
            kind = type(value)
            if kind is dict or kind is list:
                super().__setitem__(name, _made(value, self._kinds.get(name, Fields)))
        self.__dict__["_raw"] = False  # last, for another thread may look as well

    def __getitem__(self, name: str) -> Any:
        if self._raw:
            self._ripen()
        return super().__getitem__(name)

    def __iter__(self) -> Iterator[str]:  # also where it is unpacked, or made a dict
        if self._raw:
            self._ripen()
        return super().__iter__()

    def get(self, name: str, default: Any = None, /) -> Any:
        """Return a field, or ``default``."""
        return self[name] if name in self else default

    def items(self) -> Any:
        """Return the names and fields."""
        if self._raw:
            self._ripen()
        return super().items()

    def values(self) -> Any:
        """Return the fields."""
        if self._raw:
            self._ripen()
        return super().values()

    def pop(self, name: str, *default: Any) -> Any:
        """Take a field out."""
        if self._raw:
            self._ripen()
        return super().pop(name, *default)

    def popitem(self) -> tuple[str, Any]:
        """Take the last field out."""
        if self._raw:
            self._ripen()
        return super().popitem()

    def setdefault(self, name: str, default: Any = None, /) -> Any:
        """Return a field, which is ``default`` where there was none."""
        if self._raw:
            self._ripen()
        return super().setdefault(name, default)

    def copy(self) -> Any:
        """Return a dict of the fields."""
        if self._raw:
            self._ripen()
        return super().copy()

    def __getattr__(self, name: str) -> Any:
        if name in self:
            return self[name]
        if name in self._absent:
            return self._absent[name]
        raise AttributeError(f"{type(self).__name__} has no field {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            object.__setattr__(self, name, value)
        else:
            self[name] = value

    def __delattr__(self, name: str) -> None:
        if name in self:
            del self[name]
        else:
            object.__delattr__(self, name)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.items())})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (type(self), self.model_dump(), self._beside())

    def __deepcopy__(self, memo: dict[int, Any]) -> Fields:
        made: Fields = _again(type(self), self.model_dump(), self._beside())
        return made

    def _beside(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_raw"}

    def model_dump(self, *, exclude_none: bool = False, exclude: Any = (), **_: Any) -> dict[str, Any]:
        """Return everything as plain dicts and lists."""
        return {
            name: _plain(value, exclude_none)
            for name, value in self.items()
            if name not in exclude and not (exclude_none and value is None)
        }

    def model_dump_json(self, *, indent: int | None = None, exclude_none: bool = False, **_: Any) -> str:
        """Return everything as JSON."""
        text = msgspec.json.encode(self.model_dump(exclude_none=exclude_none), enc_hook=str)
        return (msgspec.json.format(text, indent=indent) if indent else text).decode()

    def json(self, **options: Any) -> dict[str, Any]:
        """Return the same as `model_dump`: LiteLLM's objects answer so."""
        return self.model_dump(**options)

    def dict(self, **options: Any) -> dict[str, Any]:
        """Return the same as `model_dump`, by pydantic's old name."""
        return self.model_dump(**options)


def _again(made: type[Fields], fields: dict[str, Any], beside: dict[str, Any]) -> Fields:
    found = made(fields)
    found.__dict__.update(beside)
    return found


def _made(value: Any, kind: type[Fields]) -> Any:
    if type(value) is dict:
        return kind(value)
    if type(value) is list and value and isinstance(value[0], dict | list):  # vectors are left as they are
        return [_made(item, kind) for item in value]
    return value


def _plain(value: Any, exclude_none: bool) -> Any:
    if isinstance(value, Fields):
        return value.model_dump(exclude_none=exclude_none)
    if isinstance(value, list) and any(isinstance(item, dict | list) for item in value[:1]):
        return [_plain(item, exclude_none) for item in value]
    if isinstance(value, dict):
        return {name: _plain(item, exclude_none) for name, item in value.items()}
    return value


def _absent(names: str) -> dict[str, Any]:
    return dict.fromkeys(names.split())


class Usage(Fields):
    """What was used."""

    _absent = {
        "prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0,
        **_absent("prompt_tokens_details completion_tokens_details cost"),
    }  # fmt: skip
    _kinds: ClassVar[Mapping[str, type[Fields]]] = {}


class _Details(Fields):
    _absent = _absent(
        "cached_tokens cache_creation_tokens audio_tokens reasoning_tokens text_tokens image_tokens "
        "accepted_prediction_tokens rejected_prediction_tokens"
    )


Usage._kinds = dict.fromkeys(("prompt_tokens_details", "completion_tokens_details"), _Details)


class Function(Fields):
    """The function of a tool call."""

    _absent = _absent("name arguments")


class ChatCompletionMessageToolCall(Fields):
    """A tool call of a whole answer, or a piece of one."""

    _absent = _absent("id type function index")
    _kinds = {"function": Function}


_MESSAGE = (
    "content role tool_calls function_call reasoning_content thinking_blocks refusal audio images annotations "
    "provider_specific_fields"
)


class Message(Fields):
    """The message of a choice."""

    _absent = _absent(_MESSAGE) | {"role": "assistant"}
    _kinds = {"tool_calls": ChatCompletionMessageToolCall, "function_call": Function}


class Delta(Fields):
    """What a chunk adds to a message. No text reads as "": who prints `delta.content` prints the answer, and no
    "None" behind it (S1-30)."""

    _absent = _absent(_MESSAGE) | {"content": ""}
    _kinds = {"tool_calls": ChatCompletionMessageToolCall, "function_call": Function}

    def __getattr__(self, name: str) -> Any:
        value = super().__getattr__(name)
        return "" if value is None and name == "content" else value


class Choices(Fields):
    """A choice of a whole answer."""

    _absent = _absent("finish_reason logprobs message provider_specific_fields") | {"index": 0}
    _kinds = {"message": Message}


class StreamingChoices(Fields):
    """A choice of a chunk."""

    _absent = _absent("finish_reason logprobs") | {"index": 0}
    _kinds = {"delta": Delta}

    def __init__(self, given: Mapping[str, Any] | None = None, /, **fields: Any) -> None:
        super().__init__(given, **fields)
        if "delta" not in self:
            self["delta"] = Delta()


class Answer(Fields):
    """A whole answer, or one event of a stream. `_hidden_params`: what came beside its body."""

    _kinds: ClassVar[Mapping[str, type[Fields]]] = {"usage": Usage}
    _absent: ClassVar[Mapping[str, Any]] = _absent("id object created model usage")

    def _tells(self, told: Callable[[], dict[str, Any]]) -> None:
        """Note what makes `_hidden_params` when somebody first looks: most programs never do."""
        self.__dict__["_told"] = told

    @cached_property
    def _hidden_params(self) -> dict[str, Any]:
        told = self.__dict__.get("_told")
        return {} if told is None else told()

    @cached_property
    def _response_headers(self) -> dict[str, str]:
        found: dict[str, str] = self._hidden_params.get("additional_headers", {})
        return found

    def _beside(self) -> dict[str, Any]:
        found = {"_hidden_params": self._hidden_params, "_response_headers": self._response_headers}
        return {name: value for name, value in super()._beside().items() if name != "_told"} | found

    @property
    def _response_ms(self) -> float | None:
        found: float | None = self._hidden_params.get("_response_ms")
        return found


class ModelResponse(Answer):
    """A chat's answer."""

    _absent = _absent("id object created model usage choices system_fingerprint service_tier")
    _kinds = {"choices": Choices, "usage": Usage}


class ModelResponseStream(Answer):
    """A chunk of a chat's answer."""

    _absent = _absent("id object created model usage choices system_fingerprint service_tier citations")
    _kinds = {"choices": StreamingChoices, "usage": Usage}


class _TextChoice(Fields):
    _absent = _absent("finish_reason logprobs text") | {"index": 0}


class TextCompletionResponse(Answer):
    """The answer to a prompt, or a chunk of it."""

    _kinds = {"choices": _TextChoice, "usage": Usage}


class Embedding(Fields):
    """One vector."""

    _absent = {"object": "embedding", "index": 0}


class EmbeddingResponse(Answer):
    """Vectors."""

    _kinds = {"data": Embedding, "usage": Usage}


class RerankResponse(Answer):
    """Documents in their order."""

    _absent = _absent("id results meta usage")


class ModerationResponse(Answer):
    """What a judge of texts says."""


class _Image(Fields):
    _absent = _absent("url b64_json revised_prompt")


class ImageResponse(Answer):
    """Images."""

    _kinds = {"data": _Image, "usage": Usage}
    _absent = _absent("created data usage background output_format quality size")


class TranscriptionResponse(Answer):
    """What was said; of a format that is not JSON only `text`."""

    _absent = _absent("text language duration segments words usage")


class ResponsesAPIResponse(Answer):
    """An answer of OpenAI's Responses."""

    _kinds: ClassVar[Mapping[str, type[Fields]]] = {}
    _absent = _absent("id object created_at model output usage status error incomplete_details instructions")

    @property
    def output_text(self) -> str:
        """Return the text of all messages."""
        return "".join(_texts(self.get("output") or ()))


def _texts(output: Any) -> Iterator[str]:
    for item in output:
        if item.get("type") == "message":
            yield from (part["text"] for part in item.get("content") or () if part.get("type") == "output_text")


class AnthropicMessage(Answer):
    """An answer in Anthropic's form, or an event of its stream."""

    _kinds: ClassVar[Mapping[str, type[Fields]]] = {}
    _absent = _absent("id type role model content stop_reason stop_sequence usage")


class BinaryResponse:
    """Sound, as bytes. The names are those of OpenAI's SDK."""

    def __init__(self, content: bytes, content_type: str = "") -> None:
        self.content = content
        self.content_type = content_type
        self._hidden_params: dict[str, Any] = {}
        self._response_headers: dict[str, str] = {}

    def read(self) -> bytes:
        """Return all of it."""
        return self.content

    def iter_bytes(self, chunk_size: int | None = None) -> Iterator[bytes]:
        """Yield it in pieces."""
        size = chunk_size or max(1, len(self.content))
        for at in range(0, len(self.content), size):
            yield self.content[at : at + size]

    def write_to_file(self, file: Any) -> None:
        """Write it to a file of that name."""
        with open(file, "wb") as out:
            out.write(self.content)

    stream_to_file = write_to_file
