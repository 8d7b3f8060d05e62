"""/v1/completions: one prompt instead of a conversation, ``text`` instead of a message.

A dialect like the others (``dialects.base.Dialect``): to a target that has the operation it passes as it is; to every
other it becomes a chat of one turn, and a chat for a model that only completes becomes a prompt. With a ``suffix`` the
model is asked to fill the gap; ``echo`` is done here.
Reference: platform.openai.com/docs/api-reference/completions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Raw
from msgspec.json import encode
from msgspec.structs import replace

from penstock.core import sse
from penstock.core.dialects.base import Dialect, RenderedAnswer, StreamDecoder, View
from penstock.core.dialects.completions.request_out import render_request
from penstock.core.dialects.completions.stream_out import Encoder
from penstock.core.dialects.completions.words import chat_body, chat_chunk, plain_logprobs
from penstock.core.dialects.ollama.generate import FILL
from penstock.core.dialects.openai_chat.answer import parse_response as parse_answer
from penstock.core.dialects.openai_chat.errors import parse_error, render_error
from penstock.core.dialects.openai_chat.names import FAMILY, finish_out
from penstock.core.dialects.openai_chat.names import NAME as CHAT
from penstock.core.dialects.openai_chat.reading import (
    absent,
    integer,
    items,
    needed,
    opens,
    optional_text,
    present,
    text,
    wrong,
)
from penstock.core.dialects.openai_chat.request_in import parse_request as parse_chat
from penstock.core.dialects.openai_chat.stream_in import Decoder as ChatDecoder
from penstock.core.dialects.openai_chat.usage import write_usage
from penstock.core.envelope import BAD_JSON
from penstock.core.errors import GatewayError
from penstock.core.ir import Event, Loss, Opaque, Refusal, Request, Response, Text

name = "completions"
WANT = "a text, a list of texts, a list of tokens, or a list of such lists"
_OWN = frozenset(("prompt", "suffix", "echo", "best_of", "logprobs"))
_EMPTY = (b"null", b"[]", b"{}")


class Completion(Request, frozen=True, kw_only=True):
    """A chat request that was a completion. ``echo``: the prompts, to be repeated before the answers; each prompt has
    ``n`` answers."""

    echo: tuple[str, ...] = ()


MOST_PROMPTS = 2048


class Several(GatewayError):
    """More than one prompt where one was expected: a chat holds one, so they go one by one."""

    def __init__(self) -> None:
        super().__init__("unsupported", "This target takes one prompt a request.", param="prompt")


def check(fields: Mapping[str, Raw]) -> None:
    """Check the prompt. Raises "bad_request" for what is none."""
    raw = needed(fields, "prompt", "", WANT)
    if opens(raw, "["):
        if not items(raw, "prompt"):
            raise GatewayError("bad_request", "'prompt' is an empty list; it must be " + WANT + ".", param="prompt")
    elif not opens(raw, '"'):
        raise wrong("prompt", raw, WANT)


def prompts(fields: Mapping[str, Raw]) -> list[str]:
    """Return the prompts as texts. Raises "unsupported" for tokens: only the model's own server knows their words."""
    raw = needed(fields, "prompt", "", WANT)
    if opens(raw, '"'):
        return [text(raw, "prompt")]
    found = []
    listed = items(raw, "prompt")
    if len(listed) > MOST_PROMPTS:  # each becomes a request
        said = f"'prompt' has {len(listed)} texts; at most {MOST_PROMPTS} are taken at once."
        raise GatewayError("bad_request", said, param="prompt")
    for place, item in enumerate(listed):
        if not opens(item, '"'):
            words = "This model is reached as a chat, which takes text: a prompt of tokens cannot be translated."
            raise GatewayError("unsupported", words, param="prompt")
        found.append(text(item, f"prompt[{place}]"))
    return found


def parse_all(fields: Mapping[str, Raw]) -> list[Completion]:
    """Parse one request for each prompt. Raises what ``parse_request`` raises but ``Several``."""
    return [_parse(fields, prompt) for prompt in prompts(fields)]


def parse_request(fields: Mapping[str, Raw]) -> Completion:
    """Read the body's top level as a ``Completion``. Raises ``Several`` for more than one prompt, "unsupported" for
    tokens."""
    found = prompts(fields)
    if len(found) != 1:
        raise Several()
    return _parse(fields, found[0])


