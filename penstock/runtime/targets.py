"""Deployments of the config as targets: everything about an upstream call that does not depend on the request.

What can be made once is made once: the URL, the head of the request with its credential, the header lines of the
answer. A missing key or address is no reason not to start; it is an error of the calls that need it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec
from msgspec import Raw

from penstock.core.dialects import guided
from penstock.core.dialects.base import Dialect, Wire
from penstock.core.errors import GatewayError
from penstock.core.providers import get as get_provider
from penstock.core.providers.bedrock import BEDROCK
from penstock.core.providers.google import CLAUDE_VERSION, VERTEX, vertex_dialects
from penstock.core.providers.models import is_adaptive, takes_schema
from penstock.core.providers.resolve import (
    auth_headers,
    credential,
    default_headers,
    missing_key_message,
    more_headers,
    needs_key,
    resolve,
)
from penstock.core.providers.spec import NO_QUIRKS, Provider, Quirks
from penstock.core.providers.urls import at_own_host, dialects_at, endpoint
from penstock.core.providers.watsonx import Edit
from penstock.runtime.attempts import attempt_for
from penstock.runtime.cloud import Signer, environment, signer_for
from penstock.runtime.cloud.entering import enter
from penstock.runtime.health import Health
from penstock.runtime.http import Origin, Timeouts, Tls, render_head
from penstock.runtime.prices import TargetPrice, charged, price_of

if TYPE_CHECKING:
    from penstock.config import Config, Deployment

DEFAULT_TIMEOUT = 600.0  # seconds to the first byte and between bytes; LiteLLM's 6000 s only hides dead upstreams
CONNECT_TIMEOUT = 10.0
_OFFICIAL = frozenset({"openai", "anthropic", "azure"})
# Operations whose body is a form: its boundary, and so its content type, comes with each request.
FORMS = frozenset({"audio_transcriptions", "audio_translations", "images_edits"})
_CLAUDE_TOO = VERTEX | {"azure", "azure_ai"}  # clouds that serve Anthropic's own models
_FAMILY = {"openai": "openai", "azure": "openai", "anthropic": "anthropic", "cohere_chat": "cohere"}


class Endpoint(msgspec.Struct, frozen=True):
    """Where one dialect (or operation) of a target is served. ``head``: the request's head up to its length."""

    origin: Origin
    head: bytes
    url: str
    quirks: Quirks
    fallback_headers: tuple[tuple[bytes, bytes], ...] = ()  # for clients that send none of their own
    signer: Signer | None = None

    def __repr__(self) -> str:
        return f"Endpoint({self.origin})"  # the head holds the key, and some addresses do


