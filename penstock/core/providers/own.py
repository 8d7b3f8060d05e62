"""Providers that are more than a row of the OpenAI kind: own wire format, own URL, own signature, or no chat at all.

Those that also run an OpenAI-compatible endpoint list `openai_chat` with that base and work through it. The rest name
the dialect they need, so that a request says plainly which dialect is not there.
"""

from __future__ import annotations

from penstock.core.providers.bases import EMBED
from penstock.core.providers.quirks import DATABRICKS, GEMINI_OPENAI, MAX_TOKENS, OPENAI, WATSONX
from penstock.core.providers.spec import SOCKETS, Provider, row
from penstock.core.providers.vendors import FOUNDRY

_REGION = "{AWS_REGION_NAME|AWS_REGION|AWS_DEFAULT_REGION}"
_AWS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION_NAME", "AWS_PROFILE_NAME")
_AZURE = ("AZURE_API_VERSION", "AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET")
_AZURE_MORE = ("AZURE_SCOPE", "AZURE_AUTHORITY_HOST", "AZURE_FEDERATED_TOKEN_FILE", "AZURE_USERNAME", "AZURE_PASSWORD")
_VERTEX = ("VERTEXAI_PROJECT", "VERTEXAI_LOCATION", "GOOGLE_APPLICATION_CREDENTIALS")
_WATSONX_KEYS = ("WATSONX_APIKEY", "WATSONX_API_KEY", "WATSONX_TOKEN")
_WATSONX_KEYS_TOO = ("WX_API_KEY", "WATSONX_ZENAPIKEY")
_WATSONX_BASES = ("WATSONX_URL", "WATSONX_API_BASE")
_WATSONX_ENV = ("WATSONX_PROJECT_ID", "WATSONX_SPACE_ID", "WATSONX_REGION", "WATSONX_IAM_URL")
_GEMINI_NATIVE = "https://generativelanguage.googleapis.com/v1beta"

ANTHROPIC: tuple[Provider, ...] = (
    row(
        "anthropic",
        "https://api.anthropic.com",
        "ANTHROPIC_API_KEY",
        "ANTHROPIC_AUTH_TOKEN",
        bases=("ANTHROPIC_API_BASE", "ANTHROPIC_BASE_URL"),
        dialects=("anthropic",),
        auth="x-api-key",
        paths={"models": "/v1/models"},
        official=True,
        docs="https://docs.claude.com/en/api/messages",
    ),
    row(
        "anthropic_text",
        "https://api.anthropic.com",
        "ANTHROPIC_API_KEY",
        bases=("ANTHROPIC_API_BASE", "ANTHROPIC_BASE_URL"),
        dialects=("anthropic_text",),
        auth="x-api-key",
        owner="anthropic",
        docs="https://docs.claude.com/en/api/complete",
    ),
)

GOOGLE: tuple[Provider, ...] = (
    # Chat goes to the vendor's own API: the OpenAI door has neither thoughts nor safety settings. It answers
    # embeddings, images and models with the same key, and chat where `api_base` names it.
    row(
        "gemini",
        _GEMINI_NATIVE + "/openai",
        "GEMINI_API_KEY",
        "GOOGLE_API_KEY",
        dialects=("gemini",),
        owner="google",
        quirks=GEMINI_OPENAI,
        paths={"gemini": _GEMINI_NATIVE},
        docs="https://ai.google.dev/api/generate-content",
    ),
    row(
        "vertex_ai",
        "https://{VERTEXAI_LOCATION|VERTEX_LOCATION}-aiplatform.googleapis.com",
        bases=("VERTEXAI_API_BASE",),
        env=_VERTEX,
        dialects=("gemini",),
        auth="oauth",
        claude=True,
        call_ids=False,  # it answers 400 to them
        owner="google",
        docs="https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference",
    ),
    row(
        "vertex_ai_beta",
        "https://{VERTEXAI_LOCATION|VERTEX_LOCATION}-aiplatform.googleapis.com",
        bases=("VERTEXAI_API_BASE",),
        env=_VERTEX,
        dialects=("gemini",),
        auth="oauth",
        claude=True,
        call_ids=False,  # it answers 400 to them
        owner="google",
    ),
    row("gdc", None, "GDC_API_KEY", owner="google"),
)

AWS: tuple[Provider, ...] = (
    row(
        "bedrock",
        f"https://bedrock-runtime.{_REGION}.amazonaws.com",
        "AWS_BEARER_TOKEN_BEDROCK",
        bases=("AWS_BEDROCK_RUNTIME_ENDPOINT",),
        env=_AWS,
        dialects=("bedrock",),
        auth="sigv4",
        docs="https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html",
    ),
    row(
        "bedrock_mantle",
        f"https://bedrock-mantle.{_REGION}.api.aws/v1",
        "BEDROCK_MANTLE_API_KEY",
        "AWS_BEARER_TOKEN_BEDROCK",
        env=_AWS,
        dialects=("openai_chat", "openai_responses"),
        owner="bedrock",
        docs="https://docs.aws.amazon.com/bedrock/latest/userguide/bedrock-mantle.html",
    ),
    row(
        "sagemaker",
        f"https://runtime.sagemaker.{_REGION}.amazonaws.com",
        env=_AWS,
        dialects=("sagemaker",),
        auth="sigv4",
    ),
    row(
        "sagemaker_chat",
        f"https://runtime.sagemaker.{_REGION}.amazonaws.com",
        env=_AWS,
        dialects=("sagemaker",),
        auth="sigv4",
        owner="sagemaker",
    ),
    row(
        "sagemaker_nova",
        f"https://runtime.sagemaker.{_REGION}.amazonaws.com",
        env=_AWS,
        dialects=("sagemaker",),
        auth="sigv4",
        owner="sagemaker",
    ),
)

