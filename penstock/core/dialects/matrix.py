"""What is carried between which dialects, asked of the code itself: ``docs/dialects.md`` is this module's output.

A feature is a request (or an answer) that uses it. It is written in the client's dialect, read back, and written for
the target; whatever turns up in the losses is not carried. ``scripts/dialects_page.py`` prints the page.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from penstock.core import ir
from penstock.core.dialects import DIALECTS
from penstock.core.dialects.base import Dialect, View, Wire
from penstock.core.errors import GatewayError

NAMES = {"openai_chat": "Chat", "openai_responses": "Responses", "anthropic": "Messages"}
_HELLO = ir.Message("user", (ir.Text("hello"),))
_PNG = ir.Base64("image/png", "iVBORw0KGgo=")
_PDF = ir.Base64("application/pdf", "JVBERi0xLjQ=")
_SCHEMA = b'{"type":"object","properties":{"city":{"type":"string"}},"required":["city"],"additionalProperties":false}'
_TOOL = ir.Tool("weather", "The weather in a city", _SCHEMA)
_CALL = ir.ToolUse("call_1", "weather", '{"city":"Rome"}')


def _ask(*blocks: ir.Block, **fields: object) -> ir.Request:
    messages = (ir.Message("user", blocks),) if blocks else (_HELLO,)
    return replace(ir.Request(model="m", messages=messages, max_tokens=40000), **fields)


def _turns(*messages: ir.Message, **fields: object) -> ir.Request:
    return replace(ir.Request(model="m", messages=messages, max_tokens=40000), **fields)


def _result(*content: ir.Block, is_error: bool = False) -> ir.Request:
    answer = ir.ToolResult("call_1", content, is_error)
    return _turns(_HELLO, ir.Message("assistant", (_CALL,)), ir.Message("user", (answer,)), tools=(_TOOL,))


def _thought(seal: ir.Seal | None) -> ir.Request:
    thinking = ir.Thinking("Rome it is.", seal)
    return _turns(_HELLO, ir.Message("assistant", (thinking, ir.Text("Rome."))), _HELLO)


REQUESTS: Mapping[str, ir.Request] = {
    "system prompt": _turns(ir.Message("system", (ir.Text("be brief"),)), _HELLO),
    "developer message": _turns(ir.Message("developer", (ir.Text("be brief"),)), _HELLO),
    "system message later on": _turns(_HELLO, ir.Message("system", (ir.Text("be brief"),)), _HELLO),
    "name of a participant": _turns(ir.Message("user", (ir.Text("hello"),), "ann")),
    "image, inline": _ask(ir.Image(_PNG)),
    "image, by URL": _ask(ir.Image(ir.Url("https://example.com/a.png"))),
    "PDF, inline": _ask(ir.Document(_PDF, "a.pdf")),
    "PDF, by URL": _ask(ir.Document(ir.Url("https://example.com/a.pdf"))),
    "audio in": _ask(ir.Audio("UklGRg==", "wav")),
    "assistant prefill": _turns(_HELLO, ir.Message("assistant", (ir.Text("It is"),))),
    "function tools": _ask(tools=(_TOOL,)),
    "strict function tools": _ask(tools=(replace(_TOOL, strict=True),)),
    "tool choice: none": _ask(tools=(_TOOL,), tool_choice=ir.ToolChoice("none")),
    "tool choice: required": _ask(tools=(_TOOL,), tool_choice=ir.ToolChoice("required")),
    "tool choice: a named tool": _ask(tools=(_TOOL,), tool_choice=ir.ToolChoice("named", ("weather",))),
    "tool choice: some tools": _ask(tools=(_TOOL,), tool_choice=ir.ToolChoice("allowed", ("weather",))),
    "no parallel calls": _ask(tools=(_TOOL,), parallel_tools=False),
    "tool result: text": _result(ir.Text("sunny")),
    "tool result: image": _result(ir.Image(_PNG)),
    "tool result: error": _result(ir.Text("no such city"), is_error=True),
    "reasoning effort": _ask(reasoning=ir.Reasoning(effort="high")),
    "thinking budget": _ask(reasoning=ir.Reasoning(mode="enabled", budget=2048)),
    "adaptive thinking": _ask(reasoning=ir.Reasoning(mode="adaptive")),
    "reasoning summary": _ask(reasoning=ir.Reasoning(effort="high", summary="auto")),
    "earlier thought of the target's family": _thought(ir.Seal("TARGET", "c2VhbA==")),
    "earlier thought of another family": _thought(ir.Seal("elsewhere", "c2VhbA==")),
    "cache mark": _ask(ir.Text("a long text", ir.CacheMark("1h"))),
    "prompt_cache_key": _ask(cache_key="k"),
    "JSON without a schema": _ask(output=ir.OutputFormat("json_object")),
    "JSON schema": _ask(output=ir.OutputFormat("json_schema", "city", _SCHEMA, True)),
    "temperature, top_p": _ask(temperature=0.5, top_p=0.9),
    "top_k": _ask(top_k=5),
    "penalties": _ask(presence_penalty=0.5, frequency_penalty=0.5),
    "stop sequences": _ask(stop=("END",)),
    "seed": _ask(seed=7),
    "n": _ask(n=2),
    "logprobs": _ask(logprobs=True, top_logprobs=2),
    "logit_bias": _ask(logit_bias=b'{"50256":-100}'),
    "verbosity": _ask(verbosity="low"),
    "user": _ask(user="u-1"),
    "metadata": _ask(metadata=b'{"a":"b"}'),
    "service tier": _ask(service_tier="auto"),
    "store": _ask(store=False),
}


def _answer(*blocks: ir.Block, **fields: object) -> ir.Response:
    choice = replace(ir.Choice(blocks), **{k: v for k, v in fields.items() if k != "usage"})
    usage = fields.get("usage")
    told = usage if isinstance(usage, ir.Usage) else ir.Usage(fresh=9, output=3)
    return ir.Response(id="r", model="m", choices=(choice,), usage=told)


_CITED = ir.Citation(url="https://example.com", title="Example", quote="Rome", start=0, end=4)
ANSWERS: Mapping[str, ir.Response] = {
    "text": _answer(ir.Text("Rome.")),
    "tool calls": _answer(_CALL, replace(_CALL, id="call_2"), finish="tool_use"),
    "text, then tool calls": _answer(ir.Text("Looking."), _CALL, finish="tool_use"),
    "reasoning": _answer(ir.Thinking("Rome it is."), ir.Text("Rome.")),
    "signed or encrypted reasoning": _answer(
        ir.Thinking("Rome it is.", ir.Seal("TARGET", "c2VhbA==")), ir.Text("Rome.")
    ),
    "reasoning that only its vendor can read": _answer(
        ir.Thinking("", ir.Seal("TARGET", "c2VhbA=="), redacted=True), ir.Text("Rome.")
    ),
    "refusal": _answer(ir.Refusal("I would rather not."), finish="refusal"),
    "citation with a URL": _answer(ir.Text("Rome.", None, (_CITED,))),
    "stop at the token limit": _answer(ir.Text("Ro"), finish="length"),
    "stop sequence that matched": _answer(ir.Text("Rome"), stop_sequence="END"),
    "content filter": _answer(ir.Text("Ro"), finish="filter"),
    "usage: cached reads, reasoning": _answer(
        ir.Text("Rome."), usage=ir.Usage(fresh=9, cache_read=100, output=30, reasoning=20)
    ),
    "usage: cache writes": _answer(ir.Text("Rome."), usage=ir.Usage(fresh=9, cache_write=100, output=3)),
    "several choices": replace(
        _answer(ir.Text("Rome.")), choices=(ir.Choice((ir.Text("a"),)), ir.Choice((ir.Text("b"),)))
    ),
    "logprobs": _answer(
        ir.Text("Rome."),
        logprobs=b'{"content":[{"token":"Rome","logprob":-0.1,"bytes":null,"top_logprobs":[]}],"refusal":null}',
    ),
}


def request_cell(feature: ir.Request, client: Dialect, target: Dialect) -> str:
    """Return "carried", what is lost and why, or "-" where the client's dialect cannot say it."""
    own = replace(_replayed(feature, client.family, target.family), dialect=client.name)
    try:
        said = client.render_request(own, Wire(model="m", family=client.family))
        if said.losses:
            return "-"
        read = client.parse_request(said.fields)
        written = target.render_request(read, Wire(model="m", family=target.family))
    except GatewayError as error:
        return f"refused: {error.message}"
    return _losses(written.losses)


