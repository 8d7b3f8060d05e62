"""What is said once the gateway listens: where, what is there, and a line to paste."""

from __future__ import annotations

import json
import sys
from shlex import quote
from typing import TYPE_CHECKING

from penstock import __version__
from penstock.admin.ui.sessions import Sessions
from penstock.server.lines import tell, wants_json

if TYPE_CHECKING:
    from penstock.server.gateway import Gateway
    from penstock.server.options import ServeOptions
    from penstock.server.storage import Storage

SHOWN = 12  # model names


def show(options: ServeOptions, gateway: Gateway) -> None:
    """Print the start lines to standard output; the request lines follow there."""
    config = gateway.state.config
    tell(_lines(options, gateway), wants_json(options, config.environment, config), stream=sys.stdout)


def _lines(options: ServeOptions, gateway: Gateway) -> str:
    names = sorted(gateway.state.catalog.names(), key=lambda name: "*" in name)  # those to try at once come first
    concrete = [name for name in names if "*" not in name]
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(options.host, options.host)
    host = f"[{host}]" if ":" in host and not host.startswith("[") else host
    base = f"http://{host}:{options.port}"
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    shown = ", ".join(f"{n} (a mock)" if n == "mock/echo" else n for n in names[:SHOWN])
    lines = [f"Penstock {__version__} at {base} (OpenAI clients: {base}/v1)", f"Models: {shown or 'none'}{more}"]
    if gateway.storage is not None:
        lines.append(database_line(gateway.storage))
    if gateway.gate.sessions is not None:
        lines.append(f"Pages: {base}{page_path(gateway)}")
    if options.config is None:
        lines.append(
            "No config: providers with a key in the environment, local engines on their usual ports, and a mock."
        )
    if not names:
        place = options.config or "a config file"
        lines.append(f"Nothing can be asked yet: write entries under model_list in {place}, and send SIGHUP.")
        return "\n".join(lines)
    # A real engine makes a better first answer than the mock.
    model = next((n for n in concrete if n != "mock/echo"), concrete[0] if concrete else "MODEL")
    key = f" -H {_credential(gateway)}" if gateway.identity.needs_key else ""
    body = quote(json.dumps({"model": model, "messages": [{"role": "user", "content": "Hello"}]}, ensure_ascii=False))
    lines.append(f"Try it:\n  curl {base}/v1/chat/completions -H 'Content-Type: application/json'{key} -d {body}")
    return "\n".join(lines)


def page_path(gateway: Gateway) -> str:
    """Return where a person looks at the gateway: where a key is needed, by a link that signs in once."""
    sessions = gateway.gate.sessions
    if isinstance(sessions, Sessions) and gateway.identity.master is not None:
        return f"/ui/enter?code={sessions.link()} (signs you in once, within an hour; later: /ui with the master key)"
    return "/ui"


def database_line(storage: Storage) -> str:
    """Say where what outlives the gateway is kept."""
    done = f" ({storage.done})" if storage.done else "" if storage.connected else " (cannot be reached now)"
    return f"Database: {storage.where}{done}"


def _credential(gateway: Gateway) -> str:
    """Render the header with the key, from where the user has it; the key itself is not printed."""
    source = gateway.state.config.general.master_key_source
    if source.isidentifier() and source != "config":
        return f"'Authorization: Bearer '\"${source}\""
    return "'Authorization: Bearer YOUR_MASTER_KEY'"