def _parse(fields: Mapping[str, Raw], prompt: str) -> Completion:
    chat = {key: raw for key, raw in fields.items() if key not in _OWN and bytes(raw) not in _EMPTY}
    turns: list[dict[str, str]] = [{"role": "user", "content": prompt}]
    if suffix := optional_text(fields, "suffix", ""):
        filled = f"<prefix>{prompt}</prefix>\n<suffix>{suffix}</suffix>"
        turns = [{"role": "system", "content": FILL}, {"role": "user", "content": filled}]
    chat["messages"] = Raw(encode(turns))
    raw = present(fields, "logprobs")
    if raw is not None and bytes(raw) not in (b"true", b"false"):
        chat["logprobs"] = Raw(b"true")
        if top := integer(raw, "logprobs"):
            chat["top_logprobs"] = Raw(encode(top))
    elif raw is not None:
        chat["logprobs"] = raw
    request = parse_chat(chat)
    extra = request.extra
    best = present(fields, "best_of")
    if best is not None and integer(best, "best_of") > (request.n or 1):
        extra = (*extra, Opaque(name, "best_of", bytes(best)))
    echo = bytes(fields.get("echo", b"")) == b"true"
    if echo and request.logprobs:
        extra = (*extra, Opaque(name, "prompt_logprobs", b"true"))
    values = {field: getattr(request, field) for field in request.__struct_fields__}
    return Completion(**{**values, "extra": extra}, echo=(prompt,) if echo else ())


def parse_response(body: bytes) -> Response:
    """Parse a whole answer."""
    try:
        fields = msgspec.json.decode(body, type=dict[str, Raw])
    except BAD_JSON as error:
        raise GatewayError("broken_answer", f"The upstream's answer is not a JSON object: {error}.") from None
    return parse_answer(chat_body(fields))


def echo_of(request: Request | None, choice: int) -> str:
    """Return what stands before the text of a choice."""
    if not isinstance(request, Completion) or not request.echo:
        return ""
    return request.echo[min(choice // (request.n or 1), len(request.echo) - 1)]


def render_response(response: Response, view: View) -> RenderedAnswer:
    """Render the answer for a client of this dialect. Thoughts have no place beside a text."""
    losses: list[Loss] = []
    choices = []
    for number, choice in enumerate(response.choices):
        echo = echo_of(view.request, number)
        said = [echo]
        for place, block in enumerate(choice.blocks):
            if isinstance(block, (Text, Refusal)):
                said.append(block.text)
            else:
                losses.append(Loss(f"choices.{number}.blocks.{place}", "a completion is text and nothing else"))
        finish = finish_out(choice.finish, False, False)
        choices.append(
            {
                "text": "".join(said),
                "index": number,
                "logprobs": plain_logprobs(choice.logprobs, len(echo))[0] if choice.logprobs else None,
                "finish_reason": "stop" if finish == "tool_calls" else finish,
            }
        )
    out: dict[str, Any] = {
        "id": response.id or view.mint("cmpl-"),
        "object": "text_completion",
        "created": response.created or view.now,
        "model": view.model,
        "choices": choices,
    }
    if response.usage is not None:
        out["usage"] = Raw(write_usage(response.usage))
    for opaque in response.extra:
        if opaque.dialect in (CHAT, name):
            out.setdefault(opaque.kind, Raw(opaque.raw))
        else:
            losses.append(Loss(f"extra.{opaque.kind}", f"a field of {opaque.dialect} only"))
    return RenderedAnswer(encode(out), tuple(losses))


def joined(responses: list[Response]) -> Response:
    """Join the answers to several prompts: choices in order, usage summed where all told it."""
    usage = responses[0].usage
    for other in responses[1:]:
        if usage is None or other.usage is None:
            usage = None
            break
        sums = {
            field: getattr(usage, field) + getattr(other.usage, field)
            for field in ("fresh", "cache_read", "cache_write", "cache_write_1h", "output", "reasoning")
        }
        usage = replace(usage, **sums)
    return replace(responses[0], choices=tuple(c for one in responses for c in one.choices), usage=usage)


class Decoder:
    """A decoder of completions' streams: see ``base.StreamDecoder``. Chunks of completions read as the chunks of a chat
    that would say the same."""

    __slots__ = ("_chat",)

    def __init__(self) -> None:
        self._chat = ChatDecoder()

    def feed(self, event: sse.Event) -> Iterable[Event]:
        return self._chat.feed(event if event.data == b"[DONE]" else event._replace(data=chat_chunk(event.data)))

    def close(self) -> Iterable[Event]:
        return self._chat.close()


def decoder() -> StreamDecoder:
    """Make a decoder for one stream of an upstream."""
    return Decoder()


def encoder(view: View) -> Encoder:
    """Make an encoder for one stream to a client."""
    request = view.request
    return Encoder(view, lambda choice: echo_of(request, choice))


def texts(fields: Mapping[str, Raw]) -> Iterator[str]:
    """Yield the prompts and the suffix."""
    for key in ("prompt", "suffix"):
        raw = fields.get(key)
        if raw is None or absent(raw):
            continue
        for item in items(raw, key) if opens(raw, "[") else [raw]:
            if opens(item, '"'):
                yield text(item, key)


DIALECT = Dialect(
    name=name,
    family=FAMILY,
    parse_request=parse_request,
    render_request=render_request,
    parse_response=parse_response,
    render_response=render_response,
    decoder=decoder,
    encoder=encoder,
    parse_error=parse_error,
    render_error=render_error,
    texts=texts,
)
