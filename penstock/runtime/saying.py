"""An answer that the gateway itself gives, in the client's own dialect, whole or as a stream: nobody was asked."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from penstock.core.errors import GatewayError, shed
from penstock.core.ir import Choice, Response, Text, Usage
from penstock.runtime.cache_give import CHATS, told_as
from penstock.runtime.ids import mint

if TYPE_CHECKING:
    from penstock.runtime.call import Call


def say(call: Call, text: str) -> bool:
    """Answer a call by a text that ends the turn. False where that cannot be: it is no chat, its answer has begun, or
    its request cannot be read."""
    surface = call.surface
    if surface is None or surface.cached not in CHATS or call.outlet.responded:
        return False
    answer = Response(
        id=mint("chatcmpl-"),
        model=call.asked,
        choices=(Choice((Text(text),)),),
        usage=Usage(),
        created=int(time.time()),
    )
    try:
        body, _ = told_as(call, answer)
    except GatewayError as error:
        shed(error)
        return False
    if call.stream:
        call.outlet.replay(call, body)
    else:
        call.outlet.kept(call, body)
    return True
