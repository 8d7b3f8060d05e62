"""``/api/v1/litellm``: the router of a service that keeps its models as provider and name (seed 1).

``provider`` may stand beside ``model``; lists name models as ``provider/model``, and that name is understood here for
every deployment, whatever it is called in the config.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import msgspec
from msgspec import Raw

from penstock.core.admit.access import LLM
from penstock.core.envelope import open_body
from penstock.core.errors import GatewayError
from penstock.core.pictures import address_of_text
from penstock.core.providers import PROVIDERS
from penstock.core.providers.resolve import credential, needs_key
from penstock.runtime.gate import check_type
from penstock.runtime.surface import About, Surface
from penstock.server import costs
from penstock.server.routes import JSON, Page, Route
from penstock.server.surfaces import SURFACES as NATIVE

if TYPE_CHECKING:
    from penstock.runtime.call import Call
    from penstock.runtime.state import State
    from penstock.runtime.targets import Target
    from penstock.server.gateway import Gateway

# Name there -> our row, an example of a model, what it is used for.
_PROVIDERS: tuple[tuple[str, str, str, str, tuple[str, ...]], ...] = (
    ("ollama", "Ollama", "ollama", "ollama/llama3.2", ("local", "embeddings")),
    ("openai", "OpenAI", "openai", "openai/gpt-4o", ("vision", "tools", "tts", "stt")),
    ("anthropic", "Anthropic", "anthropic", "anthropic/claude-3-5-sonnet-20241022", ("vision", "tools")),
    ("gemini", "Google Gemini", "gemini", "gemini/gemini-2.0-flash-exp", ("vision", "tools")),
    ("groq", "Groq", "groq", "groq/llama-3.3-70b-versatile", ("tools",)),
    ("openrouter", "OpenRouter", "openrouter", "openrouter/anthropic/claude-3.5-sonnet", ("vision", "tools")),
    ("huggingface", "Hugging Face", "huggingface", "huggingface/meta-llama/Llama-3.2-3B-Instruct", ()),
    ("together_ai", "Together AI", "together_ai", "together_ai/meta-llama/Llama-3.3-70B-Instruct-Turbo", ("tools",)),
    ("deepseek", "DeepSeek", "deepseek", "deepseek/deepseek-chat", ("reasoning", "tools")),
    ("azure", "Azure OpenAI", "azure", "azure/gpt-4", ("vision", "tools")),
    ("bedrock", "AWS Bedrock", "bedrock", "bedrock/anthropic.claude-3-sonnet", ("vision", "tools")),
    ("vllm", "vLLM", "hosted_vllm", "vllm/model-name", ("local",)),
)
_SHOWN = {"ollama_chat": "ollama", "hosted_vllm": "vllm", "azure_text": "azure", "vertex_ai_beta": "vertex_ai"}


def _name(target: Target) -> str:
    return _SHOWN.get(target.provider.name, target.provider.name)


def _id(target: Target) -> str:
    """Name it ``provider/model``, as long as the config's own name is not that already."""
    name, given = _name(target), target.deployment.model_name
    return given if given.startswith(name + "/") else f"{name}/{target.model}"


def adapt(call: Call, fields: dict[str, Raw], state: State) -> None:
    """Join ``model`` and ``provider`` to one name, and make that the name of a deployment. An object ``provider`` is a
    field of OpenRouter's and stays."""
    model = _text(fields, "model")
    if not model:
        return
    wanted = model
    if bytes(fields.get("provider", b""))[:1] == b'"':
        provider = _text(fields, "provider")
        del fields["provider"]
        if provider and not model.startswith(provider + "/"):
            wanted = f"{provider}/{model}"
    catalog, targets = state.catalog, state.targets
    if catalog.find(wanted) is None:
        named = [target.deployment.model_name for target in targets if wanted in (_id(target), target.label)]
        wanted = named[0] if named else wanted
    fields["model"] = Raw(msgspec.json.encode(wanted))


def _text(fields: dict[str, Raw], key: str) -> str:
    try:
        return msgspec.json.decode(fields.get(key, b'""'), type=str)
    except msgspec.DecodeError:
        return ""


def _models(gateway: Gateway, call: Call) -> Page:
    """List every deployment as ``provider/model``. ``provider`` in the query asks for one provider's."""
    wanted = parse_qs(call.exchange.query.decode("latin-1")).get("provider", [""])[-1]
    created, found = int(gateway.started_at), {}
    for target in gateway.state.targets:
        shown = gateway.may_see(call, target.deployment.model_name)
        if shown and wanted in ("", _name(target), target.provider.name):
            found[_id(target)] = target.owner
    data = [{"id": name, "object": "model", "created": created, "owned_by": owner} for name, owner in found.items()]
    return Page(200, JSON, msgspec.json.encode({"object": "list", "data": data}))


def _providers(gateway: Gateway, call: Call) -> Page:
    """List the providers that can be called. ``configured``: a deployment names it, or the environment has its key."""
    env, rows = gateway.state.env, []
    used = {_name(target) for target in gateway.state.targets}
    for name, title, row, example, features in _PROVIDERS:
        provider = PROVIDERS[row]
        rows.append(
            {
                "id": name,
                "name": title,
                "model_format": example,
                "features": features,
                "api_key_required": needs_key(provider, None, env) or provider.auth == "sigv4",
                "configured": name in used or credential(provider, None, env) is not None,
            }
        )
    return Page(200, JSON, msgspec.json.encode({"providers": rows}))


async def _read_vision(call: Call) -> dict[str, Raw]:
    """Read ``{prompt, image_url, model}`` as a chat of one message. ``image_url``: an address, a data URI, or bare
    base64 of a PNG or JPEG."""
    check_type(call.exchange.headers.get(b"content-type"))
    fields = open_body(call.exchange.body)
    prompt, url = _text(fields, "prompt"), _text(fields, "image_url")
    for name, value in (("prompt", prompt), ("image_url", url)):
        if not value:
            raise GatewayError("bad_request", f"The field {name!r} is missing: it must be a text.", param=name)
        del fields[name]
    picture = {"type": "image_url", "image_url": {"url": address_of_text(url)}}
    parts: list[dict[str, Any]] = [{"type": "text", "text": prompt}, picture]
    fields["messages"] = Raw(msgspec.json.encode([{"role": "user", "content": parts}]))
    fields.pop("stream", None)
    return fields


def _with_text(body: bytes) -> bytes:
    """Put the answer's text beside it, under the two names that clients look for."""
    told = msgspec.json.decode(body, type=dict[str, Any])
    choices = told.get("choices") or [{}]
    text = (choices[0].get("message") or {}).get("content")
    return msgspec.json.encode({**told, "response": text, "content": text})


_ABOUT = About("Answer a question about a picture", needs={"prompt": "string", "image_url": "string"})
SURFACES: dict[str, Surface] = {
    "/vision": NATIVE["/v1/chat/completions"]._replace(read=_read_vision, json=False, about=_ABOUT)
}
ROUTES = (
    Route("/models", _models, family=LLM),
    Route("/providers", _providers),
    Route("/cost/estimate", costs.estimate_short, methods=("POST",)),
)
ANSWERS: Mapping[str, Callable[[bytes], bytes]] = {"/vision": _with_text}
