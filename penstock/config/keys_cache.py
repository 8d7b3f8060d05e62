"""Key table of `litellm_settings.cache_params`: the arguments of LiteLLM 1.109's Cache, and a few of our own. A row is
(key, type, status, default, meaning)."""

from __future__ import annotations

from penstock.config.keys_redis import REDIS

SEMANTIC = ("local-semantic", "redis-semantic", "valkey-semantic", "qdrant-semantic")
"""Values of `type` that also compare what is asked; each has settings that begin with its own name."""

TYPES = ("local", "redis", "disk", "s3", "gcs", "azure-blob", *SEMANTIC)
"""Values of `type`."""

CALL_TYPES = {
    "completion": "completion acompletion anthropic_messages agenerate_content generate_content",
    "responses": "responses aresponses",
    "text_completion": "text_completion atext_completion",
    "embedding": "embedding aembedding",
    "rerank": "rerank arerank",
    "transcription": "transcription atranscription",
}
"""What can be kept, by the names that `supported_call_types` has for it."""

_KINDS = ",".join(name for names in CALL_TYPES.values() for name in names.split())

EMBEDDING_MODEL = "text-embedding-ada-002"
INDEX = "litellm_semantic_cache_index"


def _compared(kind: str) -> tuple[tuple[str, str, str, object, str], ...]:
    name, meaning = (
        f"{kind}_semantic_cache_embedding_model",
        f"model of this gateway by whose vectors {kind}-semantic compares",
    )
    return ((name, "str", "acted", EMBEDDING_MODEL, meaning),)


CACHE = (
    (
        "type",
        f"one:{','.join(TYPES)}",
        "acted",
        None,
        "where answers are kept; absent: redis where one is named, else local",
    ),
    ("mode", "one:default_on,default_off", "acted", "default_on", "off: only requests with `cache: {use-cache: true}`"),
    ("ttl", "seconds", "acted", 600, "life of an answer"),
    ("default_in_memory_ttl", "seconds", "acted", None, "the same for type local, where `ttl` is absent"),
    ("default_in_redis_ttl", "seconds", "acted", None, "the same for type redis, where `ttl` is absent"),
    ("namespace", "str", "acted", None, "stands before the name of every entry"),
    ("supported_call_types", f"checks:{_KINDS}", "acted", None, "what is kept; absent: all of it"),
    ("cache_scope", "one:key,global", "acted", "key", "who shares answers: the requests of one key, or everybody"),
    ("max_size_mb", "size", "acted", 64, "most that is kept: in memory, or with type disk (1024 there)"),
    ("max_size_in_memory", "positive", "acted", None, "most answers that are kept in memory"),
    ("max_size_per_item", "size", "acted", 1024, "largest answer that is kept, in KB"),
    ("disk_cache_dir", "str", "acted", ".litellm_cache", "folder of type disk"),
    *REDIS,
    # s3, and what speaks like it
    ("s3_bucket_name", "str", "acted", None, "bucket of type s3"),
    ("s3_region_name", "str", "acted", None, "its region; absent: AWS_REGION"),
    ("s3_endpoint_url", "url", "acted", None, "its address, where it is not Amazon's"),
    ("s3_path", "str", "acted", None, "stands before the name of every object"),
    ("s3_aws_access_key_id", "secret", "acted", None, "its credential; absent: as AWS's own tools look for one"),
    ("s3_aws_secret_access_key", "secret", "acted", None, "the same"),
    ("s3_aws_session_token", "secret", "acted", None, "the same"),
    ("s3_verify", "tls", "acted", True, "check its certificate; a path names the CA file"),
    ("s3_use_ssl", "bool", "acted", True, "false: http, where no address is given"),
    ("s3_api_version", "str", "moot", None, "boto3's choice of an API version"),
    ("s3_config", "any", "moot", None, "boto3's settings"),
    # gcs
    ("gcs_bucket_name", "str", "acted", None, "bucket of type gcs; absent: GCS_BUCKET_NAME"),
    ("gcs_path_service_account", "str", "acted", None, "file of its service account; absent: GCS_PATH_SERVICE_ACCOUNT"),
    ("gcs_path", "str", "acted", None, "stands before the name of every object"),
    # azure-blob
    (
        "azure_account_url",
        "url",
        "acted",
        None,
        "address of the storage account of type azure-blob; absent: AZURE_STORAGE_ACCOUNT_URL",
    ),
    ("azure_blob_container", "str", "acted", None, "its container, which is made where it is not there"),
    (
        "azure_account_key",
        "secret",
        "acted",
        None,
        "its key; absent: AZURE_STORAGE_ACCOUNT_KEY, else a token of Entra ID",
    ),
    # the semantic types
    ("similarity_threshold", "share", "acted", None, "how like two questions must be to share an answer, from 0 to 1"),
    *_compared("local"),
    *_compared("redis"),
    ("redis_semantic_cache_index_name", "str", "acted", INDEX, "name of the index of questions"),
    *_compared("valkey"),
    ("valkey_semantic_cache_index_name", "str", "acted", INDEX, "name of the index of questions"),
    *_compared("qdrant"),
    ("qdrant_semantic_cache_vector_size", "positive", "acted", 1536, "numbers in a vector of a new collection"),
    ("qdrant_api_base", "url", "acted", None, "address of Qdrant; absent: QDRANT_URL, QDRANT_API_BASE"),
    ("qdrant_api_key", "secret", "acted", None, "its key; absent: QDRANT_API_KEY"),
    ("qdrant_collection_name", "str", "acted", None, "collection of type qdrant-semantic, made where it is not there"),
    ("qdrant_quantization_config", "one:binary,scalar,product", "acted", "binary", "how a new one keeps its vectors"),
    ("semantic_cache_embedding_timeout", "seconds", "acted", 2, "longest wait for the vector of a question"),
    ("semantic_cache_embedding_max_input_tokens", "positive", "acted", 8000, "longer questions are not compared"),
    ("semantic_cache_scope", "one:key,end_user", "acted", "key", "end_user: nor do the users behind a key share"),
    # what has no meaning here
    ("redis_flush_size", "positive", "moot", None, "answers are written one by one"),
)
