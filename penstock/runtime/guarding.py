"""What the guards of one call do: before anybody is asked, while somebody answers, and with the answer.

A call without guards has none of this. Rules go over a stream as it comes; a guard that asks somebody else, or needs
the answer whole, holds it back until it has judged, and `settle` waits for that.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from penstock.config.guards import DURING, POST, PRE
from penstock.core.errors import GatewayError, shed
from penstock.core.guarding.answers import Edit, Spans, opened, put_together, spans_in, spans_in_body
from penstock.core.guarding.deltas import DELTAS
from penstock.core.guarding.masking import RESTORED, Masks, masked
from penstock.core.guarding.ran import FAILED, Ran
from penstock.core.guarding.rules import BLOCK, MASK, Finding, Rule, TooMuch, findings_of
from penstock.core.guarding.streams import MOST_HELD, Blocked, Stream, TooMuchHeld
from penstock.guards.base import ANSWER, REQUEST, Guard, Shown
from penstock.runtime import apart
from penstock.runtime.aside import in_thread
from penstock.runtime.guard_texts import put_changes, texts_of
from penstock.runtime.guard_verdicts import checked, count, header, refuse, why
from penstock.runtime.http import in_task
from penstock.runtime.posting import guard_poster

if TYPE_CHECKING:
    from penstock.runtime.call import Call

LARGE = 256 * 1024  # bytes; what is larger is judged away from the event loop
Send = Callable[[bytes, bytes], None]
"""Sends an answer: what the client gets, and what is noted of it."""


class Guarding:
    """One call's. ``ran``: what each of its guards came to. ``drop`` parts it from its call, which keeps it."""

    __slots__ = (
        "_asked", "_call", "_dialect", "_during", "_held", "_later", "_logging", "_masks", "_owners", "_parts", "_post",
        "_pre", "_rules", "_says", "_size", "_stopped", "_stream", "_tasks", "ran", "waits",
    )  # fmt: skip

    def __init__(
        self,
        call: Call,
        pre: Sequence[Guard],
        during: Sequence[Guard],
        post: Sequence[Guard],
        logging: Sequence[Guard],
        asked: Mapping[str, Mapping[str, Any]],
    ) -> None:
        self._pre, self._during, self._post, self._logging = pre, during, post, logging
        self._asked = asked
        self._masks = Masks()
        self.ran: list[Ran] = []
        self._tasks: list[tuple[Guard, Ran, asyncio.Task[Sequence[Finding]]]] = []
        self._rules: tuple[Rule, ...] = ()  # of the answer
        self._owners: dict[Rule, tuple[Guard, Ran]] = {}
        self.waits = False  # something is held until ``settle`` is called
        self._later = [guard for guard in post if not guard.rules]  # that see the answer when all of it is there
        self._held: tuple[bytes, bool, Send] | None = None
        self._stream: Stream | None = None
        self._parts: list[bytes] = []
        self._size = 0
        self._stopped = False
        assert call.surface is not None
        self._call: Call | None = call
        self._dialect = call.surface.dialect.name
        self._says = call.surface.says and self._dialect in DELTAS

    # The request. -----------------------------------------------------------------------------------------------------

    async def enter(self, call: Call) -> None:
        """Judge a request. Raises "guardrail" where it is blocked; what is masked in it is masked from here on."""
        large = len(call.exchange.body) > LARGE
        if self._pre or self._during:
            if large or any(guard.waits for guard in (*self._pre, *self._during)):
                await in_task()
            texts = await texts_of(call, large)
            self._masks.avoid(texts)
            before = list(texts)
            for guard in self._pre:
                ran = self._begin(guard, PRE)
                findings = await self._ask(guard, ran, self._shown(call, guard, texts), large)
                self._apply(guard, ran, findings, texts)
            changes = {old: new for old, new in zip(before, texts, strict=True) if old != new}
            if changes:
                await put_changes(call, changes, large)
            for guard in self._during:
                ran = self._begin(guard, DURING)
                shown = self._shown(call, guard, tuple(texts))
                if guard.waits:
                    task = asyncio.ensure_future(self._ask(guard, ran, shown, large))
                    self._tasks.append((guard, ran, task))
                else:
                    self._refuse_found(guard, ran, await self._ask(guard, ran, shown, large))
        self._prepare()

    def _begin(self, guard: Guard, mode: str) -> Ran:
        ran = Ran(guard.settings.name, mode)
        self.ran.append(ran)
        return ran

    def _shown(self, call: Call, guard: Guard, texts: Sequence[str], side: str = REQUEST, body: bytes = b"") -> Shown:
        assert call.surface is not None
        return Shown(
            side=side,
            texts=texts,
            model=call.model,
            call_id=call.call_id,
            caller=call.caller,
            dialect=call.surface.dialect.name,
            path=call.path,
            fields=call.fields,
            headers=call.exchange.headers,
            extra=self._asked.get(guard.settings.name, {}),
            body=body,
            post=guard_poster(call.means.pool) if guard.waits else None,
        )

    async def _ask(self, guard: Guard, ran: Ran, shown: Shown, large: bool) -> Sequence[Finding]:
        """Ask a guard. One that does not answer has failed: raises "guard_failed" where calls then do not pass."""
        began = time.perf_counter()
        try:
            if guard.waits:
                async with asyncio.timeout(guard.settings.timeout):
                    told = guard.look(shown)
                    findings = told if isinstance(told, Sequence) else await told
            elif large and guard.rules:
                findings = await apart.plain(findings_of, guard.rules, list(shown.texts))
            elif large:
                looked = await in_thread(partial(guard.look, shown))
                findings = looked if isinstance(looked, Sequence) else await looked
            else:
                looked = guard.look(shown)
                findings = looked if isinstance(looked, Sequence) else await looked
            return checked(findings, shown.texts)
        except Exception as error:  # boundary: a guard is anybody's; one that raises has not judged
            self._failed(guard, ran, why(error))
            return ()
        finally:
            ran.ms += (time.perf_counter() - began) * 1000

    def _failed(self, guard: Guard, ran: Ran, why: str) -> None:
        """Note that a guard could not judge. Raises "guard_failed" where calls then do not pass."""
        ran.verdict, ran.why = FAILED, why
        if guard.settings.blocks_on_error:
            text = f"The guardrail {ran.name!r} could not judge this ({why}), and what it has not judged does not pass."
            raise GatewayError("guard_failed", text)

    def _apply(self, guard: Guard, ran: Ran, findings: Sequence[Finding], texts: list[str]) -> None:
        """Count what a guard found; raise what blocks, mask the rest in place."""
        if not findings:
            return
        by_text: dict[int, list[Finding]] = {}
        for found in findings:
            count(ran, found.kind, found.action)
            by_text.setdefault(found.text, []).append(found)
        refuse(ran)
        for number, some in by_text.items():
            texts[number] = masked(texts[number], some, self._masks, guard.restores)

    def _refuse_found(self, guard: Guard, ran: Ran, findings: Sequence[Finding]) -> None:
        """Raise what blocks a request that is on its way already; there is nothing to mask in it any more."""
        for found in findings:
            count(ran, found.kind, BLOCK if found.action == MASK else found.action)
        refuse(ran)

    # The answer. ------------------------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        """Collect the rules that the answer goes through."""
        rules: list[Rule] = []
        for guard in self._post:
            if guard.rules:
                ran = self._begin(guard, POST)
                for rule in guard.rules:
                    self._owners[rule] = guard, ran
                rules += guard.rules
        back = self._masks.rule()
        self._rules = (*rules, back) if back is not None else tuple(rules)

    @property
    def call(self) -> Call:
        """Return the call that it guards."""
        assert self._call is not None
        return self._call

    def lines(self) -> bytes:
        """Render the header lines that tell which guards ran, and what they came to by then."""
        names = ",".join(dict.fromkeys(header(ran.name) for ran in self.ran if ran.verdict != FAILED))
        told = ", ".join(f"{header(ran.name)};mode={ran.mode};verdict={ran.verdict}" for ran in self.ran)
        lines = b"x-litellm-applied-guardrails: %b\r\n" % names.encode() if names else b""
        return lines + b"x-penstock-guards: %b\r\n" % told.encode() if told else lines

    def whole(self, body: bytes, content_type: bytes, send: Send) -> None:
        """Take a whole answer, and send it when it is judged: at once, or when ``settle`` is called. Raises "guardrail"
        and "guard_failed"."""
        texts = self._says and (not content_type or b"json" in content_type or content_type.startswith(b"text/"))
        if self._tasks or (texts and (self._later or len(body) > LARGE)):
            self.waits = True
            self._held = body, texts, send
        elif texts and self._rules:
            send(*self._edited(body, self._rules))
        else:
            send(body, body)

    def _edited(self, body: bytes, rules: Sequence[Rule], found: list[Spans] | None = None) -> tuple[bytes, bytes]:
        """Run an answer through rules. ``found``: what these find in it, where that is known."""
        try:
            answer = opened(body)
            spans = spans_in(rules, [(one.text, one.in_json) for one in answer.spots]) if found is None else found
        except TooMuch as error:
            self._rules_failed(str(error))
            return body, body
        edits: dict[int, list[Edit]] = {}
        for number, some in enumerate(spans):
            for start, end, place in some:
                rule, value = rules[place], answer.spots[number].text[start:end]
                if rule.kind == RESTORED:
                    edits.setdefault(number, []).append(Edit(start, end, self._masks.back[value], value))
                elif (put := self._tell(rule, value)) or rule.action == MASK:
                    edits.setdefault(number, []).append(Edit(start, end, put, put))
        self._refuse_all()
        return put_together(answer, edits) if edits else (body, body)

    def _tell(self, rule: Rule, value: str) -> str:
        """Count what a rule found, and return what takes its place; "" where nothing does."""
        _, ran = self._owners[rule]
        count(ran, rule.kind, rule.action)
        if rule.action != MASK:
            return ""
        return rule.put or self._masks.put(rule.kind, value, False)

    def _refuse_all(self) -> None:
        for _, ran in self._owners.values():
            refuse(ran)

    def _rules_failed(self, why: str) -> None:
        """Give up on the rules. Raises "guard_failed" where calls then do not pass."""
        guards = {id(ran): (guard, ran) for guard, ran in self._owners.values()}
        self._rules = tuple(rule for rule in self._rules if rule.kind == RESTORED)
        for guard, ran in guards.values():
            self._failed(guard, ran, why)

    def part(self, data: bytes) -> tuple[bytes, bytes]:
        """Take the next bytes of a streamed answer; return those that go on, and what is noted of them. Raises
        "guardrail" and "guard_failed"."""
        if self._tasks or self._later:
            self.waits = True
            self._size += len(data)
            self._parts.append(data)
            if self._size > MOST_HELD:
                self._hold_no_more()
            return b"", b""
        if not (self._rules and self._says):
            return data, data
        if self._stream is None:
            self._stream = self._new_stream(self._rules)
        return self._run(self._stream, data)

    def _new_stream(self, rules: Sequence[Rule], holds: bool = False) -> Stream:
        end = b"\n" if self._dialect.startswith("ollama") else b"\n\n"
        most = self._size + MOST_HELD if self._size else MOST_HELD
        return Stream(rules, DELTAS[self._dialect], self._masks, self._tell, end, most, holds)

    def _run(self, stream: Stream, data: bytes, over: bool = False) -> tuple[bytes, bytes]:
        try:
            told, noted = stream.feed(data) if data else (b"", b"")
            if over:
                last, last_noted = stream.close()
                return told + last, noted + last_noted
            return told, noted
        except Blocked:
            self._stopped = True
            self._refuse_all()
            raise AssertionError("a rule that blocked is counted as one that did") from None
        except (TooMuchHeld, TooMuch) as error:
            self._stopped = True
            self._rules_failed(str(error))  # where calls pass unjudged, the rest goes as it comes
            self._stopped = False
            self._stream = None
            data = stream.raw()
            return data, data

    def close(self) -> tuple[bytes, bytes] | None:
        """End a streamed answer: return the rest of it; None where it is held until ``settle`` is called."""
        if self._stopped:
            return b"", b""
        if self._held is not None:
            self._held = None  # of a whole answer: it is over before that was judged
        if self._parts or self._tasks:
            self.waits = True
            return None
        self._stopped = True
        stream, self._stream = self._stream, None
        return (b"", b"") if stream is None else self._run(stream, b"", True)

    def stop(self) -> tuple[bytes, bytes]:
        """End a streamed answer that breaks off: return what of it may still go out."""
        try:
            rest = self.close()
        except GatewayError as error:
            shed(error)
            rest = None
        self._stopped = True
        self._parts.clear()
        return rest or (b"", b"")

    def _hold_no_more(self) -> None:
        """Let a stream go that cannot be held any longer, unjudged. Raises "guard_failed" where calls then do not
        pass."""
        why = f"over {MOST_HELD} bytes of the answer would have to be held back"
        self._stopped = True
        for guard, ran, task in self._tasks:
            task.cancel()
            self._failed(guard, ran, why)
        for guard in self._later:
            self._failed(guard, self._begin(guard, POST), why)
        self._stopped = False
        self._tasks, self._later = [], []

    # When the answer is there. ----------------------------------------------------------------------------------------

    async def settle(self) -> tuple[bytes, bytes] | None:
        """Wait for the guards that are not done, and send a whole answer that was held. Returns what is to be sent of a
        stream that was held, None where none was. Raises "guardrail" and "guard_failed"."""
        await in_task()
        for guard, ran, task in self._tasks:
            self._refuse_found(guard, ran, await task)
        self._tasks = []
        if self._held is not None:
            (body, texts, send), self._held = self._held, None
            if not texts:
                send(body, body)
            else:
                send(*await self._judge_held(body))
            return None
        if not self._parts:
            return None
        data, self._parts = b"".join(self._parts), []
        return await self._judge_stream(data)

    async def _judge_held(self, body: bytes) -> tuple[bytes, bytes]:
        own = tuple(rule for rule in self._rules if rule.kind != RESTORED) if self._later else self._rules
        if not self._later:
            return await self._edited_apart(body, own)
        _, body = await self._edited_apart(body, own)
        answer = opened(body)
        texts = [spot.text for spot in answer.spots]
        edits: dict[int, list[Edit]] = {}
        async for found, put in self._judge_later(texts, body):
            edits.setdefault(found.text, []).append(Edit(found.start, found.end, put, put))
        if edits:
            _, body = put_together(answer, edits)
        back = self._masks.rule()
        return (body, body) if back is None else await self._edited_apart(body, (back,))

    async def _edited_apart(self, body: bytes, rules: Sequence[Rule]) -> tuple[bytes, bytes]:
        """Run an answer through rules, a large one away from the event loop."""
        if not rules:
            return body, body
        if len(body) <= LARGE:
            return self._edited(body, rules)
        try:
            found = await apart.plain(spans_in_body, tuple(rules), body)
        except TooMuch as error:
            self._rules_failed(str(error))
            return body, body
        return await in_thread(partial(self._edited, body, rules, found))

    async def _judge_stream(self, data: bytes) -> tuple[bytes, bytes]:
        """Judge a stream that is all there."""
        later = self._later if self._says else ()
        if not self._says or not (later or self._rules):
            return data, data
        if not later:
            return self._run(self._new_stream(self._rules), data, True)
        own = tuple(rule for rule in self._rules if rule.kind != RESTORED)
        if own:
            data, _ = self._run(self._new_stream(own), data, True)
        stream = self._new_stream((), True)
        self._run(stream, data, True)
        puts = [(one.text, one.start, one.end, put) async for one, put in self._judge_later(stream.texts, b"")]
        data = stream.put_findings(puts)
        back = self._masks.rule()
        return (data, data) if back is None else self._run(self._new_stream((back,)), data, True)

    async def _judge_later(self, texts: list[str], body: bytes) -> AsyncIterator[tuple[Finding, str]]:
        """Ask the guards that see an answer when it is there, and yield what is to be masked in its texts."""
        call = self.call
        for guard in self._later:
            ran = self._begin(guard, POST)
            shown = self._shown(call, guard, texts, ANSWER, body)
            for found in await self._ask(guard, ran, shown, len(body) > LARGE):
                count(ran, found.kind, found.action)
                if found.action == MASK:
                    value = texts[found.text][found.start : found.end]
                    yield found, found.put or self._masks.put(found.kind, value, False)
            refuse(ran)

    def cancel(self) -> None:
        """Stop the guards that nobody waits for any more."""
        for _, ran, task in self._tasks:
            if not task.done():
                task.cancel()
                ran.verdict, ran.why = FAILED, "the call was over before it had judged"
        self._tasks = []

    def drop(self) -> None:
        """Let go of what a call's guards hold: it is over."""
        self._call = self._stream = self._held = None
        self._parts.clear()
