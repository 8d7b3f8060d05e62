"""Where a request goes: base URL and path, however the user wrote the base."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import urlsplit

from penstock.core.providers import PROVIDERS
from penstock.core.providers.azure import azure_url
from penstock.core.providers.bases import EMBED, is_whole, rewritten
from penstock.core.providers.bedrock import BEDROCK, bedrock_url
from penstock.core.providers.cohere import COHERE, COMPATIBILITY, OPERATIONS, cohere_url
from penstock.core.providers.foundry import foundry_url
from penstock.core.providers.google import GEMINI, METHODS, VERTEX, gemini_url, vertex_site, vertex_url
from penstock.core.providers.huggingface import HUB, NO_RANKING, hub_url
from penstock.core.providers.sap import NAME as SAP
from penstock.core.providers.sap import sap_url
from penstock.core.providers.spec import Provider
from penstock.core.providers.watsonx import NAME as WATSONX
from penstock.core.providers.watsonx import is_gateway, watsonx_url

SUFFIXES: Mapping[str, str] = {
    "openai_chat": "/chat/completions",
    "openai_responses": "/responses",
    "realtime": "/realtime",
    "openai_responses_compact": "/responses/compact",
    "openai_responses_count_tokens": "/responses/input_tokens",
    "completions": "/completions",
    "embeddings": "/embeddings",
    "moderations": "/moderations",
    "rerank": "/rerank",
    "images_generations": "/images/generations",
    "images_edits": "/images/edits",
    "images_variations": "/images/variations",
    "audio_speech": "/audio/speech",
    "audio_transcriptions": "/audio/transcriptions",
    "audio_translations": "/audio/translations",
    "files": "/files",
    "batches": "/batches",
    "models": "/models",
    "anthropic": "/v1/messages",
    "anthropic_count_tokens": "/v1/messages/count_tokens",
    "anthropic_models": "/v1/models",
    "anthropic_text": "/v1/complete",
    "ollama": "/api/chat",
    "ollama_generate": "/api/generate",
    "ollama_embed": "/api/embed",
    "ollama_tags": "/api/tags",
    "ollama_show": "/api/show",
    "cohere": "/chat",
    "cohere_embed": "/embed",
    "anthropic_stream": "/v1/messages",
    "openai_chat_stream": "/chat/completions",
}
"""Dialect or operation -> path behind the base. `/v1/...` and `/api/...` start at the root of the server, the others
behind its version segment."""

_AT_ROOT: Mapping[str, str] = {"tei_rerank": "rerank", "tei_embed": "cohere_embed"}
"""Operation -> the one whose path it has, but outside of the version segment, whatever the user's base says."""

_TAILS = sorted(
    {s.removeprefix("/v1") for s in SUFFIXES.values()} - {"/models", "/files", "/chat"}, key=len, reverse=True
)
_VERSION = re.compile(r"/v\d+[a-z0-9]*(?=/|$)")
_LAST_VERSION = re.compile(r"(/v\d+[a-z0-9]*)\1*$")
_HOST_AND_PORT = re.compile(r"[a-z0-9-]{1,15}(?:\.[a-z0-9-]{1,15})*:\d{1,5}(?:/[a-z0-9]{0,8}){0,3}")
_VARIABLE = re.compile(r"\{([A-Z0-9_|]+)\}")
_AZURE = frozenset({"azure", "azure_text"})
_HOSTS_BY_SHAPE: tuple[tuple[str, str, str], ...] = (
    ("", ".openai.azure.com", "azure"),
    ("", ".cognitiveservices.azure.com", "azure"),
    ("", ".services.ai.azure.com", "azure_ai"),
    ("", ".models.ai.azure.com", "azure_ai"),
    ("bedrock-runtime.", ".amazonaws.com", "bedrock"),
    ("bedrock-runtime-fips.", ".amazonaws.com", "bedrock"),
    ("bedrock-runtime.", ".amazonaws.com.cn", "bedrock"),
    ("", ".vpce.amazonaws.com", "bedrock"),
    ("bedrock-mantle.", ".api.aws", "bedrock_mantle"),
    ("", "-aiplatform.googleapis.com", "vertex_ai"),
    ("", "aiplatform.googleapis.com", "vertex_ai"),
    ("aiplatform.", ".rep.googleapis.com", "vertex_ai"),
    ("", ".p.googleapis.com", "vertex_ai"),
    ("", ".ml.cloud.ibm.com", "watsonx"),
    ("", ".snowflakecomputing.com", "snowflake"),
    ("", ".cloud.databricks.com", "databricks"),
    ("", ".azuredatabricks.net", "databricks"),
    ("", ".endpoints.huggingface.cloud", "huggingface"),
)
"""(host begins, host ends, provider) for hosts that carry a region or an account."""


