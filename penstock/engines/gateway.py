"""The gateway in front of an engine: its config, and how it is run."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import yaml

from penstock.engines import ENGINES
from penstock.engines.docker import build_litellm_docker_cmd, name_gateway, remove_container
from penstock.engines.process import Plan

LABEL = "LiteLLM"
LOCAL = "local"  # the version that is this installation, without a container
CONFIG_NAME = "litellm_config.yaml"
GRACE = 5.0  # seconds that running answers may take to end; the engine under them is about to go


def make_config(
    backend: str, backend_port: int, model_alias: str, model_name: str, backend_host: str = "localhost"
) -> str:
    """Make the gateway's config for one engine, as YAML. Raises ``ValueError`` for an unknown one."""
    if backend not in ENGINES:
        raise ValueError(f"Unknown backend: {backend}. The backends are: {', '.join(ENGINES)}")
    config = {
        "model_list": [
            {
                "model_name": model_alias,
                "litellm_params": {
                    # All of them speak OpenAI's chat; a path keeps its slash: openai//models/x asks for /models/x.
                    "model": f"openai/{model_name}",
                    "api_base": f"http://{backend_host}:{backend_port}/v1",
                    "api_key": "dummy",
                },
            }
        ],
        "litellm_settings": {"drop_params": True, "set_verbose": False},
    }
    return yaml.safe_dump(config, default_flow_style=False, sort_keys=False, allow_unicode=True)


def generate_litellm_config(backend: str, backend_port: int, model_alias: str, model_name: str) -> Path:
    """Write the gateway's config for one engine to ``litellm_config.yaml`` in the folder for temporary files.

    Raises ``ValueError`` for an unknown backend. It is one file: for two gateways see ``write_config``."""
    target = Path(tempfile.gettempdir()) / CONFIG_NAME
    text = make_config(backend, backend_port, model_alias, model_name)
    # Put in place whole: the folder is everybody's, and a link that waits there under this name is not followed.
    number, written = tempfile.mkstemp(prefix=f".{CONFIG_NAME}-", dir=target.parent)
    try:
        with os.fdopen(number, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(written, target)
    except BaseException:
        os.unlink(written)
        raise
    return target


def write_config(
    backend: str, backend_port: int, model_alias: str, model_name: str, backend_host: str = "localhost"
) -> Path:
    """Write the gateway's config into a new folder that is this start's own."""
    text = make_config(backend, backend_port, model_alias, model_name, backend_host)
    path = Path(tempfile.mkdtemp(prefix="penstock-")) / CONFIG_NAME
    path.write_text(text, encoding="utf-8")
    return path


def plan_gateway(config_path: Path, host: str, port: int, version: str, image: str, remove: tuple[str, ...]) -> Plan:
    """Plan the gateway: this installation for the version ``local``, else a container of the image with that tag."""
    if version == LOCAL:
        words = [sys.executable, "-P", "-m", "penstock", "serve", "--config", str(config_path), "--host", host]
        words += ["--port", str(port), "--grace", str(GRACE)]
        return Plan(label=LABEL, command=tuple(words), remove=remove, grace=GRACE + 3)
    name = name_gateway(port)
    command = build_litellm_docker_cmd(config_path, port, version, image, name)
    after = (remove_container(name),)
    return Plan(label=LABEL, command=tuple(command), after=after, remove=remove, grace=GRACE + 8)
