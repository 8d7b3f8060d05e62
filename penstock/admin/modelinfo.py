"""Pages about models: what each deployment is, costs and can do. LiteLLM's shapes, and one of our own that is shorter.

Of `litellm_params` only what is named here is shown: no key, no header, no address with a password in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import parse_qs, urlsplit

import msgspec

from penstock.core.capabilities import INFO_COLUMNS
from penstock.core.errors import GatewayError
from penstock.core.money import number
from penstock.core.pricelist import is_price
from penstock.runtime.route import JSON, Page

if TYPE_CHECKING:
    from penstock.runtime.call import Call
    from penstock.runtime.state import State
    from penstock.runtime.targets import Target

_SHOWN = """model api_version custom_llm_provider timeout stream_timeout max_retries num_retries rpm tpm weight order
    tags region_name aws_region_name vertex_location drop_params base_model use_in_pass_through use_litellm_proxy
    merge_reasoning_content_in_choices""".split()
_PARAMS = """frequency_penalty logit_bias logprobs top_logprobs max_tokens max_completion_tokens modalities prediction n
    presence_penalty seed stop stream stream_options temperature top_p tools tool_choice function_call functions
    parallel_tool_calls audio web_search_options service_tier safety_identifier prompt_cache_key
    prompt_cache_retention store response_format reasoning_effort user""".split()
_GROUP_ABILITIES = """parallel_function_calling vision web_search url_context reasoning function_calling
    fast_mode""".split()


class Serving(Protocol):
    """What these pages ask of the gateway."""

    @property
    def state(self) -> State: ...
    def may_see(self, call: Call, model: str) -> bool: ...


def model_info(gateway: Serving, call: Call) -> Page:
    """Describe every deployment. ``litellm_model_id`` asks for one."""
    wanted = _asked(call, "litellm_model_id")
    targets = [target for target in _seen(gateway, call) if wanted in ("", target.id)]
    if wanted and not targets:
        text = f"There is no deployment with the id {wanted[:120]!r}; GET /model/info lists all."
        raise GatewayError("bad_request", text, param="litellm_model_id")
    return _json([row_of(target) for target in targets])


def _seen(gateway: Serving, call: Call) -> list[Target]:
    """List the deployments of the models that a caller may ask for."""
    return [target for target in gateway.state.targets if gateway.may_see(call, target.deployment.model_name)]


def row_of(target: Target) -> dict[str, Any]:
    """Describe a deployment by its entry, without its credentials, and by what the price list knows of it."""
    entry = target.price.entry
    deployment, info = target.deployment, own_info(target)
    info["key"] = target.price.key or target.model
    for name in (*INFO_COLUMNS, *entry):
        if name not in info or info[name] is None:
            info[name] = entry.get(name)
    info["max_tokens"] = entry.get("max_tokens") or entry.get("max_output_tokens")
    info["litellm_provider"] = entry.get("litellm_provider") or target.provider.name
    info["mode"] = info["mode"] or deployment.mode
    info["supported_openai_params"] = _params(target)
    info["price_version"] = target.price.version or None
    return {"model_name": deployment.model_name, "litellm_params": own_params(target), "model_info": info}


def own_params(target: Target) -> dict[str, Any]:
    """Return what a deployment's `litellm_params` say that may be shown."""
    deployment = target.deployment
    told = {"use_in_pass_through": False, "use_litellm_proxy": False, "merge_reasoning_content_in_choices": False}
    params: dict[str, Any] = {"api_base": address(deployment.api_base)} if deployment.api_base else {}
    params |= told
    for name, value in deployment.params.items():
        if value is not None and (name in _SHOWN or is_price(name)):
            params[name] = value
    return params


def own_info(target: Target) -> dict[str, Any]:
    """Return what a deployment's `model_info` says, and its id."""
    info: dict[str, Any] = {"id": target.id, "db_model": target.deployment.stored}
    own = target.deployment.info.items()
    return info | {name: value for name, value in own if name not in info and _is_plain(value)}


def _params(target: Target) -> list[str]:
    """Request parameters that reach the upstream: all of Chat's but those its row says it refuses."""
    if not target.dialects:
        return []
    quirks = target.provider.quirks_for(target.model, "openai_chat")
    return [name for name in _PARAMS if name not in quirks.drop and name not in quirks.unsupported]