class MissingBase(LookupError):
    """A provider without a default URL, and none given."""


class BadBase(ValueError):
    """An `api_base` that is no URL."""


def endpoint(
    provider: Provider,
    api_base: str | None,
    env: Mapping[str, str],
    dialect_or_op: str,
    *,
    model: str = "",
    api_version: str | None = None,
) -> str:
    """Return the full URL of a dialect or operation (a key of `SUFFIXES`, or a path that begins with `/`).

    The base is `api_base`, else the first of `provider.bases` that is set, else the row's own. A base of the user may
    end in a slash, leave out the version segment or repeat it, be any leading part of the row's base, or be the full
    path of any operation; a query string stays at the end. `model` and `api_version` matter where the model stands in
    the URL, see `azure.py`, `google.py` and `bedrock.py`. Raises `MissingBase`, `BadBase`, and `LookupError`
    for an operation that has no path.
    """
    if dialect_or_op == "hub_embed":
        return hub_url(model)
    if (same := _AT_ROOT.get(dialect_or_op)) is not None:
        if provider.name == HUB and at_own_host(provider, api_base, env):
            raise MissingBase(NO_RANKING)
        url = endpoint(provider, api_base, env, same, model=model, api_version=api_version)
        return _VERSION.sub("", url)
    given = given_base(provider, api_base, env)
    if (cloud := _cloud_url(provider, given, env, dialect_or_op, model, api_version or "")) is not None:
        return cloud
    suffix, other = _path_of(provider, dialect_or_op)
    if given is None:
        base = other or provider.base
        if base is None:
            raise MissingBase(_missing_base_message(provider))
        return _join(rewritten(provider.name, _fill(provider, base, env), suffix), suffix)
    root, query = _split(provider, given)
    if provider.name == "azure_ai" or (provider.name in _AZURE and suffix.startswith("/v1/messages")):
        return foundry_url(root, query, suffix, model, api_version or "")
    if provider.name in _AZURE:
        version = api_version or env.get("AZURE_API_VERSION", "").strip()
        return azure_url(root, query, suffix, model, version)
    if provider.name in COHERE and dialect_or_op in OPERATIONS:
        return cohere_url(root, query, dialect_or_op, _at_own(provider, given))
    if is_whole(provider.name, root):
        return root + query
    root = rewritten(provider.name, root, suffix)
    if suffix == EMBED:
        return root + suffix + query
    if (full := _full_path(root, suffix)) is not None:
        return full + query
    own = _fill(provider, provider.base, env, soft=True) if provider.base else None
    if other is not None and provider.local:
        root = root[: len(root) - len(urlsplit(root).path)] + urlsplit(other).path
    elif other is not None and _host(root) in {_host(other), _host(own or "")}:
        root = other
    else:
        root = _completed(provider, root, own)
    return _join(root, suffix) + query


def _cloud_url(
    provider: Provider, given: str | None, env: Mapping[str, str], what: str, model: str, api_version: str
) -> str | None:
    """Return the URL at a cloud whose paths are all its own; None for everyone else."""
    if provider.name in VERTEX or what in METHODS:
        return _google_url(provider, given, env, what, model)
    if provider.name == WATSONX and not (given and is_gateway(given)):
        root, query = _split(provider, given if given is not None else _fill(provider, provider.base or "", env))
        return watsonx_url(root, query, what, model, api_version)
    if provider.name == SAP and given is not None:
        root, query = _split(provider, given)
        return sap_url(root, query, what, env.get("AICORE_DEPLOYMENT_ID", "").strip())
    if provider.name == BEDROCK:
        root, query = (_fill(provider, provider.base or "", env), "") if given is None else _split(provider, given)
        return bedrock_url(root, query, what, model)
    return None


