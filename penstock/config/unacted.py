"""Why Penstock does not act on a key that it knows: what `penstock check` says of each.

A row is a reason and the keys that it holds for, by name or pattern, whatever section they stand in; the first that
fits counts. A test sees to it that every key that is known has one.
"""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import lru_cache

_ROWS: tuple[tuple[str, str], ...] = (
    (
        "no guardrail runs here: requests and answers are neither checked nor masked",
        "guardrails guardrail_* policies *_in_guardrail output_parse_pii presidio_* llm_guard_* llamaguard_* "
        "openai_moderations_model_name google_moderation_* banned_keywords_list blocked_user_list "
        "pre_call_rules post_call_rules",
    ),
    (
        "no alerts are sent; the log tells what went wrong, and callbacks what was spent",
        "alert* spend_report_frequency default_key_max_budget_alert_emails slack_*",
    ),
    ("MCP is not served", "mcp_* *_mcp_* user_mcp_management_mode"),
    ("nothing is searched for a request", "search_tool* web_search_* *_search_embedding_model"),
    (
        "there are no vector stores, and nothing is put before the messages",
        "vector_store* knowledge_bases milvus_* valkey_* pg_vector_* vector_bucket_name index_name embedding_model",
    ),
    (
        "prompts are not stored here: whoever asks sends them whole",
        "prompt* dotprompt_* bitbucket_* gitlab_* global_bitbucket_config global_gitlab_config litellm_system_prompt",
    ),
    (
        "templates of prompts are the model server's own",
        "custom_prompt_dict roles initial_prompt_value final_prompt_value bos_token eos_token "
        "add_function_to_prompt disable_add_prefix_to_prompt",
    ),
    (
        "there is no web console: keys, teams and users are managed over HTTP",
        "ui_access_mode control_plane_url worker_registry max_ui_session_budget blog_posts_url "
        "public_* enable_public_model_hub discoverable self_serve_budget_policy",
    ),
    (
        "nobody signs in here with a password or by single sign-on: callers bring a key or a token",
        "custom_sso allow_cli_sso_* *failed_login* password_policy_* disable_password_login_* "
        "disable_env_credential_login",
    ),
    (
        "callers are known by keys, JSON web tokens (enable_jwt_auth) or your own function (custom_auth)",
        "enable_oauth2_* oauth2_config_mappings",
    ),
    (
        "secrets are read from the environment and from mounted files alone: have them put there",
        "key_management_* use_google_kms use_azure_key_vault",
    ),
    (
        "labels of metrics come from the config and from what admins manage, none from requests (docs/metrics.md)",
        "prometheus_* custom_prometheus_* *_prometheus_only",
    ),
    (
        "no logger here reads it: docs/callbacks.md says what each of ours does",
        "otel otel_* langfuse_* langsmith_* argilla_* datadog_* newrelic_* pointfive_* zerobus_* s3_*callback_params "
        "aws_sqs_* gcs_pub_sub_* generic_api_use_v1 dynamodb_table_name arize_* humanloop_* posthog_* wandb_* "
        "weave_* lunary_* cold_storage_custom_logger input_callback service_callback audit_log_callbacks "
        "batch_line_item_callbacks logged_real_time_event_types logger_fn",
    ),
    (
        "models are routed by groups, tags, priorities and confidence (docs/routing.md), by no automatic router",
        "auto_router_* *complexity_router* adaptive_router_* quality_router_* model_priorities autorouter_* "
        "maximum_autorouter_*",
    ),
    ("Claude Code is served by /v1/messages, without a protocol of its own", "*claude_code_*"),
    (
        "agents are not managed here",
        "agent_access_default_deny sandbox_tools",
    ),
    (
        "files and batches are asked of the provider that custom_llm_provider names (docs/batches.md)",
        "files_settings finetune_settings assistant_settings require_managed_files "
        "enable_loadbalancing_on_batch_endpoints model_file_id_mapping bedrock_tags disable_vertex_batch_*",
    ),
    (
        "limits of files are max_file_size_mb, max_batch_file_size_mb and max_batch_file_records",
        "max_batch_file_uploads_per_day max_file_downloads_per_minute *_file_extensions",
    ),
    (
        "requests wait in one line of the gateway: global_max_parallel_requests bounds it, max_held_mb what all hold",
        "max_in_flight_requests_per_worker max_queued_requests_per_worker admission_queue_timeout_seconds",
    ),
    (
        "write it at the key, team or user (max_parallel_requests), or at a deployment "
        "(router_settings.default_max_parallel_requests)",
        "max_parallel_requests",
    ),
    ("answers are not bounded as a whole: streams go out as they come", "max_response_size_mb"),
    (
        "requests are kept by age: maximum_spend_logs_retention_period",
        "maximum_spend_logs_* maximum_health_check_* maximum_daily_tag_*",
    ),
    (
        "what is spent is in a journal before an answer is out, and in the database soon after (docs/spend.md)",
        "accounting_* spend_capture_rate_check",
    ),
    ("all of the metadata is kept, or nothing of it (disable_spend_logs)", "spend_logs_metadata_fields"),
    ("batches that providers run are asked for when a client asks", "proxy_batch_polling_interval"),
    ("the database is SQLite, PostgreSQL or MySQL, by database_url", "database_type database_args"),
    ("everything that is managed is in the database", "supported_db_objects"),
    (
        "write it as api_key, api_base or another parameter of each entry, in credential_list, or in the provider's "
        "variable",
        "api_key api_base gdc_api_base api_version organization project predibase_tenant_id vertex_project "
        "vertex_location common_cloud_provider_auth_params enable_model_config_credential_overrides *_key wandb_key",
    ),
    (
        "clients bring no credentials of upstreams, and no addresses",
        "allow_client_side_credentials configurable_clientside_auth_params forward_llm_provider_auth_headers",
    ),
    (
        "headers of clients stay here, but for those that a dialect has; extra_headers of an entry are sent",
        "forward_* add_user_information_to_llm_headers overwrite_user_with_key_hash filter_invalid_headers "
        "provider_specific_header",
    ),
    (
        "headers of upstreams stay there; limits are told in x-ratelimit-* (docs/limits.md)",
        "return_response_headers",
    ),
    (
        "addresses in requests are fetched by upstreams, and never by the gateway",
        "user_url_* provider_url_destination_allowed_hosts transcribe_media_buckets",
    ),
    ("answers that are kept are their key's own, always", "*responses_id_security allow_unmanaged_response_ids"),
    (
        "the connection is Penstock's own: HTTP/1.1 with TLS by ssl_verify, proxies by HTTPS_PROXY and NO_PROXY",
        "ssl_certificate ssl_security_level ssl_ecdh_curve force_ipv4 http2 proxy_auth disable_aiohttp_trust_env "
        "client use_client shared_session azure",
    ),
    (
        "the log is steered by LITELLM_LOG, set_verbose, json_logs and log_raw_request_response",
        "log_level logging litellm_mode log_* request_correlation_in_logs suppress_startup_output verbose "
        "suppress_debug_info",
    ),
    (
        "what a provider takes is fitted to each model by itself, and what cannot be carried is told in "
        "x-penstock-dropped",
        "modify_params openai_system_messages_first reasoning_* disable_stop_sequence_limit "
        "disable_add_transform_inline_image_block disable_copilot_* disable_anthropic_gemini_* strip_anthropic_* "
        "anthropic_messages_estimate_* gemini_* enable_gemini_* vertex_ai_safety_settings bedrock_* "
        "merge_reasoning_content_in_choices supports_system_message ensure_alternating_roles *_continue_message "
        "vertex_ai_pass_through_*",
    ),
    (
        "which dialect is spoken to an upstream is chosen for each request; `dialects` of an entry says which it has",
        "use_chat_completions_* route_all_chat_openai_to_responses adapters enable_openai_websocket_passthrough",
    ),
    (
        "a provider is named in docs/providers.md, or is an OpenAI-compatible api_base",
        "custom_provider_map use_litellm_proxy use_xai_oauth",
    ),
    ("answers without an upstream are those of `penstock mock`", "mock_* network_mock"),
    (
        "write it in router_settings",
        "retry_policy retry_strategy context_window_fallback_dict max_fallbacks fallbacks caching_groups",
    ),
    ("write fallback_depth as router_settings.max_fallbacks", "fallback_depth"),
    ("write it in litellm_settings", "enable_json_schema_validation log_raw_request_response"),
    (
        "where files are kept is the state directory; the answer cache has its own place (docs/cache.md)",
        "s3_* gcs_* gs_* bucket_name max_file_size_mb",
    ),
    ("write it beside litellm_params", "model_info"),
    ("notes about an entry stand in its model_info", "metadata"),
    (
        "deployments are chosen by group, tags and order; regions are groups",
        "allowed_model_region provider_affinity_header",
    ),
    (
        "prices come with Penstock, and entries set their own (docs/prices.md)",
        "cost_per_* model_cost_map_url anthropic_beta_headers_url apply_search_free_tier "
        "include_cost_in_streaming_usage",
    ),
    ("health checks are each process's own", "health_check_* use_shared_health_check"),
    ("/health/readiness says what is not ready to whoever shows a key", "allow_public_health_readiness_details"),
    ("requests end by themselves when the process is told to stop (docs/deploy.md)", "*drain_endpoint*"),
    ("roles are those of users (user_role), and of tokens by litellm_jwtauth", "enforce_rbac role_permissions"),
    ("custom_key_generate and key_generation_settings say who makes keys", "disable_key_generate_for_*"),
    ("on_ledger_failure says what becomes of calls while nothing can be written down", "fail_closed_budget_*"),
    ("the metadata of teams is whatever their admins write", "*team_metadata_*"),
    ("the first error is told; x-penstock-route in a request asks for all tries", "expose_fallback_errors_to_caller"),
    ("`penstock db upgrade` and the start upgrade by the same steps, which old versions bear", "disable_prisma_*"),
    (
        "budgets hold as they are: a spent one refuses, and the next window begins anew",
        "budget_exceeded_throttle_percentage",
    ),
    ("keys are looked up in memory", "enable_redis_auth_cache"),
    ("a session is what a request says, and nobody is refused for its lack", "missing_session_id"),
    ("tokens are counted wherever an upstream tells none", "disable_token_counter"),
    ("no services of LiteLLM's own are called", "email token"),
    ("there are no features in preview", "enable_preview_features"),
    ("code of yours runs as a callback, in custom_auth and in custom_key_generate alone", "plugins"),
    ("sse_keepalive_ping_interval_seconds holds for all", "keepalive_seconds allow_client_keepalive_*"),
    ("requests say that themselves", "stream"),
    ("nothing is added to the query of an upstream's address", "extra_query"),
    ("extra_headers of an entry are sent; router_settings.default_litellm_params gives them to all", "headers"),
    ("max_tokens of an entry is for requests that say none; default_litellm_params gives it to all", "max_tokens"),
    ("the call id is in the header x-litellm-call-id of every answer", "include_call_id_in_error_body"),
    ("errors are told as they are, with every secret masked", "redact_messages_in_exceptions expose_router_debug_*"),
    ("write it in litellm_settings", "turn_off_message_logging no-log"),
    ("write service_tier as a parameter of the entry", "tier"),
    ("which team may call a model is said by the `models` of the team", "team_id *team_public_model_name"),
    ("who may make keys of their own is said by litellm_settings.key_generation_settings", "default_team_disabled"),
    ("a team starts with the members that are named", "disable_auto_add_proxy_admin_to_teams"),
    ("a key may call what its own lists allow", "personal_key_model_access_from_teams"),
    ("models of a provider are listed by an entry such as openai/*", "infer_model_from_keys check_provider_endpoint"),
    ("all models are listed; a deployment that fails is passed over", "model_list_healthy_only"),
    ("tags come with requests, keys, teams and extra_spend_tag_headers", "request_tag_mappings"),
    ("the callbacks of litellm_settings say where requests are told (docs/callbacks.md)", "otel"),
    ("the model is named in `model`", "hf_model_name"),
    ("the config is the file that `penstock serve` is given", "config_path"),
    (
        "the service of the provider that it steers is not called here (docs/providers.md)",
        "aws_* vertex_* azure_*",
    ),
    (
        "it is a variable of LiteLLM's own code",
        "litellm_* id force_timeout complete_response proxy_server_request secret_fields cache_key preset_cache_key "
        "model_config fastest_response",
    ),
)


def _rows() -> Iterator[tuple[str, str]]:
    for reason, names in _ROWS:
        for name in names.split():
            yield name, reason


_EXACT = {name: reason for name, reason in reversed([*_rows()]) if "*" not in name}
_PATTERNS = [(name, reason) for name, reason in _rows() if "*" in name]


@lru_cache(1024)
def reason_of(name: str) -> str:
    """Return why nothing is done about a key; "" where nobody wrote that down. A name goes before every pattern."""
    found = _EXACT.get(name)
    if found is not None:
        return found
    return next((reason for pattern, reason in _PATTERNS if pattern == name or fnmatchcase(name, pattern)), "")
