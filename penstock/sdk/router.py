"""`Router`: a client over a list of deployments, with the arguments of LiteLLM's class of that name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from penstock.config import keys
from penstock.sdk.client import Client
from penstock.sdk.states import States

_CALLBACKS = ("success_callback", "failure_callback", "callbacks")


class Router(Client):
    """Balances, retries and falls back as the gateway does: one engine. ``settings``: what `router_settings` of a
    config may hold (docs/routing.md)."""

    def __init__(self, model_list: Iterable[Mapping[str, Any]] | None = None, **settings: Any) -> None:
        heard = {name: settings.pop(name) for name in _CALLBACKS if settings.get(name)}
        strange = sorted(name for name in settings if keys.router.get(name) is None)
        if strange:
            raise TypeError(f"Router() got an unexpected keyword argument {strange[0]!r}")
        self._settings = {name: value for name, value in settings.items() if value not in (None, [], {})}
        self._entries = [dict(entry) for entry in model_list or ()]
        super().__init__(self._config(), **heard)

    def _config(self) -> dict[str, Any]:
        return {"model_list": self._entries, "router_settings": self._settings}

    @property
    def model_list(self) -> list[dict[str, Any]]:
        """Return the deployments as they were given."""
        return [dict(entry) for entry in self._entries]

    @property
    def model_names(self) -> list[str]:
        """List the names that calls may ask for."""
        state = self._calling.states.state
        return [] if state is None else state.catalog.names()

    def get_model_list(self, model_name: str | None = None) -> list[dict[str, Any]]:
        """Return the deployments of a name, or all."""
        return [entry for entry in self.model_list if model_name in (None, entry.get("model_name"))]

    def set_model_list(self, model_list: Iterable[Mapping[str, Any]]) -> None:
        """Put other deployments in the place of these. What is known of the ones that stay is kept."""
        before = self._entries
        self._entries = [dict(entry) for entry in model_list]
        try:
            self._calling.states = States(self._config())
        except ValueError:
            self._entries = before
            raise

    def add_deployment(self, deployment: Mapping[str, Any]) -> None:
        """Add a deployment."""
        self.set_model_list([*self._entries, deployment])

    def delete_deployment(self, id: str) -> dict[str, Any] | None:
        """Take the deployment away whose `model_info.id` it is; return it, None where there is none."""
        found = [entry for entry in self._entries if (entry.get("model_info") or {}).get("id") == id]
        if not found:
            return None
        self.set_model_list([entry for entry in self._entries if entry is not found[0]])
        return found[0]
