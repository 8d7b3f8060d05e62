"""Arguments of a call, in LiteLLM's names -> what stands in the body, which deployment it is, what only logs hear."""

from __future__ import annotations

import base64
import logging
import os
import secrets
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from penstock.config import keys
from penstock.core.fit.media import type_of
from penstock.core.ir import Base64
from penstock.runtime.call import GATEWAY_FIELDS

log = logging.getLogger("penstock")
# Said of a request, though a deployment of a config may say them, too.
_REQUEST = GATEWAY_FIELDS | {"model", "stream", "metadata", "priority", "mock_tool_calls", "mock_timeout", "mock_delay"}
# LiteLLM's names of what has another one here.
_SPELLED = {"base_url": "api_base", "request_timeout": "timeout", "max_retries": "num_retries"}
_MOCKS = frozenset({"mock_response", "mock_tool_calls", "mock_timeout", "mock_delay"})
_unheard: set[str] = set()  # arguments that were told of


class Asked(Struct):
    """A call's arguments, sorted. ``fields``: of the body. ``params``: of the deployment. ``also``: those of
    fallbacks, name -> params. ``mocks``: an answer that nobody is asked for. ``metadata``: for callbacks."""

    model: str
    fields: dict[str, Any]
    params: dict[str, Any]
    also: dict[str, dict[str, Any]]
    mocks: dict[str, Any]
    metadata: dict[str, Any]
    given: dict[str, Any]
    stream: bool = False


def sort_arguments(given: Mapping[str, Any], default_model: str = "") -> Asked:
    """Sort the arguments of a call. Raises TypeError for what no call takes."""
    asked = Asked(str(given.get("model") or default_model), {}, {}, {}, {}, {}, dict(given))
    for name, value in given.items():
        name, place = _placed(name)
        if place == "fields":
            asked.fields[name] = value
        elif place == "params":
            asked.params[name] = value
        elif place == "mocks":
            asked.mocks[name] = value
        elif place == "metadata":
            asked.metadata |= value
        elif place == "unheard":
            _note_unheard(name)
        elif name == "fallbacks":
            asked.fields[name] = [_fallback(asked, number, one) for number, one in enumerate(value)]
        elif name == "timeout":
            asked.fields[name] = _seconds(value)
        elif name == "response_format":
            asked.fields[name] = schema_of(value) if isinstance(value, type) else value
        elif name == "model_list":
            raise TypeError("model_list is for Router(model_list=...): a call asks one model")
    if isinstance(tags := asked.metadata.get("tags"), list):
        asked.fields.setdefault("tags", tags)
    asked.stream = bool(asked.fields.get("stream"))
    asked.fields["model"] = asked.model
    return asked


# Arguments that are looked at one by one; the model stands in the body anyway.
_READ = frozenset(("model", "fallbacks", "timeout", "response_format", "model_list"))


@lru_cache(1024)  # the table has patterns, and programs have few names
def _placed(name: str) -> tuple[str, str]:
    """Return the name of an argument as we have it, and which part of a call it belongs to; "" for one of ``_READ``."""
    name = _SPELLED.get(name, name)
    if name in _MOCKS:
        return name, "mocks"
    if name in ("metadata", "litellm_metadata"):
        return name, "metadata"
    if name in _READ:
        return name, ""
    if not is_param(name):
        return name, "fields"
    row = keys.params.get(name)
    return name, "params" if row is not None and row.status == "acted" else "unheard"


@lru_cache(1024)
def is_param(name: str) -> bool:
    """Tell whether an argument is about the deployment, as a config's ``litellm_params`` are."""
    if name in _REQUEST:
        return False
    row = keys.params.get(name)
    return row is not None and row.status != "sent"


def _note_unheard(name: str) -> None:
    if name not in _unheard:
        _unheard.add(name)
        log.warning("the argument %r is known from LiteLLM, and nothing is done with it here", name[:80])


def _fallback(asked: Asked, number: int, one: Any) -> Any:
    """Sort a fallback: a model's name, or an object with fields of its own, and with a deployment of its own."""
    if not isinstance(one, Mapping) or "model" not in one:
        if isinstance(one, str):
            asked.also.setdefault(one, {})
        return one
    model = str(one["model"])
    given = {_SPELLED.get(str(name), str(name)): value for name, value in one.items()}
    params = {name: value for name, value in given.items() if is_param(name)}
    fields = {name: value for name, value in given.items() if name != "model" and name not in params}
    name = f"{model} (fallback {number + 1})" if params else model
    asked.also[name] = {"model": model, **params} if params else {}
    return {"model": name, **fields} if fields else name


