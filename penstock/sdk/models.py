"""What is known of a model: abilities, limits, prices. Look-ups in the price map, under the names of LiteLLM's helpers.

A model is named as in a config (`provider/model`, or a bare name that says whose it is); `custom_llm_provider` names
the provider beside it. Nothing here calls anybody. An ability that is not known to be there is False; a price or a
limit that is not known is never 0: it is `None`, or `UnknownModel` is raised.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import Raw

from penstock.core.capabilities import INFO_COLUMNS, capabilities
from penstock.core.count import estimate, tokens
from penstock.core.ir import Usage
from penstock.core.price import FREE, Price, Units
from penstock.core.pricelist import LOCAL, overlay
from penstock.core.providers.resolve import resolve
from penstock.core.told import usage_told
from penstock.runtime.prices import MAP


class UnknownModel(LookupError):
    """The price map knows no such model, or not what was asked of it. ``model``: the name as given."""

    def __init__(self, message: str, model: str) -> None:
        super().__init__(message)
        self.model = model


_OWN: dict[str, dict[str, Any]] = {}


def register_model(models: Mapping[str, Mapping[str, Any]]) -> None:
    """Put fields over those of the map, for this process: ``{"openai/mine": {"supports_vision": True,
    "input_cost_per_token": 1e-6, ...}}``. A model's own input price replaces all input prices of the map's entry."""
    for name, fields in models.items():
        _OWN[name] = {**_OWN.get(name, {}), **fields}


def _find(model: str, provider: str | None) -> tuple[str, str, Mapping[str, Any]] | None:
    """Find what is known of a model: (provider, name in the map, fields); None where nothing is."""
    try:
        house, bare = resolve(model, custom_provider=provider)
    except LookupError:
        house, bare = "", model
    own: dict[str, Any] = {}
    for name in (bare, f"{house}/{bare}", model):
        own |= _OWN.get(name, {})
    found = MAP.find(house, bare) if house else None
    if found is None and provider is None and (entry := MAP.get(model)) is not None:
        found = model, entry  # names that only the map knows whose they are
    if found is None:
        fields = {**MAP.family(bare), **own}
        return (house, "", fields) if fields else None
    return house or str(found[1].get("litellm_provider") or ""), found[0], overlay(found[1], own) if own else found[1]


def supports(model: str, feature: str, custom_llm_provider: str | None = None) -> bool:
    """Tell whether a model is known to do something: any `supports_X` of the map, with or without "supports_". Where a
    provider's entry says neither yes nor no, an entry of the same name without the provider decides, as at LiteLLM."""
    found = _find(model, custom_llm_provider)
    if found is None:
        return False
    field = feature if feature.startswith("supports_") else f"supports_{feature}"
    if capabilities(found[1], found[2]).supports(field):
        return True
    bare = model.removeprefix(f"{found[0]}/")
    return found[2].get(field) is None and (MAP.get(bare) or {}).get(field) is True


def _question(feature: str) -> Callable[..., bool]:
    def ask(model: str, custom_llm_provider: str | None = None) -> bool:
        return supports(model, feature, custom_llm_provider)

    ask.__name__ = ask.__qualname__ = f"supports_{feature}"
    ask.__doc__ = f"Whether ``model`` is known to have `supports_{feature}`. False for a model that nobody knows."
    return ask


supports_audio_input = _question("audio_input")
supports_audio_output = _question("audio_output")
supports_computer_use = _question("computer_use")
supports_function_calling = _question("function_calling")
supports_native_streaming = _question("native_streaming")
supports_parallel_function_calling = _question("parallel_function_calling")
supports_pdf_input = _question("pdf_input")
supports_prompt_caching = _question("prompt_caching")
supports_reasoning = _question("reasoning")
supports_response_schema = _question("response_schema")
supports_system_messages = _question("system_messages")
supports_tool_choice = _question("tool_choice")
supports_url_context = _question("url_context")
supports_vision = _question("vision")
supports_web_search = _question("web_search")


def get_llm_provider(
    model: str, custom_llm_provider: str | None = None, api_base: str | None = None
) -> tuple[str, str, None, str | None]:
    """Find whose model it is: return (model at the provider, provider, None, ``api_base``). LiteLLM's third is a key,
    which is never handed out here. Raises `UnknownProvider`, a LookupError that says what may have been meant."""
    provider, bare = resolve(model, api_base, custom_llm_provider)
    return bare, provider, None, api_base


def get_model_info(model: str, custom_llm_provider: str | None = None) -> dict[str, Any]:
    """Return everything the map says of a model, with the columns of LiteLLM's `ModelInfo` (None where it says nothing)
    and `key`, the name in the map. Raises `UnknownModel`."""
    found = _find(model, custom_llm_provider)
    if found is None:
        raise _unknown(model)
    provider, key, entry = found
    info: dict[str, Any] = {**dict.fromkeys(INFO_COLUMNS), **entry, "key": key or model}
    info["max_tokens"] = entry.get("max_tokens") or entry.get("max_output_tokens")
    info["litellm_provider"] = entry.get("litellm_provider") or provider or None
    return info


