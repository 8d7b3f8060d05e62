"""`engines` -> the local model servers that the gateway starts, and the rules by which they share a machine."""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from penstock.config import keys
from penstock.config.keys_engines import BACKENDS, PREFIX
from penstock.config.problems import KeyPath, Problems, shown
from penstock.config.section import check, items, warn_unknown
from penstock.config.tree import Node
from penstock.core.fleet import Member, Share

PLACE = "engines"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+-]{0,99}")
# Below those that systems give to clients, so that a connection that goes out has none of them.
_FIRST_PORT, _PORTS = 20000, 12000
_OF_BACKENDS = ("backend", "args", "runtime", "binary", "version", "image")


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineModel:
    """One engine, as the config has it. ``command``: of a server that is no backend, () for one that is. ``args``:
    options as a mapping or as words. ``vram``: bytes; ``ttl``: None for never."""

    name: str
    model: str
    port: int
    backend: str = ""
    args: Mapping[str, Any] | tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    health: str = "/health"
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    ttl: float | None = None
    vram: int = 0
    start_timeout: float = 600.0
    runtime: str = "auto"
    binary: str = ""
    version: str = ""
    image: str = ""

    @property
    def provider(self) -> str:
        """Return the provider whose dialects and quirks it has."""
        return BACKENDS.get(self.backend, "openai")

    @property
    def base(self) -> str:
        """Return where it is asked."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def served(self) -> str:
        """Return the name by which it knows its model: the engine's, where it can be told one."""
        return self.name if self.backend in ("vllm", "sglang", "llama") else self.model

    @property
    def launch(self) -> tuple[object, ...]:
        """Return what, changed, makes it another process: how long it is kept does not."""
        same = (self.model, self.port, self.backend, self.args, self.command, self.health, self.environment)
        return (*same, self.runtime, self.binary, self.version, self.image)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """All engines, and the rules that they share. ``preload``: who is loaded at the start."""

    models: Mapping[str, EngineModel]
    share: Share
    preload: tuple[str, ...] = ()


def read_engines(node: Node | None, problems: Problems) -> EngineSettings | None:
    """Read the section; None where it names no engine. What is wrong with one of them leaves that one out."""
    section = check(keys.engines, node, (PLACE,), problems)
    warn_unknown(keys.engines, section, (PLACE,), problems)
    if node is None or "models" not in section.values:
        if section.values and node is not None:
            problems.error(node.file, node.line, (PLACE, "models"), "is missing: it names the engines")
        return None
    reader = _Reader(node, section.values, problems)
    models = reader.read_models()
    if not models:
        return None
    groups = reader.read_groups(models)
    share = Share(
        {name: _member(model, groups) for name, model in models.items()},
        slots=section.get("slots", None if "vram" in section.values else 1),
        vram=section.get("vram"),
        swap_after=section.get("swap_after", 10.0),
        max_wait=section.get("max_wait", 300.0),
        default=reader.read_default(models),
    )
    preload = tuple(name for name in section.get("preload", ()) if reader.knows(name, models, "preload"))
    if not share.fits({name: share.members[name] for name in preload}):
        text = "these engines cannot be loaded at one time, by slots, vram or groups; name fewer"
        reader.error("preload", text)
        preload = ()
    return EngineSettings(models=models, share=share, preload=preload)


