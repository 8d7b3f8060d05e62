"""What may be assigned to the module, and what is done with it; and the calls, made with what is assigned."""

from __future__ import annotations

import copy
import logging
import threading
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

from penstock import sdk
from penstock.core.providers import get
from penstock.core.providers.names import PROVIDER_ALIASES
from penstock.core.providers.resolve import resolve
from penstock.sdk.client import Client
from penstock.sdk.costs import Costs
from penstock.sdk.exceptions import class_of
from penstock.sdk.operations import OPERATIONS, Operation

HEARD = frozenset(("success_callback", "failure_callback", "callbacks"))
QUIET = "turn_off_message_logging"  # what callbacks hear, which is the SDK's, too
FUNCTIONS = frozenset(
    [name for one in OPERATIONS for name in (one, f"a{one}")] + ["batch_completion", "abatch_completion"]
)
# Keys of a config's `litellm_settings`, by their own names.
_CONFIG: Mapping[str, Any] = {
    "drop_params": False,
    "num_retries": None,
    "request_timeout": None,
    "ssl_verify": True,
    "default_in_memory_ttl": None,
    "default_redis_ttl": None,
    "caching_with_models": False,
    "enable_json_schema_validation": False,
    "enable_anthropic_prompt_caching": False,
    "anthropic_prompt_caching_ttl": None,
    "enable_azure_ad_token_refresh": False,
    "cost_discount_config": {},
    "cost_margin_config": {},
}
# Arguments that every call has unless it says otherwise: the setting's name -> the argument's.
_ARGUMENTS: Mapping[str, str] = {
    "api_key": "api_key",
    "api_base": "api_base",
    "api_version": "api_version",
    "organization": "organization",
    "headers": "extra_headers",
}
# Arguments of the calls to one provider's models.
_OF_PROVIDER: Mapping[str, tuple[str, str]] = {
    "vertex_project": ("vertex_ai", "vertex_project"),
    "vertex_location": ("vertex_ai", "vertex_location"),
    "togetherai_api_key": ("together_ai", "api_key"),
}
_OWN: Mapping[str, Any] = {"cache": None, "max_budget": 0.0, "model_alias_map": {}, "set_verbose": False}
# What holds here anyway: the one value that it may be given, and why.
_HOLDS: Mapping[str, tuple[Any, str]] = {
    "telemetry": (False, "nothing is reported to anybody"),
    "suppress_debug_info": (True, "errors print nothing"),
    "suppress_startup_output": (True, "an import prints nothing"),
    "disable_aiohttp_transport": (True, "there is no aiohttp"),
    "use_aiohttp_transport": (False, "there is no aiohttp"),
}
# A list that may be made empty: it is read by nobody.
_EMPTY = ("input_callback", "service_callback", "custom_provider_map", "pre_call_rules", "post_call_rules")
NAMES = frozenset((*_CONFIG, *_ARGUMENTS, *_OF_PROVIDER, *_OWN, *_HOLDS, *_EMPTY, *HEARD, QUIET, "_current_cost"))

log = logging.getLogger("penstock")
_lock = threading.Lock()
_set: dict[str, Any] = {}  # what was assigned
_costs = Costs()
_client: tuple[dict[str, Any], Client] | None = None  # made of these settings


def read(name: str) -> Any:
    """Return a setting as it is. Raises AttributeError for a name that is none here."""
    if name in HEARD or name == QUIET:
        return getattr(sdk, name)
    if name in _set:
        return _set[name]
    if name == "_current_cost":
        return _costs.told()["total_cost"]
    if name in _HOLDS:
        return _HOLDS[name][0]
    if name in _EMPTY:
        return _Unread(name)
    for table in (_CONFIG, _OWN):
        if name in table:
            value = table[name]
            if isinstance(value, dict):  # it may be filled in place
                value = _set[name] = {}
            return value
    if name in _ARGUMENTS or _provider_of(name) is not None:
        return None
    raise AttributeError(
        f"module 'litellm' has no attribute {name!r}: it is Penstock's (penstock-litellm-shim)", name=name
    )


