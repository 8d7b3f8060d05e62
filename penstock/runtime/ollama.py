"""What Ollama's clients ask beside a plain chat: a model to be loaded, shown, or made to embed.

To a target that speaks Ollama these go as they are. ``embed`` reaches every other target as /v1/embeddings does.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw

from penstock.core.dialects.ollama import embed as embed_wire
from penstock.core.dialects.ollama import listing
from penstock.core.dialects.ollama.names import GENERATE, NAME, timestamp
from penstock.core.envelope import seal
from penstock.core.ops.embeddings import in_encoding, total
from penstock.runtime import apart, lanes
from penstock.runtime.call import GATEWAY_FIELDS
from penstock.runtime.ops.ask import ask
from penstock.runtime.ops.embeddings import vectors

if TYPE_CHECKING:
    from penstock.runtime.attempt import Attempt

_ZERO = re.compile(rb'"?0(\.0*)?(s|m|h)?"?')  # a keep_alive that unloads


async def run(attempt: Attempt) -> None:
    """Make one try at /api/chat or /api/generate. A request without a prompt loads a model; where there is nothing to
    load it is answered here, as Ollama would."""
    call, fields, client = attempt.call, attempt.fields, attempt.client
    large = len(call.exchange.body) >= apart.LARGE  # who only loads a model sends no such body
    if large or lanes.choose(attempt) == client.name or attempt.parsed().messages:
        await lanes.run(attempt)
        return
    unload = _ZERO.fullmatch(bytes(fields.get("keep_alive", b""))) is not None
    told: dict[str, Any] = {"model": call.asked, "created_at": timestamp(int(time.time()))}
    if client.name == GENERATE:
        told["response"] = ""
    else:
        told["message"] = {"role": "assistant", "content": ""}
    body = msgspec.json.encode(told | {"done": True, "done_reason": "unload" if unload else "load"})
    if not attempt.stream:
        call.outlet.whole(attempt, body)
        return
    call.outlet.stream(attempt, body + b"\n")
    call.outlet.finish()


async def embed(attempt: Attempt) -> None:
    """Make one try at /api/embed."""
    await _embed(attempt, False)


async def embeddings(attempt: Attempt) -> None:
    """Make one try at /api/embeddings, the older form: one prompt, one vector."""
    await _embed(attempt, True)


async def _embed(attempt: Attempt, legacy: bool) -> None:
    call, target = attempt.call, attempt.target
    if NAME in attempt.live.speaks(target):
        attempt.lane = "same"
        fields = {k: value for k, value in attempt.fields.items() if k not in GATEWAY_FIELDS and k != "stream"}
        embed_wire.check(fields, legacy)
        fields["model"] = target.model_raw
        what = "/api/embeddings" if legacy else "ollama_embed"
        body = await ask(attempt, what, seal(fields), dialect=NAME)
        attempt.usage = embed_wire.own_usage(body)
        told = msgspec.json.decode(body, type=dict[str, Raw])
        if "model" in told:
            told["model"] = call.model_raw
        body = seal(told)
    else:
        attempt.lane = "cross"
        fields, attempt.losses = embed_wire.to_openai(attempt.fields, target.model_raw, legacy)
        _, parts = await vectors(attempt, fields)
        rows = [in_encoding(row, "float") for part in parts for row in part.rows]
        attempt.usage = total(fields, parts)
        elapsed = int((call.means.clock() - call.exchange.started) * 1e9)
        body = embed_wire.render(rows, attempt.usage, call.model_raw, legacy, elapsed)
    call.outlet.whole(attempt, body)


async def show(attempt: Attempt) -> None:
    """Make one try at /api/show: Ollama's own words, else what the configuration says."""
    call, target = attempt.call, attempt.target
    if NAME in attempt.live.speaks(target):
        attempt.lane = "same"
        kept = ("verbose", "system", "template", "options")
        fields: dict[str, Raw] = {key: attempt.fields[key] for key in kept if key in attempt.fields}
        body = await ask(attempt, "ollama_show", seal({"model": target.model_raw, **fields}), dialect=NAME)
    else:
        told = listing.show(call.asked, target.owner, int(time.time()), target.deployment.info)
        body = msgspec.json.encode(told)
    call.outlet.whole(attempt, body)
