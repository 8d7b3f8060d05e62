"""watsonx.ai: OpenAI's chat but for the URL, the name of the model, and who pays.

Reference: https://cloud.ibm.com/apidocs/watsonx-ai ("Infer text chat", "Infer text chat event stream", "Generate
embeddings", "Generate rerank", and the same of deployments); field lists: ibm-watsonx-ai 1.8 (foundation_models).
The Model Gateway (``/ml/gateway/v1``) is a plain OpenAI interface and is left as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from urllib.parse import quote, urlsplit

from msgspec import Raw
from msgspec.json import encode

from penstock.core.providers.paths import in_path

NAME = "watsonx"
DEFAULT_VERSION = "2024-03-13"
"""LiteLLM's date, for configurations that name none; the interface insists on one."""
GATEWAY = "/ml/gateway"
DEPLOYMENT = "deployment/"
PROJECTS = ("WATSONX_PROJECT_ID", "WX_PROJECT_ID")
SPACES = ("WATSONX_SPACE_ID", "WATSONX_DEPLOYMENT_SPACE_ID", "WX_SPACE_ID")
REGIONS = ("WATSONX_REGION", "WX_REGION")

_PATHS: Mapping[str, str] = {
    "openai_chat": "/text/chat",
    "openai_chat_stream": "/text/chat_stream",
    "embeddings": "/text/embeddings",
    "rerank": "/text/rerank",
    "models": "/foundation_model_specs",
}
_DEPLOYED = frozenset(("openai_chat", "openai_chat_stream"))
Edit = Callable[[dict[str, Raw]], None]


def is_gateway(base: str) -> bool:
    """Tell whether a base is the Model Gateway's."""
    return GATEWAY in urlsplit(base).path


def watsonx_url(root: str, query: str, what: str, model: str, version: str) -> str:
    """Return the full URL of a dialect or operation. ``root``: the host, with or without ``/ml/v1`` or the path of any
    operation; a deployment that it names wins over ``model`` (``deployment/ID``). ``query``: with its ``?``, or "".
    Raises ``LookupError`` for an operation that is not there."""
    tail = _PATHS.get(what)
    if tail is None:
        raise LookupError(f"no URL path is known for {what!r} of provider 'watsonx'")
    parts = urlsplit(root)
    before, _, after = parts.path.partition("/ml/")
    named = after.partition("deployments/")[2].partition("/")[0]
    deployment = named or (in_path(model.removeprefix(DEPLOYMENT)) if model.startswith(DEPLOYMENT) else "")
    if deployment and what not in _DEPLOYED:
        raise LookupError(f"a deployment of watsonx has no {what}; name a model for it")
    place = f"/deployments/{deployment}" if deployment else ""
    if "version=" not in query:
        query = f"{query}{'&' if query else '?'}version={quote(version or DEFAULT_VERSION, safe='')}"
    return f"{parts.scheme}://{parts.netloc}{before}/ml/v1{place}{tail}{query}"


def account(model: str, project: str, space: str) -> Edit:
    """Make the edit that puts into every body, in the place of ``model``, its id, and the project (else the space) that
    pays. A deployment has all of that already. The configuration's word goes before a client's."""
    payer = ("project_id", project) if project else ("space_id", space)
    model_raw, payer_raw = Raw(encode(model)), Raw(encode(payer[1]))
    deployed = model.startswith(DEPLOYMENT)

    def edit(fields: dict[str, Raw]) -> None:
        fields.pop("model", None)
        if deployed:
            for name in ("model_id", "project_id", "space_id"):
                fields.pop(name, None)
            return
        fields["model_id"] = model_raw
        if payer[1]:
            fields.pop("project_id", None)
            fields.pop("space_id", None)
            fields[payer[0]] = payer_raw

    return edit


def chat(sign: Edit) -> Edit:
    """Make the edit of a chat's body: a stream is asked for by its URL, a word for ``tool_choice`` has a field of its
    own (and has to be said: without one no tool is called), ``stop`` is a list."""

    def edit(fields: dict[str, Raw]) -> None:
        sign(fields)
        fields.pop("stream", None)
        fields.pop("stream_options", None)
        choice = bytes(fields.get("tool_choice", b""))
        if choice.startswith(b'"'):
            fields["tool_choice_option"] = fields.pop("tool_choice")
        elif choice == b"null":
            del fields["tool_choice"]
        if "tools" in fields and not {"tool_choice", "tool_choice_option"} & fields.keys():
            fields["tool_choice_option"] = Raw(b'"auto"')
        stop = bytes(fields.get("stop", b""))
        if stop.startswith(b'"'):
            fields["stop"] = Raw(b"[" + stop + b"]")

    return edit
