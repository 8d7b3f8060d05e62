"""An answer that was kept, given to a client: whole or as a stream, in its own dialect, whoever it was made for."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING

from msgspec import Raw
from msgspec.structs import replace

from penstock.core.dialects import DIALECTS, EDITORS
from penstock.core.dialects.base import View
from penstock.core.dialects.openai_responses.stored import keeps
from penstock.core.envelope import open_body, seal
from penstock.core.errors import GatewayError, shed
from penstock.core.ir import Event, Loss, Response, Start, explode
from penstock.runtime.apart import is_long
from penstock.runtime.aside import in_thread
from penstock.runtime.ids import mint
from penstock.runtime.stored_responses import keep_given

if TYPE_CHECKING:
    from penstock.core.kept import Entry
    from penstock.runtime.call import Call
    from penstock.runtime.keeping import Keeping  # circle: it gives what it keeps

# Kinds whose answers are read: they tell how they ended, and can be told in another dialect.
CHATS = frozenset(("completion", "responses", "text_completion"))
# What an answer repeats of its request, and does not count: the words of this client, not of the one before.
_ECHOED: Mapping[str, Mapping[str, Raw]] = {
    "openai_responses": {"metadata": Raw(b"{}"), "user": Raw(b"null"), "safety_identifier": Raw(b"null")}
}
PIECE = 400  # characters of a text that is streamed again, in one event


async def give(call: Call, keeping: Keeping, entry: Entry) -> bool:
    """Answer a call. False where that cannot be: what was kept is of no use, and the call goes on."""
    surface = call.surface
    assert surface is not None
    alike = entry.dialect == surface.dialect.name
    losses: list[Loss] = []
    try:
        if keeping.kind not in CHATS or (alike and not call.stream and not _changes(call, entry)):
            body = entry.body
        elif is_long(entry.body):
            body, losses = await in_thread(partial(_told, call, entry, alike))
        else:
            body, losses = _told(call, entry, alike)
    except GatewayError as error:
        shed(error)
        return False
    keeping.dropped += tuple([loss.path for loss in losses])
    if call.stream:
        call.outlet.replay(call, body)
    else:
        call.outlet.kept(call, body, entry.content_type.encode())
    if keeping.kind == "responses" and keeps(call.fields):
        await keep_given(call, body)
    return True


def _changes(call: Call, entry: Entry) -> bool:
    """Tell whether an answer in the client's own dialect is not the same for this client."""
    return entry.model != call.asked or entry.dialect in _ECHOED


def _told(call: Call, entry: Entry, alike: bool) -> tuple[bytes, list[Loss]]:
    """Tell an answer in the client's own words. Raises ``GatewayError``."""
    surface = call.surface
    assert surface is not None
    if alike and not call.stream:
        body, _ = EDITORS[entry.dialect].answer(entry.body, call.model_raw)
        echoed = _ECHOED.get(entry.dialect)
        if echoed is not None:
            fields = open_body(body)
            fields.update((key, call.fields.get(key, none)) for key, none in echoed.items() if key in fields)
            body = seal(fields)
        return body, []
    return told_as(call, DIALECTS[entry.dialect].parse_response(entry.body))


def told_as(call: Call, response: Response) -> tuple[bytes, list[Loss]]:
    """Tell an answer in the words of who asked, as a stream where that was asked for. Raises ``GatewayError``."""
    surface = call.surface
    assert surface is not None
    clock, started = call.means.clock, call.exchange.started
    view = View(
        model=call.asked,
        request=call.parsed(),
        now=int(time.time()),
        mint=mint,
        usage=surface.wants_usage(call.fields),
        elapsed=lambda: int((clock() - started) * 1e9),
    )
    if not call.stream:
        rendered = surface.dialect.render_response(response, view)
        return rendered.body, list(rendered.losses)
    encoder = surface.dialect.encoder(view)
    return b"".join([encoder.feed(event) for event in _events(response)]), encoder.losses


def _events(response: Response) -> Iterator[Event]:
    """Yield the events of an answer. The first tells its input: an agent reads the size of its context off that."""
    for event in explode(response, PIECE):
        if isinstance(event, Start) and response.usage is not None:
            event = replace(event, usage=replace(response.usage, output=0, reasoning=0, audio_out=0))
        yield event
