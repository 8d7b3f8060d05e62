"""Providers on the user's own side: local engines, and "any OpenAI-compatible server".

They need no key. `may_speak` lists what newer versions of an engine speak beside OpenAI Chat; it is asked at run time,
because the version of last year answers 404.
"""

from __future__ import annotations

from penstock.core.providers.quirks import LLAMA_CPP, LM_STUDIO, TRTLLM
from penstock.core.providers.spec import Provider, Quirks, row

_BOTH = ("anthropic", "openai_responses")
_OLLAMA = ("ollama", "ollama_generate")
GATEWAY = "litellm_proxy"
"""The row of a server that is a gateway itself, Penstock or LiteLLM's proxy."""

ENGINES: tuple[Provider, ...] = (
    row(
        "hosted_vllm",
        "http://localhost:8000/v1",
        "HOSTED_VLLM_API_KEY",
        "VLLM_API_KEY",
        guides="vllm",
        bases=("HOSTED_VLLM_API_BASE", "VLLM_API_BASE"),
        may_speak=_BOTH,
        owner="vllm",
        local=True,
        docs="https://docs.vllm.ai/en/latest/serving/openai_compatible_server",
    ),
    row(
        "sglang",
        "http://localhost:30000/v1",
        "SGLANG_API_KEY",
        may_speak=_BOTH,
        guides="sglang",
        local=True,
        docs="https://docs.sglang.ai/basic_usage/openai_api.html",
    ),
    row(
        "trtllm",
        "http://localhost:8000/v1",
        "TRTLLM_API_KEY",
        may_speak=_BOTH,
        owner="tensorrt_llm",
        local=True,
        quirks=TRTLLM,
        guides="trtllm",
        docs="https://nvidia.github.io/TensorRT-LLM/commands/trtllm-serve/trtllm-serve.html",
    ),
    row(
        "llama_cpp",
        "http://localhost:8080/v1",
        "LLAMA_CPP_API_KEY",
        # Not its Responses: the events come without indices and an answer that was cut is called completed, so that
        # OpenAI's own SDK cannot read the stream (build 0c1e570). Over Chat nothing is missing.
        may_speak=("anthropic",),
        owner="llamacpp",
        local=True,
        quirks=LLAMA_CPP,
        guides="llama_cpp",
        docs="https://github.com/ggml-org/llama.cpp/tree/master/tools/server",
    ),
    row(
        "llamafile",
        "http://127.0.0.1:8080/v1",
        "LLAMAFILE_API_KEY",
        may_speak=("anthropic",),
        local=True,
        quirks=LLAMA_CPP,
        guides="llama_cpp",
        docs="https://github.com/mozilla-ai/llamafile",
    ),
    row(
        "lm_studio",
        "http://localhost:1234/v1",
        "LM_STUDIO_API_KEY",
        may_speak=_BOTH,
        local=True,
        quirks=LM_STUDIO,
        schema_dialects=("openai_chat",),
        docs="https://lmstudio.ai/docs/developer/openai-compat",
    ),
    # OLLAMA_BASE_URL is the name in seed files that never ran against LiteLLM, which reads OLLAMA_API_BASE only: both.
    # Its own API only is sure: /v1 of Ollama knows neither ``num_ctx`` nor ``keep_alive``, and changes by version.
    row(
        "ollama",
        "http://localhost:11434/v1",
        "OLLAMA_API_KEY",
        bases=("OLLAMA_API_BASE", "OLLAMA_BASE_URL"),
        dialects=_OLLAMA,
        may_speak=_BOTH,
        guides="patterns",
        local=True,
        docs="https://docs.ollama.com/api",
    ),
    row(
        "ollama_chat",
        "http://localhost:11434/v1",
        "OLLAMA_API_KEY",
        bases=("OLLAMA_API_BASE", "OLLAMA_BASE_URL"),
        dialects=_OLLAMA,
        may_speak=_BOTH,
        guides="patterns",
        owner="ollama",
        local=True,
        docs="https://docs.ollama.com/api",
    ),
    # LiteLLM's default port 22088 is nobody's: Docker documents 12434 for TCP access from the host.
    row(
        "docker_model_runner",
        "http://localhost:12434/engines/v1",
        "DOCKER_MODEL_RUNNER_API_KEY",
        version="/engines/v1",
        may_speak=("anthropic",),
        local=True,
        paths={"anthropic": "http://localhost:12434/anthropic"},
        quirks=LLAMA_CPP,  # which is what it runs
        docs="https://docs.docker.com/ai/model-runner/api-reference",
    ),
    row(
        "lemonade",
        "http://localhost:8000/api/v1",
        "LEMONADE_API_KEY",
        version="/api/v1",
        may_speak=("openai_responses",),
        local=True,
        quirks=LLAMA_CPP,  # which is what it runs
        docs="https://lemonade-server.ai/docs",
    ),
    row(
        "xinference",
        "http://127.0.0.1:9997/v1",
        "XINFERENCE_API_KEY",
        may_speak=("anthropic",),
        local=True,
        docs="https://inference.readthedocs.io",
    ),
    row("oobabooga", "http://127.0.0.1:5000/v1", "OOBABOOGA_API_KEY", local=True),
    row(
        "infinity",
        "http://localhost:7997",
        "INFINITY_API_KEY",
        version="",
        dialects=(),
        local=True,
        docs="https://github.com/michaelfeil/infinity",
    ),
)

ANYWHERE: tuple[Provider, ...] = (
    row("openai_like", None, "OPENAI_LIKE_API_KEY", local=True),
    row("custom_openai", None, local=True),
    row("custom", None, local=True),
    row("aiohttp_openai", None, local=True, owner="openai"),
    # The mock upstream of this package (`penstock mock`, `mock/echo`): plainly a mock wherever its owner is shown.
    row(
        "mock",
        None,
        "PENSTOCK_MOCK_API_KEY",
        dialects=("openai_chat", "openai_responses", "anthropic"),
        owner="penstock-mock",
        local=True,
    ),
    row(
        GATEWAY,
        None,
        "LITELLM_PROXY_API_KEY",
        local=True,
        may_speak=_BOTH,
        quirks=Quirks(cache_marks=True, searches=True),
    ),
)

ROWS: tuple[Provider, ...] = ENGINES + ANYWHERE
