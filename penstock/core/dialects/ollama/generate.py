"""/api/generate as a dialect of its own: one prompt instead of messages, ``response`` instead of a message.

To Ollama it passes as it is. To everyone else it becomes a chat of one turn; with a ``suffix`` the model is asked to
fill the gap. ``raw``, ``template`` and ``context`` speak to the engine below the chat and are losses there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Raw
from msgspec.json import Decoder as JsonDecoder
from msgspec.json import encode
from msgspec.structs import replace

from penstock.core.dialects.base import Dialect, Rendered, RenderedAnswer, View, Wire
from penstock.core.dialects.ollama.answer import closing, first_choice, head, parse_response, write_blocks
from penstock.core.dialects.ollama.errors import parse_error, render_error
from penstock.core.dialects.ollama.lines import STREAM_TYPE
from penstock.core.dialects.ollama.lines import Lines as framer
from penstock.core.dialects.ollama.messages_in import read_images
from penstock.core.dialects.ollama.names import FAMILY, GENERATE, NAME
from penstock.core.dialects.ollama.request_in import shared
from penstock.core.dialects.ollama.request_out import render_request as render_chat
from penstock.core.dialects.ollama.stream_in import Decoder as decoder
from penstock.core.dialects.ollama.stream_out import Encoder
from penstock.core.dialects.ollama.texts import texts
from penstock.core.dialects.openai_chat.reading import optional_text, present
from penstock.core.errors import GatewayError
from penstock.core.ir import Block, Loss, Message, Request, Response, Text

_TURNS = JsonDecoder(list[dict[str, Raw]]).decode

_READ = frozenset(
    (
        "model",
        "prompt",
        "suffix",
        "system",
        "images",
        "stream",
        "format",
        "options",
        "think",
        "logprobs",
        "top_logprobs",
    )
)
FILL = (
    "Fill in what stands between <prefix> and <suffix>. Answer with the missing text alone: no explanation, "
    "no code fence, nothing of the prefix or the suffix."
)


def parse_request(fields: Mapping[str, Raw]) -> Request:
    """Read the body's top level as a ``Request``."""
    out = shared(fields, GENERATE, _READ)
    prompt, suffix = optional_text(fields, "prompt", ""), optional_text(fields, "suffix", "")
    turns: list[Message] = []
    if system := optional_text(fields, "system", ""):
        turns.append(Message("system", (Text(system),)))
    if suffix:
        turns.append(Message("system", (Text(FILL),)))
        prompt = f"<prefix>{prompt}</prefix>\n<suffix>{suffix}</suffix>"
    blocks: list[Block] = [Text(prompt)] if prompt else []
    if (raw := present(fields, "images")) is not None:
        blocks += read_images(raw, "images")
    if blocks:
        turns.append(Message("user", tuple(blocks)))
    return Request(**out, messages=tuple(turns))


def render_request(request: Request, wire: Wire) -> Rendered:
    """Render the body for ``wire``. Raises "unsupported" for more than one turn: there is one prompt."""
    system = [message for message in request.messages if message.role in ("system", "developer")]
    rest = [message for message in request.messages if message.role not in ("system", "developer")]
    if len(rest) > 1 or any(message.role != "user" for message in rest):
        raise GatewayError("unsupported", "/api/generate takes one user turn; send a conversation to /api/chat.")
    own = tuple(replace(o, dialect=NAME) if o.dialect == GENERATE else o for o in request.extra)
    rendered = render_chat(replace(request, extra=own, tools=()), wire)
    losses = list(rendered.losses)
    losses += [Loss(f"tools.{n}", "/api/generate knows no tools") for n in range(len(request.tools))]
    fields = {key: value for key, value in rendered.fields.items() if key != "messages"}
    if system:
        told = [block.text for message in system for block in message.blocks if isinstance(block, Text)]
        fields["system"] = Raw(encode("\n\n".join(told)))
    turn = render_chat(Request(model="", messages=tuple(rest)), wire).fields["messages"]
    prompt = next(iter(_TURNS(turn)), {})
    fields["prompt"] = prompt.get("content", Raw(b'""'))
    if "images" in prompt:
        fields["images"] = prompt["images"]
    return Rendered(fields, tuple(losses))


def render_response(response: Response, view: View) -> RenderedAnswer:
    """Render the answer for a client of /api/generate."""
    losses: list[Loss] = []
    choice = first_choice(response, losses)
    told = write_blocks(choice.blocks, "choices.0", losses)
    losses += [Loss(f"choices.0.calls.{n}", "/api/generate knows no tools") for n in range(len(told.calls))]
    fields: dict[str, Any] = head(view, response.created) | {"response": told.text}
    if told.thinking:
        fields["thinking"] = told.thinking
    return RenderedAnswer(encode(fields | closing(choice, response.usage, view)), tuple(losses))


def encoder(view: View) -> Encoder:
    """Make an encoder for one stream to a client."""
    return Encoder(view, generate=True)


DIALECT = Dialect(
    name=GENERATE,
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
    framer=framer,
    stream_type=STREAM_TYPE,
    comments=False,
    sample={"prompt": Raw(b'"x"')},
)
