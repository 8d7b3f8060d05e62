"""A running Ollama is found without a config, and its models are called in its own dialect."""

from __future__ import annotations

from dataclasses import replace

import pytest

from penstock.config import Config
from penstock.core.providers import engines
from penstock.mock import Mock, Script
from penstock.runtime.state import State
from penstock.server.sources.engines import EnginesSource


async def test_an_ollama_on_its_port_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(dialects=frozenset({"ollama"}), models=("llama3.2:70b", "qwen3:8b"))
    async with Mock(script=script) as mock:
        own = next(engine for engine in engines.ENGINES if engine.provider == "ollama")
        monkeypatch.setattr(engines, "ENGINES", (replace(own, port=mock.port),))
        source = EnginesSource()
        try:
            config = replace(Config(), deployments=(await source.load(Config())).deployments)
            names = [deployment.model_name for deployment in config.deployments]
            assert names == ["mock/echo", "ollama/llama3.2:70b", "ollama/qwen3:8b"]
            targets = State(config, {}).targets
            found = next(target for target in targets if target.label == "ollama/llama3.2:70b")
            assert found.dialects == ("ollama", "ollama_generate")
            assert found.endpoint("ollama").url == f"{mock.url}/api/chat"
            assert found.endpoint("ollama_generate").url == f"{mock.url}/api/generate"
        finally:
            await source.close()
