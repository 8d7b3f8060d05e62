"""Names that are not `provider/model` in full: other spellings of providers, bare, short and retired model names."""

from __future__ import annotations

from collections.abc import Mapping

PROVIDER_ALIASES: Mapping[str, str] = {
    # LiteLLM's `vllm/` imports vllm into the process; users mean the server.
    "vllm": "hosted_vllm",
    "lmstudio": "lm_studio",
    "llama.cpp": "llama_cpp",
    "llama-cpp": "llama_cpp",
    "llamacpp": "llama_cpp",
    "tensorrt_llm": "trtllm",
    "tensorrt-llm": "trtllm",
    "together": "together_ai",
    "fireworks": "fireworks_ai",
    "kimi": "moonshot",
    "z.ai": "zai",
    "nanogpt": "nano-gpt",
    "scx_ai": "scx-ai",
}
"""Other spelling of a provider -> its name. Kept short: a prefix may also be an organisation on a model hub."""

BARE: tuple[tuple[str, tuple[str, ...]], ...] = (
    # Google first: two of its embedding models begin like OpenAI's.
    ("gemini", ("text-embedding-004", "text-embedding-005", "text-embedding-gecko*", "gemini-*", "gemma-*")),
    ("gemini", ("palm-2*", "chat-bison*", "text-bison*", "imagen-*", "veo-*", "embedding-001")),
    ("openai", ("gpt-*", "chatgpt-*", "o1", "o1-*", "o3", "o3-*", "o4-*", "ft:*", "codex-*", "computer-use-*")),
    ("openai", ("text-embedding-*", "text-moderation-*", "omni-moderation-*", "text-davinci-*", "davinci-*")),
    ("openai", ("babbage-*", "whisper-*", "tts-*", "dall-e-*", "sora-*")),
    ("anthropic", ("claude*",)),
    ("cohere", ("command*", "c4ai-*", "embed-english-*", "embed-multilingual-*", "embed-v4*", "rerank-*")),
    ("mistral", ("mistral-*", "ministral-*", "magistral-*", "codestral*", "devstral-*", "pixtral-*", "voxtral-*")),
    ("mistral", ("open-mistral-*", "open-mixtral-*", "open-codestral-*")),
    ("deepseek", ("deepseek-*",)),
    ("xai", ("grok-*",)),
    ("perplexity", ("sonar", "sonar-*")),
    ("ai21", ("jamba-*", "j2-*")),
    ("moonshot", ("moonshot-*", "kimi-*")),
    ("zai", ("glm-*",)),
    ("minimax", ("MiniMax-*", "minimax-*")),
    ("dashscope", ("qwen-*", "qwen2*", "qwen3*", "qwq-*", "qvq-*")),
    ("voyage", ("voyage-*",)),
    ("jina_ai", ("jina-*",)),
    ("fireworks_ai", ("accounts/fireworks/*",)),
    ("cloudflare", ("@cf/*", "@hf/*")),
    ("bedrock", ("anthropic.*", "amazon.*", "meta.*", "mistral.*", "cohere.*", "ai21.*", "stability.*", "writer.*")),
    ("bedrock", ("us.*", "eu.*", "apac.*", "jp.*", "global.*", "us-gov.*", "arn:aws*:bedrock:*", "arn:aws:bedrock:*")),
)
"""(provider, patterns): the first row with a pattern that fits a name without prefix decides. A pattern is a name, or a
prefix and `*`. The order is that of the rows; where LiteLLM looks into its price map, these rows say the same."""

RESPONSES = "responses/"
"""What LiteLLM's users write before a model that is to be asked in Responses: `openai/responses/gpt-5.1`."""

SHORT: Mapping[str, Mapping[str, str]] = {
    "anthropic": {
        "claude-3-opus": "claude-3-opus-20240229",
        "claude-3-sonnet": "claude-3-sonnet-20240229",
        "claude-3-haiku": "claude-3-haiku-20240307",
        "claude-3-5-sonnet": "claude-3-5-sonnet-20241022",
        "claude-3-5-haiku": "claude-3-5-haiku-20241022",
        "claude-3.5-sonnet": "claude-3-5-sonnet-20241022",
        "claude-3.5-haiku": "claude-3-5-haiku-20241022",
        "claude-3-7-sonnet": "claude-3-7-sonnet-20250219",
        "claude-2": "claude-2.0",
        "claude-instant": "claude-instant-1.2",
        "claude-instant-1": "claude-instant-1.2",
    },
    "bedrock": {
        "claude-3-opus": "anthropic.claude-3-opus-20240229-v1:0",
        "claude-3-sonnet": "anthropic.claude-3-sonnet-20240229-v1:0",
        "claude-3-haiku": "anthropic.claude-3-haiku-20240307-v1:0",
        "claude-3-5-sonnet": "anthropic.claude-3-5-sonnet-20241022-v2:0",
        "claude-3-5-haiku": "anthropic.claude-3-5-haiku-20241022-v1:0",
        "claude-3-7-sonnet": "anthropic.claude-3-7-sonnet-20250219-v1:0",
        "claude-2": "anthropic.claude-v2",
        "claude-2.1": "anthropic.claude-v2:1",
        "claude-instant": "anthropic.claude-instant-v1",
        "anthropic.claude-3-opus": "anthropic.claude-3-opus-20240229-v1:0",
        "anthropic.claude-3-sonnet": "anthropic.claude-3-sonnet-20240229-v1:0",
        "anthropic.claude-3-haiku": "anthropic.claude-3-haiku-20240307-v1:0",
        "anthropic.claude-3-5-sonnet": "anthropic.claude-3-5-sonnet-20241022-v2:0",
        "llama2-13b": "meta.llama2-13b-chat-v1",
        "llama2-70b": "meta.llama2-70b-chat-v1",
        "llama3-8b": "meta.llama3-8b-instruct-v1:0",
        "llama3-70b": "meta.llama3-70b-instruct-v1:0",
        "mistral-7b": "mistral.mistral-7b-instruct-v0:2",
        "mixtral-8x7b": "mistral.mixtral-8x7b-instruct-v0:1",
        "mistral-large": "mistral.mistral-large-2402-v1:0",
    },
    "together_ai": {
        "llama-3-8b": "meta-llama/Llama-3-8b-chat-hf",
        "llama-3-70b": "meta-llama/Llama-3-70b-chat-hf",
        "llama-3.3-70b": "meta-llama/Llama-3.3-70B-Instruct-Turbo",
        "mixtral-8x7b": "mistralai/Mixtral-8x7B-Instruct-v0.1",
        "qwen-72b": "Qwen/Qwen2.5-72B-Instruct-Turbo",
        "deepseek-coder": "deepseek-ai/deepseek-coder-33b-instruct",
    },
}
"""Provider -> short name -> the id its API takes. A retired id is sent all the same: the upstream's 404 says more than
a guess would. Not used when the model has its own `api_base`: a server of the user's may know the short name."""

TRACED_AS = {
    "azure": "azure.ai.openai", "azure_ai": "azure.ai.inference", "bedrock": "aws.bedrock", "gemini": "gcp.gemini",
    "vertex_ai": "gcp.vertex_ai", "mistral": "mistral_ai", "xai": "x_ai", "watsonx": "ibm.watsonx.ai",
}  # fmt: skip
"""How OpenTelemetry's conventions for generative AI name providers, where they differ."""