def _google_url(provider: Provider, given: str | None, env: Mapping[str, str], what: str, model: str) -> str:
    root, query = (None, "") if given is None else _split(provider, given)
    if root is not None:
        root = root.removesuffix(next((tail for tail in _TAILS if root.endswith(tail)), ""))
    if provider.name in VERTEX:
        return vertex_url(root, query, what, model, env, provider.name == "vertex_ai_beta")
    if root is None:
        root = provider.paths.get(GEMINI) or provider.base
        if root is None:
            raise MissingBase(_missing_base_message(provider))
    return gemini_url(root, query, METHODS[what], model)


def given_base(provider: Provider, api_base: str | None, env: Mapping[str, str]) -> str | None:
    """Find the user's base URL: `api_base`, else the first environment name of the provider that is set; else None."""
    if api_base and api_base.strip():
        return api_base.strip()
    for name in provider.bases:
        if value := env.get(name, "").strip():
            return value
    return None


# Where a vendor's whole API is, when the row's base is one corner of it.
_SITES: Mapping[str, str] = {
    "cohere": "https://api.cohere.com",
    "cohere_chat": "https://api.cohere.com",
    "gemini": "https://generativelanguage.googleapis.com/v1beta",
}
_UPLOADS = frozenset({"upload", "download"})  # Google puts these before the version


def passed_url(provider: Provider, api_base: str | None, env: Mapping[str, str], rest: str) -> str:
    """Return the URL that a client means by ``rest``, a path below ``/{provider}``: percent-encoded, beginning with
    ``/``.

    The version segment is put in where the client left it out and the vendor has one (``/openai/chat/completions``);
    a local engine's paths begin at its root, for there is more at it than ``/v1``. A query of the user's base stays at
    the end. Raises `MissingBase`, `BadBase` and ``LookupError``.
    """
    given = given_base(provider, api_base, env)
    root, query = (None, "") if given is None else _split(provider, given)
    if root is not None:
        root = root.removesuffix(next((tail for tail in _TAILS if root.endswith(tail)), ""))
    if provider.name in VERTEX:
        return vertex_site(root, rest, env) + query
    own = _SITES.get(provider.name) or provider.base
    if root is None:
        if own is None:
            raise MissingBase(_missing_base_message(provider))
        root = _fill(provider, own, env)
    if provider.name in _AZURE:
        root = root.partition("/openai")[0]
    root = root.removesuffix("/openai") if provider.name == GEMINI else root
    found = _LAST_VERSION.search(root) or (_LAST_VERSION.search(own) if own else None)
    version = found[1] if found is not None and not provider.local else ""
    root = _LAST_VERSION.sub("", root)
    path = urlsplit(root).path
    if path and rest.startswith(path + "/"):
        rest = rest.removeprefix(path)
    return root + (rest if not version or _has_version(rest) else version + rest) + query


def _has_version(rest: str) -> bool:
    first, _, more = rest[1:].partition("/")
    if first in _UPLOADS:
        first = more.partition("/")[0]
    return _VERSION.fullmatch("/" + first) is not None


def dialects_at(provider: Provider, api_base: str | None, env: Mapping[str, str]) -> tuple[str, ...]:
    """Return the dialects that are sure to be spoken where the request goes; `provider.may_speak` can be asked for.

    At the provider's own host (or with no default host) that is what the row says. Elsewhere, behind a proxy or on
    another make of server (`openai/local-model` on LM Studio), only the first one is sure. A base that is the full path
    of one dialect, or ends in `/anthropic`, says itself what it speaks.
    """
    given = given_base(provider, api_base, env)
    if given is None:
        return provider.dialects
    path = urlsplit(given).path.rstrip("/")
    for tail, dialect in (
        ("/chat/completions", "openai_chat"),
        ("/responses", "openai_responses"),
        ("/messages", "anthropic"),
        ("/anthropic", "anthropic"),
        ("/anthropic/v1", "anthropic"),
    ):
        if path.endswith(tail):
            return (dialect,)
    if provider.name == GEMINI and path.endswith("/openai"):  # Google's other door, which the user names
        return ("openai_chat",)
    if provider.name in COHERE and COMPATIBILITY in path:  # and Cohere's
        return ("openai_chat",)
    if provider.base is None or _at_own(provider, given):
        return provider.dialects
    first = provider.dialects[:1]
    return tuple(name for name in provider.dialects if name.startswith(first))  # Ollama's two are one server's


