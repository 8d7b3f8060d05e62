"""`load`: a LiteLLM config file -> a `Config` and everything that is wrong with it, all at once."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.config import keys
from penstock.config.cache import read_cache
from penstock.config.deployments import DeploymentReader, Resolve, read_credentials, read_default_params
from penstock.config.environ import apply_section, resolve
from penstock.config.include import load_files
from penstock.config.models import Config, GeneralSettings, Loaded
from penstock.config.names import Names, check_aliases, check_groups, check_references, check_silent
from penstock.config.problems import Problems
from penstock.config.secret import Secret
from penstock.config.section import Section, warn_unknown, without_effect
from penstock.config.sent import node_of
from penstock.config.settings import (
    build_general,
    build_litellm,
    build_router,
    master_key_from,
    read_general,
    read_section,
)
from penstock.config.tree import Node

if TYPE_CHECKING:
    from penstock.config.guards import GuardSettings
    from penstock.config.over import Over

GIVEN = "config"  # what messages call a config that stands in no file


def load(
    path: Path,
    env: Mapping[str, str],
    *,
    resolve: Resolve | None = None,
    also: Iterable[str] = (),
    over: Over | None = None,
) -> Loaded:
    """Read the config at `path` and its includes. Never raises for what is in the files: see `Loaded.problems`. What
    only a part of it is wrong in is used without that part, as LiteLLM's proxy does.

    `env` is the environment (`.env` included, see `load_dotenv`); it is not changed. `resolve` maps (model, api_base,
    custom_llm_provider) to (provider, upstream model) and raises LookupError, which becomes an error at `model:`.
    `also`: names of models that are somewhere else, and may be fallen back to. `over`: settings that are laid over
    those of the file.
    """
    problems = Problems()
    document, files = load_files(path, problems)
    if over and not problems.failed:
        from penstock.config.over import lay_over  # few gateways have any

        document = lay_over(document, over)
    if document is None:
        if not problems.failed:
            problems.warn(str(path), 0, (), "is empty: no models are configured")
        config = _build(Node({}, str(path), 0), files, env, resolve, problems, also) if not problems.failed else None
    else:
        config = _build(document, files, env, resolve, problems, also)
    return Loaded(None if problems.failed else config, problems.sorted())


def load_values(values: Mapping[str, Any], env: Mapping[str, str], *, resolve: Resolve | None = None) -> Loaded:
    """Read a config that a program gives as what its file would hold. The same as `load`, but for `include`, which
    needs a folder to look in."""
    problems = Problems()
    document = node_of(json.loads(json.dumps(values, default=_plain)), problems, GIVEN)
    config = None if document is None else _build(document, (), env, resolve, problems, ())
    return Loaded(None if problems.failed else config, problems.sorted())


def _plain(value: object) -> object:
    """Write out what JSON has no word for: objects of a program that hold settings (pydantic's), else their text."""
    dump = getattr(value, "model_dump", None)
    return dump(exclude_none=True) if callable(dump) else str(value)


def load_without(env: Mapping[str, str], over: Over, also: Iterable[str] = ()) -> Loaded:
    """Make the config for a start without a file, with settings laid over it. `also`: see ``load``."""
    plain = defaults(env)
    if not over:
        return Loaded(plain, ())
    from penstock.config.over import lay_over

    problems = Problems()
    made = _build(lay_over(None, over), (), env, None, problems, also)
    kept = {name: getattr(plain.general, name) for name in ("master_key", "master_key_source", "database_url")}
    config = replace(made, general=replace(made.general, **kept))
    # What the environment lacks or has is told by whoever asked for no file.
    ours = ((one, one.path.partition(".")) for one in problems.sorted())
    told = tuple(one for one, (section, _, key) in ours if section in over and key != "master_key")
    return Loaded(None if problems.failed else config, told)


def defaults(env: Mapping[str, str]) -> Config:
    """Make the config for a start without a file: no deployments (the server adds what it finds), the master key of the
    environment.

    DATABASE_URL counts beside a master key alone, as in LiteLLM's container: without a file and a key nobody said that
    the variable is meant for Penstock (S3-06).
    """
    key, source = master_key_from(env)
    if key is not None:
        key = Secret(key.reveal().strip())
    url = env.get("DATABASE_URL") or None if key is not None else None
    general = GeneralSettings(master_key=key, master_key_source=source, database_url=url)
    return Config(general=general, environment=dict(env))


def _build(
    written: Node,
    files: tuple[Path, ...],
    env: Mapping[str, str],
    find: Resolve | None,
    problems: Problems,
    also: Iterable[str],
) -> Config:
    with problems.graded("error"):  # a variable that may not be set is not set; the others are
        environment = apply_section(written.value.get("environment_variables"), env, problems)
    later = Node({k: v for k, v in written.value.items() if k != "environment_variables"}, written.file, written.line)
    document = resolve(later, (), environment, problems)
    sections: Mapping[str, Node] = document.value
    _check_top(document, problems)

    router_node, general_node = sections.get("router_settings"), sections.get("general_settings")
    with problems.graded("error"):
        router = read_section(keys.router, router_node, problems)
        litellm = read_section(keys.litellm, sections.get("litellm_settings"), problems)
        cache = read_cache(sections, litellm, router, environment, problems)
        credentials = read_credentials(sections.get("credential_list"), problems)
    leaves_out = router.get("ignore_invalid_deployments", True) is not False
    defaults = read_default_params(router_node, problems)
    reader = DeploymentReader(credentials, find, problems, leaves_out, defaults, _may_store(general_node, environment))
    reader.named.update(also)
    listed, original = sections.get("model_list"), written.value.get("model_list")
    engines = None
    if "engines" in sections:
        from penstock.config.engines import find_unlisted, list_too, read_engines  # few gateways have any

        with problems.graded("error"):
            engines = read_engines(sections["engines"], problems)
        reader.engines = {} if engines is None else engines.models
        # The one is the other with variables put in: both have the same entries.
        if names := find_unlisted(engines, listed):
            listed, original = (list_too(names, one, sections["engines"]) for one in (listed, original))
    deployments = reader.read(listed, original)
    if not deployments and not problems.errors and written.value:
        line = 0 if listed is None else listed.line
        problems.warn(written.file, line, ("model_list",), "no models are configured; requests will find none")

    general = read_general(general_node, problems)
    config = Config(
        deployments=deployments,
        router=build_router(router, litellm, general),
        litellm=build_litellm(litellm, general),
        general=build_general(general, litellm, general_node, environment, written.file, problems),
        cache=cache,
        engines=engines,
        guards=_read_guards(sections.get("guardrails"), problems),
        environment=environment,
        files=files,
        raw=document.plain(),
        waiting=tuple(reader.waiting),
        places=_places(sections),
    )
    with problems.graded("error"):  # a name that leads nowhere leads nowhere: the others work
        _check_names(config, reader, sections, problems)
    return config


def _read_guards(node: Node | None, problems: Problems) -> tuple[GuardSettings, ...]:
    if node is None:
        return ()
    from penstock.config.guards import read_guards  # few gateways have any

    with problems.graded("error"):
        return read_guards(node, problems)


def _places(sections: Mapping[str, Node]) -> dict[str, tuple[str, int]]:
    """Note where the keys of the sections stand, for what is found out about them later."""
    return {
        f"{name}.{key}": (child.file, child.line)
        for name, node in sections.items()
        if isinstance(node.value, dict)
        for key, child in node.value.items()
    }


def _may_store(general: Node | None, env: Mapping[str, str]) -> bool:
    """Tell whether there may be a database, which may have credentials."""
    given = general.value if general is not None and isinstance(general.value, dict) else {}
    named = (given.get("master_key"), given.get("database_url"))
    return any(node is not None and node.value for node in named) or bool(
        env.get("LITELLM_MASTER_KEY") or env.get("DATABASE_URL")
    )


def _check_top(document: Node, problems: Problems) -> None:
    top = Section()
    for name, node in document.value.items():
        key = keys.top.get(name)
        if key is None:
            # `x-...` is where YAML files keep anchors, as in Compose files.
            if not name.startswith("x-"):
                top.rest[name] = node
        elif node.value and (said := without_effect(key, "section")):
            problems.warn(node.file, node.line, (name,), said)
    warn_unknown(keys.top, top, (), problems)


def _check_names(config: Config, reader: DeploymentReader, sections: Mapping[str, Node], problems: Problems) -> None:
    names = Names(config.deployments)
    names.add(reader.named)
    check_groups(sections.get("router_settings"), config.router.routing_groups, names, problems)
    for section, key in (("router_settings", "model_group_alias"), ("litellm_settings", "model_alias_map")):
        check_aliases((section, key), sections.get(section), names, problems)
    for section in ("router_settings", "litellm_settings"):
        check_references(section, sections.get(section), names, problems)
    check_silent(config.deployments, names, problems)
    general = sections.get("general_settings")
    if config.general.completion_model and general is not None:
        node = general.value["completion_model"]
        names.require(config.general.completion_model, node, ("general_settings", "completion_model"), problems)
