"""Where a call goes next: what it needs, who is picked for it, and how long it waits for a place."""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING

import msgspec

from penstock.core.admit.tokens import most_output
from penstock.core.count import estimate
from penstock.core.envelope import BAD_JSON
from penstock.core.errors import GatewayError
from penstock.core.ir import Audio, Image
from penstock.core.route.choose import NOTHING, USUAL, Need, Rules, choose
from penstock.core.route.confidence import Stated, kind_for
from penstock.core.route.pick import CONFIDENCE, simple_shuffle
from penstock.runtime import apart
from penstock.runtime.http import in_task
from penstock.runtime.line import Line

if TYPE_CHECKING:
    from penstock.core.route.plan import Pick, Plan, Try
    from penstock.core.route.standing import Standing
    from penstock.runtime.attempt import Attempt
    from penstock.runtime.call import Call, Way
    from penstock.runtime.targets import Target

log = logging.getLogger("penstock")
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_TEXTS = msgspec.json.Decoder(list[str]).decode
_STATED = msgspec.json.Decoder(Stated).decode
_STABLE = ("system", "instructions", "tools", "systemInstruction")  # what begins a prompt, and stays the same
_TURNS = ("messages", "input", "contents")
LONGEST_AGENT = 512  # bytes of a client's name that patterns are looked for in
_FIRST = 2048  # bytes of the first turns that count as the beginning
_SESSION_FIELDS = ("litellm_session_id", "session_id", "litellm_trace_id")


def picker(call: Call, plan: Plan[Target]) -> Pick[Target]:
    """Make what picks for a call among the candidates of a group."""
    means, needs = call.means, dict[str, Need]()
    lives, clock = means.lives, means.clock

    def standing_of(target: Target) -> Standing:
        return lives[target.live_id].standing

    def pick(group: str, candidates: Sequence[Target]) -> Target | GatewayError:
        rules = plan.rules.get(group)
        if rules is None:
            return simple_shuffle(candidates, random.random)
        need = needs.get(group)
        if need is None:
            need = needs[group] = need_of(call, rules)
        return choose(candidates, standing_of, rules, need, random.random, clock())

    return pick


def need_of(call: Call, rules: Rules) -> Need:
    """Find out what of a call the choice in a group goes by: nothing that its rules do not ask for."""
    counts = rules.strict or rules.fits or rules.measured
    confident = rules.strategy == CONFIDENCE
    if not (counts or rules.by_tags or rules.stays or rules.budgets or call.stream or confident):
        return NOTHING
    return Need(
        stream=call.stream,
        tags=_routing_tags(call, rules) if rules.by_tags else (),
        agent=_agent(call) if rules.by_tags else "",
        broke=call.means.lives.spent.broke(rules.budgets, call.means.clock()) if rules.budgets else {},
        tokens=estimate(call.fields, 0).input if counts else None,
        output=most_output(call.fields) if rules.measured else 0,
        needs=_needs(call) if rules.fits else frozenset(),
        stays=tuple(_stays(call, rules)) if rules.stays else (),
        wants=_wanted_kind(call, rules) if confident else "",
    )


def _wanted_kind(call: Call, rules: Rules) -> str:
    """Read ``metadata.lar1``, and name the kind of deployment that it asks for."""
    raw = _inner(call, "metadata").get("lar1") or _inner(call, "litellm_metadata").get("lar1")
    try:
        stated = Stated() if raw is None else _STATED(raw)
    except BAD_JSON as error:
        text = f"'metadata.lar1' must be an object such as {{\"confidence\": 0.8}}: {error}."
        raise GatewayError("bad_request", text, param="metadata.lar1") from None
    return kind_for(stated, rules.levels)


def _agent(call: Call) -> str:
    """Return the client's name as LiteLLM's patterns expect it; what is longer than any is cut, for a pattern may take
    its time."""
    agent = call.exchange.headers.get(b"user-agent")
    return "" if agent is None else f"User-Agent: {agent[:LONGEST_AGENT].decode('latin-1')}"


def _routing_tags(call: Call, rules: Rules) -> tuple[str, ...]:
    tags = tags_of(call)
    return tuple(tag for tag in tags if tag.startswith(rules.prefix)) if rules.prefix else tags


