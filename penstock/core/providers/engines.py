"""Local engines to look for: where each listens when nobody says otherwise, and how it gives itself away.

Pure: rows and readers. Who asks the ports is elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """One local engine. `GET http://127.0.0.1:{port}{probe}` lists its models."""

    name: str
    """The name people use for it."""
    provider: str
    """The name of its row in `PROVIDERS`."""
    port: int
    probe: str = "/v1/models"
    owned_by: str = ""
    """What it writes into `owned_by` of every model; empty when it writes nothing of its own."""

    @property
    def base(self) -> str:
        """Return the `api_base` that reaches it on this host (IPv4: several engines do not listen on ::1)."""
        return f"http://127.0.0.1:{self.port}"


# owned_by: vllm/entrypoints/openai/protocol.py, sglang/srt/entrypoints/openai/protocol.py,
# tensorrt_llm/serve/openai_protocol.py (class ModelCard in all three), llama.cpp tools/server. vLLM and trtllm-serve
# both listen on 8000 and answer /version with a bare version number, so owned_by is what tells them apart.
ENGINES: tuple[Engine, ...] = (
    Engine(name="Ollama", provider="ollama", port=11434, probe="/api/tags"),
    Engine(name="LM Studio", provider="lm_studio", port=1234),
    Engine(name="vLLM", provider="hosted_vllm", port=8000, owned_by="vllm"),
    Engine(name="TensorRT-LLM", provider="trtllm", port=8000, owned_by="tensorrt_llm"),
    Engine(name="llama.cpp", provider="llama_cpp", port=8080, owned_by="llamacpp"),
    Engine(name="SGLang", provider="sglang", port=30000, owned_by="sglang"),
    Engine(name="Docker Model Runner", provider="docker_model_runner", port=12434, probe="/engines/v1/models"),
    Engine(name="Xinference", provider="xinference", port=9997),
)


def probes() -> tuple[tuple[int, str], ...]:
    """Return (port, path) to ask, each once, in the order of the table."""
    return tuple(dict.fromkeys((engine.port, engine.probe) for engine in ENGINES))


def model_names(listing: object) -> tuple[str, ...]:
    """Return the model names in a decoded listing: OpenAI's `{"data": [{"id"}]}` or Ollama's `{"models": [{"name"}]}`.

    Empty for anything else: another program may listen on the port.
    """
    return tuple(name for name, _ in _entries(listing))


def identify(port: int, probe: str, listing: object) -> Engine | None:
    """Find which engine answered `probe` on `port` with `listing` (decoded JSON). None: no model server.

    An engine that names itself in `owned_by` is believed on any port; otherwise the first row of the port is taken.
    """
    if not isinstance(listing, Mapping) or not any(isinstance(listing.get(key), list) for key in ("data", "models")):
        return None
    owners = {owner for _, owner in _entries(listing)}
    for engine in ENGINES:
        if engine.owned_by and engine.owned_by in owners:
            return engine
    for engine in ENGINES:
        if (engine.port, engine.probe) == (port, probe):
            return engine
    return None


def _entries(listing: object) -> list[tuple[str, str]]:
    if not isinstance(listing, Mapping):
        return []
    found: list[tuple[str, str]] = []
    for key, field in (("data", "id"), ("models", "name")):
        entries = listing.get(key)
        if not isinstance(entries, list):
            continue
        for entry in entries:
            if isinstance(entry, Mapping) and isinstance(entry.get(field), str):
                owner = entry.get("owned_by")
                found.append((entry[field], owner if isinstance(owner, str) else ""))
        break
    return found
