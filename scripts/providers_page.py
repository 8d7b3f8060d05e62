"""Writes what the rows of the providers say into docs/providers*.md: `python -m scripts.providers_page`.

The pages are written by hand but for their regions, each from `<!-- rows: NAME -->` to `<!-- end -->`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from penstock.core.dialects import DIALECTS
from penstock.core.providers import PROVIDERS
from penstock.core.providers.explain import SHOWN, by_model, explain
from penstock.core.providers.names import BARE, PROVIDER_ALIASES
from penstock.core.providers.spec import Provider
from penstock.core.providers.urls import endpoint
from penstock.runtime.attempts import ATTEMPTS

DOCS = Path(__file__).resolve().parents[1] / "docs"
REGION = re.compile(r"(?<=<!-- rows: )([\w -]+)( -->\n).*?(?=<!-- end -->)", re.S)


def refreshed(text: str) -> str:
    """A page with its regions written anew. KeyError: a region that nobody knows."""
    return REGION.sub(lambda found: found[1] + found[2] + _region(found[1]), text)


def _region(name: str) -> str:
    if name in PROVIDERS:
        return _quirks(PROVIDERS[name])
    return _REGIONS[name]()


def _code(words: tuple[str, ...] | list[str]) -> str:
    return ", ".join(f"`{word}`" for word in words) or "-"


def _speaks(provider: Provider) -> str:
    known = {*DIALECTS, *ATTEMPTS}
    told = [SHOWN.get(name, name) + ("" if name in known else " (not yet)") for name in provider.dialects]
    told += [f"{SHOWN.get(name, name)}?" for name in provider.may_speak]
    return ", ".join(told) or "-"


def _all() -> str:
    lines = ["| prefix | speaks | key | API |\n| --- | --- | --- | --- |"]
    for name in sorted(PROVIDERS):
        provider = PROVIDERS[name]
        keys = _code(provider.keys) if provider.keys or provider.local else _code(provider.env[:2])
        docs = f"[described]({provider.docs})" if provider.docs else f"`{provider.base}`" if provider.base else "-"
        lines.append(f"| `{name}/` | {_speaks(provider)} | {keys} | {docs.replace('|', ' or ')} |")
    return "\n".join(lines) + "\n"


def _aliases() -> str:
    return ", ".join(f"`{alias}` is `{name}`" for alias, name in sorted(PROVIDER_ALIASES.items())) + ".\n"


def _bare() -> str:
    lines = ["| a name like | goes to |\n| --- | --- |"]
    together: dict[str, list[str]] = {}
    for name, patterns in BARE:
        together.setdefault(name, []).extend(patterns)
    lines += [f"| {_code(patterns)} | `{name}` |" for name, patterns in together.items()]
    return "\n".join(lines) + "\n"


def _messages() -> str:
    """Who has Anthropic's API, in the cloud, and where."""
    lines = ["| prefix | Messages at | key |\n| --- | --- | --- |"]
    for name in sorted(PROVIDERS):
        provider = PROVIDERS[name]
        if "anthropic" in provider.dialects and name not in ("anthropic", "mock") and "{" not in (provider.base or ""):
            url = endpoint(provider, None, {}, "anthropic", model="m")
            lines.append(f"| `{name}/` | `{url}` | {_code(provider.keys)} |")
    return "\n".join(lines) + "\n"


def _engines() -> str:
    lines = ["| prefix | default address | speaks | key, if any |\n| --- | --- | --- | --- |"]
    for name in ("hosted_vllm", "sglang", "llama_cpp", "trtllm", "lm_studio", "llamafile", "docker_model_runner",
                 "lemonade", "xinference", "oobabooga"):  # fmt: skip
        provider = PROVIDERS[name]
        lines.append(f"| `{name}/` | `{provider.base}` | {_speaks(provider)} | {_code(provider.keys)} |")
    return "\n".join(lines) + "\n"


def _quirks(provider: Provider) -> str:
    """What is done to a request on its way, one line a rule."""
    lines = [f"- {line}" for line in explain(provider.quirks)]
    for patterns, more in by_model(provider.quirks):
        lines.append(f"- {_code(patterns.split(', '))}:")
        lines += [f"  - {line}" for line in more]
    return "\n".join(lines) + "\n"


_REGIONS: dict[str, Callable[[], str]] = {
    "all": _all,
    "aliases": _aliases,
    "bare names": _bare,
    "messages": _messages,
    "engines": _engines,
}

if __name__ == "__main__":
    for page in sorted(DOCS.glob("providers*.md")):
        page.write_text(refreshed(page.read_text(encoding="utf-8")), encoding="utf-8")
