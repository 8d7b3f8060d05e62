"""OpenAI Chat Completions, and what the hundred servers that call themselves compatible make of it.

The reference is OpenAI's API reference (``/v1/chat/completions``) and its SDK's types; additions of LiteLLM,
OpenRouter, DeepSeek, vLLM, Mistral, Moonshot, Groq and Google's compatible endpoint are read where they have a neutral
meaning, and written only to servers that are not the vendor's own.
"""

from __future__ import annotations

from penstock.core.dialects.base import Dialect
from penstock.core.dialects.openai_chat.answer import parse_response, render_response
from penstock.core.dialects.openai_chat.errors import parse_error, render_error
from penstock.core.dialects.openai_chat.names import FAMILY, NAME, SAMPLE
from penstock.core.dialects.openai_chat.request_in import parse_request
from penstock.core.dialects.openai_chat.request_out import render_request
from penstock.core.dialects.openai_chat.stream_in import Decoder as decoder
from penstock.core.dialects.openai_chat.stream_out import Encoder as encoder
from penstock.core.dialects.openai_chat.texts import texts

DIALECT = Dialect(
    name=NAME,
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
    sample=SAMPLE,
)

__all__ = ["DIALECT"]
