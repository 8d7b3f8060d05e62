"""From what a user writes (model, api_base, key) to what goes on the wire (provider, upstream model, headers).

The order of the rules is LiteLLM's `get_llm_provider`: explicit provider, first path segment, known host of `api_base`,
bare name. Two things are friendlier on purpose: an unknown name with an `api_base` is an OpenAI-compatible server, and
a server of the user's needs no key. URLs are in `urls.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from penstock.core.providers import PROVIDERS, get, names
from penstock.core.providers.azure import without_series
from penstock.core.providers.foundry import foundry_headers
from penstock.core.providers.snowflake import token_headers
from penstock.core.providers.spec import Provider, matches
from penstock.core.providers.urls import MissingBase, at_own_host, endpoint, provider_of_host

__all__ = [
    "BadKey",
    "MissingBase",
    "UnknownProvider",
    "asks_for_responses",
    "auth_headers",
    "credential",
    "default_headers",
    "endpoint",
    "entra",
    "missing_key_message",
    "more_headers",
    "needs_key",
    "resolve",
    "upstream_model",
]

ANTHROPIC_VERSION = b"2023-06-01"
DUMMY_KEY = "dummy"
"""Sent where no key is needed: OpenAI's and Anthropic's clients cannot leave it out, so servers are used to one."""


class UnknownProvider(LookupError):
    """No rule finds a provider for a model name.

    `model` is the name as given, `nearest` what may have been meant, best first.
    """

    def __init__(self, message: str, model: str, nearest: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.model = model
        self.nearest = nearest


class BadKey(ValueError):
    """A key that cannot be sent in a header. The message never shows the key."""


def resolve(model: str, api_base: str | None = None, custom_provider: str | None = None) -> tuple[str, str]:
    """Find (provider name, upstream model) for `model`.

    1. `custom_provider`, if given; the model may or may not repeat it as a prefix.
    2. The first path segment, if it is a provider; the rest is kept whole (`openrouter/anthropic/x`,
       `openai//models/GLM-FP8` -> `/models/GLM-FP8`, `ollama/llama3.2:70b`).
    3. The host of `api_base`, if it is a provider's.
    4. A bare known name (`gpt-*`, `claude*`, ...), see `names.BARE`.
    5. With an `api_base`: `openai`, that is, an OpenAI-compatible server.

    `*` stays: `openai/*` -> ("openai", "*"); `*` alone -> ("", "*"), to be resolved with the name in the request.
    Raises `UnknownProvider`, naming the model and what may have been meant.
    """
    model = model.strip()
    if not model:
        raise UnknownProvider("the model is empty; write provider/model, for example openai/gpt-4o", model)
    head, slash, rest = model.partition("/")
    if custom_provider:
        provider = get(custom_provider)
        if provider is None:
            raise _unknown_name(custom_provider, model, f"custom_llm_provider {custom_provider!r} of model {model!r}")
        if slash and rest and head in (custom_provider, provider.name):
            model = rest
        return provider.name, upstream_model(provider, model, api_base)
    if head == "*":
        return "", model
    if slash and (provider := get(head)) is not None:
        if not rest:
            raise UnknownProvider(f"model {model!r} names a provider and no model; write {head}/model", model)
        return provider.name, upstream_model(provider, rest, api_base)
    provider = (provider_of_host(api_base) if api_base else None) or _by_bare_name(model)
    if provider is None and api_base:
        provider = PROVIDERS["openai"]
    if provider is None:
        raise _unknown_name(head, model, f"model {model!r}")
    return provider.name, upstream_model(provider, model, api_base)


def upstream_model(provider: Provider, model: str, api_base: str | None = None) -> str:
    """Return the model name that `provider` takes, from the one behind its prefix.

    Short names are written out (`bedrock/claude-3-opus`), Fireworks gets its `accounts/fireworks/models/`, Hugging
    Face's `together/deepseek-ai/DeepSeek-R1` becomes `deepseek-ai/DeepSeek-R1:together`. Nothing of this is done when
    the model has an `api_base` elsewhere, or contains `*`: call it again with the name that takes the star's place.
    The word that asks for Responses goes everywhere, see `asks_for_responses`.
    """
    if speaks_responses(provider):
        model = model.removeprefix(names.RESPONSES)
    if "*" in model or not at_own_host(provider, api_base):
        return model
    if provider.name == "azure":
        return without_series(model)
    if api_base is None:
        model = names.SHORT.get(provider.name, {}).get(model, model)
    if provider.name == "huggingface" and model.count("/") == 2:
        # A repository has two segments, so the first of three is the inference provider (LiteLLM's spelling).
        via, _, model = model.partition("/")
        return f"{model}:{via}"
    if provider.model_prefix and not model.startswith(provider.model_prefix.partition("/")[0] + "/"):
        # `#` marks a Fireworks deployment, which is a full name already.
        return model if "#" in model else provider.model_prefix + model
    return model


def speaks_responses(provider: Provider) -> bool:
    """Tell whether a provider, or a server of its kind, may be asked in Responses."""
    return "openai_responses" in (*provider.dialects, *provider.may_speak)


def asks_for_responses(provider: Provider, written: str) -> bool:
    """Tell whether a model as the user wrote it, with or without its provider, is to be asked in Responses."""
    head, _, rest = written.partition("/")
    model = rest if get(head) is provider else written
    return model.startswith(names.RESPONSES) and speaks_responses(provider)


def _by_bare_name(model: str) -> Provider | None:
    for name, patterns in names.BARE:
        if any(matches(pattern, model) for pattern in patterns):
            return PROVIDERS[name]
    return None


def _unknown_name(head: str, model: str, what: str) -> UnknownProvider:
    import difflib  # only on the way to an error

    tail = model.partition("/")[2]
    near = difflib.get_close_matches(head.lower(), [*PROVIDERS, *names.PROVIDER_ALIASES], n=3, cutoff=0.7)
    nearest = [f"{name}/{tail or '...'}" for name in near]
    if not tail:
        first, dash, rest = model.partition("-")
        begins = {pattern.partition("-")[0] for _, patterns in names.BARE for pattern in patterns if "-" in pattern}
        begins.add("claude")
        nearest += [f"{begin}{dash}{rest}" for begin in difflib.get_close_matches(first.lower(), sorted(begins), n=2)]
    nearest = [name for name in nearest if name != model]
    hint = f" Did you mean {' or '.join(repr(name) for name in nearest)}?" if nearest else ""
    message = (
        f"{what}: no provider is known by that name.{hint} Write provider/model (for example openai/{model}), "
        "or give api_base for an OpenAI-compatible server."
    )
    return UnknownProvider(message, model, tuple(nearest))


def credential(provider: Provider, api_key: str | None, env: Mapping[str, str]) -> str | None:
    """Find the key: `api_key` of the model, else the first of the provider's environment names that is set; else
    None."""
    if api_key and api_key.strip():
        return api_key.strip()
    for name in provider.keys:
        if value := env.get(name, "").strip():
            return value
    return None


def needs_key(provider: Provider, api_base: str | None, env: Mapping[str, str]) -> bool:
    """Tell whether a call needs a key: not to a local engine, to a server of the user's, or where requests are
    signed."""
    if provider.local or provider.auth in ("sigv4", "oauth", "none"):
        return False
    return at_own_host(provider, api_base, env)


def missing_key_message(provider: Provider) -> str:
    """Say what to do when a provider that needs a key has none; name every variable that would do."""
    if not provider.keys:
        wanted = f"set {', '.join(provider.env)}" if provider.env else "give api_key"
        return f"No credentials for {provider.name}: {wanted} (in the environment or in the model's litellm_params)."
    first, *others = provider.keys
    more = f" (or {', '.join(others)})" if others else ""
    text = f"No API key for {provider.name}: set {first}{more}, or api_key in the model's litellm_params"
    also = "; or tenant_id, client_id and client_secret of an Entra ID account" if entra(provider) else ""
    return f"{text}{also}."


def entra(provider: Provider) -> bool:
    """Tell whether tokens of Microsoft Entra ID are taken in place of a key."""
    return provider.name.startswith("azure") and provider.auth == "api-key"


def auth_headers(
    provider: Provider, key: str | None, dialect: str = "openai_chat", url: str = ""
) -> list[tuple[bytes, bytes]]:
    """Make the headers that carry `key`, names in lower case. `url`: where they go, which matters to a few.

    Bearer providers that also speak the Anthropic dialect get both `authorization` and `x-api-key` there: some document
    one (DeepSeek), some take only the other (Ollama's cloud, vLLM), and each ignores what it does not use. Anthropic
    itself gets exactly one: `x-api-key`, or Bearer for an OAuth token. Without a key a dummy goes out, except where
    requests are signed, and to Ollama: its own clients send none, and a proxy in front of it may judge what is sent.
    Raises `BadKey`.
    """
    auth = provider.auth
    if auth == "none" or (key is None and (auth in ("sigv4", "oauth") or "ollama" in provider.dialects)):
        return []
    value = _clean(provider, key if key is not None else DUMMY_KEY)
    bearer = (b"authorization", b"Bearer " + value)
    if dialect.startswith("gemini") and auth == "bearer":
        return [(b"x-goog-api-key", value)]
    if auth == "x-api-key":
        return [bearer if value.startswith(b"sk-ant-oat") else (b"x-api-key", value)]
    if auth == "api-key" and value.startswith(b"eyJ") and value.count(b".") == 2:
        return [bearer]  # an Entra ID token; Azure's keys have no dots
    if provider.name == "azure_ai" or (auth == "api-key" and dialect.startswith("anthropic")):
        return foundry_headers(url, value, dialect)
    if auth in ("api-key", "x-goog-api-key"):
        return [(auth.encode(), value)]
    if provider.name == "snowflake":
        return token_headers(value)
    if dialect.startswith("anthropic"):
        return [bearer, (b"x-api-key", value)]
    return [bearer]


def more_headers(provider: Provider, url: str) -> list[tuple[bytes, bytes]]:
    """Return the headers beside the credential that a provider wants at `url`. The Model Inference API of Azure AI
    Foundry refuses fields that it does not know unless told to hand them on."""
    if provider.name == "azure_ai" and "/models/" in urlsplit(url).path:
        return [(b"extra-parameters", b"pass-through")]
    return []


def default_headers(dialect: str) -> list[tuple[bytes, bytes]]:
    """Return the headers that a dialect requires and that the client's own win over: `anthropic-version`."""
    if dialect.startswith("anthropic"):
        return [(b"anthropic-version", ANTHROPIC_VERSION)]
    return []


def _clean(provider: Provider, key: str) -> bytes:
    # A key read from a file or a secret store often ends in a newline; inside it would split the header.
    key = key.strip()
    if not key.isascii() or not key.isprintable():
        raise BadKey(
            f"the API key for {provider.name} has a line break or a character outside ASCII, which no header "
            "carries; check how it was copied"
        )
    return key.encode("ascii")
