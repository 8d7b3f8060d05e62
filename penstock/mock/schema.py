"""The smallest honest instance of a JSON schema, so that a mock can answer in a form that validates.

Required properties only; strings are "mock" (or what `enum`, `const`, `format`, `default` say), numbers are 0 or the
nearest bound, arrays have `minItems` members. Not a validator; `pattern` is not solved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_FORMATS = {
    "date-time": "2026-01-01T00:00:00Z",
    "date": "2026-01-01",
    "time": "00:00:00Z",
    "duration": "P1D",
    "email": "mock@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}
_DEEPEST = 24


def instance(schema: object) -> Any:
    """Make a minimal value for `schema`. A schema that is not an object (true, None) gives {}."""
    root = schema if isinstance(schema, Mapping) else {}
    return _build(root, root, 0)


def _resolve(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    for _ in range(_DEEPEST):
        ref = schema.get("$ref")
        if not isinstance(ref, str) or not ref.startswith("#"):
            return schema
        node: Any = root
        for part in ref[1:].strip("/").split("/") if len(ref) > 1 else []:
            node = node.get(part.replace("~1", "/").replace("~0", "~"), {}) if isinstance(node, Mapping) else {}
        if not isinstance(node, Mapping):
            return {}
        schema = {**node, **{key: value for key, value in schema.items() if key != "$ref"}}
    return {}


def _merge_all_of(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    merged: dict[str, Any] = {key: value for key, value in schema.items() if key != "allOf"}
    for part in schema["allOf"]:
        piece = _resolve(part, root) if isinstance(part, Mapping) else {}
        for key, value in piece.items():
            if key == "properties":
                merged["properties"] = {**merged.get("properties", {}), **value}
            elif key == "required":
                merged["required"] = [*merged.get("required", []), *value]
            else:
                merged.setdefault(key, value)
    return merged


def _build(schema: Mapping[str, Any], root: Mapping[str, Any], depth: int) -> Any:
    schema = _resolve(schema, root)
    if depth > _DEEPEST:
        return None
    if isinstance(schema.get("allOf"), list):
        schema = _merge_all_of(schema, root)
    if "const" in schema:
        return schema["const"]
    if isinstance(schema.get("enum"), list) and schema["enum"]:
        return schema["enum"][0]
    if "default" in schema:
        return schema["default"]
    for union in ("anyOf", "oneOf"):
        options = schema.get(union)
        if isinstance(options, list) and options:
            # a recursive schema ends in its flattest branch: past half depth prefer null
            flat = [o for o in options if isinstance(o, Mapping) and o.get("type") == "null"]
            chosen = flat[0] if flat and depth > _DEEPEST // 4 else options[0]
            return _build(chosen if isinstance(chosen, Mapping) else {}, root, depth + 1)
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((one for one in kind if one != "null"), "null")
    if kind is None:
        kind = "array" if "items" in schema else "object"
    return _typed(str(kind), schema, root, depth)


def _typed(kind: str, schema: Mapping[str, Any], root: Mapping[str, Any], depth: int) -> Any:
    if kind == "object":
        properties = schema.get("properties") or {}
        wanted = [name for name in schema.get("required") or [] if isinstance(name, str)]
        return {name: _build(_mapping(properties.get(name)), root, depth + 1) for name in dict.fromkeys(wanted)}
    if kind == "array":
        prefix = schema.get("prefixItems") or []
        made = [_build(_mapping(item), root, depth + 1) for item in prefix]
        while len(made) < int(schema.get("minItems") or 0):
            made.append(_build(_mapping(schema.get("items")), root, depth + 1))
        return made
    if kind == "string":
        text = _FORMATS.get(str(schema.get("format")), "mock")
        text = text.ljust(int(schema.get("minLength") or 0), "k")
        return text[: int(schema["maxLength"])] if "maxLength" in schema else text
    if kind in ("integer", "number"):
        return _number(schema, whole=kind == "integer")
    return False if kind == "boolean" else None


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {"type": "string"} if value is None else {}


def _number(schema: Mapping[str, Any], whole: bool) -> float:
    low, high = schema.get("minimum"), schema.get("maximum")
    if "exclusiveMinimum" in schema:
        low = schema["exclusiveMinimum"] + (1 if whole else 0.5)
    if "exclusiveMaximum" in schema:
        high = schema["exclusiveMaximum"] - (1 if whole else 0.5)
    value: float = 0
    if low is not None and value < low:
        value = low
    if high is not None and value > high:
        value = high
    step = schema.get("multipleOf")
    if step and value % step:
        value += step - value % step
    return value
