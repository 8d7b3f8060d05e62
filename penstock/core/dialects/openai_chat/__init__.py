"""OpenAI Chat Completions, and what the hundred servers that call themselves compatible make of it.

The reference is OpenAI's API reference (``/v1/chat/completions``) and its SDK's types; additions of LiteLLM,
OpenRouter, DeepSeek, vLLM, Mistral, Moonshot, Groq and Google's compatible endpoint are read where they have a neutral
meaning, and written only to servers that are not the vendor's own.
"""

from __future__ import annotations

from penstock.core.dialects.base import View
from penstock.core.dialects.openai_chat.answer import parse_response, render_response
from penstock.core.dialects.openai_chat.errors import parse_error, render_error
from penstock.core.dialects.openai_chat.names import NAME
from penstock.core.dialects.openai_chat.request_in import parse_request
from penstock.core.dialects.openai_chat.request_out import render_request
from penstock.core.dialects.openai_chat.stream_in import Decoder
from penstock.core.dialects.openai_chat.stream_out import Encoder
from penstock.core.dialects.openai_chat.texts import texts

name = NAME
family = "openai"


def decoder() -> Decoder:
    """A decoder for one stream of an upstream."""
    return Decoder()


def encoder(view: View) -> Encoder:
    """An encoder for one stream to a client."""
    return Encoder(view)


__all__ = [
    "decoder",
    "encoder",
    "family",
    "name",
    "parse_error",
    "parse_request",
    "parse_response",
    "render_error",
    "render_request",
    "render_response",
    "texts",
]