AZURE: tuple[Provider, ...] = (
    row(
        "azure",
        None,
        "AZURE_API_KEY",
        "AZURE_OPENAI_API_KEY",
        "AZURE_AD_TOKEN",
        bases=("AZURE_API_BASE", "AZURE_OPENAI_ENDPOINT"),
        env=_AZURE + _AZURE_MORE,
        dialects=("openai_chat", "openai_responses"),
        auth="api-key",
        family="openai",
        official=True,
        claude=True,
        version="",
        quirks=OPENAI,
        sockets=SOCKETS,
        docs="https://learn.microsoft.com/azure/ai-foundry/openai/reference",
    ),
    row(
        "azure_text",
        None,
        "AZURE_API_KEY",
        "AZURE_OPENAI_API_KEY",
        "AZURE_AD_TOKEN",
        bases=("AZURE_API_BASE", "AZURE_OPENAI_ENDPOINT"),
        env=_AZURE + _AZURE_MORE,
        dialects=("completions",),
        auth="api-key",
        version="",
        owner="azure",
    ),
    row(
        "azure_ai",
        None,
        "AZURE_AI_API_KEY",
        env=_AZURE + _AZURE_MORE,
        auth="api-key",
        claude=True,
        quirks=FOUNDRY,
        docs="https://learn.microsoft.com/azure/ai-foundry",
    ),
)

OWN_URL: tuple[Provider, ...] = (
    row(
        "cloudflare",
        "https://api.cloudflare.com/client/v4/accounts/{CLOUDFLARE_ACCOUNT_ID}/ai/v1",
        "CLOUDFLARE_API_KEY",
        "CLOUDFLARE_API_TOKEN",
        env=("CLOUDFLARE_ACCOUNT_ID",),
        docs="https://developers.cloudflare.com/workers-ai/configuration/open-ai-compatibility",
    ),
    row(
        "databricks",
        None,
        "DATABRICKS_API_KEY",
        "DATABRICKS_TOKEN",
        bases=("DATABRICKS_API_BASE", "DATABRICKS_HOST"),
        env=("DATABRICKS_CLIENT_ID", "DATABRICKS_CLIENT_SECRET"),
        version="/serving-endpoints",
        quirks=DATABRICKS,
        docs="https://docs.databricks.com/aws/en/machine-learning/model-serving/query-chat-models",
    ),
    row(
        "snowflake",
        "https://{SNOWFLAKE_ACCOUNT_ID|SNOWFLAKE_ACCOUNT}.snowflakecomputing.com/api/v2/cortex/v1",
        "SNOWFLAKE_JWT",
        "PROGRAMMATIC_ACCESS_TOKEN",
        bases=("SNOWFLAKE_API_BASE",),
        env=("SNOWFLAKE_ACCOUNT_ID", "SNOWFLAKE_USER", "SNOWFLAKE_PRIVATE_KEY", "SNOWFLAKE_PRIVATE_KEY_PATH"),
        dialects=("openai_chat", "anthropic"),
        paths={"embeddings": EMBED},
        docs="https://docs.snowflake.com/en/user-guide/snowflake-cortex/cortex-rest-api",
    ),
    # Both want a token from a device login. One given as api_key is sent as it is.
    row(
        "github_copilot",
        "https://api.githubcopilot.com",
        "GITHUB_COPILOT_API_KEY",
        version="",
        docs="https://docs.github.com/en/copilot",
    ),
    row(
        "chatgpt",
        "https://chatgpt.com/backend-api/codex",
        "CHATGPT_API_KEY",
        version="",
        dialects=("openai_responses",),
        owner="openai",
    ),
    row("ragflow", None, "RAGFLOW_API_KEY", dialects=("ragflow",), docs="https://ragflow.io/docs"),
    row(
        "text-completion-openai",
        "https://api.openai.com/v1",
        "OPENAI_API_KEY",
        bases=("OPENAI_BASE_URL", "OPENAI_API_BASE"),
        dialects=("completions",),
        owner="openai",
        docs="https://platform.openai.com/docs/api-reference/completions",
    ),
)

_COHERE = dict.fromkeys(("cohere", "cohere_embed", "rerank"), "https://api.cohere.com/v2")

