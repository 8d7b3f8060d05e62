"""How answers are kept, as the config file says it."""

from __future__ import annotations

import pytest

from penstock.config import keys
from penstock.config.cache import CacheSettings, Comparing
from penstock.config.keys_cache import CALL_TYPES, TYPES
from tests.config.config_helpers import Check

MODEL = "model_list: [{model_name: m, litellm_params: {model: openai/x}}]\n"


def read(check: Check, params: str, more: str = "", **env: str) -> CacheSettings | None:
    loaded = check(f"{MODEL}litellm_settings: {{cache: true, cache_params: {{{params}}}{more}}}\n", env)
    assert loaded.config is not None and not loaded.problems, [str(problem) for problem in loaded.problems]
    return loaded.config.cache


def test_nothing_is_kept_where_nobody_says_so(check: Check) -> None:
    for text in ("", "litellm_settings: {cache: false, cache_params: {type: redis}}", "router_settings: {cache_kwargs: {ttl: 5}}"):
        assert check(MODEL + text).config.cache is None  # type: ignore[union-attr]


def test_what_is_not_said_has_a_default(check: Check) -> None:
    kept = read(check, "")
    assert kept is not None and (kept.kind, kept.ttl, kept.default_on, kept.shared) == ("local", 600.0, True, False)
    assert kept.max_bytes == 64 << 20 and kept.kinds == set(CALL_TYPES)


def test_litellms_switch_of_the_router_is_the_same(check: Check) -> None:
    text = "router_settings: {cache_responses: true, cache_kwargs: {ttl: 5, namespace: a}, caching_groups: [[m, n], [x]]}\n"
    kept = check(f"{MODEL}{text}litellm_settings: {{cache_params: {{namespace: b}}}}").config.cache  # type: ignore[union-attr]
    assert kept is not None and (kept.ttl, kept.namespace, kept.groups) == (5.0, "b", {"m": "m", "n": "m", "x": "x"})


@pytest.mark.parametrize(
    ("params", "env", "kind"),
    [
        ("host: h", {}, "redis"),
        ("url: 'redis://h'", {}, "redis"),
        ("", {"REDIS_HOST": "h"}, "redis"),
        ("", {"REDIS_URL": "redis://h"}, "redis"),
        ("type: local", {"REDIS_HOST": "h"}, "local"),
        ("ttl: 5", {"REDIS_PASSWORD": "x"}, "local"),
    ],
)
def test_without_a_type_it_is_redis_where_one_is_named(check: Check, params: str, env: dict[str, str], kind: str) -> None:
    kept = read(check, params, **env)
    assert kept is not None and kept.kind == kind


def test_the_redis_of_the_router_is_one(check: Check) -> None:
    text = "router_settings: {redis_host: h, redis_password: p}\nlitellm_settings: {cache: true}\n"
    kept = check(MODEL + text).config.cache  # type: ignore[union-attr]
    assert kept is not None and kept.kind == "redis" and kept.params["host"] == "h" and kept.params["password"] == "p"
    assert "p'" not in repr(kept)


@pytest.mark.parametrize(
    ("params", "more", "ttl"),
    [
        ("ttl: 5, default_in_memory_ttl: 6", "", 5),
        ("default_in_memory_ttl: 6", "", 6),
        ("", ", default_in_memory_ttl: 7", 7),
        ("", ", default_redis_ttl: 7", 600),
        ("host: h, default_in_redis_ttl: 8", ", default_redis_ttl: 7", 8),
        ("host: h", ", default_redis_ttl: 7", 7),
        ("type: disk, default_in_memory_ttl: 6", "", 600),
    ],
)
def test_the_nearest_life_counts(check: Check, params: str, more: str, ttl: float) -> None:
    kept = read(check, params, more)
    assert kept is not None and kept.ttl == ttl


