"""The arms: each a way to reach the same mock upstream, with one URL, one set of headers and one process tree.

Every arm runs one worker process on one core, logs what it logs by default, and throws its stdout away.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench import payloads, procs, tools

CHAT = "/v1/chat/completions"
MESSAGES = "/v1/messages"
ORDER = ("direct", "nginx", "penstock", "litellm", "portkey")


@dataclass(slots=True)
class Context:
    """What one run of the harness shares with its arms. `folder` is private and deleted at the end.
    `more_ports`: of further upstreams, which gateways have as deployments of the same model."""

    folder: Path
    upstream_port: int
    penstock_root: Path
    more_ports: tuple[int, ...] = ()
    key: str = field(default_factory=lambda: "sk-" + secrets.token_urlsafe(32), repr=False)

    @property
    def upstream_url(self) -> str:
        return f"http://127.0.0.1:{self.upstream_port}/v1"


class Arm:
    """One way to the upstream. `translates`: from Anthropic Messages to a Chat upstream; None: not its trade.
    `falls_over`: it takes several deployments of a model, and asks another when one fails."""

    name = ""
    ready = "/v1/models"
    model = payloads.UPSTREAM_MODEL
    translates: bool | None = None
    falls_over = False

    def version(self, context: Context) -> str:
        """Raises tools.Unavailable when the arm cannot be had."""
        raise AssertionError("every arm has its own")

    def remark(self) -> str:
        """How the arm was installed, where that is not as published."""
        return tools.AS_PUBLISHED

    def command(self, context: Context, port: int) -> list[str]:
        raise AssertionError("every arm has its own")

    def env(self, context: Context) -> Mapping[str, str]:
        return base_env()

    def headers(self, context: Context) -> dict[str, str]:
        return {"Content-Type": "application/json", "Authorization": f"Bearer {context.key}"}

    def start(self, context: Context, core: int = procs.MEASURED_CORE) -> procs.Running:
        port = procs.free_port()
        return procs.start(
            self.command(context, port),
            port,
            self.ready,
            core=core,
            env=self.env(context),
            cwd=self.cwd(context),
            errors=context.folder / f"{self.name}.stderr",
        )

    def cwd(self, context: Context) -> Path:
        return context.folder


def base_env() -> dict[str, str]:
    """The environment without what would change an arm: provider keys, gateways' own settings, proxies.

    PYTHON* too: under PYTHONDONTWRITEBYTECODE=1 LiteLLM compiled a module anew in every request (a quarter of its CPU).
    """
    foreign = ("PYTHON", "LITELLM", "PENSTOCK_MASTER", "OPENAI", "ANTHROPIC", "AZURE", "DATABASE_URL", "REDIS")
    proxies = {"http_proxy", "https_proxy", "all_proxy"}
    return {k: v for k, v in os.environ.items() if not k.startswith(foreign) and k.lower() not in proxies}


class Direct(Arm):
    """No gateway: the mock upstream itself."""

    name = "direct"

    def version(self, context: Context) -> str:
        return f"Python {sys.version.split()[0]} {_build()}, uvloop {_installed(sys.executable, 'uvloop')}"

    def command(self, context: Context, port: int) -> list[str]:
        return [sys.executable, "-m", "bench.upstream", "--port", str(port)]

    def cwd(self, context: Context) -> Path:
        return tools.ROOT


def _build() -> str:
    """Whose interpreter it is. Distributions and python.org build theirs with profile-guided optimisation; one without
    is some 15 % slower, for every arm that runs on it. Debian's does not say how it was built."""
    if "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or ""):
        return "(built with PGO)"
    return "(the system's own)" if sys.base_prefix == "/usr" else "(built without PGO)"


class Nginx(Arm):
    """`proxy_pass` with keep-alive to the upstream and no buffering, so that chunks are relayed as they come."""

    name = "nginx"

    def version(self, context: Context) -> str:
        return tools.tool_version("nginx")

    def command(self, context: Context, port: int) -> list[str]:
        folder = context.folder / "nginx"
        folder.mkdir(exist_ok=True)
        config = folder / "nginx.conf"
        user = "user root;\n" if os.geteuid() == 0 else ""
        config.write_text(user + _NGINX % {"port": port, "upstream": context.upstream_port, "folder": folder})
        return [tools.system_tool("nginx"), "-e", "stderr", "-p", str(folder), "-c", str(config)]


_NGINX = """
daemon off;
worker_processes 1;
pid %(folder)s/nginx.pid;
error_log stderr error;
events { worker_connections 4096; }
http {
  access_log /dev/null combined;
  client_body_temp_path %(folder)s/body;
  proxy_temp_path %(folder)s/proxy;
  fastcgi_temp_path %(folder)s/fastcgi;
  uwsgi_temp_path %(folder)s/uwsgi;
  scgi_temp_path %(folder)s/scgi;
  client_body_buffer_size 256k;
  keepalive_requests 100000000;
  upstream mock {
    server 127.0.0.1:%(upstream)d;
    keepalive 128;
    keepalive_requests 100000000;
  }
  server {
    listen 127.0.0.1:%(port)d backlog=4096;
    location / {
      proxy_pass http://mock;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
    }
  }
}
"""


