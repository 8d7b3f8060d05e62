"""Starts and stops local engines, and the gateway in front of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from penstock.engines import ENGINES
from penstock.engines.manager import START_SECONDS, Manager
from penstock.engines.models import find_model
from penstock.engines.planning import AUTO, Wanted
from penstock.engines.ready import wait_ready
from penstock.engines.spec import EngineError


class ServerManager(Manager):
    """One engine, or one gateway (`start_litellm_proxy`). Each start returns whether the server is ready."""

    def start_vllm(self, model: str | Path, port: int | None = None, **more: Any) -> bool:
        """Start vLLM for a model."""
        return self._start_engine("vllm", model, port, **more)

    def start_gguf_backend(self, model: str | Path, port: int | None = None, **more: Any) -> bool:
        """Start llama.cpp for a GGUF model."""
        return self._start_engine("llama", model, port, **more)

    def start_trtllm(self, model: str | Path, port: int | None = None, **more: Any) -> bool:
        """Start TensorRT-LLM for a model."""
        return self._start_engine("trtllm", model, port, **more)

    def start_sglang(self, model: str | Path, port: int | None = None, **more: Any) -> bool:
        """Start SGLang for a model."""
        return self._start_engine("sglang", model, port, **more)

    def _start_engine(
        self,
        name: str,
        model: str | Path,
        port: int | None,
        *,
        options: tuple[str, ...] = (),
        runtime: str = AUTO,
        version: str = "",
        image: str = "",
        host: str = "127.0.0.1",
        binary: str = "",
        timeout: float = START_SECONDS,
    ) -> bool:
        try:
            found = find_model(str(model))
        except EngineError as error:
            return self._fail(error)
        wanted = Wanted(
            engine=ENGINES[name],
            model=found,
            host=host,
            port=self.port if port is None else port,
            options=tuple(options),
            runtime=runtime,
            binary=binary,
            version=version,
            image=image,
        )
        return self.start_backend(wanted, timeout)


def wait_for_litellm_ready(port: int = 4000, host: str = "localhost", timeout: float = 30) -> bool:
    """Wait until the gateway's `/health` answers 200, and tell whether it did in time."""
    return wait_ready(host, port, "/health", timeout)