class Target:
    """One deployment, ready to be called. ``star`` stands in for the model's ``*``."""

    def __init__(
        self, deployment: Deployment, settings: Mapping[str, Any], env: Mapping[str, str], star: str = ""
    ) -> None:
        self.deployment = deployment
        self.env = env
        self.settings = settings
        self.id = deployment.id
        name, model = deployment.provider, deployment.upstream_model
        if star:
            model = model.replace("*", star)
            name, model = resolve(f"{name}/{model}" if name else model, deployment.api_base)
        provider = get_provider(name)
        if provider is None:
            raise GatewayError(
                "not_configured", f"The provider {name!r} of model {deployment.model_name!r} is not known."
            )
        self.provider: Provider = provider
        self.model = model
        self.path_model = model  # in URLs; another where a model is reached by an ARN
        self.model_raw = Raw(msgspec.json.encode(model))
        self.label = f"{provider.name}/{model}"
        try:
            self.dialects: tuple[str, ...] = dialects_at(provider, deployment.api_base, env)
        except ValueError as error:  # an address out of the environment, which no config check has seen
            text = f"Model {deployment.model_name!r}: the address of {provider.name} is no URL: {error}"
            raise GatewayError("not_configured", text) from None
        self.weight = deployment.weight
        self.rpm = deployment.rpm
        self.tpm = deployment.tpm
        self.defaults = {key: Raw(msgspec.json.encode(value)) for key, value in deployment.defaults.items()}
        self.drop = deployment.additional_drop_params
        self.tls = _tls(deployment.ssl_verify if deployment.ssl_verify is not None else settings.get("ssl_verify"))
        self.timeouts, self.stream_timeouts = _timeouts(deployment, settings)
        self.rules_of = model  # whose quirks hold, where the model's name is the user's own
        self.forms_of = provider.name  # whose bodies the small operations have
        self.stream_names: Mapping[str, str] = {}  # dialect -> what ``endpoint`` calls a stream in it
        self.edit: Edit | None = None  # of every chat's body, and ``seal`` of every other one: the account in it
        self.seal: Edit | None = None
        if provider.name in VERTEX:
            self._enter_vertex()
        enter(self)
        self.attempt = attempt_for(provider.name)  # None: ``lanes.run`` does it all
        self.wire = self._make_wire(provider.quirks_for(self.rules_of, "openai_chat"))
        lines = f"x-litellm-model-id: {_line(self.id)}\r\nx-litellm-model-name: {_line(self.label)}\r\n"
        self.answer_lines = lines.encode()
        self._wires: dict[str, Wire] = {}
        drop = deployment.drop_params if deployment.drop_params is not None else settings.get("drop_params")
        self.drop_params = bool(drop)
        self.guides = self._guides(deployment.guided_engine)
        self.guided_defaults = _take_guided(self.defaults)
        validate = deployment.validate
        self.validates: bool = bool(settings.get("validate") if validate is None else validate)
        self.special = self.validates or bool(self.guided_defaults)  # plain requests go through ``constrained``, too
        self.on_unsupported = deployment.on_unsupported or "warn"
        self.owner = str(deployment.info.get("owned_by") or provider.owned_by)
        self.health = Health()
        self.asked: set[str] = set()  # dialects that were asked for at run time, see ``speaks``
        self._endpoints: dict[str, Endpoint] = {}

    def _enter_vertex(self) -> None:
        """Vertex AI serves many publishers' models: the model tells the dialect, the account stands in the URL."""
        self.stream_names = {"anthropic": "anthropic_stream"}
        self.env = environment(self.provider.name, self.deployment, self.env)
        self.dialects = vertex_dialects(self.model)
        if self.dialects == ("anthropic",):  # the model stands in the URL, and a version in the body
            self.defaults["anthropic_version"] = Raw(msgspec.json.encode(CLAUDE_VERSION))
            self.drop = (*self.drop, "model")

    def _make_wire(self, quirks: Quirks) -> Wire:
        if self.provider.name == BEDROCK:
            from penstock.runtime.cloud import bedrock

            return bedrock.enter(self)
        name, model, deployment = self.provider.name, self.model, self.deployment
        own = ""  # who made the model, where the provider's name does not say it
        if self.dialects == ("gemini",) or (name in _CLAUDE_TOO and self.dialects == ("anthropic",)):
            own = self.dialects[0]
        return Wire(
            model=model,
            family=own or _FAMILY.get(name, name),
            stream_usage=quirks.stream_usage,
            cache_marks=quirks.cache_marks,
            replay_reasoning=quirks.replay_reasoning,
            adaptive=(name == "anthropic" or own == "anthropic") and is_adaptive(self.rules_of),
            official=(name in _OFFICIAL or bool(own)) and at_own_host(self.provider, deployment.api_base, self.env),
            call_ids=name not in VERTEX,
        )

    def _guides(self, own: str | None) -> str:
        """How it is held to a choice or an expression, see ``constraints``. OpenAI's own rule holds at its own host:
        elsewhere the name stands for any compatible server."""
        guides = own or self.provider.guides
        return "" if own is None and self.provider.name in _OFFICIAL and not self.wire.official else guides

    def wire_for(self, dialect: str) -> Wire:
        """What a renderer of ``dialect`` must know. Only Claude's newer models take a schema in Messages; what a
        compatible server does with one nobody knows, so a forced tool stands in there, as it does in a dialect in which
        a server is known to ignore schemas."""
        made = self._wires.get(dialect)
        if made is None:
            native = dialect != "anthropic" or (self.wire.official and takes_schema(self.rules_of))
            native = native and dialect in (self.provider.schema_dialects or (dialect,))
            native &= "json_schema" not in self._quirks(dialect).no_formats
            made = self._wires[dialect] = msgspec.structs.replace(self.wire, native_schema=native)
        return made

    def operation(self, dialect: Dialect, stream: bool) -> str:
        """What ``endpoint`` calls a request in ``dialect``: streams may have a URL of their own."""
        if not stream:
            return dialect.name
        name = dialect.stream_endpoint or dialect.name
        return self.stream_names.get(name, name)

    def endpoint(self, what: str) -> Endpoint:
        """The endpoint of a dialect or operation. Raises "not_configured" naming the variable that is missing."""
        found = self._endpoints.get(what)
        if found is None:
            found = self._endpoints[what] = self._make(what)
        return found

    def _credential(self, own: bool) -> tuple[Signer | None, str | None]:
        """What signs the requests, else the key. ``own``: the admin wrote an ``authorization`` header, so that no other
        is made and a key may be missing."""
        deployment = self.deployment
        signer = None if own else signer_for(self)
        if signer is not None:
            return signer, None
        key = credential(self.provider, deployment.api_key.reveal() if deployment.api_key else None, self.env)
        if key is None and not own and needs_key(self.provider, deployment.api_base, self.env):
            raise GatewayError("not_configured", missing_key_message(self.provider))
        return None, key

    def _make(self, what: str) -> Endpoint:
        deployment = self.deployment
        names = {name.lower() for name in deployment.extra_headers}
        own = "authorization" in names
        signer, key = self._credential(own)
        try:
            url = endpoint(
                self.provider,
                deployment.api_base,
                self.env,
                what,
                model=self.path_model,
                api_version=deployment.api_version,
            )
            parts = urlsplit(url)
            origin = Origin.parse(url)
            path = parts.path + (f"?{parts.query}" if parts.query else "")
            headers = [] if what in FORMS else [(b"content-type", b"application/json")]
            headers.append((b"user-agent", b"penstock"))
            if signer is None and not (own and key is None):
                headers += auth_headers(self.provider, key, what, url)
            headers += more_headers(self.provider, url)
            headers += [(n.encode(), self.env[v].encode()) for n, v in self.provider.headers.items() if self.env.get(v)]
            if deployment.organization and self.provider.name == "openai":
                headers.append((b"openai-organization", deployment.organization.encode()))
            headers = [(n, v) for n, v in headers if n.decode() not in names]
            headers += [(n.lower().encode(), v.encode()) for n, v in deployment.extra_headers.items()]
            head = render_head(b"POST", path.encode(), origin, headers)
            fallback = tuple(pair for pair in default_headers(what) if pair[0].decode() not in names)
            quirks = self._quirks(what)
            if replace(quirks, by_model=()) == NO_QUIRKS:
                quirks = NO_QUIRKS  # nothing to do is told by one comparison per request
            return Endpoint(origin, head, url, quirks, fallback, signer)
        except (LookupError, ValueError) as error:
            text = error.args[0] if error.args else str(error)
            raise GatewayError("not_configured", f"Model {deployment.model_name!r}: {text}") from None

    def _quirks(self, what: str) -> Quirks:
        """The row's quirks for this model, without what ``allowed_openai_params`` says that the upstream takes."""
        quirks = self.provider.quirks_for(self.rules_of, what.removesuffix("_stream"))
        if self.edit is not None and what in (*self.dialects, *self.stream_names.values()):
            quirks = replace(quirks, edit=self.edit)
        allowed = frozenset(self.deployment.allowed_openai_params)
        if not allowed:
            return quirks
        formats = frozenset() if "response_format" in allowed else quirks.no_formats
        return replace(
            quirks, drop=quirks.drop - allowed, unsupported=quirks.unsupported - allowed, no_formats=formats
        )

    @cached_property
    def price(self) -> TargetPrice:
        """What it costs and can do, looked up at the first question."""
        found = price_of(self.provider.name, self.model, self.deployment)
        return charged(found, self.settings, self.provider.name, self.model)

    @property
    def origin(self) -> Origin | None:
        """The host this target is on, None while its address is not configured."""
        try:
            return self.endpoint(self.dialects[0]).origin if self.dialects else None
        except GatewayError:
            return None