def tags_of(call: Call) -> tuple[str, ...]:
    """Read the tags of a request: ``tags``, ``metadata.tags``, or the header ``x-litellm-tags: a,b``."""
    header = call.exchange.headers.get(b"x-litellm-tags")
    if header is not None:
        return tuple(tag.strip() for tag in header.decode("latin-1").split(",") if tag.strip())
    raw = call.fields.get("tags")
    if raw is None:
        raw = _inner(call, "metadata").get("tags") or _inner(call, "litellm_metadata").get("tags")
    if raw is None:
        return ()
    try:
        return tuple(_TEXTS(raw))
    except BAD_JSON:
        raise GatewayError("bad_request", "'tags' must be a list of strings.", param="tags") from None


def _inner(call: Call, key: str) -> dict[str, msgspec.Raw]:
    raw = call.fields.get(key)
    try:
        return _OBJECT(raw) if raw is not None else {}
    except BAD_JSON:
        return {}


def _needs(call: Call) -> frozenset[str]:
    """Name what a chat needs its model to do; nothing for one that is too long to look at here."""
    if call.surface is None or call.surface.read is not None or len(call.exchange.body) >= apart.LARGE:
        return frozenset()
    if not any(key in call.fields for key in _TURNS):
        return frozenset()
    request = call.parsed()
    kinds = {type(block) for message in request.messages for block in message.blocks}
    found = [word for word, kind in (("vision", Image), ("audio", Audio)) if kind in kinds]
    if request.tools:
        found.append("tools")
    if request.output is not None and request.output.kind == "json_schema":
        found.append("schema")
    return frozenset(found)


def _stays(call: Call, rules: Rules) -> list[bytes]:
    """List what holds a call to a deployment, the strongest first."""
    found: list[bytes] = []
    if "session" in rules.stays and (session := _session(call)):
        found.append(b"session " + session)
    if "prompt" in rules.stays and (prompt := _beginning(call)):
        found.append(b"prompt " + prompt)
    if "caller" in rules.stays and call.caller.tenant:
        found.append(b"caller " + call.caller.tenant.encode())
    return found


def _session(call: Call) -> bytes:
    header = call.exchange.headers.get(b"x-litellm-session-id")
    if header is not None:
        return header
    metadata = _inner(call, "metadata")
    for key in _SESSION_FIELDS:
        raw = call.fields.get(key) or metadata.get(key)
        if raw is not None:
            return bytes(raw)
    return bytes(metadata.get("user_id", b""))  # Claude Code's holds the session


def _beginning(call: Call) -> bytes:
    """Return the hash of what a prompt begins with: what a vendor's prompt cache goes by."""
    hashed = blake2b(digest_size=16)
    for key in _STABLE:
        hashed.update(bytes(call.fields.get(key, b"")))
    for key in _TURNS:
        hashed.update(bytes(memoryview(call.fields.get(key, b""))[:_FIRST]))
    return hashed.digest()


class Turn:
    """A call's turns in the line of a group whose deployments are full. It waits no longer than the line's patience,
    however often somebody was quicker."""

    def __init__(self, call: Call, plan: Plan[Target], lines: dict[str, Line]) -> None:
        self._call, self._plan, self._lines = call, plan, lines
        self._number: dict[str, int] = {}
        self._left = 0.0

    async def wait(self, group: str) -> bool:
        """Wait for a place in a group; False where there is none in time."""
        await in_task()
        line = self._lines.get(group)
        if line is None:
            line = self._lines[group] = Line()
        if group not in self._number:
            self._number[group], self._left = line.number(), line.patience
        clock = self._call.means.clock
        began = clock()
        try:
            rules, wishes = self._plan.rules.get(group), self._call.wishes
            priority = USUAL if rules is None else rules.priority
            if wishes is not None and wishes.priority is not None:
                priority = wishes.priority
            return await line.wait(priority, self._number[group], self._left, line.next)
        finally:
            self._left -= clock() - began


def begin_step(way: Way, plan: Plan[Target], step: Try[Target], attempt: Attempt) -> None:
    """Note where in its plan a call is, for the answer's header lines, and give a fallback that is another request its
    fields."""
    call = attempt.call
    if step.group != way.group:
        way.group = step.group
        way.fallbacks += 1
        way.before = call.tries - 1
    if call.tries - way.before > 1:
        way.most = plan.allowed(step.group, None, step.target)
    if call.wishes is not None:
        call.wishes.change(attempt)
