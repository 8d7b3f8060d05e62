"""The configs of the seeds load as they are."""

from __future__ import annotations

from pathlib import Path

from config_helpers import lines

from penstock.config import Secret, load

DATA = Path(__file__).parent / "data"
KEYS = {f"{name}_API_KEY": f"key-{name}" for name in ("OPENAI", "GEMINI", "ANTHROPIC", "HUGGINGFACE")}


def test_seed_3_with_all_keys_has_no_problem() -> None:
    env = {**KEYS, "LITELLM_MASTER_KEY": "sk-a-long-random-key", "DATABASE_URL": "postgresql://foreign/db"}
    loaded = load(DATA / "seed3.yaml", env)
    assert lines(loaded) == []
    config = loaded.config
    assert config is not None
    assert {d.model_name: (d.model, d.api_base) for d in config.deployments} == {
        "extraction-model": ("ollama/llama3.2", "http://localhost:11434"),
        "explanation-model": ("ollama/llama3.2:70b", "http://localhost:11434"),
        "extraction-model-openai": ("openai/gpt-4o-mini", None),
        "explanation-model-gemini": ("gemini/gemini-1.5-flash", None),
        "extraction-model-claude": ("anthropic/claude-3-5-haiku-20241022", None),
        "explanation-model-hf": ("huggingface/mistralai/Mistral-7B-Instruct-v0.3", None),
        "extraction-model-lmstudio": ("openai/local-model", "http://localhost:1234/v1"),
    }
    assert config.deployments[2].api_key == Secret("key-OPENAI")
    assert config.deployments[6].api_key is None
    assert config.router.fallbacks == {
        "extraction-model": ("extraction-model-openai",),
        "explanation-model": ("explanation-model-gemini",),
    }
    assert (config.router.num_retries, config.router.timeout, config.router.allowed_fails) == (2, 60.0, 3)
    assert config.general.master_key == "sk-a-long-random-key"
    assert config.general.database_url is None
    assert config.general.database_url_is_null
    assert config.general.set_verbose and config.general.json_logs
    assert config.litellm.set_verbose and config.litellm.json_logs


def test_seed_3_with_no_environment_starts_with_a_warning_per_variable() -> None:
    loaded = load(DATA / "seed3.yaml", {})
    assert loaded.config is not None
    assert [(p.line, p.path) for p in loaded.problems] == [
        (16, "model_list[2].litellm_params.api_key"),
        (21, "model_list[3].litellm_params.api_key"),
        (26, "model_list[4].litellm_params.api_key"),
        (31, "model_list[5].litellm_params.api_key"),
        (51, "general_settings.master_key"),
    ]
    assert str(loaded.problems[0]).endswith(
        "seed3.yaml:16: model_list[2].litellm_params.api_key: "
        "the environment variable OPENAI_API_KEY is not set; the value counts as absent"
    )
    assert loaded.config.general.master_key is None


def test_seed_4_has_no_problem_and_keeps_the_path_in_the_model() -> None:
    loaded = load(DATA / "seed4.yaml", {})
    assert lines(loaded) == []
    config = loaded.config
    assert config is not None
    (deployment,) = config.deployments
    assert (deployment.model_name, deployment.model) == ("local-model", "openai//models/GLM-FP8")
    assert deployment.api_key == "dummy"
    assert deployment.api_base == "http://localhost:8000/v1"
    assert config.litellm.drop_params is True
    assert config.litellm.set_verbose is False
