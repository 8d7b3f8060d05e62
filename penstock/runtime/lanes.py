"""One try at a target: the request to it, the answer to the client, in the same dialect or across two.

The lane is chosen once per attempt. A streamed answer starts with its first good event, so that an upstream that fails
before it said anything can still be replaced by another; after that, errors go in band and there is no second answer.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING

from penstock.core import sse
from penstock.core.dialects import DIALECTS, EDITORS, guided
from penstock.core.errors import GatewayError, shed
from penstock.core.models import is_closed_openai
from penstock.core.providers.constraints import ENGINE_DIALECTS, ENGINES
from penstock.core.providers.turns import has_edits
from penstock.runtime import answer_check, apart, constrained
from penstock.runtime.answer import MAX_ANSWER
from penstock.runtime.aside import Aside
from penstock.runtime.cross import CrossStream, cross_answer, cross_collected, cross_request
from penstock.runtime.http import TransportError, in_task
from penstock.runtime.post import post
from penstock.runtime.same import is_stream, same_request
from penstock.runtime.speaks import forget_dialect

if TYPE_CHECKING:
    from penstock.core.providers.spec import Quirks
    from penstock.runtime.answer import Answer
    from penstock.runtime.attempt import Attempt, Translator
    from penstock.runtime.continuing import Emit
    from penstock.runtime.targets import Target

_SCHEMAS = frozenset({"output_config", "output_format", "text", "format"}) | guided.FIELDS  # where a form is asked for
RESPONSES = "openai_responses"
_FORMS = re.compile(rb'"(?:namespace|custom|additional_tools|local_shell|shell|apply_patch|compaction(?:_trigger)?)"')
_FLAT = ("openai_chat", "anthropic")  # dialects in which tools are functions
_JSON = b"application/json"  # which no dialect's stream is
_SPECIAL = guided.FIELDS | {"validate", "extra_body"}  # fields that make an attempt go through ``constrained``


def choose(attempt: Attempt) -> str:
    """Choose the dialect to speak to the target: the client's own when the target speaks it, else the target's first.

    Where a schema for the answer would be ignored in the client's own, one that enforces it is better."""
    target, found = attempt.target, attempt.live.dialects
    dialects = target.dialects + found if found else target.dialects
    name = attempt.client.name
    if name in dialects:
        return name if len(dialects) == 1 else _bridging(attempt, dialects, name) or name
    for speaks in dialects:
        if speaks in DIALECTS:
            return speaks
    if target.attempt is not None:
        return dialects[0]
    spoken = ", ".join(dialects) or "none"
    raise GatewayError("no_dialect", f"{target.label} is served in a dialect that is not available yet ({spoken}).")


def _bridging(attempt: Attempt, dialects: tuple[str, ...], name: str) -> str | None:
    """Find another dialect of the target's for what it would not understand in ``name``: a form of the answer, or
    tools of Responses that servers which follow OpenAI drop or refuse (jundot/omlx issue 3371)."""
    if name == RESPONSES and not _is_openais(attempt.target):
        fields = attempt.fields
        if any(key in fields and _FORMS.search(fields[key]) for key in ("tools", "input")):
            other = next((spoken for spoken in dialects if spoken in _FLAT), None)
            if other is not None:
                return other
    return _enforcing(attempt, dialects, name)


def passes_as_responses(attempt: Attempt) -> bool:
    """Tell whether a Responses request may go to its target as it came: nothing in it needs a check, or another
    dialect."""
    target, fields = attempt.target, attempt.fields
    if target.special or not _SPECIAL.isdisjoint(fields):
        return False
    if RESPONSES in target.dialects:
        return choose(attempt) == RESPONSES
    forms = any(key in fields and _FORMS.search(fields[key]) for key in ("tools", "input"))
    return _is_openais(target) or not forms


def _is_openais(target: Target) -> bool:
    """Tell whether a target's Responses API is OpenAI's, if perhaps behind a proxy."""
    return target.wire.official or is_closed_openai(target.rules_of)


