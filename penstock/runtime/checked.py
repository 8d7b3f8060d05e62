"""``validate: true``: an answer is held back until it is known to have the form that was asked for.

A text that has not is sent back once, to the same target, with what is wrong with it; then the second answer is the
client's, or an error ("invalid_output", 502) that names what failed. The header ``x-penstock-validated`` says ok,
repaired or failed. Both calls are in the record's usage, cost and tries. A stream is held back whole: what has been
passed on cannot be taken back. Answers that call a tool and refusals are not checked: there is no such text yet.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from penstock.core.count import estimate, tokens
from penstock.core.dialects import DIALECTS
from penstock.core.dialects.base import Dialect
from penstock.core.errors import GatewayError
from penstock.core.ir import Collector, Message, OutputFormat, Refusal, Response, Text, ToolUse, Usage
from penstock.core.sse import Event, TooLong
from penstock.runtime import checking, constrained, lanes, outlet
from penstock.runtime.call import Call
from penstock.runtime.checking import Bad, Check, Slow
from penstock.runtime.cross import back_for, cross_request, size_of, tiered
from penstock.runtime.http import TransportError
from penstock.runtime.ops import ask

if TYPE_CHECKING:
    from penstock.core.dialects.base import Framer
    from penstock.runtime import http
    from penstock.runtime.http import Pool
    from penstock.runtime.targets import Target

Mend = Callable[[bytes], bytes]
MAX_HELD = 16 * 1024 * 1024  # bytes of an answer, with all that is around its text
MAX_TEXT = 4 * 1024 * 1024  # characters of one text that is checked
_REFUSED = frozenset(("refusal", "filter"))
_ASK = (
    "Your answer does not have the required form: {fault}. Give the whole answer again in the required form, and "
    "nothing else: no explanation, no code fence."
)


async def prepare(output: OutputFormat | None, explicit: bool) -> Check | None:
    """The check for a form; None where there is nothing to check. Raises "bad_request" for a schema or an expression
    that is none, and when the client itself (``explicit``) wants checked what cannot be."""
    if output is None or output.kind == "text" or (output.kind == "json_schema" and not output.schema):
        return None
    if output.kind not in ("json_schema", "json_object", "choice", "regex"):
        if not explicit:
            return None
        text = f"'validate' cannot check a {output.kind.replace('_', ' ')}: only schemas, choices and expressions."
        raise GatewayError("bad_request", text, param="validate")
    wanted = output.schema
    if output.kind == "choice":
        wanted = msgspec.json.encode(output.choices)
    elif output.kind == "regex":
        wanted = output.source.encode()
    check = Check(output.kind, wanted)
    if output.kind in ("json_schema", "regex"):
        if (error := checking.missing()) is not None:
            raise error
        what = "schema for the answer" if output.kind == "json_schema" else "expression for the answer"
        try:
            await checking.run(check, None)
        except Bad as bad:
            raise GatewayError("bad_request", f"The {what} is not valid: {bad}.", param=output.kind) from None
        except Slow:
            raise GatewayError("bad_request", f"The {what} takes too long to read.", param=output.kind) from None
    return check


class Held:
    """An answer whose body is here already: what the lanes need of ``http.Response``."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    def whole(self, limit: int) -> bytes | None:
        return self.body

    def header(self, name: bytes) -> bytes | None:
        return next((value for key, value in self.headers if key == name), None)

    async def read(self, limit: int) -> bytes:
        return self.body

    async def pump(self, feed: Callable[[bytes], None]) -> None:
        if self.body:
            feed(self.body)

    def pause(self) -> None:
        return None

    def resume(self) -> None:
        return None

    def close(self) -> None:
        return None


async def settle(
    pool: Pool, call: Call, target: Target, answer: http.Response, dialect: str, mend: Mend | None = None
) -> Held:
    """The answer to pass on: this one, or the second. ``mend``: see ``Quirks.mend``; what is returned is as it came.
    Raises "invalid_output"."""
    held = await _hold(answer)
    response = _parsed(call, target, held, DIALECTS[dialect], mend)
    fault = await _fault(call, response)
    if fault is None:
        return held
    first = _usage(call, response)
    try:
        again = await _again(pool, call, target, dialect, response, fault)
        if again is not None:
            held, response = again, _parsed(call, target, again, DIALECTS[dialect], mend)
    except (GatewayError, TransportError) as error:
        call.usage = first
        raise _failed(call, fault, f"the second call failed: {error}") from None
    if again is None:
        call.usage = first
        raise _failed(call, fault, "this operation has no second turn")
    call.spent = first
    second = await _fault(call, response)
    if second is not None:
        call.usage = _usage(call, response)
        raise _failed(call, fault, f"nor did a second answer: {second}")
    call.notes = _note("repaired")
    return held


async def _hold(answer: http.Response) -> Held:
    try:
        return Held(answer.status, answer.headers, await answer.read(MAX_HELD))
    finally:
        answer.close()


def _note(word: str) -> bytes:
    return b"x-penstock-validated: %b\r\n" % word.encode()


def _failed(call: Call, fault: str, then: str) -> GatewayError:
    assert call.wanted is not None and call.wanted.check is not None
    call.notes = _note("failed")
    text = f"The answer does not conform to the {call.wanted.check.words} that was asked for: {fault}; {then}."
    return GatewayError("invalid_output", text)