def write(name: str, value: Any) -> None:
    """Take a setting. Raises AttributeError for one that would change nothing, and ValueError for what cannot be."""
    if name in HEARD:
        setattr(sdk, name, _callbacks(name, value))
    elif name == QUIET:
        sdk.turn_off_message_logging = bool(value)
    elif name in _HOLDS:
        held, why = _HOLDS[name]
        if value is not None and bool(value) != held:
            raise ValueError(f"litellm.{name} is {value!r}, and can only be {held}: {why}")
    elif name in _EMPTY:
        if value:
            raise AttributeError(f"litellm.{name} is read by nobody in Penstock, so it can only be empty", name=name)
    elif name == "_current_cost":
        if value:
            raise ValueError("litellm._current_cost can only be set to 0: it is what calls have cost")
        _costs.reset()
    elif name in _CONFIG or name in _ARGUMENTS or name in _OWN or _provider_of(name) is not None:
        _take(name, value)
    else:
        raise AttributeError(
            f"litellm.{name}: Penstock does nothing with this setting, so it takes none. It acts on: "
            f"{', '.join(sorted(one for one in NAMES if not one.startswith('_')))}, and PROVIDER_key",
            name=name,
        )


def _take(name: str, value: Any) -> None:
    """Keep a setting, and put those into effect that are not read by the next call."""
    if name == "max_budget" and value is not None and not isinstance(value, int | float):
        raise ValueError(f"litellm.max_budget is {value!r}, and must be a number of US dollars")
    if name == "cache" and value is not None and not hasattr(value, "settings"):
        raise ValueError(f"litellm.cache is {type(value).__name__}, and must be a litellm.Cache(type=...), or None")
    before = dict(_set)
    if value is None:
        _set.pop(name, None)
    else:
        _set[name] = value
    if name == "set_verbose":
        turn_on_debug() if value else log.setLevel(logging.NOTSET)
    elif name in _CONFIG or name == "cache":
        try:
            client()
        except ValueError:  # of a config that cannot be: the settings stay as they were
            _set.clear()
            _set.update(before)
            raise


def _callbacks(name: str, value: Any) -> list[Any]:
    if not isinstance(value, list | tuple):
        raise ValueError(f"litellm.{name} is {type(value).__name__}, and must be a list")
    return value if isinstance(value, list) else list(value)


def _provider_of(name: str) -> tuple[str, str] | None:
    """Return whose calls a setting is for, and which argument it is: `groq_key` is the `api_key` of Groq."""
    if name in _OF_PROVIDER:
        return _OF_PROVIDER[name]
    for end in ("_api_key", "_key"):
        if name.endswith(end) and get(name.removesuffix(end)) is not None:
            provider = name.removesuffix(end)
            return PROVIDER_ALIASES.get(provider, provider), "api_key"
    return None


def turn_on_debug() -> None:
    """Show what Penstock logs."""
    log.setLevel(logging.DEBUG)
    if not log.handlers and not logging.getLogger().handlers:
        log.addHandler(logging.StreamHandler())