def group_info(gateway: Serving, call: Call) -> Page:
    """Describe every public name over all its deployments. The most tokens, the highest price, what any of them can do,
    limits added up. ``model_group`` asks for one."""
    wanted = _asked(call, "model_group")
    groups: dict[str, list[Target]] = {}
    for target in _seen(gateway, call):
        groups.setdefault(target.deployment.model_name, []).append(target)
    groups |= {name: list(targets) for name, targets in gateway.state.catalog.unions.items()}
    return _json([_group(name, targets) for name, targets in groups.items() if wanted in ("", name)])


def _group(name: str, targets: list[Target]) -> dict[str, Any]:
    entries = [target.price.entry for target in targets]
    able = [target.price.capabilities for target in targets]
    params = dict.fromkeys(param for target in targets for param in _params(target))
    told: dict[str, Any] = {
        "model_group": name,
        "providers": sorted({target.provider.name for target in targets}),
        "max_input_tokens": _most(found.max_input_tokens for found in able),
        "max_output_tokens": _most(found.max_output_tokens for found in able),
        "input_cost_per_token": _price(entries, "input_cost_per_token"),
        "output_cost_per_token": _price(entries, "output_cost_per_token"),
        "input_cost_per_pixel": _price(entries, "input_cost_per_pixel"),
        "mode": next((found.mode or target.deployment.mode for found, target in zip(able, targets, strict=True)), None),
        "tpm": _sum(target.tpm for target in targets),
        "rpm": _sum(target.rpm for target in targets),
        "itpm": _sum(target.deployment.params.get("itpm") for target in targets),
        "otpm": _sum(target.deployment.params.get("otpm") for target in targets),
    }
    told |= {f"supports_{ability}": any(found.supports(ability) for found in able) for ability in _GROUP_ABILITIES}
    return told | {
        "supported_reasoning_efforts": sorted({level for entry in entries for level in _levels(entry)}),
        "supported_openai_params": list(params),
        "configurable_clientside_auth_params": None,
        "description": None,
        "supported_endpoints": next((list(found.endpoints) for found in able if found.endpoints), None),
        "supports_background_chat": False,
        "is_public_model_group": False,
        "health_status": None,
        "health_response_time": None,
        "health_checked_at": None,
        "custom_tags": None,
        "custom_metadata": None,
    }


def capabilities(gateway: Serving, call: Call) -> Page:
    """List in short what every deployment can do. ``model`` asks for those of one public name."""
    wanted = _asked(call, "model")
    rows = []
    for target in _seen(gateway, call):
        if wanted not in ("", target.deployment.model_name):
            continue
        found, price = target.price.capabilities, target.price
        rows.append(
            {
                "id": target.deployment.model_name,
                "object": "model.capabilities",
                "deployment": target.id,
                "provider": target.provider.name,
                "owned_by": target.owner,
                "model": target.model,
                "mode": found.mode or target.deployment.mode,
                "max_input_tokens": found.max_input_tokens,
                "max_output_tokens": found.max_output_tokens,
                "supports": sorted(found.features),
                "inputs": list(found.inputs),
                "outputs": list(found.outputs),
                "dialects": list(target.dialects),
                "retires": found.retires,
                "priced": price.price is not None,
                "price_version": price.version or None,
            }
        )
    return _json(rows, object="list")


def address(api_base: str | None) -> str:
    """Show an address without what it may hold of credentials: user and password, query."""
    if not api_base:
        return ""
    parts = urlsplit(api_base)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _asked(call: Call, name: str) -> str:
    return parse_qs(call.exchange.query.decode("latin-1")).get(name, [""])[-1]


def _most(values: Iterable[int | None]) -> float | None:
    found = [value for value in values if value is not None]
    return float(max(found)) if found else None  # a float, as LiteLLM has it


def _sum(values: Iterable[int | None]) -> int | None:
    found = [value for value in values if value is not None]
    return sum(found) if found else None


def _price(entries: list[Mapping[str, Any]], field: str) -> float | None:
    found = [price for entry in entries if (price := number(entry.get(field))) is not None]
    return float(max(found)) if found else None


def _levels(entry: Mapping[str, Any]) -> list[str]:
    levels = entry.get("reasoning_effort_levels")
    return [level for level in levels if isinstance(level, str)] if isinstance(levels, list) else []


def _is_plain(value: object) -> bool:
    """Tell whether a value may be shown: words and numbers of `model_info`, and lists and tables of them; never a
    ``Secret``."""
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and _is_plain(inner) for key, inner in value.items())
    if isinstance(value, list | tuple):
        return all(_is_plain(inner) for inner in value)
    return value is None or isinstance(value, str | int | float)


def _json(rows: list[dict[str, Any]], **beside: str) -> Page:
    return Page(200, JSON, msgspec.json.encode({**beside, "data": rows}, enc_hook=str))
