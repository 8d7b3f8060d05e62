"""From a deployment of the config to its target: pure, and all at once.

What can be made once is made once: the URL, the head of the request with its credential, the header lines of the
answer. Each step reads what the ones before it found; the target is made last, from all of it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from msgspec import Raw

from penstock.config.group_settings import FORWARDS, read_group_settings
from penstock.core.caching import read_points, usual_points
from penstock.core.defaults import Said, read_said
from penstock.core.dialects import guided
from penstock.core.errors import GatewayError
from penstock.core.forwarding import STAYS, forwards_for
from penstock.core.mask import Mask
from penstock.core.models import facts
from penstock.core.providers import get as get_provider
from penstock.core.providers.bedrock import BEDROCK
from penstock.core.providers.lending import is_foreign, withheld
from penstock.core.providers.resolve import resolve
from penstock.core.providers.urls import at_own_host, dialects_at
from penstock.core.providers.wires import guides_of, wire_of
from penstock.core.route.quotas import read_quotas
from penstock.core.route.stars import fill
from penstock.runtime.account import Account, word
from penstock.runtime.attempts import attempt_for
from penstock.runtime.cloud.serving import Serving, serving_of
from penstock.runtime.http import Tls
from penstock.runtime.rules import BUDGETS
from penstock.runtime.targets import Target, own_budget, purse_of
from penstock.runtime.timeouts import of_stream, of_whole

if TYPE_CHECKING:
    from penstock.config import Config, Deployment
    from penstock.core.caching import Point
    from penstock.core.providers.spec import Provider
    from penstock.runtime.http import Timeouts

DEFAULT_TIMEOUT = 600.0  # seconds to the first byte and between bytes; LiteLLM's 6000 s only hides dead upstreams
TIERS = ("timeout_by_service_tier", "stream_timeout_by_service_tier")


def build_target(
    deployment: Deployment,
    settings: Mapping[str, Any],
    env: Mapping[str, str],
    stars: tuple[str, ...] = (),
    otherwise: str = "",
) -> Target:
    """Build the target of a deployment. ``stars`` stand in for the model's ``*``; ``otherwise``: the provider, where
    the deployment names none. Raises "not_configured" for a provider that is not known or an address that is no URL,
    and LookupError when the name behind a star belongs to no known provider."""
    account = _account(deployment, settings, env, stars, otherwise)
    dialects = _dialects(account)
    serving = serving_of(account, dialects)
    if serving.dialects is not None:
        dialects = serving.dialects
    model = account.model if serving.model is None else serving.model
    env = account.env if serving.env is None else serving.env
    account = msgspec.structs.replace(account, model=model, env=env)
    name = fill(deployment.model_name, stars) if stars else deployment.model_name
    return _built(account, serving, dialects, "\n".join((deployment.id, *stars)), name)


def _account(
    deployment: Deployment, settings: Mapping[str, Any], env: Mapping[str, str], stars: tuple[str, ...], otherwise: str
) -> Account:
    """Determine who serves a deployment, and as which model."""
    name, model = deployment.provider or otherwise, deployment.upstream_model
    if stars:
        model = fill(model, stars)
        deployment = dataclasses.replace(deployment, model=fill(deployment.model, stars))
        name, model = resolve(f"{name}/{model}" if name else model, deployment.api_base)
    provider = get_provider(name)
    if provider is None:
        raise GatewayError("not_configured", f"The provider {name!r} of model {deployment.model_name!r} is not known.")
    env, foreign, names = _lent(deployment, provider, env)
    verify = deployment.ssl_verify if deployment.ssl_verify is not None else settings.get("ssl_verify")
    return Account(
        provider=provider,
        model=model,
        deployment=deployment,
        settings=settings,
        env=env,
        tls=_tls(verify),
        foreign=foreign,
        withheld=names,
    )


def _lent(
    deployment: Deployment, provider: Provider, env: Mapping[str, str]
) -> tuple[Mapping[str, str], bool, tuple[str, ...]]:
    """Return the environment without the vendor's keys where a deployment leads elsewhere; whether it does, and the
    names of those keys."""
    address = address_of(deployment, provider)
    if not is_foreign(provider, address, env):
        return env, False, ()
    names = withheld(provider, address, env)
    return {name: value for name, value in env.items() if name not in names} if names else env, True, names


def address_of(deployment: Deployment, provider: Provider) -> str | None:
    """Return the address that a deployment itself gives."""
    named = deployment.params.get("aws_bedrock_runtime_endpoint") if provider.name == BEDROCK else None
    return deployment.api_base or (word(named) or None)


def _dialects(account: Account) -> tuple[str, ...]:
    """List what is sure to be spoken at an account's address."""
    deployment = account.deployment
    try:
        return dialects_at(account.provider, deployment.api_base, account.env)
    except ValueError:  # an address out of the environment, which no config check has seen
        text = f"Model {deployment.model_name!r}: the address of {account.provider.name} is no URL."
        raise GatewayError("not_configured", text) from None