def at_own_host(provider: Provider, api_base: str | None, env: Mapping[str, str] | None = None) -> bool:
    """Tell whether requests go to the provider itself and not to a server of the user's."""
    given = given_base(provider, api_base, env or {})
    return given is None or _at_own(provider, given)


def is_home(provider: Provider, api_base: str) -> bool:
    """Tell whether an address is at a host of the vendor's, whatever region or account stands in it."""
    host = host_of(api_base)
    shapes = (shape for shape in _HOSTS_BY_SHAPE if shape[2] == provider.name.removesuffix("_beta"))
    return _at_own(provider, api_base) or any(
        host.startswith(begins) and host.endswith(ends) for begins, ends, _ in shapes
    )


def host_of(url: str) -> str:
    """Return the host of a URL, with its port if it names one; "" for what is no URL."""
    try:
        return _host(url)
    except ValueError:
        return ""


def provider_of_host(api_base: str) -> Provider | None:
    """Find the provider whose host `api_base` names; among several on one host, the one whose path fits best."""
    host = _host(api_base)
    path = urlsplit(api_base).path
    if (found := _hosts().get(host)) is not None:
        return max(found, key=lambda provider: _common(path, urlsplit(provider.base or "").path))
    for begins, ends, name in _HOSTS_BY_SHAPE:
        if host.startswith(begins) and host.endswith(ends):
            return PROVIDERS[name]
    return None


def _path_of(provider: Provider, dialect_or_op: str) -> tuple[str, str | None]:
    """Return (suffix, base of its own or None)."""
    suffix = dialect_or_op if dialect_or_op.startswith("/") else SUFFIXES.get(dialect_or_op)
    special = provider.paths.get(dialect_or_op)
    if special is None and dialect_or_op in ("anthropic_count_tokens", "anthropic_stream"):
        special = provider.paths.get("anthropic")
    if special is not None and special.startswith("/"):
        return special, None
    if suffix is None:
        raise LookupError(f"no URL path is known for {dialect_or_op!r} of provider {provider.name!r}")
    return suffix, special


def _split(provider: Provider, given: str) -> tuple[str, str]:
    """Split a base into (base without trailing slash, query with its `?` or empty)."""
    try:
        parts = urlsplit(given)
    except ValueError:
        raise BadBase(f"the address given for provider {provider.name} is no URL") from None
    if parts.scheme not in ("http", "https") or not parts.netloc:
        # What stands there may be a key in the wrong variable: it is repeated only where it is a host with a port.
        plain = (given.partition("://")[2] or given).lstrip("/")
        example = plain if _HOST_AND_PORT.fullmatch(plain) else "localhost:8000/v1"
        raise BadBase(
            f"the address given for provider {provider.name} (api_base, or a variable) is no http URL; write for "
            f"example http://{example}"
        )
    root = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
    return root, f"?{parts.query}" if parts.query else ""


def _full_path(root: str, suffix: str) -> str | None:
    """Return `root` itself when it is the full URL of this operation already, else None."""
    wanted = suffix.rstrip("/").removeprefix("/v1")
    if root.endswith(wanted) and next((tail for tail in _TAILS if root.endswith(tail)), wanted) == wanted:
        return root + suffix[len(suffix.rstrip("/")) :]
    return None


