"""`models.yaml`: what `defaults.backends` says of each engine and of the gateway in front of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from penstock.engines.docker import LITELLM_IMAGE, LITELLM_VERSION
from penstock.engines.gateway import LOCAL
from penstock.engines.spec import Engine, EngineError, write_options

PORT = 4000
ALIAS = "local-model"
_MOST_BYTES = 1 << 20
_KEYS = ("version", "image", "image_type", "args")
_GATEWAY_KEYS = ("version", "image", "port", "alias")
GATEWAY = "litellm"  # its name in the file
_IMAGE_TYPES = ("prebuilt", "build")


@dataclass(frozen=True, slots=True)
class GatewayDefaults:
    """The gateway's version (``local``: this installation), image, port and alias, where no option says so."""

    version: str = LOCAL
    image: str = LITELLM_IMAGE
    port: int = PORT
    alias: str = ALIAS


@dataclass(frozen=True, slots=True)
class EngineDefaults:
    """An engine's version and image as a container, and the options that it is always given."""

    version: str = ""
    image: str = ""
    options: tuple[str, ...] = ()


def load_defaults(path: Path | None) -> Mapping[str, object]:
    """Read a `models.yaml`; empty without one. Raises ``EngineError`` for what cannot be read, or is no mapping."""
    if path is None:
        return {}
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_BYTES + 1)
        if len(text) > _MOST_BYTES:
            raise EngineError(f"{path} has more than {_MOST_BYTES} bytes: it is no models.yaml")
        found = yaml.safe_load(text)
    except OSError as error:
        raise EngineError(f"cannot read {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeError) as error:
        raise EngineError(f"{path} is no YAML: {error}") from error
    if found is not None and not isinstance(found, dict):
        raise EngineError(f"{path} must be a mapping with defaults.backends in it")
    return found or {}


def _backend(config: Mapping[str, object], name: str) -> Mapping[str, object]:
    """Return the section of a backend; every part of the way to it may be missing or null."""
    section: object = config
    path = ("defaults", "backends", name)
    for number, key in enumerate(path):
        section = section.get(key) if isinstance(section, Mapping) else None
        if section is None:
            return {}
        if not isinstance(section, Mapping):
            raise EngineError(f"{'.'.join(path[: number + 1])} must be a mapping, not {section!r}")
    assert isinstance(section, Mapping)
    return section


def find_unknown(config: Mapping[str, object], engine: Engine) -> list[str]:
    """Name the keys of an engine's section and of the gateway's that nothing here acts on."""
    return [
        f"defaults.backends.{name}.{key} has no effect; the keys are {', '.join(known)}"
        for name, known in ((engine.name, _KEYS), (GATEWAY, _GATEWAY_KEYS))
        for key in _backend(config, name)
        if key not in known
    ]


def _text(section: Mapping[str, object], key: str, default: str) -> str:
    value = section.get(key)
    return default if value is None else str(value)


def read_gateway(config: Mapping[str, object]) -> GatewayDefaults:
    """Read what the file says of the gateway."""
    section = _backend(config, GATEWAY)
    port = section.get("port", PORT)
    port = PORT if port is None else port
    if isinstance(port, bool) or not isinstance(port, int) or not 0 < port < 65536:
        raise EngineError(f"defaults.backends.litellm.port must be a number from 1 to 65535, not {port!r}")
    version, image = _text(section, "version", LOCAL), _text(section, "image", LITELLM_IMAGE)
    return GatewayDefaults(version, image, port, _text(section, "alias", ALIAS))


def read_engine(config: Mapping[str, object], engine: Engine) -> EngineDefaults:
    """Read what the file says of an engine."""
    section = _backend(config, engine.name)
    kind = section.get("image_type")
    if kind not in (None, *_IMAGE_TYPES):
        raise EngineError(f"defaults.backends.{engine.name}.image_type must be prebuilt or build, not {kind!r}")
    options = write_options(section.get("args"), engine.dashes)
    return EngineDefaults(_text(section, "version", ""), _text(section, "image", ""), options)


def get_litellm_version(config: object) -> str:
    """Return the gateway's version in a `models.yaml` that was read, or the one that was always used."""
    section = config
    for key in ("defaults", "backends", GATEWAY, "version"):
        section = section.get(key) if isinstance(section, Mapping) else None
    return LITELLM_VERSION if section is None else str(section)
