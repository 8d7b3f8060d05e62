"""What a `LiteLLMService` is told: which model answers where a call names none, and how."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, fields, replace
from typing import Any

from penstock.core.providers import PROVIDERS, get

OLLAMA_BASE_URL = "http://localhost:11434"  # of a config in which nobody has chosen one


@dataclass
class LiteLLMConfig:
    """The settings of a service. ``ollama_base_url``: where models of Ollama are asked; as long as it is the default,
    `OLLAMA_API_BASE` or `OLLAMA_BASE_URL` says so. ``enable_caching``: who asks the same again is given the answer to
    the first. ``enable_cost_tracking``: `costs()` sums up what calls cost. Raises ValueError for what cannot be."""

    default_provider: str = "ollama"
    default_model: str = "llama3.2"
    temperature: float = 0.7
    max_tokens: int = 4096
    ollama_base_url: str = OLLAMA_BASE_URL
    enable_caching: bool = True
    enable_cost_tracking: bool = True

    def __post_init__(self) -> None:
        self.check()

    def check(self) -> None:
        """Raise ValueError with the first setting that cannot be, and what it may be."""
        if get(self.default_provider) is None:
            near = difflib.get_close_matches(str(self.default_provider), PROVIDERS, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise _wrong("default_provider", self.default_provider, f"the name of a provider{hint}")
        if not isinstance(self.default_model, str) or not self.default_model:
            raise _wrong("default_model", self.default_model, "the name of a model")
        if not _is_number(self.temperature) or self.temperature < 0:
            raise _wrong("temperature", self.temperature, "a number, 0 or more")
        if not _is_number(self.max_tokens) or self.max_tokens < 1 or self.max_tokens != int(self.max_tokens):
            raise _wrong("max_tokens", self.max_tokens, "a whole number, 1 or more")
        if not str(self.ollama_base_url).startswith(("http://", "https://")):
            raise _wrong("ollama_base_url", self.ollama_base_url, f"a URL such as {OLLAMA_BASE_URL}")
        for name in ("enable_caching", "enable_cost_tracking"):
            if not isinstance(getattr(self, name), bool):
                raise _wrong(name, getattr(self, name), "True or False")

    def changed(self, changes: dict[str, Any]) -> LiteLLMConfig:
        """Return a config with some settings changed. Raises TypeError for a name that is none, and ValueError."""
        known = [one.name for one in fields(self)]
        for name in changes:
            if name not in known:
                near = difflib.get_close_matches(name, known, 1)
                raise TypeError(f"there is no setting {name!r}; {f'did you mean {near[0]!r}' if near else 'there are'}"
                                f"{'?' if near else ' ' + ', '.join(known)}")  # fmt: skip
        return replace(self, **changes)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _wrong(name: str, value: object, wanted: str) -> ValueError:
    return ValueError(f"{name} is {str(value)[:100]!r}, and must be {wanted}")
