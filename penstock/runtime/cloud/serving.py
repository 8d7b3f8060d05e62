"""How a cloud serves a model, where that is not what the provider's row says: which dialects its address and its model
mean, and what of the account stands in the URL or in the body.

Decided once per target, by pure functions of its account. Only what no call could mend raises ("not_configured"): a
config with gaps starts, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING

import msgspec
from msgspec import Raw

from penstock.core.providers import sap, watsonx
from penstock.core.providers.azure import SERIES
from penstock.core.providers.foundry import foundry_dialects
from penstock.core.providers.google import first_of
from penstock.core.providers.resolve import asks_for_responses
from penstock.core.providers.watsonx import Edit
from penstock.runtime.account import word

if TYPE_CHECKING:
    from penstock.runtime.account import Account


class Serving(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """What differs for one model at one cloud. None: what everybody has."""

    model: str | None = None  # the name the upstream knows
    path_model: str | None = None  # the model in URLs, where it is reached by another name there
    rules_of: str | None = None  # the model whose quirks hold, where the name is the user's own
    forms_of: str | None = None  # whose bodies the small operations have
    env: Mapping[str, str] | None = None  # the environment, the deployment's account over it
    dialects: tuple[str, ...] | None = None
    stream_names: Mapping[str, str] = {}  # dialect -> what ``Target.endpoint`` calls a stream in it
    edit: Edit | None = None  # of every chat's body, and ``seal`` of every other one: the account in it
    seal: Edit | None = None
    body: Mapping[str, Raw] = {}  # what stands in every chat's body that does not say it itself
    drop: tuple[str, ...] = ()  # request keys that are left out, beside the deployment's

    def __repr__(self) -> str:
        return f"Serving({self.model or ''})"  # the environment holds keys


AS_ITS_ROW_SAYS = Serving()


def serving_of(account: Account, dialects: tuple[str, ...]) -> Serving:
    """Tell how an account's provider serves its model. ``dialects``: what its address is known to speak. Raises
    "not_configured"."""
    name = account.provider.name
    if (module := _MODULES.get(name)) is not None:
        found: Serving = import_module(module).serving(account, dialects)
    else:
        tell = _TELL.get(name)
        found = AS_ITS_ROW_SAYS if tell is None else tell(account, dialects)
    if asks_for_responses(account.provider, account.deployment.model):
        return msgspec.structs.replace(found, dialects=("openai_responses",))
    return found


def watsonx_payer(account: Account) -> tuple[str, str]:
    """Find the project and the space that a deployment or the environment names, "" for none. A deployment's own space
    goes before a project of the environment."""
    project, space = account.setting("project_id"), account.setting("space_id")
    if not project and not space:
        project, space = first_of(watsonx.PROJECTS, account.env) or "", first_of(watsonx.SPACES, account.env) or ""
    return project, space


def _base_model(account: Account) -> str:
    """Find the model behind a deployment's own name, without its provider: ``azure/eu/gpt-5`` -> ``gpt-5``."""
    return word(account.deployment.info.get("base_model")).rpartition("/")[2] or account.model


def _azure(account: Account, dialects: tuple[str, ...]) -> Serving:
    """Find whose rules hold: a deployment's name says nothing of its model; ``base_model`` or LiteLLM's words before
    the name do."""
    written = account.deployment.model.removeprefix(f"{account.provider.name}/")
    series = next((word for word in SERIES if written.startswith(word)), "")
    rules_of = SERIES.get(series) or _base_model(account)
    return Serving(rules_of=rules_of)


def _foundry(account: Account, dialects: tuple[str, ...]) -> Serving:
    """Find what a model speaks: each interface of Foundry has its own models."""
    rules_of = _base_model(account)
    spoken = foundry_dialects(rules_of, account.base or "", account.deployment.api_version or "")
    return Serving(rules_of=rules_of, dialects=spoken)


def _watsonx(account: Account, dialects: tuple[str, ...]) -> Serving:
    """Give streams their own URL, and put the project or space that pays into every body."""
    region = account.setting("watsonx_region_name") or account.setting("region_name")
    env = {**account.env, watsonx.REGIONS[0]: region} if region else account.env
    if account.base is not None and watsonx.is_gateway(account.base):
        return Serving(env=env, forms_of="")
    seal = watsonx.account(account.model, *watsonx_payer(account))
    streams = {"openai_chat": "openai_chat_stream"}
    return Serving(env=env, stream_names=streams, seal=seal, edit=watsonx.chat(seal))


def _databricks(account: Account, dialects: tuple[str, ...]) -> Serving:
    """Complete the address: Databricks' own tools take a host without its scheme, too."""
    host = account.env.get("DATABRICKS_HOST", "").strip()
    if not host or "://" in host:
        return AS_ITS_ROW_SAYS
    return Serving(env={**account.env, "DATABRICKS_HOST": f"https://{host}"})


def _snowflake(account: Account, dialects: tuple[str, ...]) -> Serving:
    """Leave Messages to Claude, which alone is served in it (docs.snowflake.com, "Cortex REST API")."""
    env = _with_account_id(account, "SNOWFLAKE_ACCOUNT_ID")
    if account.model.lower().startswith("claude"):
        return Serving(env=env)
    return Serving(env=env, dialects=tuple(name for name in dialects if name != "anthropic"))


def _cloudflare(account: Account, dialects: tuple[str, ...]) -> Serving:
    """Put the account into the URL."""
    return Serving(env=_with_account_id(account, "CLOUDFLARE_ACCOUNT_ID"))


def _with_account_id(account: Account, variable: str) -> Mapping[str, str] | None:
    """Put the deployment's ``account_id`` before the environment's; None where it has none."""
    given = account.setting("account_id")
    return {**account.env, variable: given} if given else None


def _sap(account: Account, dialects: tuple[str, ...]) -> Serving:
    """Read the address out of the service key, unless one is given."""
    from penstock.runtime.cloud.sap import service_key_of

    env = dict(account.env)
    if given := account.setting("deployment_id"):
        env["AICORE_DEPLOYMENT_ID"] = given
    try:
        base = service_key_of(account.setting("api_key"), env).base
    except ValueError:  # told to the calls that need it
        base = ""
    if base:
        env["AICORE_BASE_URL"] = base
    if dialects == (sap.NAME,):
        return Serving(env=env, edit=sap.envelope, seal=sap.embeddings)
    return Serving(env=env)


# Those with much of their own have it beside their signer, imported on first use.
_MODULES: Mapping[str, str] = {
    "vertex_ai": "penstock.runtime.cloud.vertex",
    "vertex_ai_beta": "penstock.runtime.cloud.vertex",
    "bedrock": "penstock.runtime.cloud.bedrock",
}
_TELL: Mapping[str, Callable[[Account, tuple[str, ...]], Serving]] = {
    "azure": _azure,
    "azure_ai": _foundry,
    "watsonx": _watsonx,
    "databricks": _databricks,
    "snowflake": _snowflake,
    "sap": _sap,
    "cloudflare": _cloudflare,
}
