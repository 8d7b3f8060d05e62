"""`penstock explain`: where a request would go, and why."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import click

HERE = "http://127.0.0.1:4000"


@click.command(epilog="More: docs/routing.md.")
@click.option("--model", "-m", required=True, help="The name that a client would send.")
@click.option(
    "--body",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A request as JSON: its tags, length and needs count, too.",
)
@click.option("--url", default=HERE, show_default=True, help="The gateway that is asked.")
@click.option("--key", default=None, help="Its key; else PENSTOCK_API_KEY or LITELLM_MASTER_KEY of the environment.")
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
def explain(model: str, body: Path | None, url: str, key: str | None, as_json: bool) -> None:
    """Ask a running gateway where a request for a model would go now: every deployment with what is known of it, who
    is left out and why, and the fallbacks."""
    sent: dict[str, Any] = {}
    if body is not None:
        try:
            sent = json.loads(body.read_text(encoding="utf-8"))
        except ValueError as error:
            raise click.ClickException(f"{body} is no JSON: {error}") from None
        if not isinstance(sent, dict):
            raise click.ClickException(f"{body} must hold an object, a request as it is sent")
    told = _ask(url.rstrip("/") + "/v1/route/explain", {**sent, "model": model}, key)
    if as_json:
        click.echo(json.dumps(told, indent=2))
        return
    for line in rendered(told):
        click.echo(line)


def _ask(url: str, body: dict[str, Any], key: str | None) -> dict[str, Any]:
    key = key or os.environ.get("PENSTOCK_API_KEY") or os.environ.get("LITELLM_MASTER_KEY")
    headers = {"content-type": "application/json", **({"authorization": f"Bearer {key}"} if key else {})}
    try:
        request = urllib.request.Request(url, json.dumps(body).encode(), headers, method="POST")
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=10) as answer:
            told: dict[str, Any] = json.loads(answer.read())
            return told
    except urllib.error.HTTPError as error:
        try:
            text = json.loads(error.read())["error"]["message"]
        except (ValueError, KeyError, TypeError):
            text = f"status {error.code}"
        raise click.ClickException(f"{url}: {text}") from None
    except (OSError, ValueError) as error:
        why = getattr(error, "reason", error)
        raise click.ClickException(f"{url} does not answer ({why}); is the gateway running? --url names it") from None


def rendered(told: dict[str, Any]) -> list[str]:
    """Render an answer of `/v1/route/explain` as lines of text."""
    lines = [f"{told['model']}: {told['retries']} retries"]
    for group in told["groups"]:
        lines.append(f"\n{group['group']} ({group['strategy']})")
        for one in group["candidates"]:
            mark = "+" if one["may_be_asked"] else "-"
            facts = [f"{one['in_flight']} in flight", f"{one['requests_this_minute']} requests this minute"]
            facts += [f"{key} {one[key]}" for key in ("weight", "rpm", "tpm", "order", "latency_s") if key in one]
            facts[:0] = [f"model {one['model']}"] if "model" in one else []
            lines.append(f"  {mark} {one['deployment']}  {one['id'][:12]}  {', '.join(facts)}")
            if "left_out" in one:
                lines.append(f"      {one['left_out']}")
        for kind, names in group.get("fallbacks", {}).items():
            lines.append(f"  after {kind}: {', '.join(names)}")
    for kind, names in told["fallbacks"].items():
        lines.append(f"\nafter {kind}: {', '.join(names)}")
    return lines
