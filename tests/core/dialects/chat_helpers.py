"""What the Chat dialect's example tests share."""

from __future__ import annotations

import json
from typing import Any

from penstock.core.dialects import openai_chat as chat
from penstock.core.dialects.base import Wire
from penstock.core.envelope import open_body, seal
from penstock.core.ir import (
    Message,
    Request,
)

OFFICIAL = Wire(model="gpt", family="openai")
COMPATIBLE = Wire(model="local", official=False)
HI = {"role": "user", "content": "hi"}


def read(**fields: Any) -> Request:
    return chat.parse_request(open_body(json.dumps({"model": "m", "messages": [HI], **fields}).encode()))


def turns(*messages: Any) -> tuple[Message, ...]:
    return read(messages=list(messages)).messages


def sent(request: Request, wire: Wire = OFFICIAL) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(seal(chat.render_request(request, wire).fields))
    return body


def losses(request: Request, wire: Wire = OFFICIAL) -> list[str]:
    return [loss.path for loss in chat.render_request(request, wire).losses]


def asking(*messages: Message, **more: Any) -> Request:
    return Request(model="m", messages=messages, **more)
