"""`ProviderFactory`: providers by name, each one model as an object."""

from __future__ import annotations

import difflib
from typing import Any

from penstock.core.providers import PROVIDERS, get
from penstock.sdk.litellm_provider import LiteLLMProvider


class ProviderFactory:
    """Makes providers. "litellm" takes any `provider/model`; the name of a provider takes one of its models."""

    @staticmethod
    def create(provider_name: str, model: str | None = None, **options: Any) -> LiteLLMProvider:
        """Make a provider of a model; without one, of the service's default. ``options``: arguments of all its calls.
        Raises ValueError for a name that is no provider's."""
        if provider_name == LiteLLMProvider.name:
            from penstock.sdk.service import get_litellm_service

            return LiteLLMProvider(model=get_litellm_service().name_model(model), **options)
        if get(provider_name) is None:
            near = difflib.get_close_matches(provider_name, [LiteLLMProvider.name, *PROVIDERS], 1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; {LiteLLMProvider.name!r} takes any provider/model"
            raise ValueError(f"there is no provider {provider_name!r}{hint}")
        if not model:
            raise ValueError(f"which model of {provider_name}? Give model=...")
        return LiteLLMProvider(
            model=model if model.startswith(f"{provider_name}/") else f"{provider_name}/{model}", **options
        )

    @staticmethod
    def names() -> list[str]:
        """List the names that `create` takes."""
        return [LiteLLMProvider.name, *PROVIDERS]
