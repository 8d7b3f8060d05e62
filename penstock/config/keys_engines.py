"""Key tables of `engines`: local model servers that the gateway starts and ends. A row is (key, type, status, default,
meaning)."""

from __future__ import annotations

BACKENDS = {"vllm": "hosted_vllm", "llama": "llama_cpp", "trtllm": "trtllm", "sglang": "sglang"}
"""Values of `backend`, and the provider whose dialects and quirks each has."""
PREFIX = "engine/"
"""What `litellm_params.model` begins with where it names an engine."""

ENGINES = (
    ("models", "mapping", "acted", None, "the engines, by name: `{name: model}`, or a mapping, see its own table"),
    ("slots", "positive", "acted", 1, "engines that are loaded at one time; with `vram`: as many as fit"),
    ("vram", "bytes", "acted", None, "memory that they share; each says what it takes"),
    ("max_wait", "span", "acted", "5m", "longest wait for an engine, then a request goes to a fallback"),
    ("swap_after", "pause", "acted", "10s", "an engine takes new requests so long while another waits for its place"),
    ("ttl", "pause", "acted", 0, "`ttl` of engines without one"),
    ("default", "str", "acted", None, "engine that is loaded whenever there is room and nobody waits"),
    ("preload", "names", "acted", None, "engines that are loaded at the start"),
    ("groups", "list", "acted", None, "list of `{together: [...]}` and `{apart: [...]}`"),
)
ENGINE = (
    ("model", "str", "acted", None, "folder or .gguf file, or a name on Hugging Face; with `command`: its own name"),
    ("backend", f"one:{','.join(BACKENDS)}", "acted", None, "which engine; absent: llama for GGUF, else vllm"),
    ("args", "options", "acted", None, "the engine's own options: `{max_model_len: 8192}` is `--max-model-len 8192`"),
    ("command", "words", "acted", None, "another server; `{port}` is where it has to listen"),
    ("health", "str", "acted", "/health", "path that answers 200 once `command` is ready"),
    ("environment", "variables", "acted", None, "variables for the process, such as CUDA_VISIBLE_DEVICES"),
    ("ttl", "pause", "acted", 0, "it ends when it had no request for so long; 0: never"),
    ("vram", "bytes", "acted", None, "memory that it takes; absent: all of `engines.vram`"),
    ("start_timeout", "span", "acted", "10m", "longest wait until it is ready"),
    ("port", "port", "acted", None, "where it listens, on 127.0.0.1; absent: a port of its own"),
    ("runtime", "one:auto,native,docker", "acted", "auto", "a program of this machine, or a container"),
    ("binary", "str", "acted", None, "its program, where it is not on PATH"),
    ("version", "str", "acted", None, "tag of its container"),
    ("image", "str", "acted", None, "its container, where it is another one"),
)
GROUP = (
    ("together", "texts", "acted", None, "engines that take one slot together"),
    ("apart", "texts", "acted", None, "engines of which one is loaded at a time"),
)
