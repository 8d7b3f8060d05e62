"""The playground: a chat with any model that its user may ask. With scripts it is streamed and compares models side by
side (``static/playground.js``); without them it is a form that answers whole."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import msgspec

from penstock.admin.ui.inner import Told, ask
from penstock.admin.ui.models import Typed, query_of
from penstock.admin.ui.rows import form, page
from penstock.admin.ui.view import file_of, form_of, render

if TYPE_CHECKING:
    from penstock.runtime.call import Call
    from penstock.runtime.route import Page

MOST = 4  # models side by side
_NAMES = 3000  # that the form proposes
_TYPES = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif", b"RIFF": "image/webp"}


class Wrong(Exception):
    """A field that makes no request: its name, and what is wrong with it."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(text)
        self.name = name


class Answered(msgspec.Struct):
    """What one model said, or why it did not. ``tools``: the calls that it wants made."""

    model: str
    text: str = ""
    tools: str = ""
    error: str = ""
    seconds: float | None = None
    usage: dict[str, Any] = {}
    cost: str = ""


def show(gateway: Any, call: Call) -> Page:
    """Show the form of a chat."""
    model = query_of(call).get("model", "")
    return _shown(gateway, call, {"model0": model})


def _shown(
    gateway: Any, call: Call, typed: dict[str, str], wrong: dict[str, str] | None = None,
    answers: list[Answered] | None = None, status: int = 200,
) -> Page:  # fmt: skip
    names = [name for name in gateway.names_for(call) if "*" not in name]
    typed = Typed(typed)
    if not typed["model0"] and names:
        typed["model0"] = names[0]
    return render(
        gateway, call, "playground/page.html", status,
        typed=typed, wrong=Typed(wrong or {}), answers=answers or [], names=names[:_NAMES], most=MOST,
        api=call.below + "/v1", needs_key=gateway.identity.needs_key, any_model=bool(gateway.names_for(call)),
    )  # fmt: skip


async def send(gateway: Any, call: Call) -> Page:
    """Send what was typed to each model that was named, one after another, and show the answers whole."""
    typed = form_of(call)
    named = [typed.get(f"model{i}", "").strip() for i in range(MOST)]
    models = list(dict.fromkeys(name for name in named if name))
    try:
        if not models:
            raise Wrong("model0", "Name a model.")
        has_files = call.exchange.headers.get(b"content-type", b"").startswith(b"multipart/")
        body = body_of(typed, file_of(call, "image") if has_files else None)
    except Wrong as wrong:
        return _shown(gateway, call, typed, {wrong.name: str(wrong)}, status=400)
    answers = []
    for model in models:
        began = gateway.clock()
        told = await ask(gateway, call, "POST", "/v1/chat/completions", {"model": model, **body})
        answers.append(answered(model, told, gateway.clock() - began))
    failed = all(one.error for one in answers)
    return _shown(gateway, call, typed, answers=answers, status=502 if failed else 200)


def body_of(typed: dict[str, str], image: tuple[str, bytes] | None) -> dict[str, Any]:
    """Make the body of a chat of what was typed, but for its model. Raises ``Wrong``."""
    text = typed.get("text", "").strip()
    if not text and image is None:
        raise Wrong("text", "Write something to the model.")
    content: Any = text
    if image is not None:
        kind = next((kind for begin, kind in _TYPES.items() if image[1].startswith(begin)), None)
        if kind is None:
            raise Wrong("image", "This is no PNG, JPEG, GIF or WebP.")
        url = f"data:{kind};base64,{base64.b64encode(image[1]).decode()}"
        content = [{"type": "text", "text": text}, {"type": "image_url", "image_url": {"url": url}}]
    messages = [{"role": "user", "content": content}]
    if system := typed.get("system", "").strip():
        messages.insert(0, {"role": "system", "content": system})
    body: dict[str, Any] = {"messages": messages}
    for name, number in (("temperature", float), ("max_tokens", int)):
        if value := typed.get(name, "").strip():
            try:
                body[name] = number(value)
            except ValueError:
                raise Wrong(name, f"A number is wanted, not {value[:40]!r}.") from None
    if tools := typed.get("tools", "").strip():
        body["tools"] = _json(tools, "tools", list, "A JSON list of tools is wanted")
    if schema := typed.get("schema", "").strip():
        found = _json(schema, "schema", dict, "A JSON schema (an object) is wanted")
        named = {"name": "answer", "schema": found, "strict": True}
        body["response_format"] = {"type": "json_schema", "json_schema": named}
    return body


def _json(text: str, name: str, kind: type, wanted: str) -> Any:
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.DecodeError as error:
        raise Wrong(name, f"{wanted}: {error}.") from None


def answered(model: str, told: Told, seconds: float) -> Answered:
    """Read the answer of a chat."""
    if not told.good or not isinstance(told.said, dict):
        return Answered(model, error=told.error or "It answered with something that is no chat.", seconds=seconds)
    message = ((told.said.get("choices") or [{}])[0]).get("message") or {}
    calls = message.get("tool_calls")
    return Answered(
        model,
        text=str(message.get("content") or ""),
        tools=msgspec.json.format(msgspec.json.encode(calls)).decode() if calls else "",
        seconds=seconds,
        usage=told.said.get("usage") or {},
        cost=told.header("x-litellm-response-cost"),
    )


ROUTES = (page("/playground", show), form("/playground", send))