def _built(account: Account, serving: Serving, dialects: tuple[str, ...], live_id: str, name: str) -> Target:
    """Make the target, from everything that is known of it. ``name``: by which clients ask for it."""
    provider, deployment, settings = account.provider, account.deployment, account.settings
    words, rules_of = _words(deployment, serving), account.model if serving.rules_of is None else serving.rules_of
    wire = wire_of(provider, account.model, rules_of, dialects, at_own_host(provider, deployment.api_base, account.env))
    whole, stream = _timeouts(deployment, settings, "")
    says_form = words.said is not None and words.said.request.output is not None
    attempt, validates = attempt_for(provider.name), bool(_first(deployment.validate, settings.get("validate")))
    return Target(
        account=account,
        id=deployment.id,
        live_id=live_id,
        deployment=deployment,
        provider=provider,
        settings=settings,
        env=account.env,
        tls=account.tls,
        model=account.model,
        label=account.label,
        engine=deployment.engine,
        path_model=account.model if serving.path_model is None else serving.path_model,
        stream_names=serving.stream_names,
        timeouts=whole,
        stream_timeouts=stream,
        tiers=_tiers(deployment, settings),
        attempt=attempt,
        model_raw=Raw(msgspec.json.encode(account.model)),
        rules_of=rules_of,
        forms_of=provider.name if serving.forms_of is None else serving.forms_of,
        wire=wire,
        guides=guides_of(provider, deployment.guided_engine, wire.official),
        said=words.said,
        defaults=words.plain,
        extra_body=words.body,
        drop=words.drop,
        cache_points=_points(deployment, settings, rules_of),
        lays=bool(words.plain or words.body or words.drop),
        says_form=says_form,
        notes=words.wrong,
        drop_params=bool(_first(deployment.drop_params, settings.get("drop_params"))),
        edit=serving.edit,
        seal=serving.seal,
        on_unsupported=deployment.on_unsupported or "warn",
        validates=validates,
        special=validates or says_form,
        only=dialects[0] if len(dialects) == 1 and attempt is None and not (validates or says_form) else "",
        answer_lines=_answer_lines(deployment.id, account.label),
        charged=bool(settings.get("cost_discount_config") or settings.get("cost_margin_config")),
        budgets=tuple(_budgets(deployment, settings, provider.name, live_id)),
        **_choosing(deployment, settings),
        stays=_stays(deployment, settings, name),
        owner=str(deployment.info.get("owned_by") or provider.owned_by),
        dialects=dialects,
    )


def _stays(deployment: Deployment, settings: Mapping[str, Any], name: str) -> frozenset[bytes] | None:
    """Return the names of clients' headers that do not go on to a deployment with the others; None where none do."""
    groups = deployment.info.get("access_groups") or ()
    if not forwards_for(settings.get("forwards") or (), name, groups):
        return None
    return STAYS | {settings["key_header"].encode()}