def answer_cell(feature: ir.Response, client: Dialect, target: Dialect) -> str:
    """Return the same for an answer of ``target`` to a ``client``."""
    view = View(model="m", now=1, mint=lambda prefix: prefix + "1")
    given = _sealed(feature, target.family)
    there = target.render_response(given, view)
    if there.losses:
        return "-"
    back = client.render_response(target.parse_response(there.body), view)
    return _losses(tuple(loss for loss in back.losses if loss.path not in _BOOKKEEPING))


_BOOKKEEPING = frozenset({"created", "id"})


def _losses(losses: tuple[ir.Loss, ...]) -> str:
    if not losses:
        return "carried"
    return "lost: " + "; ".join(dict.fromkeys(loss.why for loss in losses))


def _replayed(request: ir.Request, native: str, family: str) -> ir.Request:
    """Write seals as a client replays them: in its own dialect's field, a foreign one packed with its owner's name."""

    def written(block: ir.Block) -> ir.Block:
        if not isinstance(block, ir.Thinking) or block.seal is None:
            return block
        owner = family if block.seal.family == "TARGET" else block.seal.family
        return replace(block, seal=ir.Seal(native, ir.Seal(owner, block.seal.data).pack(native)))

    turns = tuple(replace(turn, blocks=tuple(map(written, turn.blocks))) for turn in request.messages)
    return replace(request, messages=turns)


