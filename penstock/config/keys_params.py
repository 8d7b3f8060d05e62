"""Key table of `model_list`: the entry, its `litellm_params` and `model_info`, and of `credential_list`.

A row is (key, type, status, default, meaning). Sources: LiteLLM 1.109 documentation and its price map's fields.
A key with `*` is a pattern. Keys of `litellm_params` that stand here are never sent upstream.
"""

from __future__ import annotations

ENTRY = (
    ("model_name", "str", "acted", None, "the name clients send; entries with one name form a group; may hold `*`"),
    ("litellm_params", "mapping", "acted", None, "where the requests go and with which credential"),
    ("model_info", "mapping", "acted", None, "facts about the model"),
    ("rpm", "count", "acted", None, "older place of litellm_params.rpm, which wins"),
    ("tpm", "count", "acted", None, "older place of litellm_params.tpm, which wins"),
)

CREDENTIAL = (
    ("credential_name", "str", "acted", None, "the name that litellm_params.litellm_credential_name gives"),
    ("credential_values", "mapping", "acted", None, "keys of litellm_params, used where the deployment has none"),
    ("credential_info", "mapping", "acted", None, "free notes, for people"),
)

PARAMS = (
    # connection
    ("model", "str", "acted", None, "provider and model, such as `openai/gpt-4o-mini`"),
    ("api_key", "secret", "acted", None, "credential for the upstream; absent: the provider's own variable"),
    ("api_base", "url", "acted", None, "address of the upstream, such as http://localhost:11434"),
    ("base_url", "url", "acted", None, "the same as api_base, which wins"),
    ("api_version", "str", "acted", None, "API version of the upstream, mainly Azure"),
    ("organization", "str", "acted", None, "OpenAI organization the calls are made for"),
    ("custom_llm_provider", "str", "acted", None, "provider, when the model name does not tell it"),
    ("extra_headers", "headers", "acted", None, "headers added to every upstream request"),
    ("headers", "headers", "acted", None, "the same as extra_headers, which wins"),
    ("ssl_verify", "tls", "acted", None, "check the upstream's certificate; a path names the CA file"),
    ("litellm_credential_name", "str", "acted", None, "entry of credential_list that fills absent keys"),
    ("use_litellm_proxy", "bool", "known", False, "send through another LiteLLM proxy"),
    # timing
    ("timeout", "seconds", "acted", None, "longest wait for a whole answer"),
    ("stream_timeout", "seconds", "acted", None, "longest wait for the first part of a stream"),
    ("request_timeout", "seconds", "acted", None, "the same as timeout, which wins"),
    ("timeout_by_service_tier", "mapping", "known", None, "timeout per service tier"),
    ("max_retries", "count", "acted", None, "tries again against this deployment"),
    ("num_retries", "count", "acted", None, "tries again for requests that start at this deployment"),
    ("cooldown_time", "wait", "known", None, "seconds without traffic after failures"),
    ("keepalive_seconds", "seconds", "known", None, "idle time between keep-alive signs in a stream"),
    # limits
    ("rpm", "count", "acted", None, "requests per minute, the deployment's share in a group"),
    ("tpm", "count", "acted", None, "tokens per minute, the deployment's share in a group"),
    ("itpm", "positive", "known", None, "input tokens per minute"),
    ("otpm", "positive", "known", None, "output tokens per minute"),
    ("rpd", "positive", "known", None, "requests per day"),
    ("tpd", "positive", "known", None, "tokens per day"),
    ("daily_reset_time", "str", "known", None, "time of day at which daily limits start anew"),
    ("max_parallel_requests", "positive", "known", None, "requests to this deployment at one time"),
    ("max_budget", "amount", "known", None, "spend limit of this deployment, in USD"),
    ("budget_duration", "str", "known", None, "period of max_budget, such as `30d`"),
    ("default_api_key_rpm_limit", "count", "known", None, "requests per minute for keys without a limit"),
    ("default_api_key_tpm_limit", "count", "known", None, "tokens per minute for keys without a limit"),
    # routing
    ("weight", "amount", "acted", None, "share of the traffic in the group; 0 takes none"),
    ("order", "count", "known", None, "lower is tried first"),
    ("tags", "texts", "known", None, "only requests with one of these tags come here"),
    ("tag_regex", "any", "known", None, "like tags, as regular expressions"),
    ("region_name", "str", "known", None, "region of the deployment, for region filters"),
    ("use_in_pass_through", "bool", "acted", False, "lend the credential to pass-through endpoints"),
    ("use_chat_completions_api", "bool", "known", False, "bridge Responses requests to chat completions"),
    ("silent_model", "str", "known", None, "group that receives a copy of every request"),
    ("auto_router_*", "any", "known", None, "settings of the automatic router"),
    # parameters
    ("drop_params", "bool", "acted", None, "leave out parameters the provider does not take"),
    ("on_unsupported", "one:drop,warn,reject", "acted", None, "Penstock's own: what to do with such parameters"),
    ("validate", "bool", "acted", None, "Penstock's own: check answers against the schema or choice asked for"),
    ("guided_engine", "one:vllm,sglang,trtllm,llama_cpp", "acted", None, "Penstock's own: whose `guided_*` it takes"),
    ("additional_drop_params", "texts", "acted", None, "parameters to leave out always; dotted paths allowed"),
    ("allowed_openai_params", "texts", "acted", None, "parameters to send although the provider may not take them"),
    ("merge_reasoning_content_in_choices", "bool", "known", False, "put the reasoning into the answer's content"),
    ("configurable_clientside_auth_params", "list", "known", None, "parameters clients may set for themselves"),
    ("mock_response", "any", "known", None, "answer with this text, without an upstream"),
    ("mock_timeout", "any", "known", None, "answer with a timeout, for tests"),
    ("mock_tool_calls", "list", "known", None, "answer with these tool calls, for tests"),
    ("mock_delay", "wait", "known", None, "seconds before a mock answer"),
    # prices
    ("input_cost_per_token", "amount", "acted", None, "USD per input token, instead of the price map"),
    ("output_cost_per_token", "amount", "acted", None, "USD per output token, instead of the price map"),
    ("input_cost_per_second", "amount", "known", None, "USD per second of input"),
    ("output_cost_per_second", "amount", "known", None, "USD per second of output"),
    ("cache_read_input_token_cost", "amount", "acted", None, "USD per input token read from the cache"),
    ("cache_creation_input_token_cost", "amount", "acted", None, "USD per input token written to the cache"),
    ("*_cost_per_*", "any", "acted", None, "any other price of the price map"),
    ("*_token_cost*", "any", "acted", None, "any other token price of the price map"),
    ("cost_per_*", "any", "known", None, "any other price of the price map"),
    ("tiered_pricing", "list", "acted", None, "prices that depend on the number of tokens"),
    # cloud accounts
    ("azure_ad_token", "secret", "acted", None, "Azure: Entra ID token instead of a key"),
    ("tenant_id", "str", "acted", None, "Azure: tenant of the account, an id or a domain"),
    ("client_id", "str", "acted", None, "Azure, Databricks: client of the service principal (or managed identity)"),
    ("client_secret", "secret", "acted", None, "Azure, Databricks: secret of the service principal"),
    ("azure_username", "str", "acted", None, "Azure: user name for a token"),
    ("azure_password", "secret", "acted", None, "Azure: password for a token"),
    ("azure_scope", "str", "acted", None, "Azure: scope of the token; absent: what the address says"),
    ("aws_access_key_id", "secret", "acted", None, "AWS: access key"),
    ("aws_secret_access_key", "secret", "acted", None, "AWS: secret key"),
    ("aws_session_token", "secret", "acted", None, "AWS: session token"),
    ("aws_region_name", "str", "acted", None, "AWS: region"),
    ("aws_profile_name", "str", "acted", None, "AWS: profile in the credentials file"),
    ("aws_role_name", "str", "acted", None, "AWS: role to assume"),
    ("aws_session_name", "str", "acted", None, "AWS: name of the assumed session"),
    ("aws_external_id", "str", "acted", None, "AWS: external id for the assumed role"),
    ("aws_web_identity_token", "secret", "acted", None, "AWS: token of a web identity"),
    ("aws_bedrock_runtime_endpoint", "url", "acted", None, "AWS: address of Bedrock"),
    ("aws_sts_endpoint", "url", "acted", None, "AWS: address of the token service"),
    ("model_id", "str", "acted", None, "Bedrock: ARN that requests go to, such as an inference profile's"),
    ("vertex_project", "str", "known", None, "Google Cloud: project"),
    ("vertex_location", "str", "known", None, "Google Cloud: location"),
    ("vertex_credentials", "any", "known", None, "Google Cloud: service account, as a path or as JSON"),
    ("watsonx_region_name", "str", "acted", None, "watsonx: region"),
    ("project_id", "str", "acted", None, "watsonx: the project that pays"),
    ("space_id", "str", "acted", None, "watsonx: the deployment space that pays, where no project does"),
    ("token", "secret", "acted", None, "watsonx: IAM access token, sent as it is"),
    ("zen_api_key", "secret", "acted", None, "watsonx software: Zen API key, sent as it is"),
    ("account_id", "str", "acted", None, "Snowflake, Cloudflare: account that stands in the address"),
    ("private_key", "secret", "acted", None, "Snowflake: private key (PEM) that tokens are signed with"),
    ("private_key_path", "str", "acted", None, "Snowflake: the same as a file"),
    ("private_key_passphrase", "secret", "acted", None, "Snowflake: passphrase of the private key"),
    ("snowflake_user", "str", "acted", None, "Snowflake: user that the private key belongs to"),
    ("deployment_id", "str", "acted", None, "SAP AI Core: deployment of the orchestration service"),
    ("resource_group", "str", "acted", None, "SAP AI Core: resource group; absent: `default`"),
    ("hf_model_name", "str", "known", None, "Hugging Face: name of the model behind the address"),
    # other
    ("model_info", "mapping", "known", None, "facts about the model; they belong beside litellm_params"),
    ("metadata", "mapping", "known", None, "metadata for records of this deployment"),
    ("prompt_id", "str", "known", None, "stored prompt to put before the messages"),
    ("prompt_variables", "mapping", "known", None, "values for the stored prompt"),
    ("litellm_system_prompt", "str", "known", None, "system prompt to put before the messages"),
    ("cache", "any", "known", None, "answer cache for this deployment"),
    ("caching", "bool", "known", False, "cache answers of this deployment"),
    ("ttl", "any", "known", None, "life of cached answers"),
    ("guardrails", "list", "known", None, "guardrails that run for this deployment"),
    ("supports_system_prompt", "bool", "acted", None, "Replicate: whether the model has an input system_prompt"),
    ("supports_system_message", "bool", "known", None, "whether the upstream takes system messages"),
    ("fallbacks", "list", "known", None, "fallbacks of this deployment; see router_settings"),
)

