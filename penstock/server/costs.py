"""Pages about money: what an answer cost, and what one would cost. In the shapes of LiteLLM 1.109.

A model may be one of the config (its own prices hold) or any name of the price map. Amounts are computed exactly and
written as JSON numbers.
"""

from __future__ import annotations

import time
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import msgspec
from msgspec import Raw

from penstock.config import Deployment
from penstock.core.charge import Charge, Terms
from penstock.core.count import estimate as count
from penstock.core.envelope import BAD_JSON, read_as
from penstock.core.errors import GatewayError
from penstock.core.ir import Usage
from penstock.core.price import Cost, Price
from penstock.core.providers.resolve import resolve
from penstock.core.told import usage_told
from penstock.runtime.prices import TargetPrice, price_of, with_terms
from penstock.server.routes import JSON, Page

if TYPE_CHECKING:
    from penstock.runtime.call import Call
    from penstock.server.gateway import Gateway

_MOST = 10**12  # tokens or requests; what is more is a mistake


def price_for(gateway: Gateway, model: str) -> tuple[TargetPrice, str]:
    """Find price and provider of a name: the first deployment's that serves it, else the map's. Raises
    "unknown_model"."""
    try:
        target = gateway.state.plan(model).targets[model][0]
    except GatewayError as error:
        if error.kind != "unknown_model":
            raise
        unknown = error
    else:
        return target.price, target.provider.name
    try:
        provider, upstream = resolve(model)
    except LookupError:
        raise unknown from None
    bare = Deployment(id="", model_name=model, model=model, provider=provider, upstream_model=upstream)
    return with_terms(price_of(provider, upstream, bare), gateway.state.settings, provider, upstream), provider


def _priced(gateway: Gateway, model: str, kind: str) -> tuple[Price, TargetPrice, str]:
    """Find the same, when there is a price. Raises ``kind`` when there is none."""
    found, provider = price_for(gateway, model)
    if found.price is None:
        hint = "set input_cost_per_token and output_cost_per_token, or base_model, in its model_info"
        text = f"No price is known for {model[:120]!r}: {hint}."
        raise GatewayError(kind, text, param="model")
    return found.price, found, provider


# /spend/calculate -----------------------------------------------------------------------------------------------------


class SpendAsked(msgspec.Struct):
    """``messages`` are counted here; ``completion_response`` tells its own usage; counts may be given outright."""

    model: str = ""
    messages: Raw = Raw(b"null")
    completion_response: dict[str, Raw] | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


def spend(gateway: Gateway, call: Call) -> Page:
    """Calculate what an answer cost: ``{"cost": 0.0075}``. LiteLLM has POST only; a seed asks with GET (C-15)."""
    asked = _spend_in_query(call) if call.exchange.method != "POST" else read_as(call.exchange.body, SpendAsked)
    model, usage = asked.model, None
    answer = asked.completion_response
    if answer is not None:
        model = model or _text(answer, "model")
        usage = usage_told(answer)
    elif asked.prompt_tokens is not None or asked.completion_tokens is not None:
        usage = Usage(fresh=asked.prompt_tokens or 0, output=asked.completion_tokens or 0)
    elif bytes(asked.messages) != b"null":
        usage = count({"messages": Raw(msgspec.json.encode(read_as(bytes(asked.messages), Any)))}, 0)
    if not model:
        raise GatewayError("bad_request", "The field 'model' is missing: whose price is to be used?", param="model")
    if usage is None:
        text = "Send 'messages', a 'completion_response' with its usage, or 'prompt_tokens' and 'completion_tokens'."
        raise GatewayError("bad_request", text, param="messages")
    price, found, _ = _priced(gateway, model, "bad_request")
    cost = price.total(usage, usage.tier, time.time())
    return _json({"cost": float(cost if found.terms is None else found.terms.charge(cost).total)})


def _spend_in_query(call: Call) -> SpendAsked:
    given = {key: values[-1] for key, values in parse_qs(call.exchange.query.decode("latin-1")).items()}
    asked = SpendAsked(model=given.get("model", ""))
    for name in ("prompt_tokens", "completion_tokens"):
        if name in given:
            if not given[name].isdecimal() or len(given[name]) > 20 or int(given[name]) > _MOST:
                text = f"{name!r} must be a number of tokens, not {given[name][:40]!r}."
                raise GatewayError("bad_request", text, param=name)
            setattr(asked, name, int(given[name]))
    if "messages" in given:
        try:
            msgspec.json.decode(given["messages"])
        except BAD_JSON:
            raise GatewayError("bad_request", "'messages' must be a JSON list.", param="messages") from None
        asked.messages = Raw(given["messages"].encode())
    return asked


