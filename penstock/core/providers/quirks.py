"""The quirks that several rows share, each with where it is written down. The large vendors' are in `vendors.py`."""

from __future__ import annotations

from penstock.core.providers.spec import Quirks

_OLD_LIMIT = {"max_completion_tokens": "max_tokens"}

MAX_TOKENS = Quirks(rename=_OLD_LIMIT)
"""Knows only the older name of the limit; the newer one is ignored or refused."""

FLAT_MAX_TOKENS = Quirks(rename=_OLD_LIMIT, flat_text=True)
"""The same, and text models there want `content` as a string."""

STREAMLAKE = Quirks(rename={"max_tokens": "max_completion_tokens"})
"""The other way round: only the newer name."""

NO_FORCED_TOOL = Quirks(weaken={"tool_choice": {"required": "auto"}})
"""tool_choice takes auto and none only."""

_REASONING = Quirks(
    rename={"max_tokens": "max_completion_tokens"},
    unsupported=frozenset(
        {"temperature", "top_p", "presence_penalty", "frequency_penalty", "logprobs", "top_logprobs", "logit_bias"}
    ),
)
OPENAI = Quirks(
    by_model=(
        ("gpt-5-chat*", Quirks()),
        ("gpt-5*", _REASONING),
        ("o1*", _REASONING),
        ("o3*", _REASONING),
        ("o4*", _REASONING),
    )
)
"""https://platform.openai.com/docs/guides/reasoning : o-series and gpt-5 refuse max_tokens and sampling settings."""

MOONSHOT = Quirks(
    clamp={"temperature": (0.0, 1.0)}, weaken={"tool_choice": {"required": "auto"}}, prefill="partial"
)
"""https://platform.moonshot.ai/docs : temperature 0 to 1, tool_choice takes auto and none; `partial` continues the last
message (guide/use-partial-mode-feature-of-kimi-api)."""

GEMINI_OPENAI = Quirks(drop=frozenset({"store"}), unsupported=frozenset({"frequency_penalty", "seed"}))
"""The OpenAI door of Gemini answers 400 "Unknown name" to these (liliMozi/openhanako issue 394, Vali-98/ChatterUI issue
227), which reaches every client whose SDK sends `store: false` by itself."""

DATABRICKS = Quirks(stream_usage=False)
"""Claude models behind serving endpoints refuse stream_options (anomalyco/opencode issue 4698); usage comes anyway."""

WATSONX = Quirks(stream_usage=False)
"""Usage comes in a stream's last chunk without being asked for."""

TRTLLM = Quirks(
    drop=frozenset(
        {"store", "metadata", "service_tier", "safety_identifier", "prompt_cache_key", "parallel_tool_calls"}
    ),
    unsupported=frozenset({"prediction", "modalities", "audio", "web_search_options", "verbosity"}),
)
"""trtllm-serve forbids fields that its ChatCompletionRequest does not name (tensorrt_llm/serve/openai_protocol.py)."""

LLAMA_CPP = Quirks(named_choice=False)
"""A named `tool_choice` is taken and not enforced, "required" is (llama.cpp's tools/server, build 0c1e570: words in 7
of 12 answers)."""

LM_STUDIO = Quirks(no_json_object=True, named_choice=False)
"""400 "'response_format.type' must be 'json_schema' or 'text'" (lmstudio-ai/lmstudio-bug-tracker issue 189), and
"Invalid tool_choice type: 'object'" (issue 670). On its Responses a schema is ignored (issue 2403), so the row names
Chat as the dialect for schemas."""