def _parsed(call: Call, target: Target, held: Held, spoken: Dialect, mend: Mend | None) -> Response:
    """The answer in the neutral form, as the client will see it. Raises what the lanes would raise for it."""
    if lanes.is_stream(call, spoken, held.header(b"content-type") or b""):
        response = _collected(held, spoken, spoken.framer(), mend)
    else:
        response = spoken.parse_response(held.body if mend is None else mend(held.body))
    back = back_for(call, target, spoken)
    return response if back is None else back.response(response)


def _collected(held: Held, spoken: Dialect, lines: Framer, mend: Mend | None) -> Response:
    decoder, collector = spoken.decoder(), Collector()
    try:
        for event in lines.feed(held.body) + lines.close():
            if mend is not None:
                event = Event(event.name, mend(event.data))
            for step in decoder.feed(event):
                collector.feed(step)
        for step in decoder.close():
            collector.feed(step)
    except TooLong as error:
        raise GatewayError("broken_stream", f"The upstream's stream is not usable: {error}.") from None
    return collector.response()


def _texts(response: Response) -> list[str]:
    """The texts to check, one for each choice that has one."""
    found = []
    for choice in response.choices:
        if choice.finish in _REFUSED or any(isinstance(block, (ToolUse, Refusal)) for block in choice.blocks):
            continue
        found.append("".join(block.text for block in choice.blocks if isinstance(block, Text)))
    return found


async def _fault(call: Call, response: Response) -> str | None:
    """What is wrong with the first text that is wrong. Notes "ok" when all are right."""
    assert call.wanted is not None and call.wanted.check is not None
    texts = _texts(response)
    for text in texts:
        if len(text) > MAX_TEXT:
            return f"it is longer than {MAX_TEXT} characters"
        try:
            fault = await checking.run(call.wanted.check, text)
        except Bad as bad:
            fault = str(bad)
        except Slow:
            return f"it could not be checked within {checking.DEADLINE:g} s"
        if fault is not None:
            cut = any(choice.finish == "length" for choice in response.choices)
            return f"{fault} (the answer was cut off at its limit of tokens)" if cut else fault
    if texts:
        call.notes = _note("ok")
    return None


def _usage(call: Call, response: Response) -> Usage | None:
    usage = response.usage
    if usage is None:
        size = sum(size_of(block) for choice in response.choices for block in choice.blocks)
        usage = estimate(call.fields, tokens(size))
    return tiered(usage, response.service_tier)


# The second call ------------------------------------------------------------------------------------------------------


async def _again(
    pool: Pool, call: Call, target: Target, dialect: str, response: Response, fault: str
) -> Held | None:
    """The second answer; None where a conversation cannot be continued (a plain completion)."""
    said = next((text for text in _texts(response)), "")
    operation = target.operation(DIALECTS[dialect], call.stream)
    body = _second(call, target, dialect, said[:MAX_TEXT], _ASK.format(fault=fault))
    if body is None:
        return None
    call.tries += 1
    timeouts = target.stream_timeouts if call.stream else target.timeouts
    extra = outlet.passed_on(call, target.endpoint(operation))
    answer = await ask.send(pool, call, target, operation, body, dialect=dialect, extra=extra, timeouts=timeouts)
    return await _hold(answer)


def _second(call: Call, target: Target, dialect: str, said: str, ask_: str) -> bytes | None:
    quirks = target.endpoint(target.operation(DIALECTS[dialect], call.stream)).quirks
    if call.lane == "same":
        own = call.fields
        fields = _continued(own, dialect, said, ask_)
        if fields is None:
            return None
        call.fields = fields
        try:
            return constrained.request(call, target, quirks, dialect)
        finally:
            call.fields = own
    if dialect in _SINGLE:
        return None
    request = call.parsed()
    told = (Message("assistant", (Text(said.rstrip()),)),) if said.strip() else ()
    call.request = replace(request, messages=(*request.messages, *told, Message("user", (Text(ask_),))))
    try:
        return cross_request(call, target, quirks, DIALECTS[dialect])
    finally:
        call.request = request


_SINGLE = frozenset(("completions", "ollama_generate"))
_TURNS = {"openai_chat": "messages", "anthropic": "messages", "ollama": "messages", "openai_responses": "input"}


def _continued(fields: dict[str, Raw], dialect: str, said: str, ask_: str) -> dict[str, Raw] | None:
    """The client's own fields with two turns behind them: what was said, and what is wrong with it."""
    key = "contents" if dialect == "gemini" else _TURNS.get(dialect)
    if key is None or key not in fields:
        return None
    told = [("assistant", said.rstrip())] if said.strip() else []
    turns: list[object] = [{"role": role, "content": text} for role, text in (*told, ("user", ask_))]
    if dialect == "gemini":
        named = [("model", text) for _, text in told] + [("user", ask_)]
        turns = [{"role": role, "parts": [{"text": text}]} for role, text in named]
    had: list[object] = []
    if bytes(memoryview(fields[key])[:1]) == b"[":
        had = [*msgspec.json.decode(fields[key], type=list[Raw])]
    elif key == "input":
        had = [{"role": "user", "content": fields[key]}]
    else:  # Gemini takes one turn without a list around it
        had = [fields[key]]
    return {**fields, key: Raw(msgspec.json.encode([*had, *turns]))}
