"""What a model is, by its files: which engine can serve it, and which file of it is to be given to the engine."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from penstock.engines.spec import EngineError

GGUF = b"GGUF"  # the first bytes of every such file
_SHARD = re.compile(r"-(\d{5})-of-\d{5}\.gguf$", re.IGNORECASE)
_MOST_FILES = 10_000  # of a folder that are looked at


@dataclass(frozen=True, slots=True)
class Model:
    """A model as it was named. ``path``: its file or folder; None for a repository on Hugging Face."""

    name: str
    path: Path | None
    engine: str
    projector: Path | None = None


def guess_engine(model: str) -> str:
    """Guess which engine serves a model: llama.cpp for GGUF, TensorRT-LLM for its engines, vLLM for all else."""
    return find_model(model).engine


def find_model(named: str) -> Model:
    """Look at a model's files. Raises ``EngineError`` where a path leads nowhere, or the folder has several models."""
    path = Path(named).expanduser()
    if not path.exists():
        if named.startswith(("/", ".", "~")) or named.lower().endswith(".gguf"):
            raise EngineError(f"there is no model at {path}")
        return Model(named, None, "llama" if "gguf" in named.lower() else "vllm")
    path = path.absolute()
    if path.is_file():
        if not _is_gguf(path):
            raise EngineError(f"{path} is no GGUF file: give the folder of a model, or a .gguf file")
        return Model(named, path, "llama", _projector(_gguf_files(path.parent), beside=path))
    files = _gguf_files(path)
    if files:
        return Model(named, _only_model(path, files), "llama", _projector(files, beside=None))
    if any(path.glob("*.engine")):  # rank0.engine, one for each GPU: what trtllm-build writes
        return Model(named, path, "trtllm")
    if not (path / "config.json").is_file():
        raise EngineError(f"{path} has neither a .gguf file, nor a config.json with weights, nor a TensorRT engine")
    return Model(named, path, "vllm")


def _is_gguf(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(GGUF)) == GGUF
    except OSError as error:
        raise EngineError(f"cannot read {path}: {error.strerror}") from error


def _gguf_files(folder: Path) -> list[Path]:
    """List the GGUF files of a folder and of the folders in it, which is how repositories keep their quantizations."""
    found: list[Path] = []
    try:
        for pattern in ("*", "*/*"):
            for number, path in enumerate(folder.glob(pattern)):
                if number >= _MOST_FILES:
                    break
                if path.suffix.lower() == ".gguf":
                    found.append(path)
    except OSError as error:
        raise EngineError(f"cannot read {folder}: {error.strerror}") from error
    return sorted(found)


def _is_projector(path: Path) -> bool:
    return "mmproj" in path.name.lower()


def _only_model(folder: Path, files: list[Path]) -> Path:
    """Return the one model of a folder; of a model in several files the first, which llama.cpp takes for all."""
    models = [path for path in files if not _is_projector(path)]
    models = [path for path in models if (shard := _SHARD.search(path.name)) is None or int(shard[1]) == 1]
    if len(models) != 1:
        names = ", ".join(str(path.relative_to(folder)) for path in models) or "only a projector"
        raise EngineError(f"{folder} has several models or none ({names}): give the .gguf file that is meant")
    return models[0]


def _projector(files: list[Path], beside: Path | None) -> Path | None:
    """Return the projector of a model that sees; None where there is none, or it is not clear which."""
    found = [path for path in files if _is_projector(path) and (beside is None or path.parent == beside.parent)]
    return found[0] if len(found) == 1 and found[0] != beside else None
