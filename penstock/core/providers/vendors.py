"""The quirks of the vendors that most people call, each with where it is written down.

Their APIs are OpenAI's Chat with differences. What is said here is what they refuse or name differently; all else
passes. Field lists were checked against the vendors' own SDKs as well (mistralai 3.7, groq 1.7, together 3.1,
fireworks-ai 1.2, perplexityai 0.46, openrouter 1.3).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from penstock.core.providers import fitting, mending
from penstock.core.providers.quirks import OPENAI
from penstock.core.providers.spec import Quirks

_OLD_LIMIT = {"max_completion_tokens": "max_tokens"}
_NO_DEVELOPER = {"developer": "system"}
_EFFORT = "reasoning_effort"
_LOW_TO_HIGH = {"minimal": "low", "xhigh": "high", "max": "high"}


def _effort(words: Mapping[str, str]) -> dict[str, Mapping[str, str]]:
    return {_EFFORT: words}


def _refuses(quirks: Quirks, *keys: str) -> Quirks:
    """Refuse `reasoning_effort` or others altogether; there is nothing left to weaken."""
    return replace(quirks, unsupported=quirks.unsupported | set(keys), weaken={}, by_model=())


_REPLAYED = frozenset({"refusal", "annotations", "audio", "thinking_blocks", "provider_specific_fields"})
"""What clients replay of an answer of OpenAI's or LiteLLM's, and vendors that forbid unknown fields refuse."""

MISTRAL_TURNS = Quirks(call_ids=9, bridge="Understood.")
"""What Mistral's models want of messages wherever they are served: ids of calls are nine letters and digits ("Tool call
id was ... but must be a-z, A-Z, 0-9, with a length of 9", mistralai/mistral-vibe issue 1075), and a user speaks after
an assistant, never right after a tool ("Unexpected role 'user' after role 'tool'", NousResearch/hermes-agent issue
20154)."""

MISTRAL = replace(
    MISTRAL_TURNS,
    rename={**_OLD_LIMIT, "seed": "random_seed"},
    drop=frozenset({"user", "store", "safety_identifier", "prompt_cache_retention"}),
    unsupported=frozenset({"logit_bias", "verbosity", "modalities", "audio", "web_search_options"}),
    drop_in_messages=_REPLAYED | {"name", "reasoning_content", "reasoning", "reasoning_details", "function_call"},
    roles=_NO_DEVELOPER,
    values={"tool_choice": {"required": "any"}},
    weaken={"service_tier": {"default": "standard_only", "priority": "auto", "flex": "standard_only"}},
    prefill="prefix",
    mend=mending.thinking_parts,
    notes=("thinking parts of an answer's `content` become `reasoning_content`, its text a string",),
    stream_usage=False,
)
"""https://docs.mistral.ai/api : answers 422 extra_forbidden to every field that it does not know, `stream_options` and
`max_completion_tokens` among them, and in messages a replayed `reasoning_content` (BerriAI/litellm issue 30835) or a
user's `name`. Usage comes in the last chunk by itself. A last message of the assistant's must have `prefix`. Reasoning
comes as parts of `content` (https://docs.mistral.ai/capabilities/reasoning)."""

_GROQ_TIERS = {"default": "on_demand", "standard_only": "on_demand", "standard": "on_demand", "priority": "performance"}
_GROQ_FOREIGN = _REPLAYED | {"name", "reasoning_details"}
_GROQ = Quirks(
    unsupported=frozenset({"logit_bias", "logprobs", "top_logprobs", "n"}),
    drop_in_messages=_GROQ_FOREIGN | {"reasoning_content", "reasoning"},
    weaken={_EFFORT: _LOW_TO_HIGH, "service_tier": _GROQ_TIERS},
    mend=mending.chain(mending.groq_stream, mending.reasoning_named),
    notes=(
        "an answer's `reasoning` is given as `reasoning_content` too",
        "`x_groq.usage` of a stream's last chunk is its usage, `x_groq.error` an error",
    ),
)
_GROQ_SILENT = replace(
    _GROQ,
    unsupported=_GROQ.unsupported | {_EFFORT, "reasoning_format", "include_reasoning"},
    weaken={"service_tier": _GROQ_TIERS},
)
_GROQ_THINKS = replace(_GROQ, rename_in_messages={"reasoning_content": "reasoning"}, drop_in_messages=_GROQ_FOREIGN)
_GROQ_PLAIN = replace(_GROQ_SILENT, no_formats=frozenset({"json_schema"}))
_QWEN_EFFORT = dict.fromkeys(("minimal", "low", "medium", "high", "xhigh", "max"), "default")
_OSS_EFFORT = {"none": "low", **_LOW_TO_HIGH}
GROQ = replace(
    _GROQ,
    by_model=(
        ("qwen/qwen3-32b*", replace(_GROQ_THINKS, weaken={_EFFORT: _QWEN_EFFORT, "service_tier": _GROQ_TIERS})),
        ("qwen/*", _GROQ_THINKS),
        ("openai/gpt-oss-*", replace(_GROQ_THINKS, weaken={_EFFORT: _OSS_EFFORT, "service_tier": _GROQ_TIERS})),
        ("llama-3*", _GROQ_PLAIN),
        ("gemma2-*", _GROQ_PLAIN),
        ("allam-*", _GROQ_PLAIN),
        ("mistral-saba*", _GROQ_PLAIN),
        ("meta-llama/*", _GROQ_SILENT),
        ("moonshotai/*", _GROQ_SILENT),
    ),
)
"""https://console.groq.com/docs/openai : 400 for logprobs, logit_bias, top_logprobs, messages[].name and n above 1.
https://console.groq.com/docs/reasoning : `reasoning_effort` is none or default for Qwen 3 32B, low to high for GPT-OSS,
and refused by models that do not reason. https://console.groq.com/docs/structured-outputs : models without
`json_schema`. Reasoning is `reasoning`: in answers, and in messages to models that reason ("property 'reasoning' is
unsupported", "'reasoning_content' is unsupported" else: vercel/ai pull 8057, janhq/jan issue 8136)."""

CEREBRAS = Quirks(unsupported=frozenset({"frequency_penalty", "presence_penalty", "logit_bias"}))
"""https://inference-docs.cerebras.ai/resources/openai : 400 for these."""

_CITED = ("`search_results` or `citations` beside an answer's choices become `annotations` of the message, too",)
_XAI = Quirks(
    unsupported=frozenset({"logit_bias"}), weaken=_effort(_LOW_TO_HIGH), mend=mending.cited, notes=_CITED
)
_XAI_THINKS = replace(_XAI, unsupported=_XAI.unsupported | {"presence_penalty", "frequency_penalty", "stop"})
_XAI_ALWAYS = _refuses(_XAI_THINKS, _EFFORT)
_XAI_NEVER = _refuses(_XAI, _EFFORT)
XAI = replace(
    _XAI,
    by_model=(
        ("grok-4-fast-non-reasoning*", _XAI_NEVER),
        ("grok-4-1-fast-non-reasoning*", _XAI_NEVER),
        ("grok-4.20-non-reasoning*", _XAI_NEVER),
        ("grok-4.20-0309-non-reasoning*", _XAI_NEVER),
        (
            "grok-4.20-multi-agent*",
            replace(_XAI_THINKS, weaken=_effort({"none": "low", "minimal": "low", "max": "xhigh"})),
        ),
        ("grok-4.20*", _XAI_ALWAYS),
        ("grok-4.3*", _XAI_THINKS),
        ("grok-4.5*", replace(_XAI_THINKS, weaken=_effort({"none": "low", **_LOW_TO_HIGH}))),
        ("grok-4*", _XAI_ALWAYS),
        ("grok-code*", _XAI_ALWAYS),
        ("grok-3-mini*", replace(_XAI_THINKS, weaken=_effort({"none": "low", "medium": "low", **_LOW_TO_HIGH}))),
        ("grok-3*", _XAI_NEVER),
        ("grok-2*", _XAI_NEVER),
    ),
)
"""https://docs.x.ai/docs/guides/reasoning : models that reason refuse the penalties and `stop`; `reasoning_effort` is
refused by most, low or high for grok-3-mini, none to high for grok-4.3, low to high for grok-4.5, and the number of
agents for grok-4.20-multi-agent. https://docs.x.ai/docs/api-reference#chat-completions : logit_bias is not supported.
Reasoning is counted beside the completion; `citations` stand beside the choices."""

DEEPSEEK = Quirks(
    rename=_OLD_LIMIT,
    flat_text=True,
    roles=_NO_DEVELOPER,
    prefill="prefix",
    calls_think=True,
    replay_reasoning=True,
    no_formats=frozenset({"json_schema"}),
    fit=fitting.deepseek,
    notes=(
        "an effort of `none` is sent as `thinking: {type: disabled}`",
        "a forced `tool_choice` turns thinking off, which refuses it, unless the request asks for thinking; then "
        "`drop_params` makes it `auto`",
    ),
)
"""https://api-docs.deepseek.com/api/create-chat-completion : max_tokens; content is a string; `response_format` is text
or json_object; roles are system, user, assistant and tool. https://api-docs.deepseek.com/guides/thinking_mode :
`reasoning_content` of messages that called tools must come back, if only empty (deepseek-ai/deepseek-harness discussion
739). https://api-docs.deepseek.com/guides/chat_prefix_completion : `prefix` continues the last message (at /beta)."""

TOGETHER = Quirks(
    rename=_OLD_LIMIT,
    roles=_NO_DEVELOPER,
    weaken=_effort(_LOW_TO_HIGH),
    fit=fitting.together,
    mend=mending.chain(mending.together_words, mending.reasoning_named),
    notes=(
        "a single `stop` becomes a list; `logprobs: true` with `top_logprobs` becomes a number",
        "an effort of `none` is sent as `reasoning: {enabled: false}`",
        "the finish reason `eos` is `stop`; log probabilities are given in OpenAI's form",
        "an answer's `reasoning` is given as `reasoning_content` too",
    ),
)
"""https://docs.together.ai/reference/chat-completions-1 : max_tokens, a list of stops, a number of logprobs; the finish
reason "eos"; reasoning in `reasoning`."""

FIREWORKS = Quirks(
    rename=_OLD_LIMIT, roles=_NO_DEVELOPER, weaken=_effort({"minimal": "low", "xhigh": "high"}), replay_reasoning=True
)
"""https://docs.fireworks.ai/api-reference/post-chatcompletions : `max_completion_tokens` and `max_tokens` exclude each
other; efforts are none, low, medium, high (max for GLM); `reasoning_content` comes back in messages and
`reasoning_history` says what of it is used."""

OPENROUTER = Quirks(
    cache_marks=True,
    searches=True,
    replay_reasoning=True,
    mend=mending.chain(mending.openrouter_errors, mending.reasoning_named),
    notes=(
        "an error inside a stream or in a choice is an error, not an answer",
        "an answer's `reasoning` is given as `reasoning_content` too",
    ),
)
_OPENROUTER_MISTRAL = replace(OPENROUTER, call_ids=MISTRAL_TURNS.call_ids, bridge=MISTRAL_TURNS.bridge)
OPENROUTER = replace(
    OPENROUTER, by_model=(("mistralai/*", _OPENROUTER_MISTRAL), ("~mistralai/*", _OPENROUTER_MISTRAL))
)
"""https://openrouter.ai/docs/api/reference/errors-and-debugging : errors after the first byte come in a chunk.
https://openrouter.ai/docs/guides/best-practices/reasoning-tokens : `reasoning`, and `reasoning_content` as another name
of it in messages. Mistral's models want there what they want at home (charmbracelet/crush issue 279)."""

PERPLEXITY = Quirks(
    rename=_OLD_LIMIT,
    searches=True,
    unsupported=frozenset(
        "tools tool_choice parallel_tool_calls functions function_call seed logit_bias logprobs top_logprobs n".split()
    ),
    roles=_NO_DEVELOPER,
    alternate=True,
    no_formats=frozenset({"json_object"}),
    weaken=_effort({"none": "minimal", "xhigh": "high", "max": "high"}),
    mend=mending.cited,
    notes=_CITED,
)
"""https://docs.perplexity.ai/api-reference/chat-completions-post : Sonar models search and call no tools; "After the
(optional) system message(s), user and assistant roles should be alternating" (perplexityai/api-discussion issue 265);
`response_format` is text, json_schema or regex; `search_results` and `citations` stand beside the choices."""

NVIDIA = Quirks(
    rename=_OLD_LIMIT,
    drop=frozenset(
        {"user", "store", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention"}
    ),
    unsupported=frozenset({"logit_bias", "verbosity", "modalities", "audio", "web_search_options", "prediction"}),
    roles=_NO_DEVELOPER,
    flat_text=True,
)
_NVIDIA_SILENT = _refuses(NVIDIA, _EFFORT)
NVIDIA = replace(
    NVIDIA,
    by_model=(
        (
            "mistralai/*",
            replace(_NVIDIA_SILENT, call_ids=MISTRAL_TURNS.call_ids, bridge=MISTRAL_TURNS.bridge),
        ),
        ("google/gemma*", _refuses(_NVIDIA_SILENT, "presence_penalty", "frequency_penalty")),
        ("meta/*", _NVIDIA_SILENT),
    ),
)
"""https://docs.api.nvidia.com/nim/reference/llm-apis : the hosted models forbid fields that theirs do not name ("Extra
inputs are not permitted", "Unsupported parameter(s)": sipeed/picoclaw issue 1019, Kilo-Org/kilocode issue 9652 for the
penalties of Gemma); older ones want `content` as a string. What a model has of its own (`chat_template_kwargs`,
`nvext`) passes."""

_SILENT = Quirks(stream_usage=False)
FOUNDRY = Quirks(
    by_model=(
        *((pattern, MISTRAL) for pattern in ("Mistral*", "mistral*", "Ministral*", "ministral*", "Codestral*")),
        *((pattern, _SILENT) for pattern in ("Phi*", "phi*")),
        *OPENAI.by_model,
    )
)
"""The Model Inference API hands on what it does not know, and some models refuse it: Mistral's as at home, Phi's
stream_options (Azure-Samples/azure-search-power-skills pull request 214)."""