def _choosing(deployment: Deployment, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a target by which it is chosen, and what is asked beside it."""
    params = deployment.params
    return {
        "weight": deployment.weight,
        "rpm": deployment.rpm,
        "tpm": deployment.tpm,
        "quotas": read_quotas(params),
        "silent_model": params.get("silent_model") or "",
        "order": deployment.order,
        "tags": deployment.tags,
        "most": params.get("max_parallel_requests") or settings.get("default_max_parallel_requests"),
    }


class Stars:
    """Targets of wildcard deployments, made on first use and kept: at most ``keep`` names per deployment."""

    def __init__(self, keep: int = 1000) -> None:
        self._made: dict[tuple[str, ...], Target] = {}
        self._keep = keep

    def target(self, base: Target, stars: tuple[str, ...], settings: Mapping[str, Any]) -> Target:
        """Find the target of a name. Raises LookupError when it belongs to no known provider."""
        key = (base.id, *stars)
        made = self._made.get(key)
        if made is None:
            if len(self._made) >= self._keep:
                self._made.pop(next(iter(self._made)))
            made = self._made[key] = build_target(base.deployment, settings, base.env, stars)
        return made


class _Words(NamedTuple):
    """What a deployment says where requests do not. ``said``: read; ``plain``: in Chat's words, without those of
    vLLM's that go the way that a request's own go; ``body``: for the body as it goes out; ``drop``: what is left out of
    it."""

    said: Said | None
    plain: dict[str, Raw]
    body: dict[str, Raw]
    wrong: tuple[str, ...]
    drop: tuple[str, ...]


def _words(deployment: Deployment, serving: Serving) -> _Words:
    """Read a deployment's parameters. What nobody can read is left out, and told."""
    given = {key: Raw(msgspec.json.encode(value)) for key, value in deployment.defaults.items()}
    body = {key: Raw(msgspec.json.encode(value)) for key, value in deployment.extra_body.items()}
    guides = {key: body.pop(key) for key in guided.FIELDS & body.keys()}
    said, wrong = read_said({**guides, **given})
    plain = {key: raw for key, raw in given.items() if key not in wrong and key not in guided.FIELDS}
    told = tuple(
        f"Model {deployment.model_name!r}: litellm_params.{key} is left out: "
        # Whoever pasted a key into the wrong place must not find it in a log.
        f"{Mask(_texts(deployment.defaults.get(key))).text(error.message)}"
        for key, error in wrong.items()
    )
    drop = (*deployment.additional_drop_params, *serving.drop)
    return _Words(said, plain, {**serving.body, **body}, told, drop)


def _texts(value: object) -> Iterator[str]:
    """Yield the texts in a value of the config."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from (*_texts(key), *_texts(inner))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)


def _points(deployment: Deployment, settings: Mapping[str, Any], rules_of: str) -> tuple[Point, ...]:
    """Return where a deployment's prompts are cached: as its entry says, else as all of Claude's are."""
    own = deployment.params.get("cache_control_injection_points")
    if own is not None:
        return read_points(own)
    if not settings.get("prompt_caching") or not facts(rules_of).is_claude:
        return ()
    return usual_points(settings["prompt_caching_ttl"])


def _timeouts(deployment: Deployment, settings: Mapping[str, Any], tier: str) -> tuple[Timeouts, Timeouts]:
    """Return the timeouts of whole answers, and of streams, to requests of a service tier; "" for any other."""
    of_tier, of_tier_streams = (((deployment.params.get(table) or {}).get(tier)) for table in TIERS)
    whole = of_tier or deployment.timeout or settings.get("timeout") or DEFAULT_TIMEOUT
    stream = of_tier_streams or deployment.stream_timeout or settings.get("stream_timeout") or whole
    return of_whole(whole), of_stream(stream, whole)


def _tiers(deployment: Deployment, settings: Mapping[str, Any]) -> dict[str, tuple[Timeouts, Timeouts]]:
    """Collect the timeouts by service tier, of whole answers and of streams."""
    named = [tier for table in TIERS for tier in deployment.params.get(table) or ()]
    return {tier: _timeouts(deployment, settings, tier) for tier in named}


def _tls(verify: object) -> Tls | None:
    """Read ``ssl_verify``: nothing, a switch, or the path of a file of authorities."""
    if verify is None or verify is True:
        return None
    return Tls(verify=False) if verify is False else Tls(ca_file=str(verify))


def _first(own: object, general: object) -> object:
    """Choose the deployment's own word, else the one that holds for all."""
    return general if own is None else own


def _answer_lines(id: str, label: str) -> bytes:
    """Write the header lines of every answer that say who gave it."""
    return f"x-litellm-model-id: {_line(id)}\r\nx-litellm-model-name: {_line(label)}\r\n".encode()


def _line(text: str) -> str:
    """Make a header value: Latin-1 text without control characters, whatever a config file holds."""
    return "".join(c if 31 < ord(c) < 127 else "?" for c in text)


def _budgets(
    deployment: Deployment, settings: Mapping[str, Any], provider: str, live_id: str
) -> Iterator[tuple[str, float]]:
    """Yield names and seconds of the budgets that a deployment's costs count against: its provider's and its own."""
    if provider in settings.get("budgets", ()):
        yield provider, settings["budgets"][provider][1]
    own = own_budget(deployment)
    if own is not None:
        yield purse_of(live_id), own[1]


def settings_of(config: Config) -> dict[str, Any]:
    """Collect the settings that stand behind each deployment's own: router_settings before litellm_settings."""
    router, module = config.router, config.litellm
    return {
        "timeout": router.timeout or module.request_timeout,
        "stream_timeout": router.stream_timeout,
        "ssl_verify": module.ssl_verify,
        "drop_params": module.drop_params,
        "enable_azure_ad_token_refresh": module.values.get("enable_azure_ad_token_refresh"),
        "cost_discount_config": _by_provider(module.values.get("cost_discount_config")),
        "cost_margin_config": _by_provider(module.values.get("cost_margin_config")),
        "validate": module.enable_json_schema_validation,
        "prompt_caching": bool(module.values.get("enable_anthropic_prompt_caching")),
        "prompt_caching_ttl": module.values.get("anthropic_prompt_caching_ttl") or "",
        "budgets": router.values.get(BUDGETS) or {},
        "default_max_parallel_requests": router.values.get("default_max_parallel_requests"),
        "forwards": _forwards(config),
        "key_header": str(config.general.values.get("litellm_key_header_name") or "").strip().lower(),
    }


def _forwards(config: Config) -> tuple[str, ...]:
    """List the models, patterns and access groups for which clients' headers go on."""
    if config.general.values.get(FORWARDS):
        return ("*",)
    return read_group_settings(config.litellm.values, [])


def _by_provider(table: Mapping[str, Any] | None) -> dict[str, Any]:
    """Write a table with the providers' own names: `vllm` is `hosted_vllm`."""
    found = {}
    for key, value in (table or {}).items():
        name, slash, model = key.partition("/")
        provider = get_provider(name)
        found[f"{provider.name if provider else name}{slash}{model}"] = value
    return found