def _enforcing(attempt: Attempt, dialects: tuple[str, ...], name: str) -> str | None:
    """Find another dialect of the target's, when the client wants a form that the server ignores in ``name``: llama.cpp
    answers /v1/messages with an ``output_config.format`` in free text, and enforces the schema on Chat. An engine's
    fields for a choice, an expression or a grammar are those of its Chat."""
    target, fields = attempt.target, attempt.fields
    if name == "openai_chat" or (_SCHEMAS.isdisjoint(fields) and not target.says_form):
        return None  # Chat enforces every form that a target can be held to
    spoken = [other for other in dialects if other in DIALECTS and other != "completions"]
    if name == "completions":  # of which vendors' own has no field for a form
        wanted = target.guides not in ENGINES and not guided.FIELDS.isdisjoint(fields)
        return spoken[0] if wanted and spoken else None
    native = target.wire_for(name).native_schema
    if native and guided.FIELDS.isdisjoint(fields):
        return None
    output = attempt.parsed().output
    if output is None or output.kind == "text":
        return None
    if output.kind in guided.CONSTRAINTS and target.guides in ENGINES and name not in ENGINE_DIALECTS:
        return "openai_chat" if "openai_chat" in spoken else None
    return None if native else next((other for other in spoken if target.wire_for(other).native_schema), None)


def run(attempt: Attempt) -> Awaitable[None]:
    """Make the whole try. Raises ``GatewayError`` or ``TransportError``; when ``attempt.first_at`` is set by then, a
    part of an answer is out."""
    if len(attempt.call.exchange.body) >= apart.LARGE or attempt.previous:
        return _perhaps_long(attempt)
    name = attempt.client.name
    if attempt.target.only == name and not attempt.live.asked and _SPECIAL.isdisjoint(attempt.fields):
        return _relay(attempt, name)  # what most are: nothing to choose
    return _run(attempt)


def _run(attempt: Attempt) -> Awaitable[None]:
    target = attempt.target
    if target.special or not _SPECIAL.isdisjoint(attempt.fields):
        return _constrained(attempt)
    if target.attempt is not None:
        return target.attempt(attempt)
    dialect = choose(attempt)
    return _relay(attempt, dialect) if not attempt.live.asked else _rediscovering(attempt, dialect)


async def _perhaps_long(attempt: Attempt) -> None:
    """Carry out a request that may take long to translate. What is chosen by its settings is chosen when they are
    read."""
    attempt.long = apart.is_long_request(attempt)
    if attempt.long:
        await in_task()
        if not _SCHEMAS.isdisjoint(attempt.fields):
            await apart.parsed(attempt)
    await _run(attempt)


async def _constrained(attempt: Attempt) -> None:
    """Carry out a request that says, or whose deployment says, what form the answer is to have or that it is to be
    checked."""
    await in_task()  # checks wait for processes
    await constrained.want(attempt)
    if attempt.target.attempt is not None:
        await attempt.target.attempt(attempt)
    else:
        await _rediscovering(attempt, choose(attempt))


async def _rediscovering(attempt: Attempt, dialect: str) -> None:
    """Ask a target that was found to speak more than its row says; ask again in another dialect when it has stopped
    to."""
    try:
        await _relay(attempt, dialect)
    except GatewayError as error:
        if not forget_dialect(attempt.live, dialect, error.status):
            raise
        attempt.undo = None  # of the request in that dialect
        await _relay(attempt, choose(attempt))


async def _relay(attempt: Attempt, dialect: str) -> None:
    target, form = attempt.target, attempt.form
    spoken = DIALECTS[dialect]
    endpoint = target.endpoint(target.operation(spoken, True) if attempt.stream else dialect)
    quirks, head = endpoint.quirks, b""
    if attempt.so_far is not None and attempt.goes_on:
        head = attempt.so_far.ask_on(attempt, endpoint, dialect)
    body = await _body_apart(attempt, quirks, dialect) if attempt.long else _body(attempt, quirks, dialect)
    if head:
        body = head + body[1:]
    timeouts = attempt.timeouts(attempt.stream)
    answer: Answer = await post(attempt, endpoint, body, spoken.parse_error, timeouts=timeouts)
    try:
        if form is not None and form.check is not None:
            answer = await answer_check.check_answer(attempt, answer, dialect, quirks.mend)
        content_type = answer.header(b"content-type") or b""
        if content_type != _JSON and is_stream(attempt.stream, spoken, content_type):
            await _stream(attempt, answer, dialect, quirks.mend)
            return
        data = answer.whole(MAX_ANSWER)
        if data is None:
            data = await answer.read(MAX_ANSWER, attempt.call.room)
        attempt.stop()
        crossing = attempt.lane == "cross" or attempt.stream
        if crossing or quirks.mend is not None:
            if apart.is_long(data):
                if attempt.goes_on:  # by its encoder, which cannot be told anything in another process
                    raise GatewayError("broken_answer", "The rest of an answer came whole, and is too large.")
                await in_task()
                data = await apart.run(attempt, _whole, data, dialect, quirks.mend, crossing)
            else:
                data = _whole(attempt, data, dialect, quirks.mend, crossing)
        if not crossing:
            call = attempt.call
            body, attempt.usage = EDITORS[dialect].answer(data, call.model_raw)
            call.outlet.whole(attempt, body)
    finally:
        answer.close()