_REQUEST_PARAMS = (
    "audio dimensions encoding_format extra_body extra_query frequency_penalty function_call functions "
    "include_server_side_tool_invocations input_type instructions language logit_bias logprobs max_completion_tokens "
    "max_output_tokens max_tokens min_p modalities moderation n num_ctx num_predict parallel_tool_calls prediction "
    "presence_penalty prompt_cache_key prompt_cache_options prompt_cache_retention quality reasoning reasoning_effort "
    "repetition_penalty response_format safety_identifier safety_settings seed service_tier size stop stop_sequences "
    "store stream stream_options style suffix temperature text thinking think tool_choice tools top_k top_logprobs "
    "top_p truncation user verbosity voice web_search_options chat_template_kwargs keep_alive guided_json "
    "guided_regex guided_choice guided_grammar guided_json_object guided_whitespace_pattern structured_outputs "
    "enable_thinking output_config cache_control prompt_template transforms route provider models plugins safe_prompt "
    "prompt_mode random_seed reasoning_format include_reasoning reasoning_history context_length_exceeded_behavior "
    "search_parameters search_mode search_domain_filter search_recency_filter return_images return_related_questions "
    "nvext min_tokens"
)
REQUEST_PARAMS = frozenset(_REQUEST_PARAMS.split())
"""Request parameters that may stand in `litellm_params` as defaults; a request's own value wins."""

