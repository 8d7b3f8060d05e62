"""``validate: true``: an answer is held back until it is known to have the form that was asked for.

A text that has not is sent back once, to the same target, with what is wrong with it; then the second answer is the
client's, or an error ("invalid_output", 502) that names what failed. The header ``x-penstock-validated`` says ok,
repaired or failed. Both calls are in the record's usage, cost and tries. A stream is held back whole: what has been
passed on cannot be taken back. Answers that call a tool and refusals are not checked: there is no such text yet.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from penstock.core.dialects import DIALECTS
from penstock.core.dialects.base import Dialect
from penstock.core.errors import GatewayError, shed
from penstock.core.ir import Message, Refusal, Response, Text, ToolUse
from penstock.core.sse import TooLong
from penstock.runtime import apart, constrained, schema_check
from penstock.runtime.answer import Answer, HeldAnswer
from penstock.runtime.apart import is_long
from penstock.runtime.aside import in_thread
from penstock.runtime.cross import collect_stream, cross_request, usage_of
from penstock.runtime.http import TransportError
from penstock.runtime.post import post
from penstock.runtime.same import is_stream
from penstock.runtime.schema_check import Bad, Slow

if TYPE_CHECKING:
    from penstock.core.providers.spec import Quirks
    from penstock.runtime.attempt import Attempt

Mend = Callable[[bytes], bytes]
MAX_HELD = 16 * 1024 * 1024  # bytes of an answer, with all that is around its text
MAX_TEXT = 4 * 1024 * 1024  # characters of one text that is checked
_REFUSED = frozenset(("refusal", "filter"))
_ASK = (
    "Your answer does not have the required form: {fault}. Give the whole answer again in the required form, and "
    "nothing else: no explanation, no code fence."
)


async def check_answer(attempt: Attempt, answer: Answer, dialect: str, mend: Mend | None = None) -> HeldAnswer:
    """Return an answer that has the form asked for: this one, or the second. ``mend``: see ``Quirks.mend``; what is
    returned is as it came. Raises "invalid_output"."""
    held = await _hold(attempt, answer)
    response = await _read(attempt, held, DIALECTS[dialect], mend)
    fault = await _fault(attempt, response)
    if fault is None:
        return held
    first = usage_of(attempt, response)
    try:
        again = await _again(attempt, dialect, response, fault)
        if again is not None:
            held, response = again, await _read(attempt, again, DIALECTS[dialect], mend)
    except (GatewayError, TransportError) as error:
        shed(error)
        attempt.usage = first
        raise _failed(attempt, fault, f"the second call failed: {error}") from None
    if again is None:
        attempt.usage = first
        raise _failed(attempt, fault, "this operation has no second turn")
    attempt.spent = first
    second = await _fault(attempt, response)
    if second is not None:
        attempt.usage = usage_of(attempt, response)
        raise _failed(attempt, fault, f"nor did a second answer: {second}")
    attempt.notes = _note("repaired")
    return held


async def _hold(attempt: Attempt, answer: Answer) -> HeldAnswer:
    try:
        return HeldAnswer(answer.status, answer.headers, await answer.read(MAX_HELD, attempt.call.room))
    finally:
        attempt.stop()
        answer.close()


def _note(word: str) -> bytes:
    return b"x-penstock-validated: %b\r\n" % word.encode()


def _failed(attempt: Attempt, fault: str, then: str) -> GatewayError:
    assert attempt.form is not None and attempt.form.check is not None
    attempt.notes = _note("failed")
    text = f"The answer does not conform to the {attempt.form.check.words} that was asked for: {fault}; {then}."
    return GatewayError("invalid_output", text)


async def _read(attempt: Attempt, held: HeldAnswer, spoken: Dialect, mend: Mend | None) -> Response:
    """Parse the answer, a long one in a thread."""
    if is_long(held.body):
        return await in_thread(partial(_parsed, attempt, held, spoken, mend))
    return _parsed(attempt, held, spoken, mend)


def _parsed(attempt: Attempt, held: HeldAnswer, spoken: Dialect, mend: Mend | None) -> Response:
    """Parse the answer into the neutral form, as the client will see it. Raises what the lanes would raise for it."""
    if is_stream(attempt.stream, spoken, held.header(b"content-type") or b""):
        try:
            response = collect_stream(held.body, spoken, mend)
        except TooLong as error:
            raise GatewayError("broken_stream", f"The upstream's stream is not usable: {error}.") from None
    else:
        response = spoken.parse_response(held.body if mend is None else mend(held.body))
    return response if attempt.undo is None else attempt.undo.response(response)


def texts_of(response: Response) -> list[str]:
    """Collect the texts to check, one for each choice that has one."""
    found = []
    for choice in response.choices:
        if choice.finish in _REFUSED or any(isinstance(block, (ToolUse, Refusal)) for block in choice.blocks):
            continue
        found.append("".join(block.text for block in choice.blocks if isinstance(block, Text)))
    return found


async def _fault(attempt: Attempt, response: Response) -> str | None:
    """Check the texts in turn and tell what is wrong with the first that is wrong. Note "ok" when all are right."""
    assert attempt.form is not None and attempt.form.check is not None
    texts = texts_of(response)
    for text in texts:
        if len(text) > MAX_TEXT:
            return f"it is longer than {MAX_TEXT} characters"
        try:
            fault = await schema_check.run(attempt.form.check, text)
        except Bad as bad:
            fault = str(bad)
        except Slow:
            return f"it could not be checked within {schema_check.DEADLINE:g} s"
        if fault is not None:
            cut = any(choice.finish == "length" for choice in response.choices)
            return f"{fault} (the answer was cut off at its limit of tokens)" if cut else fault
    if texts:
        attempt.notes = _note("ok")
    return None


# The second call ------------------------------------------------------------------------------------------------------


async def _again(attempt: Attempt, dialect: str, response: Response, fault: str) -> HeldAnswer | None:
    """Ask a second time, telling the model what was wrong, and return the answer; None where a conversation cannot be
    continued (a plain completion)."""
    target = attempt.target
    said = next((text for text in texts_of(response)), "")
    spoken = DIALECTS[dialect]
    endpoint = target.endpoint(target.operation(spoken, attempt.stream))
    quirks, said, ask = endpoint.quirks, said[:MAX_TEXT], _ASK.format(fault=fault)
    if attempt.long:
        body = await apart.body(attempt, _second, quirks, dialect, said, ask)
    else:
        body = _second(attempt, quirks, dialect, said, ask)
    if body is None:
        return None
    attempt.repairs += 1
    timeouts = attempt.timeouts(attempt.stream)
    return await _hold(attempt, await post(attempt, endpoint, body, spoken.parse_error, timeouts=timeouts))


def _second(attempt: Attempt, quirks: Quirks, dialect: str, said: str, ask: str) -> bytes | None:
    form = attempt.form
    assert form is not None
    if attempt.lane == "same":
        fields = _continued(attempt.fields, dialect, said, ask)
        return None if fields is None else constrained.request(attempt, form, quirks, dialect, fields)
    if dialect in _SINGLE:
        return None
    request = attempt.parsed()
    told = (Message("assistant", (Text(said.rstrip()),)),) if said.strip() else ()
    longer = replace(request, messages=(*request.messages, *told, Message("user", (Text(ask),))))
    return cross_request(attempt, quirks, DIALECTS[dialect], longer)


_SINGLE = frozenset(("completions", "ollama_generate"))
_TURNS = {"openai_chat": "messages", "anthropic": "messages", "ollama": "messages", "openai_responses": "input"}


def _continued(fields: dict[str, Raw], dialect: str, said: str, ask_: str) -> dict[str, Raw] | None:
    """Return the client's own fields with two turns behind them: what was said, and what is wrong with it."""
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
