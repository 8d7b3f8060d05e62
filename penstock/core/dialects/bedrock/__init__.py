"""Amazon Bedrock's Converse and ConverseStream as a dialect.

The names of ``base.Dialect``; the parts are in ``request_in``, ``request_out`` (with ``turns``, ``blocks_out`` and
``thinking``), ``answer``, ``stream_in``, ``stream_out``, ``errors`` and ``texts``; ``blocks_in`` explains how fields
that the neutral form lacks are kept, ``wire`` what a model's name tells.
"""

from __future__ import annotations

from penstock.core.dialects.bedrock.answer import parse_response, render_response
from penstock.core.dialects.bedrock.errors import parse_error, render_error
from penstock.core.dialects.bedrock.request_in import parse_request
from penstock.core.dialects.bedrock.request_out import adopt, forced, render_request
from penstock.core.dialects.bedrock.stream_in import decoder
from penstock.core.dialects.bedrock.stream_out import encoder
from penstock.core.dialects.bedrock.texts import texts
from penstock.core.dialects.bedrock.wire import FAMILY as family
from penstock.core.dialects.bedrock.wire import NAME as name
from penstock.core.eventstream import Decoder as framer

stream_endpoint = "bedrock_stream"
stream_type = b"application/vnd.amazon.eventstream"

__all__ = [
    "adopt",
    "decoder",
    "encoder",
    "family",
    "forced",
    "framer",
    "name",
    "parse_error",
    "parse_request",
    "parse_response",
    "render_error",
    "render_request",
    "render_response",
    "stream_endpoint",
    "stream_type",
    "texts",
]
