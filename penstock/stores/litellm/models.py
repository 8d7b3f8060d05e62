"""Models and credentials of LiteLLM's database, as a config file has them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from penstock.stores.litellm.reading import batches, columns_of, quoted
from penstock.stores.litellm.sealed import WrongKey, opened

if TYPE_CHECKING:
    import sqlalchemy as sa

    from penstock.stores.sql.database import Database

_MODELS, _CREDENTIALS = "LiteLLM_ProxyModelTable", "LiteLLM_CredentialsTable"


def read_models(source: Database, salt_key: str, tell: Callable[[str], None]) -> dict[str, list[dict[str, Any]]]:
    """Return ``model_list`` and ``credential_list`` with every value opened. ``tell``: is told what could not be.
    Raises ``sealed.Missing``."""
    schema = source.address.schema

    def read(connection: sa.Connection) -> dict[str, list[dict[str, Any]]]:
        connection.exec_driver_sql("SET TRANSACTION READ ONLY")
        columns = columns_of(connection, schema)
        found: dict[str, list[dict[str, Any]]] = {"model_list": [], "credential_list": []}
        for table, name, made in ((_MODELS, "model_list", _model), (_CREDENTIALS, "credential_list", _credential)):
            if table in columns:
                for batch in batches(connection, f"SELECT * FROM {quoted(table, schema)} ORDER BY 1"):
                    found[name] += [made(row, salt_key, tell) for row in batch]
        return {name: rows for name, rows in found.items() if rows}

    return source.read_now(read)


def _model(row: Mapping[str, Any], salt_key: str, tell: Callable[[str], None]) -> dict[str, Any]:
    params = _opened(f"model {row['model_name']}", _table(row["litellm_params"]), salt_key, tell)
    info = {"id": row["model_id"], **_table(row.get("model_info"))}
    if row.get("blocked"):
        info["blocked"] = True
    return {"model_name": row["model_name"], "litellm_params": params, "model_info": info}


def _credential(row: Mapping[str, Any], salt_key: str, tell: Callable[[str], None]) -> dict[str, Any]:
    name = row["credential_name"]
    values = _opened(f"credential {name}", _table(row["credential_values"]), salt_key, tell)
    return {
        "credential_name": name,
        "credential_values": values,
        "credential_info": _table(row.get("credential_info")),
    }


def _opened(whose: str, fields: Mapping[str, Any], salt_key: str, tell: Callable[[str], None]) -> dict[str, Any]:
    made = {}
    for name, value in fields.items():
        if value is None:
            continue
        try:
            made[name] = opened(value, salt_key)
        except WrongKey:
            tell(f"{whose}: {name} is not opened by this salt key; it is left out")
    return made


def _table(value: Any) -> dict[str, Any]:
    """Return a column of JSON; some versions of LiteLLM wrote a text of JSON into it."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return {}
    return dict(value) if isinstance(value, Mapping) else {}
