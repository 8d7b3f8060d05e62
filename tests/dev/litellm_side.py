"""Runs in LiteLLM's own interpreter: cases on stdin as JSON, what `cost_per_token` says on stdout."""

from __future__ import annotations

import datetime
import json
import os
import sys

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # the map of the wheel, not today's from the network

import litellm
from litellm._internal_context import pinned_billing_time
from litellm.types.utils import (
    CacheCreationTokenDetails,
    CompletionTokensDetailsWrapper,
    PromptTokensDetailsWrapper,
    Usage,
)


def usage(case: dict[str, int], life: str) -> Usage:
    written = case["cache_write"] + case["cache_write_1h"]
    read_in = case["fresh"] + case["cache_read"] + written
    details = PromptTokensDetailsWrapper(cached_tokens=case["cache_read"], audio_tokens=case["audio_in"])
    if written:
        details.cache_creation_tokens = written
        details.cache_creation_token_details = CacheCreationTokenDetails(
            ephemeral_5m_input_tokens=case["cache_write"], **{f"ephemeral_{life}_input_tokens": case["cache_write_1h"]}
        )
    return Usage(
        prompt_tokens=read_in,
        completion_tokens=case["output"],
        total_tokens=read_in + case["output"],
        prompt_tokens_details=details,
        completion_tokens_details=CompletionTokensDetailsWrapper(
            reasoning_tokens=case["reasoning"], audio_tokens=case["audio_out"]
        ),
    )


def main() -> None:
    told = []
    for case in json.load(sys.stdin):
        moment = datetime.datetime.fromtimestamp(case["at"], datetime.UTC)
        try:
            with pinned_billing_time(moment):
                prompt, completion = litellm.cost_per_token(
                    model=case["model"],
                    custom_llm_provider=case["provider"],
                    usage_object=usage(case["usage"], case["life"]),
                    service_tier=case["tier"] or None,
                    call_type="retrieve_batch" if case["tier"] == "batch" else "completion",
                )
            told.append({"cost": prompt + completion})
        except Exception as error:  # boundary: whatever it raises is its answer to this case
            told.append({"error": f"{type(error).__name__}: {error}"[:300]})
    print("\n" + json.dumps(told))


if __name__ == "__main__":
    main()