MODES = (
    "chat,completion,embedding,image_generation,image_edit,audio_transcription,audio_speech,rerank,responses,realtime,"
    "batch,ocr,search,moderation,video_generation,vector_store,evaluation,extraction,decisions,guardrail"
)

INFO = (
    ("id", "str", "acted", None, "id of the deployment, sent as x-litellm-model-id; absent: a hash of the entry"),
    ("mode", f"usually:{MODES}", "acted", None, "kind of model, such as `chat` or `embedding`"),
    ("embedding_batch_size", "positive", "acted", None, "most inputs of an embedding request to it"),
    ("db_model", "bool", "acted", None, "kept as information"),
    ("created_by", "str", "acted", None, "kept as information"),
    ("created_at", "str", "acted", None, "kept as information"),
    ("updated_by", "str", "acted", None, "kept as information"),
    ("updated_at", "str", "acted", None, "kept as information"),
    ("base_model", "str", "acted", None, "model whose price and abilities count, mainly Azure"),
    ("pricing_provider", "str", "acted", None, "provider whose price counts"),
    ("max_tokens", "positive", "acted", None, "most tokens of an answer"),
    ("max_input_tokens", "positive", "acted", None, "most tokens of a request"),
    ("max_output_tokens", "positive", "acted", None, "most tokens of an answer"),
    ("supports_*", "any", "acted", None, "an ability of the model"),
    ("*_cost_per_*", "any", "acted", None, "a price of the price map"),
    ("*_token_cost*", "any", "acted", None, "a token price of the price map"),
    ("access_groups", "texts", "known", None, "groups of keys that may use the model"),
    ("team_id", "str", "known", None, "team the model belongs to"),
    ("team_public_model_name", "str", "known", None, "name the team uses for the model"),
    ("tier", "one:free,paid", "known", None, "service tier of the deployment"),
    ("blocked", "bool", "known", False, "take no traffic"),
    ("discoverable", "bool", "known", None, "show the model in the public list"),
    ("disable_background_health_check", "bool", "known", False, "leave the deployment out of health checks"),
    ("health_check_model", "str", "acted", None, "model that `/health?live=true` asks in the place of a wildcard"),
    ("health_check_timeout", "seconds", "acted", 60, "longest wait for the answer to `/health?live=true`"),
    ("health_check_voice", "str", "known", None, "voice for health checks of speech models"),
    ("health_check_max_tokens", "positive", "acted", 16, "most tokens of an answer to `/health?live=true`"),
    ("allowed_fails", "count", "known", None, "failures before the deployment rests"),
    ("allowed_fails_policy", "mapping", "known", None, "the same per kind of failure"),
    ("cooldown_time", "wait", "known", None, "seconds without traffic after failures"),
    ("enable_tag_filtering", "bool", "known", None, "route by tags for this model"),
)
