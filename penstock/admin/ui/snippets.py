"""What somebody with a new key copies to begin: a request, and the settings of what people work with."""

from __future__ import annotations

import json
import shlex
from typing import NamedTuple


class Snippet(NamedTuple):
    """Something to copy, and for what."""

    title: str
    text: str


def snippets(address: str, key: str, model: str) -> list[Snippet]:
    """Write what works with a key, at the gateway of an address."""
    quoted = json.dumps(model)
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "Hello"}]}).replace("'", "'\\''")
    curl = (
        f"curl {address}/v1/chat/completions \\\n"
        f"  -H 'Authorization: Bearer {key}' \\\n"
        "  -H 'Content-Type: application/json' \\\n"
        f"  -d '{body}'"
    )
    openai = (
        "from openai import OpenAI\n\n"
        f'client = OpenAI(base_url="{address}/v1", api_key="{key}")\n'
        f"answer = client.chat.completions.create(\n    model={quoted},\n"
        '    messages=[{"role": "user", "content": "Hello"}],\n)\n'
        "print(answer.choices[0].message.content)"
    )
    anthropic = (
        "from anthropic import Anthropic\n\n"
        f'client = Anthropic(base_url="{address}", auth_token="{key}")\n'
        f"answer = client.messages.create(\n    model={quoted},\n    max_tokens=200,\n"
        '    messages=[{"role": "user", "content": "Hello"}],\n)\n'
        "print(answer.content[0].text)"
    )
    named = shlex.quote(model)
    claude = (
        f"export ANTHROPIC_BASE_URL={address}\nexport ANTHROPIC_AUTH_TOKEN={key}\n"
        f"export ANTHROPIC_MODEL={named}\nclaude"
    )
    codex = (
        f"export GATEWAY_KEY={key}\n"
        f"codex -m {named} -c model_provider=gateway \\\n"
        f"  -c 'model_providers.gateway.name=\"gateway\"' -c 'model_providers.gateway.base_url=\"{address}/v1\"' \\\n"
        "  -c 'model_providers.gateway.wire_api=\"responses\"' -c 'model_providers.gateway.env_key=\"GATEWAY_KEY\"'"
    )
    return [
        Snippet("curl", curl),
        Snippet("openai (Python)", openai),
        Snippet("anthropic (Python)", anthropic),
        Snippet("Claude Code", claude),
        Snippet("Codex", codex),
    ]
