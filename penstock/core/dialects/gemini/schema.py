"""Google's ``Schema`` (a subset of OpenAPI 3.0) to JSON Schema and back.

Source: https://ai.google.dev/api/caching#Schema and Vertex AI's reference of the same name. Newer models take JSON
Schema itself (``parametersJsonSchema``, ``responseJsonSchema``), so ``to_openapi`` serves the models before 2.5 only;
``to_json`` reads what clients of this dialect write.
"""

from __future__ import annotations

from typing import Any

from msgspec.json import decode, encode

from penstock.core.budget import VALUE, Budget, short_name
from penstock.core.dialects.gemini.wire import CAMEL

_TYPES = {"STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT", "NULL"}
_COUNTS = ("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties")
_NESTED = ("items", "additionalProperties", "not")
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_MAPS = ("properties", "$defs", "definitions", "patternProperties", "defs")
DEPTH = 60  # levels that are followed; a schema that is deeper is left out below


def to_json(raw: bytes) -> bytes:
    """Translate a ``Schema`` to JSON Schema: types in lower case, ``nullable`` as a type, ``example`` as ``examples``;
    counts as numbers (proto JSON writes them as strings). What is JSON Schema already stays as it is."""
    return encode(_json(decode(raw), 0))


def _json(node: Any, depth: int) -> Any:
    if not isinstance(node, dict) or depth > DEPTH:
        return node
    out: dict[str, Any] = {}
    nullable = False
    for given, value in node.items():
        key = str(CAMEL.get(given, given))
        if key == "type" and isinstance(value, str):
            if value != "TYPE_UNSPECIFIED":
                out[key] = value.lower() if value in _TYPES else value
        elif key == "nullable":
            nullable = value is True
        elif key == "example":
            out["examples"] = [value]
        elif key in _COUNTS:
            out[key] = int(value) if isinstance(value, str) and value.isdigit() else value
        elif key == "propertyOrdering" or (key == "format" and value == "enum"):
            continue
        elif key in _MAPS and isinstance(value, dict):
            out["$defs" if key == "defs" else key] = {name: _json(one, depth + 1) for name, one in value.items()}
        elif key in _LISTS and isinstance(value, list):
            out[key] = [_json(one, depth + 1) for one in value]
        elif key in _NESTED:
            out[key] = _json(value, depth + 1)
        else:
            out["$ref" if key == "ref" else key] = value
    return _nullable(_ordered(out, node)) if nullable else _ordered(out, node)