def _completed(provider: Provider, root: str, own: str | None) -> str:
    """Return the user's base without the path of another operation, and with what was left out."""
    for tail in _TAILS:
        if root.endswith(tail):
            return root.removesuffix(tail)
    if own is not None and (root == own or (provider.version and own.startswith(root + "/"))):
        return own
    if provider.version and not _carries_version(provider, root):
        return root + provider.version
    return root


def _carries_version(provider: Provider, root: str) -> bool:
    path = urlsplit(root).path
    return _VERSION.search(path) is not None or path.endswith(provider.version)


def _join(base: str, suffix: str) -> str:
    """Join `base` and `suffix`, with what they share written once, and the version segment written once."""
    base = base.rstrip("/")
    scheme, _, rest = base.partition("://")
    host, slash, path = rest.partition("/")
    path = _LAST_VERSION.sub(r"\1", slash + path)
    if suffix.startswith(("/v1/", "/api/")):
        path = _LAST_VERSION.sub("", path) if not _overlap(path, suffix) else path
    return f"{scheme}://{host}{path}{suffix[_overlap(path, suffix) :]}"


def _overlap(base: str, suffix: str) -> int:
    """Measure the longest run of whole segments that ends `base` and begins `suffix`."""
    end = len(suffix.rstrip("/"))
    while end > 0:
        if base.endswith(suffix[:end]):
            return end
        end = suffix.rfind("/", 0, end)
    return 0


def _fill(provider: Provider, base: str, env: Mapping[str, str], soft: bool = False) -> str:
    """Fill `{A|B}` with the first of the variables that is set. `soft`: left as it is when none is."""

    def value(match: re.Match[str]) -> str:
        variables = match.group(1).split("|")
        for name in variables:
            if found := env.get(name, "").strip():
                return found
        if soft:
            return match.group(0)
        first, *others = variables
        more = f" (or {', '.join(others)})" if others else ""
        raise MissingBase(
            f"the URL of {provider.name} needs {first}{more}: set it in the environment, or give the whole URL as "
            "api_base in the model's litellm_params"
        )

    return _VARIABLE.sub(value, base)


def _missing_base_message(provider: Provider) -> str:
    where = f"set {' or '.join(provider.bases)}, or " if provider.bases else "give "
    return f"provider {provider.name} has no default URL: {where}api_base in the model's litellm_params"


def _host(url: str) -> str:
    return urlsplit(url).netloc.lower().rpartition("@")[2]


def _at_own(provider: Provider, given: str) -> bool:
    """Tell whether a base is at a host of the row, or at a regional subdomain of one (`eu.api.openai.com`)."""
    if provider.base is None:
        return True
    host = _host(given)
    for url in (provider.base, *(path for path in provider.paths.values() if not path.startswith("/"))):
        own = _host(url)
        begins, brace, ends = own.partition("{")
        if brace:
            if host.startswith(begins) and host.endswith(ends.partition("}")[2]):
                return True
        elif host == own or host.endswith("." + own):
            return True
    return False


def _common(one: str, two: str) -> int:
    """Count the leading characters that two paths share."""
    count = 0
    for a, b in zip(one.rstrip("/") + "/", two.rstrip("/") + "/", strict=False):
        if a != b:
            break
        count += 1
    return count


@lru_cache(maxsize=1)
def _hosts() -> Mapping[str, tuple[Provider, ...]]:
    """Map each host to the providers there. A local port that several engines use by default says nothing and is left
    out."""
    table: dict[str, tuple[Provider, ...]] = {}
    for provider in PROVIDERS.values():
        if provider.local and provider.dialects and provider.dialects[0] not in ("openai_chat", "ollama"):
            continue  # an agent server's port; whoever else listens there is no such thing
        bases = (provider.base or "", *(p for p in provider.paths.values() if not p.startswith("/")))
        for host in dict.fromkeys(_host(base) for base in bases if base and "{" not in _host(base)):
            spellings = [host]
            if provider.local:
                port = host.partition(":")[2]
                spellings = [f"localhost:{port}", f"127.0.0.1:{port}"]
            for spelling in spellings:
                table[spelling] = (*table.get(spelling, ()), provider)
    return {
        host: found
        for host, found in table.items()
        if not found[0].local or len({provider.owned_by for provider in found}) == 1
    }