def _sealed(response: ir.Response, family: str) -> ir.Response:
    choices = tuple(replace(c, blocks=tuple(_seal(b, family) for b in c.blocks)) for c in response.choices)
    return replace(response, choices=choices)


def _seal(block: ir.Block, family: str) -> ir.Block:
    if isinstance(block, ir.Thinking) and block.seal is not None and block.seal.family == "TARGET":
        return replace(block, seal=ir.Seal(family, block.seal.data))
    return block


def page() -> str:
    """Render ``docs/dialects.md``."""
    shown = {name: DIALECTS[name] for name in NAMES}
    pairs = [(c, t) for c in shown.values() for t in shown.values() if c.name != t.name]
    head = "| | " + " | ".join(f"{NAMES[c.name]} to {NAMES[t.name]}" for c, t in pairs) + " |"
    rule = "|---|" + "---|" * len(pairs)
    asked = [
        f"| {name} | " + " | ".join(request_cell(feature, c, t) for c, t in pairs) + " |"
        for name, feature in REQUESTS.items()
    ]
    told = [
        f"| {name} | " + " | ".join(answer_cell(feature, c, t) for c, t in pairs) + " |"
        for name, feature in ANSWERS.items()
    ]
    return "\n".join([_INTRO, head, rule, *asked, _ANSWERS_INTRO, head, rule, *told, ""])


_INTRO = """# Dialects: what is carried

A client of OpenAI Chat, OpenAI Responses or Anthropic Messages reaches a target of any of the three. When both speak the
same dialect, bytes pass as they are but for the model's name. Across two dialects everything below is translated; what
the target's dialect has no place for is left out and **reported**: in the header `x-penstock-dropped`, or as an error
when the deployment says `on_unsupported: reject` (`drop`: left out without the header).

This page is printed by `scripts/dialects_page.py`, which asks the translators themselves; a test keeps it
current. A dash: the client's dialect cannot say it. "Chat to Messages": a Chat client, a Messages target.

## Requests
"""
_ANSWERS_INTRO = """
## Answers

The same pairs: what of the target's answer reaches the client. A dash: the target's dialect cannot say it. Streams carry
the same as whole answers.
"""
