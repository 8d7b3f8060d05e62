"""Which deployments a call may use: those of a config, or the one that its own arguments name.

A name as `openai/gpt-4o` is a deployment that nobody wrote down: provider and model stand in it, the key in the
environment or beside it. Each is a state of its own, as a config of one entry would be, made once and kept. A config
without a `model_list` says what holds for all of them.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
from collections import OrderedDict
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from penstock.config import load, load_dotenv, load_values
from penstock.core.providers import get
from penstock.core.providers.resolve import resolve
from penstock.runtime.state import State
from penstock.sdk.exceptions import class_of, error_of_kind

if TYPE_CHECKING:
    from penstock.config import Loaded
    from penstock.sdk.arguments import Asked

log = logging.getLogger("penstock")
KEPT = 500  # states of single deployments


def environment() -> Mapping[str, str]:
    """Return the variables of the process over those of `.env` in the working directory, as they are now."""
    return load_dotenv(Path.cwd(), os.environ)


class States:
    """The states of one client. ``config``: a path, or what a config file would hold; None, or settings without a
    `model_list`: any `provider/model`, with these settings. Raises ValueError for a config that cannot be used."""

    def __init__(self, config: str | os.PathLike[str] | Mapping[str, Any] | None = None) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[object, State] = OrderedDict()
        self._settings: Mapping[str, Any] = {}
        self._caches = False
        if isinstance(config, Mapping) and config and "model_list" not in config:
            self._settings, config = config, None
            any_model = {**self._settings, "model_list": [_entry("*", {"model": "*"})]}
            loaded = load_values(any_model, environment(), resolve=resolve)
            if wrong := [str(problem) for problem in loaded.problems if problem.level == "error"]:
                raise ValueError("\n".join(wrong))
            self._caches = _state(loaded).caching is not None
        self.state: State | None = None if config is None else self._configured(config)

    def of(self, asked: Asked) -> State:
        """Return the state in which a call is answered. Raises BadRequestError for a model whose provider nobody knows,
        and AuthenticationError where its key is missing."""
        state = self.state
        if state is not None and not asked.params and not any(asked.also.values()):
            return state
        key = self._key(asked)
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
                return found
        made = self._made(asked, key) if state is None else self._changed(state, asked)
        with self._lock:
            self._kept[key] = made
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return made

    def _key(self, asked: Asked) -> object:
        """Make what two calls have in common that may share a state: deployments, and what the environment says of
        their providers."""
        said = _said(asked.model, asked.params)
        if not asked.params and not asked.also:
            return asked.model, said
        also = tuple([(name, _said(name, params), _written(params)) for name, params in asked.also.items()])
        return asked.model, said, _written(asked.params), also

    def _configured(self, config: str | os.PathLike[str] | Mapping[str, Any]) -> State:
        env = environment()
        if isinstance(config, Mapping):
            loaded = load_values(config, env, resolve=resolve)
        else:
            loaded = load(Path(config), env, resolve=resolve)
        state = _state(loaded)
        for problem in state.problems:
            log.warning("%s", problem)
        return state

    def _made(self, asked: Asked, key: object) -> State:
        params = {"model": asked.model, **asked.params}
        if self._caches:
            # Answers of another address, or for another key, are other answers.
            digest = hashlib.blake2b(_encode([key, self._settings]), digest_size=16).hexdigest()
            params["cache"] = {"namespace": digest, **(params.get("cache") or {})}
        entries = [_entry(asked.model, params)]
        known = {asked.model}
        for name, params in asked.also.items():
            if name not in known:
                known.add(name)
                entries.append(_entry(name, {"model": name, **params}))
        try:
            resolve(asked.model, asked.params.get("api_base"), asked.params.get("custom_llm_provider"))
        except LookupError as unknown:
            text = "LLM Provider NOT provided. Pass in the LLM provider you are trying to call. You passed model="
            text += f"{asked.model[:120]}. {unknown}"
            raise class_of("BadRequestError")(message=text, model=asked.model) from None
        loaded = load_values({**self._settings, "model_list": entries}, environment(), resolve=resolve)
        wrong = [problem for problem in loaded.problems if problem.level == "error"]
        if wrong:
            text = "; ".join(f"{problem.path.rpartition('.')[2]}: {problem.message}" for problem in wrong)
            raise class_of("BadRequestError")(message=text, model=asked.model)
        state = _state(loaded, of_entries=True)
        if not state.targets_of(asked.model):
            raise error_of_kind("not_configured", " ".join(state.problems), model=asked.model)
        return state

    def _changed(self, state: State, asked: Asked) -> State:
        """Make the state of a config in which the deployments of the model asked for are as a call says."""
        found = state.catalog.find(asked.model)
        group = asked.model if found is None else found.group
        raw = state.config.raw
        entries = [
            {**entry, "litellm_params": {**entry["litellm_params"], **asked.params}}
            if entry.get("model_name") == group
            else entry
            for entry in raw.get("model_list") or ()
        ]
        entries += [_entry(name, params) for name, params in asked.also.items() if params]
        return _state(load_values({**raw, "model_list": entries}, state.env, resolve=resolve))


def _entry(name: str, params: Mapping[str, Any]) -> dict[str, Any]:
    return {"model_name": name, "litellm_params": dict(params)}


def _state(loaded: Loaded, of_entries: bool = False) -> State:
    """Make the state of a config that was read. Raises ValueError with all that is wrong with it; ``of_entries``: only
    what is to be said of its deployments is news."""
    config = loaded.config
    if config is None:
        raise ValueError("\n".join(str(problem) for problem in loaded.problems if problem.level == "error"))
    for problem in loaded.problems:
        if of_entries and not problem.path.startswith("model_list"):
            continue
        log.log(logging.ERROR if problem.level == "error" else logging.WARNING, "%s", problem)
    return State(config, config.environment)


def _said(model: str, params: Mapping[str, Any]) -> tuple[str | None, ...]:
    """Return what the environment says of a model's provider where ``params`` do not. A key that is set later
    counts."""
    names = _variables(model, params.get("custom_llm_provider"), "api_key" in params, "api_base" in params)
    return tuple([_variable(name) for name in names]) if names else ()


def _variable(name: str) -> str | None:
    try:
        return os.environ[name]  # its ``get`` does this in a frame more
    except KeyError:
        return None


@lru_cache(1024)
def _variables(model: str, provider: str | None, has_key: bool, has_base: bool) -> tuple[str, ...]:
    row = get(provider) if provider else get(model.partition("/")[0])
    if row is None:
        try:
            row = get(resolve(model)[0])
        except LookupError:
            return ()
    assert row is not None  # a provider that a name leads to has a row
    return (*(() if has_key else row.keys), *(() if has_base else row.bases), *row.env)


def _written(params: Mapping[str, Any]) -> bytes:
    return _encode(params) if params else b""


_encode = msgspec.json.Encoder(enc_hook=str, order="sorted").encode
