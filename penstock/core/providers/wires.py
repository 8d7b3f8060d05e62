"""What a renderer is told of a target: the facts of its provider's row and of its model, put together.

Rules of a model hold wherever the model is served; whether an API is strict depends on whose it is.
"""

from __future__ import annotations

from msgspec.structs import replace

from penstock.core.dialects.base import Wire
from penstock.core.dialects.bedrock.wire import NAME as CONVERSE
from penstock.core.dialects.bedrock.wire import wire_of as wire_of_converse
from penstock.core.models import facts, takes_schema
from penstock.core.providers.spec import Provider, Quirks


def wire_of(provider: Provider, model: str, rules_of: str, dialects: tuple[str, ...], at_home: bool) -> Wire:
    """Tell what a renderer must know of a target, whatever the dialect.

    ``model``: the name the upstream knows. ``rules_of``: the model whose rules hold, where that name is the user's own.
    ``dialects``: what it is known to speak. ``at_home``: requests go to the provider's own host.
    """
    if provider.dialects == (CONVERSE,):
        return wire_of_converse(rules_of)
    quirks = provider.quirks_for(rules_of, "openai_chat")
    own = ""  # who made the model, where the provider's name does not say it
    if dialects == ("gemini",) or (provider.claude and dialects == ("anthropic",)):
        own = dialects[0]
    made = facts(rules_of)
    return Wire(
        model=model,
        # Claude reads its signatures wherever it is served ("across different platforms",
        # https://docs.claude.com/en/docs/build-with-claude/extended-thinking).
        family="anthropic" if made.is_claude else own or provider.family or provider.name,
        stream_usage=quirks.stream_usage,
        cache_marks=quirks.cache_marks,
        # Whoever takes Anthropic's marks in Chat takes its thoughts, too (``thinking_blocks``, OpenRouter and LiteLLM).
        replay_reasoning=quirks.replay_reasoning or (made.is_claude and quirks.cache_marks),
        adaptive=made.adaptive,
        official=(provider.official or bool(own)) and at_home,
        call_ids=provider.call_ids,
        searches=quirks.searches,
    )


def wire_in(dialect: str, wire: Wire, provider: Provider, rules_of: str, quirks: Quirks) -> Wire:
    """Tell what a renderer of ``dialect`` must know. ``quirks``: those that hold in it.

    Only Claude's newer models take a schema in Messages; what a compatible server does with one nobody knows, so a
    forced tool stands in there, as it does in a dialect in which a server is known to ignore schemas.
    """
    native = dialect != "anthropic" or (wire.official and takes_schema(rules_of))
    native = native and dialect in (provider.schema_dialects or (dialect,))
    return replace(wire, native_schema=native and "json_schema" not in quirks.no_formats)


def guides_of(provider: Provider, own: str | None, official: bool) -> str:
    """Tell how a target is held to a choice or an expression, see ``constraints``. ``own``: what its deployment says.

    A vendor's own rule holds at its own host (``official``): elsewhere the name stands for any compatible server.
    """
    if own is None and provider.official and not official:
        return ""
    return own or provider.guides