class Stars:
    """Targets of wildcard deployments, made on first use and kept: at most ``keep`` names per deployment."""

    def __init__(self, keep: int = 1000) -> None:
        self._made: dict[tuple[str, str], Target] = {}
        self._keep = keep

    def target(self, base: Target, star: str, settings: Mapping[str, Any]) -> Target:
        """Raises LookupError when the name belongs to no known provider."""
        key = (base.id, star)
        made = self._made.get(key)
        if made is None:
            if len(self._made) >= self._keep:
                self._made.pop(next(iter(self._made)))
            made = self._made[key] = Target(base.deployment, settings, base.env, star)
        return made


def _take_guided(defaults: dict[str, Raw]) -> dict[str, Raw]:
    """Takes vLLM's constraints out of a deployment's defaults: they go the way that a request's own go."""
    found = {key: defaults.pop(key) for key in guided.FIELDS & defaults.keys()}
    extra = msgspec.json.decode(defaults.get("extra_body", Raw(b"{}")), type=dict[str, Raw])
    inner = {key: extra.pop(key) for key in guided.FIELDS & extra.keys()}
    if inner:
        defaults["extra_body"] = Raw(msgspec.json.encode(extra))
    return {**inner, **found}


def _timeouts(deployment: Deployment, settings: Mapping[str, Any]) -> tuple[Timeouts, Timeouts]:
    """Those of whole answers, and of streams."""
    whole = deployment.timeout or settings.get("timeout") or DEFAULT_TIMEOUT
    stream = deployment.stream_timeout or settings.get("stream_timeout") or whole
    connect = min(CONNECT_TIMEOUT, whole)
    return (
        Timeouts(connect=connect, first_byte=whole, stall=whole, total=whole, pool=whole),
        Timeouts(connect=connect, first_byte=stream, stall=stream, total=None, pool=stream),
    )


def _tls(verify: object) -> Tls | None:
    if verify is None or verify is True:
        return None
    return Tls(verify=False) if verify is False else Tls(ca_file=str(verify))


def _line(text: str) -> str:
    """A header value: Latin-1 text without control characters, whatever a config file holds."""
    return "".join(c if 31 < ord(c) < 127 else "?" for c in text)


def settings_of(config: Config) -> dict[str, Any]:
    """The settings that stand behind each deployment's own: router_settings before litellm_settings."""
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
    }


def _by_provider(table: Mapping[str, Any] | None) -> dict[str, Any]:
    """A table with the providers' own names: `vllm` is `hosted_vllm`."""
    found = {}
    for key, value in (table or {}).items():
        name, slash, model = key.partition("/")
        provider = get_provider(name)
        found[f"{provider.name if provider else name}{slash}{model}"] = value
    return found