def test_litellms_names_of_what_is_kept(check: Check) -> None:
    kept = read(check, "supported_call_types: [acompletion, completion, aembedding, atranscription]")
    assert kept is not None and kept.kinds == {"completion", "embedding", "transcription"}
    names = [name for names in CALL_TYPES.values() for name in names.split()]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ("{type: memory}", "cache_params.type: expected one of local, redis"),
        ("{type: local, ttl: 0}", "cache_params.ttl: expected a number of seconds above 0, got 0"),
        ("{type: local, mode: on}", "cache_params.mode: expected one of default_on, default_off"),
        ("{type: local, supported_call_types: [chat]}", "cache_params.supported_call_types[0]: expected one of"),
        ("{type: local, cache_scope: team}", "cache_params.cache_scope: expected one of key, global"),
        ("{type: local, namespce: x}", "cache_params.namespce: unknown key, did you mean 'namespace'?"),
        ("{type: s3}", "cache_params.s3_bucket_name: is missing: type s3 keeps answers in a bucket"),
        ("{type: gcs}", "cache_params.gcs_bucket_name: is missing"),
        ("{type: redis-semantic}", "cache_params.similarity_threshold: is missing: say from which likeness on, 0 to 1, two"),
        ("{type: local-semantic, similarity_threshold: 80}", "similarity_threshold: expected a number from 0 to 1"),
        ("{type: qdrant-semantic, similarity_threshold: 0.8}", "qdrant_api_base: is missing: type qdrant-semantic keeps"),
        ("{type: qdrant-semantic, qdrant_api_base: 'http://q:6333'}", "qdrant_collection_name: is missing"),
        ("{type: azure-blob}", "azure_account_url: is missing: type azure-blob keeps answers in a storage account"),
        ("{type: azure-blob, azure_account_url: 'https://a'}", "azure_blob_container: is missing"),
        ("[1]", "cache_params: expected a mapping"),
    ],
)
def test_what_is_wrong_is_said_with_its_line_and_the_gateway_starts(check: Check, params: str, said: str) -> None:
    loaded = check(f"{MODEL}litellm_settings:\n  cache: true\n  cache_params: {params}\n")
    [problem] = [str(problem) for problem in loaded.problems]
    assert said in problem and loaded.config is not None, problem
    assert ":4: " in problem or ":3: " in problem


def test_what_is_wrong_in_groups_is_said(check: Check) -> None:
    loaded = check(MODEL + "router_settings: {cache_responses: true, caching_groups: [m]}\n")
    assert "caching_groups[0]: expected a list of texts" in str(loaded.problems[0])


def test_every_type_and_every_key_acts() -> None:
    spec = keys.cache.rows["type"].spec
    assert spec == "one:" + ",".join(TYPES)
    assert [key.name for key in keys.cache.rows.values() if key.status == "known"] == []


def test_another_place_is_another_place() -> None:
    one = CacheSettings()
    assert one.place == CacheSettings(ttl=5, namespace="x", default_on=False, groups={"a": "b"}).place
    for other in (CacheSettings(kind="disk"), CacheSettings(max_bytes=5), CacheSettings(folder="x"), CacheSettings(params={"host": "h"})):
        assert other.place != one.place


def test_how_questions_are_compared(check: Check) -> None:
    for kind, more in (("local", ""), ("redis", ", url: 'redis://h'"), ("valkey", ", redis_url: 'redis://h'"), ("qdrant", ", qdrant_collection_name: c")):
        kept = read(check, f"type: {kind}-semantic, similarity_threshold: 0.8{more}", QDRANT_URL="http://q:6333")
        assert kept is not None and kept.comparing == Comparing(threshold=0.8), "LiteLLM's model, 2 s, every user of a key"
        more += f", {kind}_semantic_cache_embedding_model: vectors, semantic_cache_embedding_timeout: 5, semantic_cache_scope: end_user"
        more += ", semantic_cache_embedding_max_input_tokens: 100"
        kept = read(check, f"type: {kind}-semantic, similarity_threshold: '0.8'{more}", QDRANT_API_BASE="http://q:6333")
        assert kept is not None
        assert kept.comparing == Comparing(threshold=0.8, model="vectors", timeout=5.0, most_tokens=100, by_user=True)
    assert (kept := read(check, "type: local")) is not None and kept.comparing is None


def test_another_threshold_is_no_other_place_and_another_model_is(check: Check) -> None:
    def place(more: str) -> tuple[object, ...]:
        kept = read(check, f"type: local-semantic, similarity_threshold: 0.{more}")
        assert kept is not None
        return kept.place

    assert place("8") == place("9, semantic_cache_embedding_timeout: 5")
    assert place("8") != place("8, local_semantic_cache_embedding_model: vectors")