def _text(fields: dict[str, Raw], key: str) -> str:
    value = read_as(bytes(fields[key]), Any) if key in fields else ""
    return value if isinstance(value, str) else ""


# /cost/estimate -------------------------------------------------------------------------------------------------------


class EstimateAsked(msgspec.Struct):
    """Cached tokens are counted within ``input_tokens``, reasoning within ``output_tokens``."""

    model: str
    input_tokens: int
    output_tokens: int = 0
    cache_read_input_tokens: int = 0
    cache_creation_input_tokens: int = 0
    reasoning_tokens: int = 0
    num_requests_per_day: int | None = None
    num_requests_per_month: int | None = None


def estimate(gateway: Gateway, call: Call) -> Page:
    """Estimate what requests will cost. A model without a price is a 404, as LiteLLM has it."""
    return _json(_estimated(gateway, read_as(call.exchange.body, EstimateAsked)))


def estimate_short(gateway: Gateway, call: Call) -> Page:
    """Estimate what requests will cost, in short names, too. They are those of ``/api/v1/litellm`` (seed C-28):
    ``input_cost``, ``output_cost`` and ``total_cost``."""
    told = _estimated(gateway, read_as(call.exchange.body, EstimateAsked))
    per_request = {"input": "input_cost", "output": "output_cost", "": "total_cost"}
    short = {name: told[f"{way}_cost_per_request" if way else "cost_per_request"] for way, name in per_request.items()}
    return _json(told | short)


def _estimated(gateway: Gateway, asked: EstimateAsked) -> dict[str, Any]:
    for name in msgspec.structs.asdict(asked):
        value = getattr(asked, name)
        if isinstance(value, int) and not 0 <= value <= _MOST:
            text = f"{name!r} must be between 0 and {_MOST}, not {value}."
            raise GatewayError("bad_request", text, param=name)
    price, found, provider = _priced(gateway, asked.model, "upstream_not_found")
    read, written = asked.cache_read_input_tokens, asked.cache_creation_input_tokens
    usage = Usage(
        fresh=max(0, asked.input_tokens - read - written),
        cache_read=read,
        cache_write=written,
        output=asked.output_tokens,
        reasoning=min(asked.reasoning_tokens, asked.output_tokens),
    )
    now = time.time()
    cost, rates = price.cost(usage, at=now), price.rates(usage.input, at=now)
    charge = (found.terms or Terms()).charge(cost.total)
    return (
        msgspec.structs.asdict(asked)
        | _lines("{}cost_per_request", cost, charge, 1)
        | _lines("daily_{}cost", cost, charge, asked.num_requests_per_day)
        | _lines("monthly_{}cost", cost, charge, asked.num_requests_per_month)
        | {
            "input_cost_per_token": float(rates.fresh),
            "output_cost_per_token": float(rates.output),
            "cache_read_input_token_cost": float(rates.cache_read),
            "cache_creation_input_token_cost": float(rates.cache_write),
            "output_cost_per_reasoning_token": float(rates.reasoning),
            "provider": found.entry.get("litellm_provider") or provider,
        }
    )


def _lines(name: str, cost: Cost, charge: Charge, times: int | None) -> dict[str, float | None]:
    """Lay out the cost of so many requests in LiteLLM's names: its input includes the cache's share, its output
    reasoning. The whole is with discount and margin, the parts are without."""
    parts: dict[str, Decimal] = {
        "": charge.total,
        "input_": cost.input + cost.cache_read + cost.cache_write,
        "output_": cost.output + cost.reasoning,
        "margin_": charge.margin,
        "cache_read_": cost.cache_read,
        "cache_creation_": cost.cache_write,
        "reasoning_": cost.reasoning,
    }
    return {name.format(part): float(amount * times) if times else None for part, amount in parts.items()}


def _json(told: object) -> Page:
    return Page(200, JSON, msgspec.json.encode(told))