def _body(attempt: Attempt, quirks: Quirks, dialect: str) -> bytes:
    """Make the body for the target, and note which lane it is."""
    if attempt.form is not None:
        return constrained.request(attempt, attempt.form, quirks, dialect)
    if dialect == attempt.client.name:
        attempt.lane = "same"
        return same_request(attempt, attempt.fields, quirks, dialect)
    attempt.lane = "cross"
    return cross_request(attempt, quirks, DIALECTS[dialect])


async def _body_apart(attempt: Attempt, quirks: Quirks, dialect: str) -> bytes:
    """Make the body of a long request: apart, where its turns are looked at."""
    looks = has_edits(quirks) or bool(attempt.target.cache_points)
    if attempt.form is None and dialect == attempt.client.name and not looks:
        return _body(attempt, quirks, dialect)
    body = await apart.body(attempt, _body, quirks, dialect)
    assert body is not None
    return body


def _whole(attempt: Attempt, data: bytes, dialect: str, mend: Callable[[bytes], bytes] | None, crossing: bool) -> bytes:
    """Give the client a whole answer, if it is translated; else return it as the client's dialect has it."""
    if mend is not None:
        data = mend(data)
    if not crossing:
        return data
    cross_answer(attempt, data, DIALECTS[dialect])
    return b""


async def _stream(attempt: Attempt, answer: Answer, dialect: str, mend: Callable[[bytes], bytes] | None) -> None:
    """Relay a stream. Runs in the transport's own callback: no task switch, no queue, one write per read."""
    if not attempt.stream:  # servers exist that stream unless told not to
        data = await answer.read(MAX_ANSWER, attempt.call.room)
        try:
            if apart.is_long(data):
                await in_task()
                await apart.run(attempt, cross_collected, data, DIALECTS[dialect], mend)
            else:
                cross_collected(attempt, data, DIALECTS[dialect], mend)
        except sse.TooLong as error:
            raise GatewayError("broken_answer", f"The upstream's stream is not usable: {error}.") from None
        return
    call = attempt.call
    translator: Translator
    if attempt.lane == "same" and not attempt.goes_on:
        assert call.surface is not None
        translator = EDITORS[dialect].Stream(call.model_raw, call.surface.wants_usage(attempt.fields))
    else:
        cross = translator = CrossStream(attempt, DIALECTS[dialect])
        attempt.encoder = cross.encoder
    attempt.translator = translator
    outlet = call.outlet
    decoder = DIALECTS[dialect].framer()
    decode, feed = decoder.feed, translator.feed if mend is None else _mended(translator.feed, mend)
    emit: Emit = partial(_emit, attempt)
    if attempt.so_far is not None:
        emit = attempt.so_far.reading(attempt, emit)
    aside = Aside(answer, feed, emit, attempt.lane == "cross" or mend is not None)
    outlet.feed_from(aside)
    try:
        try:
            await aside.pump(decode)
        except TransportError as error:
            if not translator.done:
                raise
            shed(error)  # all of the answer is there: how its connection ended then is nothing to the client
        data = b"".join([feed(event) for event in decoder.close()]) + translator.close()
    except sse.TooLong as error:
        raise GatewayError("broken_stream", f"The upstream's stream is not usable: {error}.") from None
    finally:
        outlet.feed_from(None)
        attempt.usage = attempt.usage_seen()
        if attempt.so_far is not None:
            attempt.so_far.end(attempt)
    if data or attempt.first_at is None:
        outlet.stream(attempt, data)
    outlet.finish()


def _emit(attempt: Attempt, data: bytes, error: GatewayError | None) -> None:
    """Send what became of some events, and raise what is wrong with the next. What precedes it is the client's, once
    its answer has begun."""
    if data and (error is None or attempt.first_at is not None):
        assert attempt.translator is not None
        attempt.call.outlet.stream(attempt, data, attempt.translator.started)
    if error is not None:
        raise error


def _mended(feed: Callable[[sse.Event], bytes], mend: Callable[[bytes], bytes]) -> Callable[[sse.Event], bytes]:
    """Wrap ``feed`` so that it gets events that are what their dialect says (``Quirks.mend``)."""
    return lambda event: feed(sse.Event(event.name, mend(event.data)))
