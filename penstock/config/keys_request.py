"""Key table of the request parameters in `litellm_params`: what is laid under requests that do not say it themselves.

A row is (type, names). Sources: OpenAI's API reference; the documentation of LiteLLM 1.109 (`litellm.completion`,
`embedding`, `image_generation`, `transcription`, `speech`, `rerank`, `text_completion`, `responses` and the providers'
pages); vLLM, SGLang, llama.cpp and Ollama; and what the rows of `core/providers` and its dialects know. Any other
parameter goes into `extra_body`.
"""

from __future__ import annotations

_ROWS = (
    (
        "numeric",
        "temperature top_p presence_penalty frequency_penalty min_p top_a typical_p tfs_z repetition_penalty "
        "repeat_penalty length_penalty mirostat_tau mirostat_eta dynatemp_range dynatemp_exponent dry_multiplier "
        "dry_base xtc_probability xtc_threshold speed guidance_scale",
    ),
    (
        "integer",
        "max_tokens max_completion_tokens max_output_tokens min_tokens max_new_tokens n seed random_seed top_logprobs "
        "top_k best_of num_ctx num_predict num_keep num_batch num_gpu num_thread main_gpu repeat_last_n mirostat "
        "n_probs n_predict n_keep min_keep id_slot dry_allowed_length dry_penalty_last_n prompt_logprobs "
        "truncate_prompt_tokens prompt_truncate_len dimensions output_dimension top_n max_chunks_per_doc "
        "max_tokens_per_doc max_tool_calls output_compression steps",
    ),
    (
        "bool",
        "parallel_tool_calls store safe_prompt include_reasoning enable_thinking include_server_side_tool_invocations "
        "ignore_eos skip_special_tokens spaces_between_special_tokens include_stop_str_in_output use_beam_search "
        "add_generation_prompt continue_final_message add_special_tokens return_tokens_as_token_ids "
        "separate_reasoning stream_reasoning cache_prompt guided_json_object penalize_newline numa low_vram f16_kv "
        "logits_all vocab_only use_mmap use_mlock shift return_images return_related_questions late_chunking "
        "normalized return_documents strict_tools raw_output disable_tool_validation",
    ),
    (
        "str",
        "user service_tier verbosity prompt_cache_key prompt_cache_retention safety_identifier truncation "
        "reasoning_format reasoning_history context_length_exceeded_behavior search_mode search_recency_filter "
        "prompt_mode route guided_whitespace_pattern guided_regex guided_grammar guided_decoding_backend "
        "chat_template cache_salt regex ebnf grammar input_type task task_type truncate embedding_type output_dtype "
        "quality size style background output_format negative_prompt aspect_ratio instructions language safety_mode "
        "safety_model inference_geo prompt_template cached_content cachedContent suffix",
    ),
    ("one:float,base64", "encoding_format"),
    (
        "mapping",
        "logit_bias stream_options thinking audio prediction web_search_options chat_template_kwargs "
        "mm_processor_kwargs structured_outputs output_config cache_control search_parameters nvext "
        "prompt_cache_options context_management citation_options guardrailConfig performanceConfig requestMetadata "
        "promptVariables serviceTier outputConfig additionalModelRequestFields labels kv_transfer_params vllm_xargs",
    ),
    (
        "list",
        "tools functions modalities plugins transforms models stop_token_ids allowed_token_ids bad_words samplers "
        "timestamp_granularities embedding_types rank_fields data_sources mcp_servers search_domain_filter "
        "additionalModelResponseFieldPaths dry_sequence_breakers",
    ),
    (
        "any",
        "stop stop_sequences response_format reasoning_effort reasoning tool_choice function_call logprobs "
        "guided_json guided_choice structural_tag json_schema format text voice keep_alive think provider container "
        "filtering masking grounding translation placeholder_values model_version draft_num_predict embedding_only "
        "safety_settings safetySettings anthropic_beta documents priority moderation echo lora_path k p adapter_id "
        "adapter_source logits_processors",
    ),
)

REQUEST = tuple((name, spec, "sent", None, "request parameter") for spec, names in _ROWS for name in names.split())
"""Rows as the other tables have them: (key, type, status, default, meaning)."""