def get_max_tokens(model: str) -> int | None:
    """Return the most tokens an answer may have; None where the map does not say. Raises `UnknownModel`."""
    found = _find(model, None)
    if found is None:
        raise _unknown(model)
    return capabilities(found[1], found[2]).max_output_tokens


def _unknown(model: str) -> UnknownModel:
    text = f"This model isn't mapped yet: {model[:120]!r}. register_model() tells of one that the price map has not."
    return UnknownModel(text, model)


def _price(model: str, provider: str | None) -> Price:
    found = _find(model, provider)
    house = found[0] if found else _provider(model, provider)
    price = Price(found[1], found[2], found[0]) if found else None
    if price is not None and price.known:
        return price
    if house in LOCAL:
        return FREE
    raise UnknownModel(f"No price is known for {model[:120]!r}.", model)


def _provider(model: str, provider: str | None) -> str:
    try:
        return resolve(model, custom_provider=provider)[0]
    except LookupError:
        return ""


def cost_per_token(
    model: str,
    prompt_tokens: int = 0,
    completion_tokens: int = 0,
    *,
    custom_llm_provider: str | None = None,
    cache_creation_input_tokens: int = 0,
    cache_read_input_tokens: int = 0,
    reasoning_tokens: int = 0,
    service_tier: str | None = None,
) -> tuple[float, float]:
    """Compute the cost of tokens: (US dollars for the prompt, US dollars for the answer). Cached tokens are counted
    within ``prompt_tokens``, reasoning within ``completion_tokens``. Raises `UnknownModel` where no price is known;
    local engines cost 0."""
    cached = cache_creation_input_tokens + cache_read_input_tokens
    usage = Usage(
        fresh=max(0, prompt_tokens - cached),
        cache_read=cache_read_input_tokens,
        cache_write=cache_creation_input_tokens,
        output=completion_tokens,
        reasoning=min(reasoning_tokens, completion_tokens),
    )
    cost = _price(model, custom_llm_provider).cost(usage, service_tier or "", at=time.time())
    return float(cost.input + cost.cache_read + cost.cache_write), float(cost.output + cost.reasoning)


def completion_cost(
    completion_response: Any = None,
    model: str | None = None,
    prompt: str = "",
    completion: str = "",
    messages: list[Any] | None = None,
    *,
    custom_llm_provider: str | None = None,
    units: Units | None = None,
) -> float:
    """Compute the cost in US dollars of an answer (a dict or an SDK's object: Chat, Responses, Messages, embeddings,
    from its usage), or of texts, whose tokens are estimated. Raises `UnknownModel`, and ValueError when there is
    nothing to count."""
    usage = None
    if completion_response is not None:
        answer = _plain(completion_response)
        model = model or answer.get("model")
        usage = _usage(answer)
    elif prompt or messages or completion:
        size = token_counter(text=prompt, messages=messages)
        usage = Usage(fresh=size, output=token_counter(text=completion))
    if not model:
        raise ValueError("whose price is to be used? Give a model, or an answer that names one")
    if usage is None:
        if units is None:
            raise ValueError("nothing to count: give an answer that has a usage, or a prompt, messages or a completion")
        usage = Usage()
    return float(_price(model, custom_llm_provider).cost(usage, usage.tier, units, time.time()).total)


def token_counter(
    model: str = "",
    text: str | list[str] | None = None,
    messages: list[Any] | None = None,
    tools: list[Any] | None = None,
) -> int:
    """Estimate the tokens of a text or of messages, offline, as the gateway does where an upstream tells no usage: four
    bytes a token, whatever the ``model`` (docs/prices.md says how far off that is)."""
    texts = [text] if isinstance(text, str) else text or []
    found = sum(tokens(len(part.encode("utf-8", "replace"))) for part in texts)
    body = {"messages": messages, "tools": tools}
    fields = {key: Raw(msgspec.json.encode(value)) for key, value in body.items() if value}
    return found + estimate(fields, 0).input


def _plain(answer: Any) -> dict[str, Any]:
    if hasattr(answer, "model_dump"):  # pydantic, as the SDKs have it
        answer = answer.model_dump(exclude_none=True)
    if not isinstance(answer, Mapping):
        raise ValueError(f"an answer is a dict or an SDK's object, not {type(answer).__name__}")
    return dict(answer)


def _usage(answer: Mapping[str, Any]) -> Usage | None:
    named = ("usage", "type", "service_tier")
    given = {key: answer[key] for key in named if answer.get(key) is not None}
    return usage_told({key: Raw(msgspec.json.encode(value, enc_hook=str)) for key, value in given.items()})
