"""A ``Request`` to a completion's body: the conversation as one prompt, as LiteLLM sends a chat to a model that
completes. Nobody here knows the template that makes a prompt of a chat, so it is written as people write one."""

from __future__ import annotations

from msgspec import Raw
from msgspec.json import encode
from msgspec.structs import replace

from penstock.core.dialects.base import Rendered, Wire
from penstock.core.dialects.openai_chat.names import NAME as CHAT
from penstock.core.dialects.openai_chat.request_out import render_request as render_chat
from penstock.core.dialects.prompts import split, write
from penstock.core.ir import Loss, Request

# What completions have of a chat's parameters, by the neutral attribute: platform.openai.com/docs/api-reference.
_HAS = frozenset(
    "model max_tokens temperature top_p top_k n stream stream_options stop presence_penalty frequency_penalty "
    "logit_bias seed user".split()
)
_WHY = "a completion has no such field"


def render_request(request: Request, wire: Wire) -> Rendered:
    """Render the body for ``wire``, and tell what it could not carry."""
    losses: list[Loss] = []
    prompt = write(*split(request.messages, losses))
    plain = replace(request, messages=(), tools=(), tool_choice=None, parallel_tools=None, output=None, reasoning=None)
    chat = render_chat(plain, replace(wire, official=False))
    fields: dict[str, Raw] = {"model": Raw(encode(wire.model)), "prompt": Raw(encode(prompt))}
    extra = {opaque.kind for opaque in request.extra if opaque.dialect == CHAT}
    for key, raw in chat.fields.items():
        if key in _HAS or key in extra:
            fields[key] = raw
        elif key not in ("messages", "logprobs", "top_logprobs"):
            losses.append(Loss(key, _WHY))
    if request.logprobs:
        fields["logprobs"] = Raw(encode(request.top_logprobs or 0))
    losses += [Loss(name, _WHY) for name in ("tools", "tool_choice", "output", "reasoning") if getattr(request, name)]
    return Rendered(fields, (*losses, *chat.losses))
