"""`penstock providers`: the table of who can be called, which of them have a key here, and all about one of them."""

from __future__ import annotations

import difflib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import click

from penstock.cli.environment import environment
from penstock.core.providers import PROVIDERS
from penstock.core.providers.explain import SHOWN, by_model, explain
from penstock.core.providers.names import PROVIDER_ALIASES, SHORT
from penstock.core.providers.spec import Provider

HEADER = ("provider", "here", "speaks", "operations", "key variable", "documentation or address")
WIDEST = (24, 8, 26, 30, 30)  # a longer cell moves the rest of its own row, not of all rows
FEW = 3  # that many are told in full
# A model's mode in the price map -> what it is called here. Modes without a surface are left out.
OPERATIONS = {
    "chat": "chat",
    "responses": "chat",
    "completion": "completions",
    "embedding": "embeddings",
    "rerank": "rerank",
    "moderation": "moderations",
    "image_generation": "images",
    "image_edit": "images",
    "audio_speech": "speech",
    "audio_transcription": "transcription",
}


@click.command(epilog="More: docs/providers.md.")
@click.argument("name", nargs=-1, metavar="[NAME]...")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: a list with everything that is known of each.")
@click.option("--ready", is_flag=True, help="Only those that can be called from here: a key is set, or none is needed.")
def providers(name: tuple[str, ...], as_json: bool, ready: bool) -> None:
    """List the known providers, or tell all about those whose name contains NAME.

    The name is the part of a model before its first slash: `groq/llama-3.3-70b`. `here` says whether a key is set
    in the environment or in .env; local engines need none.
    """
    env = environment()
    chosen = [PROVIDERS[row] for row in _chosen(name)]
    if ready:
        chosen = [provider for provider in chosen if _here(provider, env) != "-"]
    told = [_facts(provider, env) for provider in chosen]
    if as_json:
        click.echo(json.dumps(told, indent=1))
    elif name and len(told) <= FEW:
        click.echo("\n\n".join("\n".join(_page(facts)) for facts in told))
    else:
        _table(told)


def _chosen(names: tuple[str, ...]) -> list[str]:
    """Find the rows that are named: an exact name or another spelling of it, else all that contain the text. Sorted,
    each once."""
    if not names:
        return sorted(PROVIDERS)
    found: set[str] = set()
    for name in names:
        word = name.lower().partition("/")[0]
        exact = PROVIDER_ALIASES.get(word, word)
        hits = {exact} if exact in PROVIDERS else {row for row in PROVIDERS if word in row}
        if not hits:
            near = difflib.get_close_matches(word, [*PROVIDERS, *PROVIDER_ALIASES], n=3)
            hint = f" Did you mean {' or '.join(near)}?" if near else ""
            raise click.ClickException(
                f"No provider is called {name!r}.{hint} Any OpenAI-compatible server works as openai/MODEL "
                "with its api_base."
            )
        found |= hits
    return sorted(found)


def _here(provider: Provider, env: Mapping[str, str]) -> str:
    if any(env.get(key, "").strip() for key in provider.keys):
        return "key set"
    return "local" if provider.local else "-"


def _facts(provider: Provider, env: Mapping[str, str]) -> dict[str, Any]:
    """Collect everything that a provider's row says, for JSON."""
    from penstock.core.dialects import DIALECTS
    from penstock.runtime.attempts import ATTEMPTS

    known = {*DIALECTS, *ATTEMPTS}
    quirks = provider.quirks
    return {
        "name": provider.name,
        "aliases": sorted(alias for alias, name in PROVIDER_ALIASES.items() if name == provider.name),
        "here": _here(provider, env),
        "dialects": list(provider.dialects),
        "not_yet": [dialect for dialect in provider.dialects if dialect not in known],
        "may_speak": list(provider.may_speak),
        "operations": _operations(provider),
        "key_variables": list(provider.keys),
        "base_url": provider.base,
        "base_variables": list(provider.bases),
        "other_variables": sorted({*provider.env, *provider.headers.values()}),
        "auth": provider.auth,
        "local": provider.local,
        "model_prefix": provider.model_prefix,
        "short_names": dict(SHORT.get(provider.name, {})),
        "quirks": explain(quirks),
        "quirks_by_model": dict(by_model(quirks)),
        "docs": provider.docs,
    }


