"""Google's URLs: the model stands in the path, and on Vertex AI the project, the place and the publisher as well.

Sources: https://ai.google.dev/api (Gemini API), https://cloud.google.com/vertex-ai/generative-ai/docs/learn/locations
(the global endpoint and the multi-regions ``us`` and ``eu`` have hosts of their own),
https://docs.claude.com/en/api/claude-on-vertex-ai, and
https://cloud.google.com/vertex-ai/generative-ai/docs/partner-models/call-apis (OpenAI's form for open models).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote, urlsplit

from penstock.core.providers.paths import in_path

GEMINI = "gemini"
VERTEX = frozenset({"vertex_ai", "vertex_ai_beta"})
METHODS: Mapping[str, str] = {
    "gemini": ":generateContent",
    "gemini_stream": ":streamGenerateContent?alt=sse",
    "gemini_count_tokens": ":countTokens",
    "gemini_embed": ":embedContent",
    "gemini_batch_embed": ":batchEmbedContents",
}
_CLAUDE: Mapping[str, str] = {"anthropic": ":rawPredict", "anthropic_stream": ":streamRawPredict"}
_DEFAULT_PLACE = "us-central1"  # LiteLLM's, for configurations that name none
PROJECTS = ("VERTEXAI_PROJECT", "VERTEX_PROJECT", "GOOGLE_CLOUD_PROJECT")
PLACES = ("VERTEXAI_LOCATION", "VERTEX_LOCATION", "GOOGLE_CLOUD_LOCATION", "CLOUD_ML_REGION")
CLAUDE_VERSION = "vertex-2023-10-16"
"""What a Messages body carries on Vertex AI in place of the header and of ``model``."""

_VERSION = re.compile(r"/v\d+[a-z0-9]*(?=/|$)")
_MODEL = re.compile(r"^(?P<root>.*?)(?:/models(?:/(?P<model>[^/:]+))?(?::[A-Za-z]+)?)?$")


def gemini_url(root: str, query: str, method: str, model: str) -> str:
    """Return the URL of one method (a value of ``METHODS``) on the Gemini API.

    ``root`` is the user's base: the host, with or without a version, with or without ``/openai``, or the whole address
    of a model or of one of its methods; a model that it names wins. ``query`` begins with ``?`` or is empty.
    """
    found = _MODEL.match(root.removesuffix("/openai"))
    assert found is not None  # every string fits
    base, model = found["root"], found["model"] or model
    if not _VERSION.search(urlsplit(base).path):
        base += "/v1beta"
    path, _, own = method.partition("?")
    name = _named(model)
    return _with_query(f"{base}/{name if '/' in name else 'models/' + name}{path}", own, query)


def _named(model: str) -> str:
    """Quote a model's name for a path: ``tunedModels/x`` keeps its slash, everything that would end the path is
    escaped."""
    model = model.removeprefix("models/")
    return in_path(model, "/@._-~" if model.startswith("tunedModels/") else "@._-~")


def _with_query(url: str, own: str, given: str) -> str:
    both = "&".join(part for part in (own, given.removeprefix("?")) if part)
    return f"{url}?{both}" if both else url


def vertex_dialects(model: str) -> tuple[str, ...]:
    """Return what a model on Vertex AI speaks: Claude Messages, Gemini its own, a model with its publisher before it
    (``meta/llama-4-maverick-17b-128e-instruct-maas``) OpenAI Chat."""
    if model.startswith("claude"):
        return ("anthropic",)
    publisher, slash, _ = model.partition("/")
    return ("openai_chat",) if slash and publisher not in ("google", "gemini", "publishers") else (GEMINI,)


def vertex_url(root: str | None, query: str, what: str, model: str, env: Mapping[str, str], beta: bool) -> str:
    """Return the URL of a dialect or operation on Vertex AI. ``root``: the user's own host, None for Google's; one that
    names a project already is used as it is. Raises ``LookupError`` where the project is not known or there is no such
    URL."""
    place = first_of(PLACES, env) or _DEFAULT_PLACE
    base = root if root is not None else f"https://{_host(place)}"
    if not _VERSION.search(urlsplit(base).path):
        base += "/v1beta1" if beta else "/v1"
    if "/projects/" not in base:
        project = first_of(PROJECTS, env)
        if project is None:
            raise LookupError(
                "the URL of vertex_ai needs the project: set VERTEXAI_PROJECT, or vertex_project in the model's "
                "litellm_params"
            )
        base += f"/projects/{quote(project, safe=':')}/locations/{quote(place, safe='')}"
    path, _, own = _vertex_path(what, model).partition("?")
    return _with_query(base + path, own, query)


_PLACE = re.compile(r"/locations/([a-z]+(?:-[a-z]+\d+)?)(?=/)")


def vertex_site(root: str | None, rest: str, env: Mapping[str, str]) -> str:
    """Return the URL of a path on Vertex AI as its clients write it. ``root``: the user's own host; Google's is the one
    of the place that the path names. A path without version or project gets those of the account. Raises
    ``LookupError`` where no project is known."""
    found = _PLACE.search(rest)
    place = found[1] if found is not None else first_of(PLACES, env) or _DEFAULT_PLACE
    base = f"https://{_host(place)}" if root is None else _VERSION.sub("", root)
    version = _VERSION.match(rest)
    head, tail = (version[0], rest[version.end() :]) if version is not None else ("/v1", rest)
    if not tail.startswith("/projects/"):
        project = first_of(PROJECTS, env)
        if project is None:
            raise LookupError(
                "the path names no project: set VERTEXAI_PROJECT, or ask for /vertex_ai/v1/projects/.../locations/..."
            )
        tail = f"/projects/{quote(project, safe=':')}/locations/{quote(place, safe='')}{tail}"
    return base + head + tail


def _vertex_path(what: str, model: str) -> str:
    if what == "openai_chat":
        return "/endpoints/openapi/chat/completions"
    if what == "anthropic_count_tokens":
        return "/publishers/anthropic/models/count-tokens:rawPredict"
    if what in _CLAUDE:
        return f"/publishers/anthropic/models/{in_path(model, '@._-~')}{_CLAUDE[what]}"
    method = METHODS.get(what)
    if method is None:
        raise LookupError(f"no URL path is known for {what!r} of provider 'vertex_ai'")
    if model.isdigit():  # an endpoint of one's own: a tuned model
        return f"/endpoints/{model}{method}"
    for prefix in ("publishers/google/models/", "google/", "gemini/"):
        model = model.removeprefix(prefix)
    return f"/publishers/google/models/{in_path(model, '@._-~')}{method}"


def _host(place: str) -> str:
    if place == "global":
        return "aiplatform.googleapis.com"
    if place in ("us", "eu"):
        return f"aiplatform.{place}.rep.googleapis.com"
    return f"{quote(place, safe='-')}-aiplatform.googleapis.com"


def first_of(names: tuple[str, ...], env: Mapping[str, str]) -> str | None:
    """Return the first of the variables that is set."""
    return next((value for name in names if (value := env.get(name, "").strip())), None)