def _seconds(value: Any) -> float:
    """Read a timeout: seconds, or an object of httpx or OpenAI's SDK that holds several."""
    for name in ("read", "connect"):
        if isinstance(found := getattr(value, name, None), int | float):
            return float(found)
    return float(value)


def schema_of(model: type) -> dict[str, Any]:
    """Write a class of pydantic's as a response format, as OpenAI wants strict schemas: nothing beside what is named,
    and all of that."""
    schema = model.model_json_schema()  # type: ignore[attr-defined]
    _close(schema)
    return {"type": "json_schema", "json_schema": {"name": model.__name__, "schema": schema, "strict": True}}


def _close(schema: Any) -> None:
    if isinstance(schema, list):
        for item in schema:
            _close(item)
    elif isinstance(schema, dict):
        if schema.get("type") == "object" and "properties" in schema:
            schema.setdefault("additionalProperties", False)
            schema["required"] = list(schema["properties"])
        for item in schema.values():
            _close(item)


# Bodies --------------------------------------------------------------------------------------------------------------


def _encoded(value: Any) -> Any:
    """Write what JSON has no word for: dicts of ours, objects of pydantic's, sets and tuples."""
    if isinstance(value, Mapping):
        return dict(value)
    dump = getattr(value, "model_dump", None)
    if callable(dump):
        return dump(exclude_none=True)
    if hasattr(value, "tolist"):  # numpy's
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be sent: give plain values, or an object with model_dump()")


_encode = msgspec.json.Encoder(enc_hook=_encoded).encode


def body_of(asked: Asked) -> bytes:
    """Write the body of a request in JSON."""
    return _encode(asked.fields)


def form_of(asked: Asked, files: Sequence[str]) -> tuple[bytes, bytes]:
    """Write the body of a request as a form in which the arguments ``files`` are files, or lists of them: (content
    type, body)."""
    boundary = secrets.token_hex(16).encode()
    parts = []
    for key, value in asked.fields.items():
        if key not in files:
            for item in value if isinstance(value, list | tuple) else [value]:
                text = item if isinstance(item, str) else _encode(item).decode()
                parts.append((f'name="{key}{"[]" if isinstance(value, list | tuple) else ""}"', b"", text.encode()))
    for key in files:
        given = asked.fields.get(key)
        several = isinstance(given, list)
        for one in given if isinstance(given, list) else [] if given is None else [given]:
            name, data, kind = _file_of(one, key)
            safe = name.replace("\\", "\\\\").replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
            what = f'name="{key}{"[]" if several else ""}"; filename="{safe}"'
            parts.append((what, b"Content-Type: %b\r\n" % kind.encode(), data))
    body = b"".join(
        b"--%b\r\nContent-Disposition: form-data; %b\r\n%b\r\n%b\r\n" % (boundary, what.encode(), head, data)
        for what, head, data in parts
    )
    return b"multipart/form-data; boundary=" + boundary, body + b"--%b--\r\n" % boundary


def _file_of(given: Any, name: str) -> tuple[str, bytes, str]:
    """Read a file as OpenAI's SDK takes one: bytes, a path, an open file, or (name, any of these, media type).
    ``name``: of one that has none."""
    if isinstance(given, tuple):
        _, data, kind = _file_of(given[1], name)
        return str(given[0] or name), data, str(given[2]) if len(given) > 2 and given[2] else kind
    if isinstance(given, bytes | bytearray):
        return name, bytes(given), _kind_of(given)
    if isinstance(given, str | os.PathLike):
        path = Path(given)
        data = path.read_bytes()
        return path.name, data, _kind_of(data)
    if hasattr(given, "read"):
        data = given.read()
        return os.path.basename(str(getattr(given, "name", name))), data, _kind_of(data)
    raise TypeError(f"a file is bytes, a path, an open file or (name, file), not {type(given).__name__}")


def _kind_of(data: bytes | bytearray) -> str:
    """Return the media type of a file by its first bytes: OpenAI takes no picture that is not said to be one."""
    return type_of(Base64("application/octet-stream", base64.b64encode(bytes(data[:24])).decode()))