class Penstock(Arm):
    """`python -m penstock serve` from a source tree, one deployment. No master key: it brings a database with it, whose
    price is that of R8."""

    name = "penstock"
    ready = "/health/liveliness"
    model = payloads.ALIAS
    translates = falls_over = True

    def version(self, context: Context) -> str:
        if not (context.penstock_root / "penstock" / "__main__.py").exists():
            raise tools.Unavailable("penstock has no __main__ yet")
        code = f"import sys; sys.path.insert(0, {str(context.penstock_root)!r}); import penstock as p; "
        code += "print(getattr(p, 'version_text', lambda: p.__version__)())"
        found = tools.run([sys.executable, "-c", code]).strip()
        commit = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"],
            cwd=context.penstock_root,
            capture_output=True,
            text=True,
            check=False,
        ).stdout.strip()
        return f"{found} {commit}".strip()

    def command(self, context: Context, port: int) -> list[str]:
        config = context.folder / "penstock.yaml"
        config.write_text(gateway_config(context, False))
        return [
            *(sys.executable, "-m", "penstock", "serve", "--config", str(config)),
            *("--host", "127.0.0.1", "--port", str(port)),
        ]

    def env(self, context: Context) -> Mapping[str, str]:
        return base_env() | {"PYTHONPATH": str(context.penstock_root)}


class LiteLLM(Arm):
    """The LiteLLM proxy as its production page wants it: one worker, LITELLM_LOG=ERROR, not verbose, no database."""

    name = "litellm"
    ready = "/health/liveliness"
    model = payloads.ALIAS
    translates = falls_over = True

    def version(self, context: Context) -> str:
        return tools.litellm()[1]["version"]

    def remark(self) -> str:
        return tools.litellm()[1]["how"]

    def command(self, context: Context, port: int) -> list[str]:
        folder, _ = tools.litellm()
        config = context.folder / "litellm.yaml"
        config.write_text(gateway_config(context) + _LITELLM_SETTINGS)
        return [
            *(str(folder / "bin" / "litellm"), "--config", str(config)),
            *("--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"),
        ]

    def env(self, context: Context) -> Mapping[str, str]:
        return base_env() | {
            "LITELLM_LOG": "ERROR",
            "LITELLM_MODE": "PRODUCTION",
            # Its price list would else be fetched from the network at every start.
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        }


# The last one for R6 and R2X: Messages for an openai/ deployment else go to the upstream's /v1/responses.
_LITELLM_SETTINGS = """litellm_settings:
  set_verbose: false
  request_timeout: 600
  use_chat_completions_url_for_anthropic_messages: true
"""


class Portkey(Arm):
    """Portkey's open-source gateway on Node, told by headers where the upstream is."""

    name = "portkey"
    translates = False
    ready = "/"

    def version(self, context: Context) -> str:
        _, noted = tools.portkey()
        node = tools.run([tools.system_tool("node"), "--version"]).strip()
        return f"{noted['version']} (node {node.lstrip('v')})"

    def remark(self) -> str:
        return tools.portkey()[1]["how"]

    def command(self, context: Context, port: int) -> list[str]:
        package, _ = tools.portkey()
        return [tools.system_tool("node"), str(package / "build" / "start-server.js"), f"--port={port}", "--headless"]

    def env(self, context: Context) -> Mapping[str, str]:
        return base_env() | {"NODE_ENV": "production"}

    def headers(self, context: Context) -> dict[str, str]:
        mine = {"x-portkey-provider": "openai", "x-portkey-custom-host": context.upstream_url}
        return super().headers(context) | mine


def gateway_config(context: Context, keyed: bool = True) -> str:
    """The YAML that LiteLLM and Penstock both read. `keyed`: with a master key."""
    entries = "".join(
        f"""  - model_name: {payloads.ALIAS}
    litellm_params:
      model: openai/{payloads.UPSTREAM_MODEL}
      api_base: http://127.0.0.1:{port}/v1
      api_key: sk-upstream-of-the-benchmark
"""
        for port in (context.upstream_port, *context.more_ports)
    )
    routed = "router_settings:\n  num_retries: 2\n" if context.more_ports else ""
    key = f"general_settings:\n  master_key: {context.key}\n" if keyed else ""
    return f"model_list:\n{entries}{routed}{key}"


def _installed(python: str, package: str) -> str:
    code = f"from importlib.metadata import version; print(version({package!r}))"
    try:
        return tools.run([python, "-c", code]).strip()
    except tools.Unavailable:
        return "none"


ARMS: dict[str, Arm] = {arm.name: arm for arm in (Direct(), Nginx(), Penstock(), LiteLLM(), Portkey())}