class _Unread(list[Any]):
    """A list that nobody reads: it is empty, and stays so."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def _refuse(self, *_: Any) -> None:
        write(self._name, [None])

    append = extend = insert = __iadd__ = _refuse  # type: ignore[assignment]


# Calls ----------------------------------------------------------------------------------------------------------------


class _ShimClient(Client):
    """A client whose calls have what the module was told."""

    def _run(self, operation: Operation, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        return super()._run(operation, (), _filled(operation.bind(args, options)))

    async def _arun(self, operation: Operation, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        return await super()._arun(operation, (), _filled(operation.bind(args, options)))

    def _prepared(self, model: str, messages: Any, options: dict[str, Any]) -> Any:
        filled = _filled({**options, "model": model})
        return super()._prepared(filled.pop("model"), messages, filled)


def client() -> Client:
    """Return the client of the settings as they are."""
    global _client
    wanted = {name: _set[name] for name in _CONFIG if name in _set}
    if (cache := _set.get("cache")) is not None:
        wanted |= {"cache": True, "cache_params": cache.settings}
    with _lock:
        if _client is None or _client[0] != wanted:
            # A copy: what is filled in place later is another setting.
            _client = (
                copy.deepcopy(wanted),
                _ShimClient({"litellm_settings": wanted} if wanted else None, hears=_costs.add),
            )
        return _client[1]


def _filled(given: dict[str, Any]) -> dict[str, Any]:
    """Add what the module was told to a call's arguments. Raises BudgetExceededError."""
    budget = _set.get("max_budget")
    if budget and (spent := _costs.told()["total_cost"]) > budget:
        text = f"Budget has been exceeded! Current cost: {spent}, Max budget: {budget}"
        raise class_of("BudgetExceededError")(current_cost=spent, max_budget=budget, message=text)
    aliases = _set.get("model_alias_map") or {}
    if given.get("model") in aliases:
        given = {**given, "model": aliases[given["model"]]}
    added: dict[str, Any] = {}
    provider = None
    for name, value in _set.items():
        if (own := _provider_of(name)) is not None:
            provider = provider or _house(given)
            if own[0] == provider:
                added[own[1]] = value
    added |= {argument: _set[name] for name, argument in _ARGUMENTS.items() if name in _set}
    if "base_url" in given:
        added.pop("api_base", None)
    if "extra_headers" in added and "extra_headers" in given:
        given = {**given, "extra_headers": {**added["extra_headers"], **given["extra_headers"]}}
    return {**added, **given}


def _house(given: Mapping[str, Any]) -> str:
    try:
        return resolve(str(given.get("model") or ""), given.get("api_base"), given.get("custom_llm_provider"))[0]
    except LookupError:
        return ""


def function(name: str) -> Callable[..., Any]:
    """Return the function of a name, which asks by the settings of the moment."""
    of_client = getattr(Client, name)
    if name.startswith("a") and name[1:] in FUNCTIONS:

        @wraps(of_client)
        async def later(*args: Any, **options: Any) -> Any:
            return await getattr(client(), name)(*args, **options)

        return later

    @wraps(of_client)
    def now(*args: Any, **options: Any) -> Any:
        return getattr(client(), name)(*args, **options)

    return now


# What is made when somebody asks for it -------------------------------------------------------------------------------


def _model_cost() -> dict[str, Any]:
    from penstock.runtime.prices import MAP

    return {name: MAP.get(name) for name in MAP.names()}


def _provider_list() -> list[str]:
    from penstock.core.providers import PROVIDERS

    return list(PROVIDERS)


def _messages() -> Any:
    class Messages:
        """`litellm.anthropic.messages`."""

        create = staticmethod(function("anthropic_messages"))
        acreate = staticmethod(function("aanthropic_messages"))

    class Anthropic:
        """`litellm.anthropic`."""

        messages = Messages

    return Anthropic


def _cache_class() -> Any:
    from litellm.caching import Cache

    return Cache


def _enable_cache() -> Callable[..., None]:
    def enable_cache(type: str = "local", **settings: Any) -> None:
        """Keep answers from now on."""
        write("cache", _cache_class()(type=type, **settings))

    return enable_cache


def _disable_cache() -> Callable[[], None]:
    def disable_cache() -> None:
        """Keep no answers any more."""
        write("cache", None)

    return disable_cache


LAZY: Mapping[str, Callable[[], Any]] = {
    "model_cost": _model_cost,
    "model_list": lambda: sorted(_model_cost()),
    "provider_list": _provider_list,
    "anthropic": _messages,
    "Cache": _cache_class,
    "enable_cache": _enable_cache,
    "update_cache": _enable_cache,
    "disable_cache": _disable_cache,
    "_turn_on_debug": lambda: turn_on_debug,
}