def _operations(provider: Provider) -> dict[str, int]:
    """Count, for each operation, the models that have a price here; chat stands with 0 where none has one."""
    counts: Counter[str] = Counter({"chat": 0} if provider.dialects else {})
    for mode, count in _modes().get(provider.name, {}).items():
        if mode in OPERATIONS:
            counts[OPERATIONS[mode]] += count
    return dict(counts)


_MODES: dict[str, Counter[str]] = {}


def _modes() -> Mapping[str, Counter[str]]:
    """Count, for each provider, the models of each mode that the price map has."""
    from penstock.runtime.prices import MAP

    if not _MODES:
        for name in MAP.names():
            entry = MAP.get(name) or {}
            house = str(entry.get("litellm_provider", ""))
            _MODES.setdefault(house, Counter())[str(entry.get("mode"))] += 1
    return _MODES


def _speaks(facts: Mapping[str, Any]) -> str:
    names = [SHOWN.get(name, name) + (" (not yet)" if name in facts["not_yet"] else "") for name in facts["dialects"]]
    return ", ".join(names) or "-"


def _table(told: Iterable[Mapping[str, Any]]) -> None:
    rows = [
        (
            str(facts["name"]),
            str(facts["here"]),
            _speaks(facts),
            ", ".join(facts["operations"]) or "-",
            " or ".join(facts["key_variables"]) or "-",
            facts["docs"] or facts["base_url"] or "-",
        )
        for facts in told
    ]
    columns = zip(HEADER, *rows, strict=True)
    widths = [min(top, max(map(len, column))) for top, column in zip((*WIDEST, 0), columns, strict=True)]
    for row in (HEADER, *rows):
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    ready = sum(row[1] == "key set" for row in rows)
    click.echo(f"\n{len(rows)} providers, {ready} with a key here. `penstock providers NAME` tells all about one.")


def _page(facts: Mapping[str, Any]) -> list[str]:
    """Render all about one provider, ending in an entry for a config file."""
    keys = facts["key_variables"]
    base = facts["base_url"] or "none: give api_base"
    if facts["base_variables"]:
        base += f"   (or {' or '.join(facts['base_variables'])})"
    counts = ", ".join(f"{name} ({n})" if n else name for name, n in facts["operations"].items())
    lines = [
        f"{facts['name']}   ({', '.join(facts['aliases'])})" if facts["aliases"] else facts["name"],
        f"  here         {facts['here']}",
        f"  key          {' or '.join(keys) or 'none is needed' if keys or facts['local'] else facts['auth']}",
        f"  address      {base}",
        f"  speaks       {_speaks(facts)}",
    ]
    if facts["may_speak"]:
        names = ", ".join(SHOWN.get(name, name) for name in facts["may_speak"])
        lines.append(f"  may speak    {names} (asked at run time)")
    lines.append(f"  operations   {counts or '-'}   (models with a known price)")
    if facts["other_variables"]:
        lines.append(f"  also reads   {', '.join(facts['other_variables'])}")
    if facts["docs"]:
        lines.append(f"  see          {facts['docs']}")
    if facts["quirks"]:
        lines += ["  on the wire", *(f"    {line}" for line in facts["quirks"])]
    for patterns, changes in facts["quirks_by_model"].items():
        lines += [f"    {patterns}:", *(f"      {line}" for line in changes)]
    return [*lines, "  in a config file", *(f"    {line}" for line in _entry(facts))]


def _entry(facts: Mapping[str, Any]) -> list[str]:
    lines = ["- model_name: my-model", "  litellm_params:", f"    model: {facts['name']}/MODEL"]
    if facts["base_url"] is None:
        lines.append("    api_base: https://...")
    if facts["key_variables"]:
        comment = "  # optional" if facts["local"] else ""
        lines.append(f"    api_key: os.environ/{min(facts['key_variables'], key=len)}{comment}")
    return lines
