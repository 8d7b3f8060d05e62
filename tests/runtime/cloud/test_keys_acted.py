"""The keys of clouds' accounts have their effect, so that the check of a config warns of none of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.config import load
from penstock.core.providers.resolve import resolve

PARAMS = {
    "azure/d": "azure_ad_token tenant_id client_id client_secret azure_username azure_password azure_scope",
    "watsonx/m": "watsonx_region_name project_id space_id token zen_api_key",
    "databricks/m": "client_id client_secret",
    "snowflake/m": "account_id private_key private_key_path private_key_passphrase snowflake_user",
    "sap/m": "deployment_id resource_group",
    "cloudflare/m": "account_id",
}


@pytest.mark.parametrize("model", PARAMS)
def test_no_warning(model: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    lines = "\n".join(f"      {name}: a-value-of-some-length" for name in PARAMS[model].split())
    path.write_text(
        f"model_list:\n  - model_name: m\n    litellm_params:\n      model: {model}\n{lines}\n"
        "litellm_settings: {enable_azure_ad_token_refresh: true}\n"
    )
    loaded = load(path, {}, resolve=resolve)
    assert loaded.config is not None and [str(problem) for problem in loaded.problems] == []
    (deployment,) = loaded.config.deployments
    assert "a-value-of-some-length" not in repr(deployment) and deployment.defaults == {}  # nothing of it goes upstream
