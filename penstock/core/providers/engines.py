"""Local engines to look for: where each listens when nobody says otherwise, and how it gives itself away.

Pure: rows and readers. Who asks the ports is elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import urlsplit

from penstock.core.providers import PROVIDERS
from penstock.core.providers.urls import endpoint


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


class Place(NamedTuple):
    """Where an engine may be: `url` lists its models, `base` reaches it. `engine`: who is expected there, None where
    several share a port; `variable`: the one that names the place, "" for a usual port."""

    url: str
    base: str
    engine: Engine | None = None
    variable: str = ""


def places(env: Mapping[str, str]) -> tuple[Place, ...]:
    """List where to look, each place once: what the variables of the engines' rows name, and else their usual ports."""
    found: dict[tuple[str, int | None, str], Place] = {}
    told: set[str] = set()
    for engine in ENGINES:
        variable = next((name for name in PROVIDERS[engine.provider].bases if env.get(name, "").strip()), None)
        if variable is not None and engine.provider not in told:
            told.add(engine.provider)
            if (place := _named(engine, variable, env[variable].strip())) is not None:
                found.setdefault(_where(place.url), place)
    for engine in ENGINES:
        if engine.provider not in told:
            url = engine.base + engine.probe
            found.setdefault(_where(url), Place(url, engine.base))
    return tuple(found.values())


def _named(engine: Engine, variable: str, base: str) -> Place | None:
    """Make the place that a variable names; None for what is no URL (the calls that need it say so)."""
    base = base if "://" in base else f"http://{base}"  # as Ollama's own variables have it
    what = "ollama_tags" if engine.probe == "/api/tags" else "models"
    try:
        url = endpoint(PROVIDERS[engine.provider], base, {}, what)
        return Place(url, base, engine, variable) if urlsplit(url).hostname else None
    except (LookupError, ValueError):
        return None


def _where(url: str) -> tuple[str, int | None, str]:
    parts = urlsplit(url)
    return ("127.0.0.1" if parts.hostname == "localhost" else parts.hostname or "", parts.port, parts.path)


def model_names(listing: object) -> tuple[str, ...]:
    """Return the model names in a decoded listing: OpenAI's `{"data": [{"id"}]}` or Ollama's `{"models": [{"name"}]}`.

    Empty for anything else: another program may listen on the port.
    """
    return tuple(name for name, _ in _entries(listing))


def identify(place: Place, listing: object) -> Engine | None:
    """Find which engine answered at `place` with `listing` (decoded JSON). None: no model server.

    An engine that names itself in `owned_by` is believed anywhere; otherwise it is the one that was expected, or the
    first row of the port.
    """
    if not isinstance(listing, Mapping) or not any(isinstance(listing.get(key), list) for key in ("data", "models")):
        return None
    owners = {owner for _, owner in _entries(listing)}
    for engine in ENGINES:
        if engine.owned_by and engine.owned_by in owners:
            return engine
    if place.engine is not None:
        return place.engine
    return next((engine for engine in ENGINES if engine.base + engine.probe == place.url), None)


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
