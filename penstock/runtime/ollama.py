"""What Ollama's clients ask beside a plain chat: a model to be loaded, shown, or made to embed.

To a target that speaks Ollama these go as they are. ``embed`` reaches every other target as /v1/embeddings does.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw

from penstock.core.dialects import DIALECTS
from penstock.core.dialects.ollama import embed as forms
from penstock.core.dialects.ollama import listing
from penstock.core.dialects.ollama.names import GENERATE, NAME, timestamp
from penstock.core.envelope import seal
from penstock.core.ops.embeddings import in_encoding, total
from penstock.runtime import lanes, outlet
from penstock.runtime.call import GATEWAY_FIELDS, Call
from penstock.runtime.ops.embeddings import vectors

if TYPE_CHECKING:
    from penstock.runtime.http import Pool
    from penstock.runtime.targets import Target

_ZERO = re.compile(rb'"?0(\.0*)?(s|m|h)?"?')  # a keep_alive that unloads
MAX_ANSWER = 256 * 1024 * 1024  # bytes: embeddings of a long list


async def run(pool: Pool, call: Call, target: Target) -> None:
    """One attempt at /api/chat or /api/generate. A request without a prompt loads a model; where there is nothing to
    load it is answered here, as Ollama would."""
    if lanes.choose(call, target) == call.surface.dialect.name or call.parsed().messages:
        await lanes.run(pool, call, target)
        return
    unload = _ZERO.fullmatch(bytes(call.fields.get("keep_alive", b""))) is not None
    told: dict[str, Any] = {"model": call.model, "created_at": timestamp(int(time.time()))}
    if call.surface.dialect.name == GENERATE:
        told["response"] = ""
    else:
        told["message"] = {"role": "assistant", "content": ""}
    body = msgspec.json.encode(told | {"done": True, "done_reason": "unload" if unload else "load"})
    call.first_at = call.clock()
    if not call.stream:
        outlet.send_whole(call, body)
        return
    outlet.begin_stream(call)
    call.exchange.write(body + b"\n")
    call.exchange.finish()


async def embed(pool: Pool, call: Call, target: Target) -> None:
    """One attempt at /api/embed."""
    await _embed(pool, call, target, False)


async def embeddings(pool: Pool, call: Call, target: Target) -> None:
    """One attempt at /api/embeddings, the older form: one prompt, one vector."""
    await _embed(pool, call, target, True)


async def _embed(pool: Pool, call: Call, target: Target, legacy: bool) -> None:
    if NAME in target.dialects:
        call.lane = "same"
        fields = {key: value for key, value in call.fields.items() if key not in GATEWAY_FIELDS and key != "stream"}
        forms.check(fields, legacy)
        fields["model"] = target.model_raw
        what = "/api/embeddings" if legacy else "ollama_embed"
        body = await _ask(pool, call, target, what, fields, NAME)
        call.usage = forms.own_usage(body)
        told = msgspec.json.decode(body, type=dict[str, Raw])
        if "model" in told:
            told["model"] = call.model_raw
        body = seal(told)
    else:
        call.lane = "cross"
        fields, call.losses = forms.to_openai(call.fields, target.model_raw, legacy)
        _, parts = await vectors(pool, call, target, fields)
        rows = [in_encoding(row, "float") for part in parts for row in part.rows]
        call.usage = total(fields, parts)
        elapsed = int((call.clock() - call.exchange.started) * 1e9)
        body = forms.render(rows, call.usage, call.model_raw, legacy, elapsed)
    call.first_at = call.clock()
    outlet.send_whole(call, body)


async def show(pool: Pool, call: Call, target: Target) -> None:
    """One attempt at /api/show: Ollama's own words, else what the configuration says."""
    if NAME in target.dialects:
        call.lane = "same"
        kept = ("verbose", "system", "template", "options")
        fields: dict[str, Raw] = {key: call.fields[key] for key in kept if key in call.fields}
        body = await _ask(pool, call, target, "ollama_show", {"model": target.model_raw, **fields}, NAME)
    else:
        told = listing.show(call.model, target.owner, int(time.time()), target.deployment.info)
        body = msgspec.json.encode(told)
    call.first_at = call.clock()
    outlet.send_whole(call, body)


async def _ask(pool: Pool, call: Call, target: Target, what: str, fields: dict[str, Raw], dialect: str) -> bytes:
    """One POST to the target; a refusal is raised as ``dialect`` reads it."""
    endpoint = target.endpoint(what)
    sent = call.clock()
    extra = b"x-request-id: %b\r\n" % call.request_id
    answer = await pool.send(endpoint.origin, endpoint.head, seal(fields), target.timeouts, extra, target.tls)
    try:
        body = await answer.read(MAX_ANSWER)
        call.upstream += call.clock() - sent
        if not 200 <= answer.status < 300:
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in answer.headers}
            raise DIALECTS[dialect].parse_error(answer.status, headers, body)
        return body
    finally:
        answer.close()
