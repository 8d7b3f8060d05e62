"""The page that shows the OpenAPI document to a person: one file, with no script, that works offline."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from html import escape
from typing import Any

import msgspec

_STYLE = """:root{color-scheme:light dark}
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
code,pre{font:14px/1.5 ui-monospace,monospace;background:#8882;border-radius:4px;padding:.1em .3em}
pre{padding:1rem;overflow:auto}details{border-top:1px solid #8884;padding:.3rem 0}summary{cursor:pointer}
summary b{display:inline-block;min-width:4.5rem}nav a{margin-right:1rem}
table{border-collapse:collapse}td,th{padding:.1rem 1rem .1rem 0;text-align:left}"""
_HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title} {version}: every URL</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>{style}</style></head>
<body><h1>{title} {version}</h1>
<p>{about} The same for programs: <a href="openapi.json">openapi.json</a>.</p><nav>{links}</nav>
"""


@lru_cache(maxsize=1)
def render(document: bytes) -> bytes:
    """Render an OpenAPI document (JSON) as a page: its families, and in each every operation with what it takes and
    gives."""
    told = msgspec.json.decode(document)
    families: dict[str, list[str]] = {tag["name"]: [] for tag in told["tags"]}
    for path, row in told["paths"].items():
        for method, operation in row.items():
            if isinstance(operation, dict) and "responses" in operation:
                families.setdefault(operation["tags"][0], []).append(_operation(method, path, operation))
    about = {tag["name"]: tag.get("description", "") for tag in told["tags"]}
    info = told["info"]
    links = "".join(f'<a href="#{escape(name)}">{escape(name)}</a>' for name, rows in families.items() if rows)
    parts = [
        _HEAD.format(
            title=escape(info["title"]),
            version=escape(info["version"]),
            about=escape(info.get("description", "Every URL that is served here.")),
            links=links,
            style=_STYLE,
        )
    ]
    for name, rows in families.items():
        if rows:
            parts.append(f'<h2 id="{escape(name)}">{escape(name)}</h2><p>{escape(about.get(name, ""))}</p>')
            parts += rows
    return "\n".join([*parts, "</body></html>\n"]).encode()


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> str:
    head = f"<b>{escape(method.upper())}</b> <code>{escape(path)}</code> {escape(operation['summary'])}"
    return f"<details><summary>{head}</summary>{''.join(_parts(operation))}</details>"


def _parts(operation: Mapping[str, Any]) -> Iterator[str]:
    yield f"<p>{escape(operation.get('description', ''))}</p>" if operation.get("description") else ""
    rows = [
        f"<tr><td><code>{escape(one['name'])}</code></td><td>{escape(one['in'])}</td>"
        f"<td>{escape(str(one.get('schema', {}).get('type', '')))}</td>"
        f"<td>{escape(one.get('description', ''))}</td></tr>"
        for one in operation.get("parameters", ())
        if "name" in one
    ]
    if rows:
        yield f"<table><tr><th>parameter</th><th>in</th><th>type</th><th></th></tr>{''.join(rows)}</table>"
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        shape = msgspec.json.format(msgspec.json.encode(content.get("schema", {})), indent=2).decode()
        yield f"<p>Body, <code>{escape(kind)}</code>:</p><pre>{escape(shape)}</pre>"
    statuses = ", ".join(escape(status) for status in operation["responses"])
    answers = operation["responses"].get("200", {}).get("content", {})
    kinds = ", ".join(f"<code>{escape(kind)}</code>" for kind in answers)
    yield f"<p>Answers {kinds or 'nothing'}. Statuses: {statuses}.</p>"