class _Reader:
    """Reads the parts of the section, which depend on each other."""

    def __init__(self, node: Node, values: Mapping[str, Any], problems: Problems) -> None:
        self._node = node
        self._values = values
        self._problems = problems

    def error(self, key: str, text: str) -> None:
        child = self._node.value[key]
        self._problems.error(child.file, child.line, (PLACE, key), text)

    def knows(self, name: str, models: Iterable[str], key: str) -> bool:
        """Tell whether there is an engine of that name; where not, that is an error at ``key``."""
        there = name in models
        if not there:
            self.error(key, f"there is no engine {shown(name)} in engines.models{self._problems.hint(name, models)}")
        return there

    def read_default(self, models: Mapping[str, EngineModel]) -> str:
        name = self._values.get("default")
        if name is None or not self.knows(name, models, "default"):
            return ""
        for other in models.values():
            if other.name != name and other.ttl is None and "vram" not in self._values:
                child = self._node.value["default"]
                text = f"engine {shown(other.name)} has no ttl: once it is loaded, {shown(name)} does not come back"
                self._problems.warn(child.file, child.line, (PLACE, "default"), text)
                break
        return str(name)

    def read_models(self) -> dict[str, EngineModel]:
        node = self._node.value["models"]
        path: KeyPath = (PLACE, "models")
        found: dict[str, EngineModel] = {}
        sections = dict(items(node, path, self._problems))
        ports = {
            child.value["port"].value
            for child in sections.values()
            if isinstance(child.value, dict) and "port" in child.value
        }
        for name, child in sections.items():
            if child.value is None:
                continue
            before = self._problems.errors
            if not _NAME.fullmatch(name):
                text = "is no name of an engine: use letters, digits, and . _ : + - between them"
                self._problems.error(child.file, child.line, (*path, name), text)
                continue
            model = self._read_model(name, child, (*path, name), ports)
            if model is not None and self._problems.errors == before:
                found[name] = model
        return found

    def _read_model(self, name: str, node: Node, path: KeyPath, ports: set[Any]) -> EngineModel | None:
        if isinstance(node.value, str):  # the model alone
            short = Node(node.value, node.file, node.line, node.text, node.written)
            node = Node({"model": short}, node.file, node.line)
        section = check(keys.engine, node, path, self._problems)
        if not isinstance(node.value, dict):
            return None
        warn_unknown(keys.engine, section, path, self._problems)
        given = section.values
        command, model = given.get("command", ()), str(given.get("model", "")).strip()

        def error(key: str, text: str) -> None:
            child = node.value.get(key, node)
            self._problems.error(child.file, child.line, (*path, key), text)

        if not command and not model:
            error("model", "is missing: name the model's folder or file, or give a command")
        if command and not any("{port}" in word for word in command):
            error("command", "says no {port}, by which the server is told where to listen")
        for key in _OF_BACKENDS if command else ("health",):
            if key in given:
                error(key, "belongs to a command" if key == "health" else "stands beside command, which says it all")
        total, vram = self._values.get("vram"), given.get("vram")
        if total is not None and vram is None:
            text = "is missing: it counts as all of engines.vram, so that nothing is loaded beside it"
            self._problems.warn(node.file, node.line, (*path, "vram"), text)
            given["vram"] = total
        elif total is not None and vram > total:
            error("vram", f"is more than engines.vram ({total / 1e9:g}GB): it could never be loaded")
        gguf = "gguf" in model.lower()
        given.setdefault("ttl", self._values.get("ttl", 0.0))
        given |= {"ttl": given["ttl"] or None, "model": model or name}
        if not command:
            given.setdefault("backend", "llama" if gguf else "vllm")
        given.setdefault("port", _own_port(f"{os.path.abspath(node.file)}\0{name}", ports))
        ports.add(given["port"])
        return EngineModel(name=name, **given)

    def read_groups(self, models: Mapping[str, EngineModel]) -> list[tuple[str, frozenset[str]]]:
        """Read which engines are loaded together, and which never: ("together" or "apart", names)."""
        node, found = self._node.value.get("groups"), list[tuple[str, frozenset[str]]]()
        for number, child in enumerate(node.value if node is not None and isinstance(node.value, list) else ()):
            path: KeyPath = (PLACE, "groups", number)
            section = check(keys.engine_group, child, path, self._problems)
            warn_unknown(keys.engine_group, section, path, self._problems)
            for kind, names in section.values.items():
                known = frozenset(name for name in names if self.knows(name, models, "groups"))
                text = _clash(kind, known, found)
                if text:
                    self._problems.error(child.file, child.line, (*path, kind), text)
                elif len(known) > 1:
                    found.append((kind, known))
        return found


def _clash(kind: str, names: frozenset[str], others: Iterable[tuple[str, frozenset[str]]]) -> str:
    """Say what a group contradicts among those before it; "" for nothing."""
    for other, members in others:
        both = sorted(names & members)
        if kind == other == "together" and both:
            return f"{shown(both[0])} is in another group that is loaded together; one engine is in one of them"
        if kind != other and len(both) > 1:
            return f"{shown(both[0])} and {shown(both[1])} are in a group of the other kind, too"
    return ""


def _member(model: EngineModel, groups: Iterable[tuple[str, frozenset[str]]]) -> Member:
    mine = [(kind, names) for kind, names in groups if model.name in names]
    together = next((names for kind, names in mine if kind == "together"), frozenset[str]())
    apart = frozenset(other for kind, names in mine if kind == "apart" for other in names if other != model.name)
    return Member(vram=model.vram, ttl=model.ttl, together=together, apart=apart)


def _own_port(seed: str, taken: set[Any]) -> int:
    """Choose a port that stays the same over reloads, whatever other engines are added: the address of an engine that
    runs must not change."""
    at = zlib.crc32(seed.encode()) % _PORTS
    while _FIRST_PORT + at in taken:
        at = (at + 1) % _PORTS
    return _FIRST_PORT + at


def find_unlisted(engines: EngineSettings | None, listed: Node | None) -> list[str]:
    """List the engines that no entry of `model_list` names: each serves under its own name, unless that is taken."""
    entries = [node.value for node in _items(listed) if isinstance(node.value, dict)]
    blocks = [entry["litellm_params"].value for entry in entries if "litellm_params" in entry]
    named = {block["model"].value for block in blocks if isinstance(block, dict) and "model" in block}
    named |= {PREFIX + str(entry["model_name"].value) for entry in entries if "model_name" in entry}
    return [] if engines is None else [name for name in engines.models if PREFIX + name not in named]


def list_too(names: Iterable[str], listed: Node | None, section: Node) -> Node:
    """Return `model_list` with an entry for each of these engines."""

    def made(value: Any) -> Node:
        return Node(value, section.file, section.line, value if isinstance(value, str) else "")

    more = [made({"model_name": made(name), "litellm_params": made({"model": made(PREFIX + name)})}) for name in names]
    at = listed or section
    return Node([*_items(listed), *more], at.file, at.line)


def _items(listed: Node | None) -> list[Node]:
    return listed.value if listed is not None and isinstance(listed.value, list) else []