OWN_FORMAT: tuple[Provider, ...] = (
    # Chats, embeddings and rankings go to its own API, see `cohere.py`; the base is its OpenAI-compatible door, which
    # lists models and is spoken to where an api_base names it.
    row(
        "cohere",
        "https://api.cohere.ai/compatibility/v1",
        "COHERE_API_KEY",
        "CO_API_KEY",
        dialects=("cohere",),
        quirks=MAX_TOKENS,
        paths=_COHERE,
        docs="https://docs.cohere.com/reference/chat",
    ),
    row(
        "cohere_chat",
        "https://api.cohere.ai/compatibility/v1",
        "COHERE_API_KEY",
        "CO_API_KEY",
        dialects=("cohere",),
        quirks=MAX_TOKENS,
        family="cohere",
        owner="cohere",
        paths=_COHERE,
    ),
    row(
        "replicate",
        "https://api.replicate.com/v1",
        "REPLICATE_API_KEY",
        "REPLICATE_API_TOKEN",
        dialects=("replicate",),
        docs="https://replicate.com/docs/reference/http",
    ),
    row(
        "watsonx",
        "https://{WATSONX_REGION|WX_REGION}.ml.cloud.ibm.com",
        *_WATSONX_KEYS,
        *_WATSONX_KEYS_TOO,
        bases=(*_WATSONX_BASES, "WX_URL", "WML_URL"),
        env=_WATSONX_ENV,
        auth="oauth",
        version="",
        quirks=WATSONX,
        docs="https://cloud.ibm.com/apidocs/watsonx-ai",
    ),
    row(
        "watsonx_text",
        "https://{WATSONX_REGION}.ml.cloud.ibm.com",
        *_WATSONX_KEYS,
        bases=_WATSONX_BASES,
        env=("WATSONX_PROJECT_ID", "WATSONX_REGION"),
        dialects=("watsonx",),
        auth="oauth",
        owner="watsonx",
    ),
    row("databricks_agent", None, "DATABRICKS_API_KEY", dialects=("databricks_agent",), owner="databricks"),
    row(
        "gigachat",
        "https://gigachat.devices.sberbank.ru/api/v1",
        "GIGACHAT_API_KEY",
        "GIGACHAT_CREDENTIALS",
        dialects=("gigachat",),
        auth="oauth",
    ),
    row(
        "sap",
        None,
        "AICORE_SERVICE_KEY",
        bases=("AICORE_BASE_URL",),
        env=("AICORE_CLIENT_ID", "AICORE_CLIENT_SECRET", "AICORE_AUTH_URL", "AICORE_RESOURCE_GROUP"),
        dialects=("sap",),
        auth="oauth",
        version="",
        paths={"sap": "/v2/completion"},
        docs="https://help.sap.com/docs/sap-ai-core/generative-ai",
    ),
    row(
        "oci",
        "https://inference.generativeai.{OCI_REGION}.oci.oraclecloud.com",
        "OCI_KEY",
        env=("OCI_REGION", "OCI_USER", "OCI_FINGERPRINT", "OCI_TENANCY", "OCI_COMPARTMENT_ID"),
        dialects=("oci",),
        auth="oauth",
    ),
    row("bytez", "https://api.bytez.com/models/v2", "BYTEZ_API_KEY", dialects=("bytez",)),
    row("nlp_cloud", "https://api.nlpcloud.io/v1/gpu", "NLP_CLOUD_API_KEY", dialects=("nlp_cloud",)),
    row(
        "predibase",
        "https://serving.app.predibase.com",
        "PREDIBASE_API_KEY",
        env=("PREDIBASE_TENANT_ID",),
        dialects=("predibase",),
        version="",
    ),
    row("manus", "https://api.manus.im", "MANUS_API_KEY", dialects=("manus",), version=""),
    row(
        "text-completion-codestral",
        "https://codestral.mistral.ai/v1",
        "CODESTRAL_API_KEY",
        dialects=("completions",),
        owner="mistral",
        paths={"completions": "/fim/completions"},
    ),
    row(
        "text-completion-inception",
        "https://api.inceptionlabs.ai/v1",
        "INCEPTION_API_KEY",
        dialects=("completions",),
        owner="inception",
        paths={"completions": "/fim/completions"},
    ),
    row("triton", None, dialects=("triton",), local=True),
    row("petals", None, dialects=("petals",), local=True),
    row("langflow", "http://localhost:7860", "LANGFLOW_API_KEY", dialects=("langflow",), version="", local=True),
    row("langgraph", "http://localhost:2024", "LANGGRAPH_API_KEY", dialects=("langgraph",), version="", local=True),
    row("a2a", None, dialects=("a2a",), local=True),
    row("a2a_agent", None, dialects=("a2a",), local=True, owner="a2a"),
    row(
        "microsoft_365_copilot",
        "https://graph.microsoft.com/beta",
        dialects=("microsoft_365_copilot",),
        auth="oauth",
        version="",
    ),
    row("scaledown", "https://api.scaledown.xyz", "SCALEDOWN_API_KEY", dialects=(), version=""),
)

ROWS: tuple[Provider, ...] = ANTHROPIC + GOOGLE + AWS + AZURE + OWN_URL + OWN_FORMAT
