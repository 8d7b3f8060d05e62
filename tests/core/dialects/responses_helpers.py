"""Short ways to write requests, streams and answers of the Responses dialect."""

from __future__ import annotations

import json
from typing import Any

from penstock.core import envelope, sse
from penstock.core.dialects import openai_responses as dialect
from penstock.core.dialects.base import View, Wire
from penstock.core.ir import (
    Block,
    Event,
    Message,
    Request,
    Text,
    collect,
)
from tests.laws.strategies import run_decoder

VIEW = View(model="asked", mint=lambda prefix: f"{prefix}new")
WIRE = Wire(model="real", family="openai")


def parse(**body: Any) -> Request:
    return dialect.parse_request(envelope.open_body(json.dumps({"model": "m", **body}).encode()))


def render(request: Request, wire: Wire = WIRE) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(envelope.seal(dialect.render_request(request, wire).fields))
    return found


def lost(request: Request, wire: Wire = WIRE) -> list[str]:
    return [loss.path for loss in dialect.render_request(request, wire).losses]


def ask(*messages: Message, **fields: Any) -> Request:
    return Request(model="m", messages=messages or (Message("user", (Text("hi"),)),), **fields)


def stream(*events: dict[str, Any], named: bool = True) -> list[Event]:
    data = b"".join(
        sse.encode(json.dumps(event).encode(), event["type"].encode() if named else b"") for event in events
    )
    return run_decoder(dialect.decoder(), [data])


def told(events: list[Event]) -> tuple[Block, ...]:
    return collect(events).choices[0].blocks


def finished(**response: Any) -> dict[str, Any]:
    return {"type": "response.completed", "response": {"id": "resp_1", "status": "completed", **response}}


CREATED = {"type": "response.created", "response": {"id": "resp_1", "model": "x", "status": "in_progress"}}


def added(index: int, **item: Any) -> dict[str, Any]:
    return {"type": "response.output_item.added", "output_index": index, "item": item}


def done(index: int, **item: Any) -> dict[str, Any]:
    return {"type": "response.output_item.done", "output_index": index, "item": item}


def args(index: int, delta: str) -> dict[str, Any]:
    kind = "response.function_call_arguments.delta"
    return {"type": kind, "output_index": index, "item_id": f"fc_{index}", "delta": delta}


def call(index: int, arguments: str = "") -> dict[str, Any]:
    kind = {"type": "function_call", "id": f"fc_{index}", "call_id": f"call_{index}", "name": "f"}
    return {**kind, "arguments": arguments}
