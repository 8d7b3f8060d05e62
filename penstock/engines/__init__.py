"""Local model servers as processes: started, watched and stopped here. One file per engine, and its row below.

What belongs here: how an engine is started, how it tells that it is ready, and that nothing of it is left behind. Which
engines already run on this machine is another question: `core/providers/engines.py`.
"""

from __future__ import annotations

from penstock.engines.llama import LLAMA
from penstock.engines.sglang import SGLANG
from penstock.engines.spec import Engine, EngineError, Launch
from penstock.engines.trtllm import TRTLLM
from penstock.engines.vllm import VLLM

ENGINES: dict[str, Engine] = {engine.name: engine for engine in (VLLM, LLAMA, TRTLLM, SGLANG)}

__all__ = ["ENGINES", "Engine", "EngineError", "Launch"]
