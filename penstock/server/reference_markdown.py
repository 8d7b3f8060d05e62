"""docs/API_REFERENCE.md, generated from the OpenAPI document.
`python -m penstock.server.reference_markdown > docs/API_REFERENCE.md` writes it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from penstock.server.site import Site

_INTRO = """\
# API reference

<!-- Generated: python -m penstock.server.reference_markdown > docs/API_REFERENCE.md -->

Every URL of the gateway, as its own document has them: `GET /openapi.json` for programs, `GET /docs` for people (one
page that works offline). Both tell what the gateway that answers has; this page tells {count} operations of version
{version}.

<!-- doctest: prints "openapi":"3.1.0" -->
```bash
curl -s http://127.0.0.1:4000/openapi.json
```

{about}

The key stands in `Authorization: Bearer KEY`, or in `x-api-key`, `api-key`, `x-goog-api-key` or `x-litellm-api-key`;
where the last column says "none", none is asked for. What clients send and get is [here](CLIENT_GUIDE.md); who may do
what: [keys](keys.md).
"""
_HEAD = "| | URL | what | body | key |\n| --- | --- | --- | --- | --- |\n"
_TITLES = {"add": "allowed addresses", "delete": "allowed addresses (delete)", "get": "shown settings"}


def render() -> str:
    """Render the page."""
    told = msgspec.json.decode(Site().openapi)
    families: dict[str, list[str]] = {tag["name"]: [] for tag in told["tags"]}
    for path, row in told["paths"].items():
        for method, operation in _operations(row):
            families.setdefault(operation["tags"][0], []).append(_line(method, path, operation, told))
    count = sum(map(len, families.values()))
    info = told["info"]
    about = info["description"].partition(". ")[2]
    parts = [_INTRO.format(count=count, version=info["version"], about=about)]
    descriptions = {tag["name"]: tag.get("description", "") for tag in told["tags"]}
    for name, lines in families.items():
        if lines:
            title = _TITLES.get(name, name.replace("_", " "))
            text = f"\n{descriptions.get(name, '')}\n" if descriptions.get(name) else ""
            parts.append(f"## {title}\n{text}\n{_HEAD}" + "".join(lines))
    return "\n".join(parts)


def _operations(row: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for method, operation in row.items():
        if isinstance(operation, dict) and "responses" in operation:
            yield method.upper(), operation


def _line(method: str, path: str, operation: Mapping[str, Any], told: Mapping[str, Any]) -> str:
    key = "" if operation.get("security") else "none"
    cells = (method, f"`{path}`", operation["summary"], _body(operation, told), key)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def _body(operation: Mapping[str, Any], told: Mapping[str, Any]) -> str:
    """Name the fields of a body: all that it must have, and then some of the others."""
    content = operation.get("requestBody", {}).get("content", {})
    if not content:
        return ""
    kind, media = next(iter(content.items()))
    schema = media.get("schema", {})
    if (reference := schema.get("$ref")) is not None:
        schema = told["components"]["schemas"][re.sub(r".*/", "", reference)]
    needed = list(schema.get("required", ()))
    others = [name for name in schema.get("properties", {}) if name not in needed]
    words = [f"**{name}**" for name in needed] + others[:6]
    more = f", {len(others) - 6} more" if len(others) > 6 else ""
    if not words:
        return "" if kind.endswith("json") else "anything"
    return ("" if kind.endswith("json") else "form: ") + ", ".join(words) + more


if __name__ == "__main__":
    print(render(), end="")
