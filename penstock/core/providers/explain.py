"""A row's quirks in words, for `penstock providers NAME` and the documentation: what is done to a request and why it
may look different on the wire."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from penstock.core.providers.spec import Quirks

SHOWN: Mapping[str, str] = {
    "openai_chat": "Chat",
    "openai_responses": "Responses",
    "anthropic": "Messages",
    "gemini": "Gemini",
    "ollama": "Ollama",
    "ollama_generate": "Ollama generate",
    "cohere": "Cohere",
    "bedrock": "Bedrock",
    "replicate": "Replicate",
}
"""Dialect -> the name people use; one that is not here is shown as it is."""


def explain(quirks: Quirks) -> list[str]:
    """Write one sentence a rule, in Markdown's words for code, without those of single models."""
    lines = [f"{_code([old])} is sent as {_code([new])}" for old, new in quirks.rename.items()]
    if quirks.drop:
        lines.append(f"left out: {_code(sorted(quirks.drop))}")
    if quirks.unsupported:
        lines.append(f"refused, left out with `drop_params`: {_code(sorted(quirks.unsupported))}")
    lines += [f"`{key}` is kept within {low:g} to {high:g}" for key, (low, high) in quirks.clamp.items()]
    lines += [f"`{key}`: {_pairs(words)}" for key, words in quirks.values.items()]
    lines += [f"`{key}`: {_pairs(words)} (reported)" for key, words in quirks.weaken.items()]
    if quirks.no_formats:
        lines.append(f"no `response_format` of type {_code(sorted(quirks.no_formats))}")
        if "json_schema" in quirks.no_formats:
            lines[-1] += " (across dialects a forced tool stands in for a schema)"
    if quirks.no_json_object:
        lines.append("`response_format` of type `json_object` is sent as a schema of any object")
    if not quirks.stream_usage:
        lines.append("`stream_options` is not sent; usage comes without it")
    if not quirks.named_choice:
        lines.append('a tool that `tool_choice` names is offered alone, with `tool_choice: "required"`')
    if quirks.cache_marks:
        lines.append("`cache_control` is sent")
    if quirks.searches:
        lines.append("a web search of any dialect is sent as `web_search_options`")
    return lines + _in_messages(quirks) + list(quirks.notes)


def _in_messages(quirks: Quirks) -> list[str]:
    lines: list[str] = []
    if quirks.roles:
        lines.append(f"roles of messages: {_pairs(quirks.roles)} (reported)")
    lines += [f"in messages, `{old}` is sent as `{new}`" for old, new in quirks.rename_in_messages.items()]
    if quirks.drop_in_messages:
        lines.append(f"left out of messages: {_code(sorted(quirks.drop_in_messages))}")
    if quirks.flat_text:
        lines.append("text parts of a message are joined to one string")
    if quirks.call_ids:
        lines.append(f"ids of calls become {quirks.call_ids} letters and digits")
    if quirks.replay_reasoning:
        lines.append("earlier reasoning is sent back as `reasoning_content`")
    if quirks.calls_think:
        lines.append("messages with `tool_calls` get an empty `reasoning_content` where it is missing")
    if quirks.alternate:
        lines.append("neighbouring messages of one role are joined")
    if quirks.bridge:
        lines.append(f'between a tool\'s result and a user\'s message the assistant says "{quirks.bridge}"')
    if quirks.prefill:
        lines.append(f"a last message of the assistant's gets `{quirks.prefill}: true` and is continued")
    return lines


def by_model(quirks: Quirks) -> list[tuple[str, list[str]]]:
    """Return (patterns of model names, what else is done for them), one entry for all patterns with the same; none for
    models for which only less is done."""
    usual = explain(quirks)
    together: dict[tuple[str, ...], list[str]] = {}
    for pattern, own in quirks.by_model:
        more = replace(own, unsupported=own.unsupported - quirks.unsupported, drop=own.drop - quirks.drop)
        lines = tuple(line for line in explain(more) if line not in usual)
        if lines:
            together.setdefault(lines, []).append(pattern)
    return [(", ".join(patterns), list(lines)) for lines, patterns in together.items()]


def _code(words: Iterable[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


def _pairs(words: Mapping[str, str]) -> str:
    """Write which word becomes which: `minimal` to `low`; several that become one are told together."""
    together: dict[str, list[str]] = {}
    for old, new in words.items():
        together.setdefault(new, []).append(old)
    return ", ".join(f"{_code(old)} to `{new}`" for new, old in together.items())
