"""What every row puts on the wire, as one table. `python -m tests.core.providers.provider_golden` writes it anew.

`golden.json` is reviewed by hand: a change in it is a change of a URL, a header or a key that users rely on.
"""

from __future__ import annotations

import json
from pathlib import Path

import msgspec

from penstock.core.providers import PROVIDERS, Provider
from penstock.core.providers.apply import apply_quirks
from penstock.core.providers.bedrock import METHODS as CONVERSE
from penstock.core.providers.google import METHODS
from penstock.core.providers.resolve import auth_headers, default_headers, endpoint, resolve
from penstock.core.providers.urls import SUFFIXES

GOLDEN = Path(__file__).with_name("golden.json")
ENV = {
    "AICORE_DEPLOYMENT_ID": "d1",
    "AWS_REGION_NAME": "eu-west-1",
    "CLOUDFLARE_ACCOUNT_ID": "acct",
    "OCI_REGION": "eu-frankfurt-1",
    "SNOWFLAKE_ACCOUNT_ID": "org-acct",
    "VERTEXAI_LOCATION": "europe-west4",
    "VERTEXAI_PROJECT": "proj",
    "WATSONX_REGION": "eu-de",
}
GIVEN = "https://given.example"
REQUEST = {
    "max_completion_tokens": 9,
    "temperature": 1.7,
    "seed": 1,
    "user": "u",
    "store": False,
    "logprobs": True,
    "tool_choice": "required",
    "stream_options": {"include_usage": True},
    "messages": [{"role": "user", "name": "n", "content": [{"type": "text", "text": "a"}]}],
}


def on_the_wire(provider: Provider) -> dict[str, str]:
    """Dialect -> "URL header: value ..." with the key `KEY`, and what else a row decides; `fitted` is `REQUEST`
    where it had to be changed."""
    api_base = GIVEN if provider.base is None else None
    shown = {
        "model": " ".join(resolve(f"{provider.name}/some-model")),
        "owned_by": provider.owned_by,
        "keys": " ".join(provider.keys),
        "bases": " ".join(provider.bases),
    }
    for dialect in provider.dialects + (("models",) if provider.dialects[:1] == ("openai_chat",) else ()):
        headers = auth_headers(provider, "KEY", dialect) + default_headers(dialect)
        known = dialect in (*SUFFIXES, *METHODS, *CONVERSE, *provider.paths)
        url = endpoint(provider, api_base, ENV, dialect, model="some-model") if known else "(own URL)"
        shown[dialect] = " ".join([url, *(f"{name.decode()}: {value.decode()}" for name, value in headers)])
    body = msgspec.json.decode(json.dumps(REQUEST), type=dict[str, msgspec.Raw])
    apply_quirks(body, provider.quirks.of("some-model"), True)
    after = json.loads(msgspec.json.encode(body))
    if after != REQUEST:
        shown["fitted"] = json.dumps(after)
    return shown


def table() -> dict[str, dict[str, str]]:
    """Every row, by name."""
    return {name: on_the_wire(provider) for name, provider in sorted(PROVIDERS.items())}


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(table(), indent=1) + "\n")
