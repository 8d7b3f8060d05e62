"""Amazon Bedrock's URLs: the region stands in the host and the model, escaped, in the path.

Sources: https://docs.aws.amazon.com/general/latest/gr/bedrock.html (hosts),
https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html (paths) and
https://docs.aws.amazon.com/bedrock/latest/userguide/inference-profiles-support.html (ids across regions). What may
stand before a model's id is LiteLLM's: a route ("converse/", "invoke/") and a region ("us-east-1/").
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from penstock.core.providers.names import SHORT
from penstock.core.providers.paths import in_path

BEDROCK = "bedrock"
METHODS: Mapping[str, str] = {
    "bedrock": "converse",
    "bedrock_stream": "converse-stream",
    "embeddings": "invoke",
}
REGIONS = ("AWS_REGION_NAME", "AWS_REGION", "AWS_DEFAULT_REGION")
BASE = "AWS_BEDROCK_RUNTIME_ENDPOINT"
KEY = "AWS_BEARER_TOKEN_BEDROCK"

# Routes before a model's id. All of them are served by Converse; for imported models LiteLLM names the chat template.
_ROUTES = frozenset(("converse", "converse_like", "invoke"))
_TEMPLATES = frozenset("llama deepseek_r1 qwen2 qwen3 openai moonshot nova".split())
_OTHERS = frozenset(("agent", "agentcore", "async_invoke", "batch"))
_REGION = re.compile(r"[a-z]{2}(?:-[a-z]+){1,3}-\d")
_COMMITMENT = re.compile(r"\d-month-commitment")
_ARN = re.compile(r"arn:[a-z-]+:[a-z]+:([a-z0-9-]*):")
_METHOD = re.compile(r"^(?P<root>.*?)(?:/model(?:/(?P<model>[^/]+)(?:/[a-z-]+)?)?)?$")


class Place(NamedTuple):
    """A model and where it is: ``region`` is "" where the name does not say it."""

    model: str
    region: str


def place_of(name: str) -> Place:
    """Read what is behind ``bedrock/``: a model's id or ARN, with LiteLLM's route and region before it. The region
    inside an ARN wins. Raises ``LookupError`` for what is no model (agents)."""
    rest, region = name, ""
    while not rest.startswith("arn:"):
        head, slash, tail = rest.partition("/")
        if not slash or not tail:
            break
        if head in _OTHERS:
            raise LookupError(f"bedrock/{head}/... is not served: models are, by Converse")
        if _REGION.fullmatch(head):
            region = head
        elif head not in _ROUTES and not _COMMITMENT.fullmatch(head):
            if head not in _TEMPLATES or not tail.startswith("arn:"):
                break
        rest = tail
    rest = SHORT[BEDROCK].get(rest, rest)
    return Place(rest, region_of_arn(rest) or region)


def region_of_arn(model: str) -> str:
    """Find the region inside an ARN, "" where there is none."""
    found = _ARN.match(model)
    return found[1] if found is not None else ""


def region_of_host(host: str) -> str:
    """Find the region in a host name ("bedrock-runtime.eu-west-1.amazonaws.com",
    "vpce-1.bedrock-runtime.eu-west-1.vpce.amazonaws.com"), "" where there is none."""
    return next((part for part in host.split(".") if _REGION.fullmatch(part)), "")


def bedrock_url(root: str, query: str, what: str, model: str) -> str:
    """Return the URL of one method. ``root``: the host, or the whole address of a model or of one of its methods; a
    model that it names wins. ``query`` begins with ``?`` or is empty. Raises ``LookupError`` for an operation without a
    path."""
    method = METHODS.get(what)
    if method is None:
        raise LookupError(f"no URL path is known for {what!r} of provider 'bedrock'")
    found = _METHOD.match(root)
    assert found is not None  # every string fits
    name = found["model"] or in_path(model)
    return f"{found['root']}/model/{name}/{method}{query}"
