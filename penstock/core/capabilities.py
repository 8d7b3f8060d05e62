"""What a model can do and how much it takes, from the same data as its price."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

_PREFIX = "supports_"
INFO_COLUMNS = """key max_tokens max_input_tokens max_output_tokens input_cost_per_token input_cost_per_token_flex
    input_cost_per_token_priority cache_creation_input_token_cost cache_read_input_token_cost
    cache_creation_input_token_cost_above_1hr input_cost_per_character input_cost_per_token_above_128k_tokens
    input_cost_per_token_above_200k_tokens input_cost_per_query input_cost_per_second input_cost_per_audio_token
    input_cost_per_image input_cost_per_token_batches output_cost_per_token_batches output_cost_per_token
    output_cost_per_token_flex output_cost_per_token_priority output_cost_per_audio_token output_cost_per_character
    output_cost_per_reasoning_token output_cost_per_token_above_128k_tokens output_cost_per_token_above_200k_tokens
    output_cost_per_second output_cost_per_image output_vector_size tiered_pricing litellm_provider mode
    supported_endpoints supports_system_messages supports_response_schema supports_vision supports_function_calling
    supports_parallel_function_calling supports_tool_choice supports_assistant_prefill supports_prompt_caching
    supports_audio_input supports_audio_output supports_pdf_input supports_embedding_image_input
    supports_native_streaming supports_web_search supports_url_context supports_reasoning supports_computer_use
    search_context_cost_per_query tpm rpm""".split()
"""What LiteLLM's `get_model_info` and `/model/info` have for every model, None where the map says nothing."""


class Capabilities(Struct, frozen=True, kw_only=True):
    """What a model can do, None where it is not known. ``features``: words as in `supports_vision`, without
    "supports_"; one that is not in here is not known to be there. ``mode``: chat, embedding, rerank, image_generation,
    audio_transcription, ..."""

    name: str = ""
    provider: str = ""
    mode: str | None = None
    max_input_tokens: int | None = None
    max_output_tokens: int | None = None
    features: frozenset[str] = frozenset()
    endpoints: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    vector_size: int | None = None
    retires: str | None = None

    def supports(self, feature: str) -> bool:
        """Tell whether the model is known to do it; "vision" and "supports_vision" are the same question."""
        return feature.removeprefix(_PREFIX) in self.features


def capabilities(name: str, entry: Mapping[str, Any]) -> Capabilities:
    """Read the capabilities in an entry of the price map, or in a deployment's `model_info` laid over one."""
    stated = [field for field, value in entry.items() if field.startswith(_PREFIX) and value is True]
    features = {field.removeprefix(_PREFIX) for field in stated}
    # Two fields of the map say the same in older and in newer entries; what makes pictures or films sees none.
    makes = str(entry.get("mode") or "").endswith(("_generation", "_edit"))
    if "image" in _texts(entry, "supported_modalities") and not makes:
        features.add("vision")
    return Capabilities(
        name=name,
        provider=str(entry.get("litellm_provider") or ""),
        mode=entry.get("mode") or None,
        max_input_tokens=_count(entry, "max_input_tokens", "max_tokens"),
        max_output_tokens=_count(entry, "max_output_tokens", "max_tokens"),
        features=frozenset(features),
        endpoints=_texts(entry, "supported_endpoints"),
        inputs=_texts(entry, "supported_modalities"),
        outputs=_texts(entry, "supported_output_modalities"),
        vector_size=_count(entry, "output_vector_size"),
        retires=entry.get("deprecation_date") or None,
    )


def _count(entry: Mapping[str, Any], *fields: str) -> int | None:
    for field in fields:
        value = entry.get(field)
        if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
            return int(value)
        if isinstance(value, str) and value.isdigit():
            return int(value)
    return None


def _texts(entry: Mapping[str, Any], field: str) -> tuple[str, ...]:
    value = entry.get(field)
    return tuple(text for text in value if isinstance(text, str)) if isinstance(value, list | tuple) else ()
