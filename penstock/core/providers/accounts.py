"""What a form asks of somebody who adds a provider's model: the fields of its account, and an example of a name."""

from __future__ import annotations

from typing import NamedTuple


class Account(NamedTuple):
    """A further field of a provider's accounts. ``secret``: it is typed in unseen, and never shown again."""

    name: str
    title: str
    secret: bool = False
    help: str = ""


_AWS = (
    Account("aws_access_key_id", "Access key id", True, "Empty: as AWS's own tools find one."),
    Account("aws_secret_access_key", "Secret access key", True),
    Account("aws_region_name", "Region", help="For example us-east-1."),
    Account("aws_role_name", "Role to assume", help="Its ARN; empty for none."),
)
_AZURE = (Account("api_version", "API version", help="Empty: the newest that is known to work."),)
_VERTEX = (
    Account("vertex_project", "Project"),
    Account("vertex_location", "Location", help="For example us-central1."),
    Account("vertex_credentials", "Service account (JSON)", True, "The JSON itself, no path."),
)
ACCOUNTS: dict[str, tuple[Account, ...]] = {
    "bedrock": _AWS,
    "bedrock_mantle": _AWS,
    "sagemaker": _AWS,
    "azure": _AZURE,
    "azure_ai": _AZURE,
    "azure_text": _AZURE,
    "vertex_ai": _VERTEX,
    "vertex_ai_beta": _VERTEX,
    "watsonx": (Account("project_id", "Project id"), Account("watsonx_region_name", "Region")),
    "snowflake": (Account("account_id", "Account"),),
    "cloudflare": (Account("account_id", "Account"),),
    "sap": (Account("deployment_id", "Deployment"), Account("resource_group", "Resource group")),
}
"""What a provider's account wants beside a key and an address."""
POPULAR = """openai anthropic gemini azure bedrock vertex_ai mistral groq openrouter deepseek xai ollama hosted_vllm
    openai_like""".split()
"""Whom a list of providers begins with."""
EXAMPLES = {
    "openai": "gpt-4o", "anthropic": "claude-sonnet-4-5", "gemini": "gemini-2.5-flash", "azure": "gpt-4o",
    "bedrock": "anthropic.claude-sonnet-4-5-20250929-v1:0", "vertex_ai": "gemini-2.5-flash", "ollama": "llama3.2",
    "openrouter": "openai/gpt-4o",
}  # fmt: skip
"""The name of a model of the provider, where its list of prices has none that people know."""
