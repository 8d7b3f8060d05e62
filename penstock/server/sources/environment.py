"""The environment as a source: every provider whose key it holds, and the settings of a gateway without a config."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.server.sources.base import Broken, Source, SourceContent
from penstock.server.sources.made import deployment

if TYPE_CHECKING:
    from penstock.config import Config, Loaded
    from penstock.config.over import Over
    from penstock.core.providers.spec import Provider

_USABLE = frozenset({"openai_chat", "openai_responses", "anthropic", "gemini", "cohere", "bedrock"})


def environment() -> Mapping[str, str]:
    """Return the variables of the process over those of `.env` in the working directory, as they are now."""
    if not Path(".env").is_file():
        return dict(os.environ)
    from penstock.config import load_dotenv

    return load_dotenv(Path.cwd(), os.environ)


def _signs(provider: Provider, environ: Mapping[str, str]) -> bool:
    """Tell whether the environment holds an account that signs a provider's requests."""
    from penstock.runtime.cloud.aws import names_account_in

    return provider.auth == "sigv4" and names_account_in(environ)


class EnvironmentSource(Source):
    """Gives ``openai/*`` where there is an OPENAI_API_KEY, and so on; ``bedrock/*`` where there is an AWS account."""

    def __init__(self, environ: Callable[[], Mapping[str, str]]) -> None:
        self.name = "the environment"
        self._environ = environ
        self._names: frozenset[str] = frozenset()  # of the models that it gave last

    async def load(self, config: Config) -> SourceContent:
        from penstock.config import Problem, defaults
        from penstock.config.settings import WELL_KNOWN
        from penstock.core.providers import PROVIDERS
        from penstock.core.providers.resolve import credential

        try:
            environ = self._environ()
        except OSError as error:
            raise Broken(f"cannot be read: .env: {error.strerror}") from None
        found = [
            deployment(f"{provider.name}/*", provider.name, "*", None)
            for provider in PROVIDERS.values()
            if _USABLE & set(provider.dialects) and (credential(provider, None, environ) or _signs(provider, environ))
        ]
        self._names = frozenset(one.model_name for one in found)
        loaded = await self.check(self.over)
        settings, problems = loaded.config or defaults(environ), loaded.problems
        general = settings.general
        if general.master_key is not None and general.master_key.is_well_known():
            text = f"the master key in {general.master_key_source} {WELL_KNOWN}"
            problems = (*problems, Problem(self.name, 0, "", text, "warning"))
        return SourceContent(tuple(found), settings, problems)

    async def check(self, over: Over) -> Loaded:
        from penstock.config import load_without

        return load_without(self._environ(), over, self.also | self._names)