def _ordered(out: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    """Put the properties themselves in the order of ``propertyOrdering``."""
    order = node.get("propertyOrdering", node.get("property_ordering"))
    properties = out.get("properties")
    if isinstance(order, list) and isinstance(properties, dict):
        names = [name for name in order if isinstance(name, str) and name in properties]
        out["properties"] = {name: properties[name] for name in dict.fromkeys([*names, *properties])}
    return out


def _nullable(out: dict[str, Any]) -> dict[str, Any]:
    if isinstance(out.get("type"), str):
        out["type"] = [out["type"], "null"]
        if isinstance(out.get("enum"), list) and None not in out["enum"]:
            out["enum"] = [*out["enum"], None]
    elif isinstance(out.get("anyOf"), list):
        out["anyOf"] = [*out["anyOf"], {"type": "null"}]
    return out


# JSON Schema to the subset --------------------------------------------------------------------------------------------

_KEPT = frozenset("title description default minimum maximum pattern required propertyOrdering".split()) | frozenset(
    _COUNTS
)
_FORMATS = {
    "STRING": frozenset(("enum", "date-time")),
    "NUMBER": frozenset(("float", "double")),
    "INTEGER": frozenset(("int32", "int64")),
}
# Annotations that say nothing of the value: gone without a word.
_SILENT = frozenset("$schema $id $comment $anchor $defs definitions examples readOnly writeOnly".split())


class _Subset:
    """One schema on its way to the subset. ``lost``: what had no place, as paths inside the schema. ``budget``: of what
    is written in the place of references; all else is written once, as it came."""

    def __init__(self, root: Any, budget: Budget) -> None:
        self.root = root
        self.budget = budget
        self.lost: list[tuple[str, str]] = []
        self.found: dict[str, tuple[dict[str, Any], int] | None] = {}  # reference -> definition, what it costs

    def node(self, node: Any, at: str, seen: tuple[str, ...], depth: int) -> dict[str, Any]:
        if node is False or not isinstance(node, dict) or depth > DEPTH:
            if node is not True:
                self.lost.append((at, "not a schema that can be carried"))
            return {}
        reference = node.get("$ref")
        if isinstance(reference, str):
            return self.reference(node, reference, at, seen, depth)
        out: dict[str, Any] = {}
        self.kind(node, out, at)
        for key, value in node.items():
            self.keyword(key, value, out, at, seen, depth)
        self.settle(out, at)
        return out

    def reference(
        self, node: dict[str, Any], reference: str, at: str, seen: tuple[str, ...], depth: int
    ) -> dict[str, Any]:
        """Write out a definition where it is used; one that contains itself ends there."""
        if reference not in self.found:
            target = _at(self.root, reference)
            self.found[reference] = None if target is None else (target, _cost(target))
        found = self.found[reference]
        if reference in seen or found is None:
            self.lost.append((f"{at}.$ref", "a reference to itself" if reference in seen else "a reference to nothing"))
            return {"type": "OBJECT"}
        self.budget.spend(found[1])
        rest = {key: value for key, value in node.items() if key != "$ref"}
        return self.node({**found[0], **rest}, at, (*seen, reference), depth + 1)

    def kind(self, node: dict[str, Any], out: dict[str, Any], at: str) -> None:
        kinds = node.get("type")
        if isinstance(kinds, list):
            real = [kind for kind in kinds if kind != "null"]
            if len(real) < len(kinds):
                out["nullable"] = True
            if len(real) == 1:
                kinds = real[0]
            elif real:
                out["anyOf"] = [{"type": str(kind).upper()} for kind in real]
        if isinstance(kinds, str):
            if kinds.upper() in _TYPES:
                out["type"] = kinds.upper()
            else:
                self.lost.append((f"{at}.type", "not a type here"))

    def keyword(self, key: str, value: Any, out: dict[str, Any], at: str, seen: tuple[str, ...], depth: int) -> None:
        where = f"{at}.{short_name(key)}"
        if key == "properties" and isinstance(value, dict):
            out[key] = {
                name: self.node(one, f"{where}.{short_name(name)}", seen, depth + 1) for name, one in value.items()
            }
        elif key == "items" and isinstance(value, dict):
            out[key] = self.node(value, where, seen, depth + 1)
        elif key in ("anyOf", "oneOf") and isinstance(value, list):
            self.choices(value, out, where, seen, depth)
        elif key == "allOf" and isinstance(value, list) and len(value) == 1:
            for name, one in self.node(value[0], f"{where}.0", seen, depth + 1).items():
                out.setdefault(name, one)
        elif key in ("enum", "const"):
            self.values(value if key == "enum" else [value], out, where)
        elif key == "format":
            if value in _FORMATS.get(str(out.get("type")), ()):
                out[key] = value
            else:
                self.lost.append((where, "not a format here"))
        elif key in _KEPT:
            out[key] = value
        elif key not in _SILENT and key not in ("type", "nullable"):
            self.lost.append((where, "a keyword that this model's schemas have not"))
        elif key == "nullable" and value is True:
            out[key] = True

    def choices(self, value: list[Any], out: dict[str, Any], at: str, seen: tuple[str, ...], depth: int) -> None:
        real = [(n, one) for n, one in enumerate(value) if one != {"type": "null"}]
        if len(real) < len(value):
            out["nullable"] = True
        made = [self.node(one, f"{at}.{n}", seen, depth + 1) for n, one in real]
        if len(made) == 1:
            for name, one in made[0].items():
                out.setdefault(name, one)
        elif made:
            out["anyOf"] = made

    def values(self, value: Any, out: dict[str, Any], at: str) -> None:
        """Write an enumeration, which only strings can be part of."""
        if not isinstance(value, list):
            return
        words = [one for one in value if isinstance(one, str)]
        if len(words) < len([one for one in value if one is not None]):
            self.lost.append((at, "only strings can be enumerated"))
            return
        if None in value:
            out["nullable"] = True
        out["enum"] = words
        out.setdefault("type", "STRING")

    def settle(self, out: dict[str, Any], at: str) -> None:
        if "anyOf" in out:
            out.pop("type", None)
        elif "type" not in out:
            if "properties" in out:
                out["type"] = "OBJECT"
            elif "items" in out:
                out["type"] = "ARRAY"
        if out.get("type") == "ARRAY":
            out.setdefault("items", {})
        if isinstance(out.get("required"), list) and "properties" in out:
            out["required"] = [name for name in out["required"] if name in out["properties"]]


def _at(root: Any, reference: str) -> dict[str, Any] | None:
    """Find what ``#/...`` points to in the same schema."""
    if not reference.startswith("#"):
        return None
    found = root
    for step in reference[1:].split("/")[1:]:
        step = step.replace("~1", "/").replace("~0", "~")
        if not isinstance(found, dict) or step not in found:
            return None
        found = found[step]
    return found if isinstance(found, dict) else None


def _cost(definition: dict[str, Any]) -> int:
    """Weigh what is written for one use of a definition: its bytes, and the time of each object in it."""
    raw = encode(definition)
    return len(raw) + VALUE * raw.count(b"{")


def to_openapi(raw: bytes, budget: Budget) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Translate a JSON Schema to the subset, and tell what of it was left out: (path inside the schema, why). Raises
    "bad_request" when definitions that use each other come to more than ``budget`` has."""
    root = decode(raw)
    subset = _Subset(root, budget)
    made = subset.node(root, "", (), 0)
    return made, [(path.lstrip("."), why) for path, why in subset.lost]
