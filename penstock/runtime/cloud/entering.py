"""What a target of a cloud must know beside its row: which dialects its address and its model mean, and what of the
account stands in the body. Decided once per target; nothing here asks or raises, since a config with gaps starts too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from penstock.core.providers import sap, watsonx
from penstock.core.providers.azure import SERIES
from penstock.core.providers.foundry import foundry_dialects
from penstock.core.providers.google import first_of
from penstock.core.providers.urls import given_base

if TYPE_CHECKING:
    from penstock.runtime.targets import Target


def enter(target: Target) -> None:
    """Completes a target of a cloud; any other stays as it is."""
    found = _ENTER.get(target.provider.name)
    if found is not None:
        found(target)


def word(value: object) -> str:
    """A setting as a text: secrets revealed, anything that is no text or number is ""."""
    reveal = getattr(value, "reveal", None)
    if reveal is not None:
        value = reveal()
    return str(value).strip() if isinstance(value, (str, int)) and not isinstance(value, bool) else ""


def _base_model(target: Target) -> str:
    """The model behind a deployment's own name, without its provider: ``azure/eu/gpt-5`` -> ``gpt-5``."""
    return word(target.deployment.info.get("base_model")).rpartition("/")[2]


def _azure(target: Target) -> None:
    """A deployment's name says nothing of its model; ``base_model`` or LiteLLM's words before the name do."""
    written = target.deployment.model.removeprefix(f"{target.provider.name}/")
    series = next((word for word in SERIES if written.startswith(word)), None)
    target.rules_of = (SERIES[series] if series else "") or _base_model(target) or target.model
    if series == "responses/":
        target.dialects = ("openai_responses",)


def _foundry(target: Target) -> None:
    deployment = target.deployment
    target.rules_of = _base_model(target) or target.model
    base = given_base(target.provider, deployment.api_base, target.env) or ""
    target.dialects = foundry_dialects(target.rules_of, base, deployment.api_version or "")


def _watsonx(target: Target) -> None:
    """A stream has a URL of its own, and the project or space that pays stands in every body."""
    params, env = target.deployment.params, dict(target.env)
    region = word(params.get("watsonx_region_name")) or word(params.get("region_name"))
    if region:
        env[watsonx.REGIONS[0]] = region
    target.env = env
    base = given_base(target.provider, target.deployment.api_base, env)
    if base is not None and watsonx.is_gateway(base):
        target.forms_of = ""
        return
    target.stream_names = {"openai_chat": "openai_chat_stream"}
    target.seal = watsonx.account(target.model, *watsonx_payer(target))
    target.edit = watsonx.chat(target.seal)


def watsonx_payer(target: Target) -> tuple[str, str]:
    """The project and the space that a deployment or the environment names, "" for none. A deployment's own space
    goes before a project of the environment."""
    params = target.deployment.params
    project, space = word(params.get("project_id")), word(params.get("space_id"))
    if not project and not space:
        project, space = first_of(watsonx.PROJECTS, target.env) or "", first_of(watsonx.SPACES, target.env) or ""
    return project, space


def _databricks(target: Target) -> None:
    """Databricks' own tools take a host without its scheme, too."""
    host = target.env.get("DATABRICKS_HOST", "").strip()
    if host and "://" not in host:
        target.env = {**target.env, "DATABRICKS_HOST": f"https://{host}"}


def _named(variable: str) -> Callable[[Target], None]:
    """The account in the URL: ``account_id`` of the deployment before the environment's."""

    def enter_account(target: Target) -> None:
        account = word(target.deployment.params.get("account_id"))
        if account:
            target.env = {**target.env, variable: account}

    return enter_account


def _snowflake(target: Target) -> None:
    """Messages is for Claude only (docs.snowflake.com, "Cortex REST API")."""
    _named("SNOWFLAKE_ACCOUNT_ID")(target)
    if not target.model.lower().startswith("claude"):
        target.dialects = tuple(name for name in target.dialects if name != "anthropic")


def _sap(target: Target) -> None:
    """The address stands in the service key, unless one is given."""
    from penstock.runtime.cloud.sap import account

    params, env = target.deployment.params, dict(target.env)
    given = word(params.get("deployment_id"))
    if given:
        env["AICORE_DEPLOYMENT_ID"] = given
    try:
        base = account(word(params.get("api_key")), env).base
    except ValueError:  # told to the calls that need it
        base = ""
    if base:
        env["AICORE_BASE_URL"] = base
    target.env = env
    if target.dialects == (sap.NAME,):
        target.edit, target.seal = sap.envelope, sap.embeddings


_ENTER: dict[str, Callable[[Target], None]] = {
    "azure": _azure,
    "azure_ai": _foundry,
    "watsonx": _watsonx,
    "databricks": _databricks,
    "snowflake": _snowflake,
    "sap": _sap,
    "cloudflare": _named("CLOUDFLARE_ACCOUNT_ID"),
}
