"""What a row of an engine says: how it is started here or in a container, and how it tells that it is ready."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from penstock.engines.progress import read_bars


class EngineError(Exception):
    """The engine or the gateway could not be started, or ended by itself; the message is for whoever started it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """One start of an engine, whichever it is. ``model``: a path as the engine sees it, or a repository's name on
    Hugging Face (``remote``). ``projector``: the GGUF file of a model that sees. ``options``: what follows as given."""

    model: str
    host: str
    port: int
    remote: bool = False
    projector: str = ""
    options: tuple[str, ...] = ()


Arguments = Callable[[Launch], list[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way to run an engine as a process of this machine: a program on PATH, or a module of this Python."""

    program: str = ""
    module: str = ""
    arguments: Arguments
    health: str = "/health"


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """The engine's own container image. ``command``: what the image's entry point does not say already. ``flags``: for
    ``docker run``. ``tag``: from the version and whether there is an NVIDIA GPU."""

    name: str
    tag: Callable[[str, bool], str]
    arguments: Arguments
    command: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    health: str = "/health"


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """One kind of local model server. ``ways`` are tried in their order, then the image. ``dashes``: whether the words
    of its options are joined by dashes, or by underscores. ``naming``: its option for the name by
    which it is asked, "" where it has none, or goes by no name. ``percent``: reads from a piece of its log how much is
    loaded, None for a piece that does not tell. ``install``: what to tell who does not have it."""

    name: str
    title: str
    ways: tuple[Way, ...]
    image: Image
    install: str
    dashes: bool = True
    naming: str = ""
    percent: Callable[[str], float | None] = read_bars


def tag_or_latest(version: str, gpu: bool) -> str:
    """Return the version as the image's tag."""
    return version or "latest"


def write_options(arguments: object, dashes: bool = True) -> tuple[str, ...]:
    """Write a mapping of a config file as options: ``{max_model_len: 8192}`` is ``--max-model-len 8192``.

    A true value is the option alone, a list is the option with several values, null and false leave it out. Raises
    ``EngineError`` for what cannot be an option."""
    if arguments is None:
        return ()
    if not isinstance(arguments, dict):
        raise EngineError(f"args must be a mapping of options to values, not {arguments!r}")
    words: list[str] = []
    for key, value in arguments.items():
        if value is None or value is False:
            continue
        if not isinstance(key, str) or isinstance(value, dict):
            raise EngineError(f"args.{key}: {value!r} is no value of an option: write a number, a text, true or a list")
        name = key.replace("_", "-") if dashes else key.replace("-", "_")
        words.append(f"--{name}")
        if value is not True:
            words += [str(one) for one in value] if isinstance(value, list) else [str(value)]
    return tuple(words)
