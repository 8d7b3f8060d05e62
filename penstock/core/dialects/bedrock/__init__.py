"""Amazon Bedrock's Converse and ConverseStream as a dialect.

The parts are in ``request_in``, ``request_out`` (with ``turns``, ``blocks_out`` and
``thinking``), ``answer``, ``stream_in``, ``stream_out``, ``errors`` and ``texts``; ``blocks_in`` explains how fields
that the neutral form lacks are kept.
"""

from __future__ import annotations

from penstock.core.dialects.base import Dialect
from penstock.core.dialects.bedrock.answer import parse_response, render_response
from penstock.core.dialects.bedrock.errors import parse_error, render_error
from penstock.core.dialects.bedrock.request_in import parse_request
from penstock.core.dialects.bedrock.request_out import forced, render_request
from penstock.core.dialects.bedrock.stream_in import decoder
from penstock.core.dialects.bedrock.stream_out import encoder
from penstock.core.dialects.bedrock.texts import texts
from penstock.core.dialects.bedrock.wire import FAMILY, NAME
from penstock.core.eventstream import Decoder as framer

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
    caches=True,
    framer=framer,
    stream_type=b"application/vnd.amazon.eventstream",
    comments=False,
    stream_endpoint="bedrock_stream",
    forced=forced,
)

__all__ = ["DIALECT"]
