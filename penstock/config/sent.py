"""An entry of `model_list` that is sent while the gateway runs.

It is read by the code that reads the file, and kept from what only who writes the file may do: it names no variable of
the gateway's environment and none of its files, because an entry says as well where what is read is sent to.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from penstock.config import keys
from penstock.config.addresses import hosts_in, is_metadata
from penstock.config.deployments import DeploymentReader, Placed, Resolve, read_credentials, read_default_params
from penstock.config.environ import resolve, variables_in
from penstock.config.models import Config, Deployment
from penstock.config.problems import KeyPath, Problem, Problems, shown
from penstock.config.section import Section
from penstock.config.spec import is_switch
from penstock.config.tree import MAX_DEPTH, Node

PLACE = "POST /model/new"
"""Where messages say that such an entry stands."""
MAX_NODES = 10_000
"""Values of one entry: it is read in the event loop."""
ALL = "*"
_INSTEAD = "give the value itself, or a litellm_credential_name of the config's credential_list"


class Sent(NamedTuple):
    """What was read. ``deployment``: None where there are errors."""

    deployment: Deployment | None
    problems: tuple[Problem, ...]

    @property
    def errors(self) -> tuple[Problem, ...]:
        """List the problems that keep it from being used."""
        return tuple(problem for problem in self.problems if problem.level == "error")


def read_sent(
    entry: Mapping[str, Any],
    config: Config,
    find: Resolve,
    taken: Mapping[str, Placed] | None = None,
    stored: Mapping[str, Mapping[str, Any]] | None = None,
) -> Sent:
    """Read an entry for a gateway with this config. ``find``: see ``load``; ``taken``: the ids that are in use;
    ``stored``: credentials that were sent, too, by name. Slips of the pen are errors: who sent it can send it again."""
    problems = Problems(slips="error")
    node = node_of(entry, problems)
    if node is None:
        return Sent(None, problems.sorted())
    may = frozenset(config.general.values.get("stored_models_may_read") or ())
    _refuse(node, may, problems)
    if problems.errors:
        return Sent(None, problems.sorted())
    env = config.environment
    node = resolve(node, (), env if ALL in may else {name: env[name] for name in may & env.keys()}, problems)
    defaults = read_default_params(node_of(config.raw.get("router_settings"), Problems()), Problems())
    credentials = {**(_sections(stored) if stored else {}), **credentials_of(config)}
    reader = DeploymentReader(credentials, find, problems, defaults=defaults)
    reader.ids.update(taken or {})
    deployment = reader.read_one(node)
    if deployment is not None and any(ord(char) < 32 for char in deployment.id):
        message = "holds a line break or control character, and it is a header of every answer; leave it out"
        problems.error(PLACE, 0, ("model_info", "id"), message)
        deployment = None
    return Sent(deployment and replace(deployment, stored=True), problems.sorted())


def read_waiting(
    config: Config, find: Resolve, stored: Mapping[str, Mapping[str, Any]]
) -> tuple[tuple[Deployment, ...], tuple[Problem, ...]]:
    """Read the entries of a config that wait for credentials which are stored; those that still do are left out. What
    the file says may read what the file may."""
    problems = Problems()
    defaults = read_default_params(node_of(config.raw.get("router_settings"), Problems()), Problems())
    reader = DeploymentReader({**_sections(stored), **credentials_of(config)}, find, problems, defaults=defaults)
    ready = [one for one in config.waiting if _credential_of(one.node) in stored]
    found = [reader.read_one(one.node, one.written, one.path) for one in ready]
    return tuple(one for one in found if one is not None), problems.sorted()


def _credential_of(node: Node) -> Any:
    params = node.value["litellm_params"]
    return params.value["litellm_credential_name"].value


def credentials_of(config: Config) -> dict[str, Section]:
    """Read the `credential_list` of a config again; what is wrong in it was told when it was read first."""
    given = config.raw.get("credential_list")
    if not given:
        return {}
    return read_credentials(node_of(given, Problems()), Problems())


def _sections(stored: Mapping[str, Mapping[str, Any]]) -> dict[str, Section]:
    """Read stored credentials; what is wrong in one was told to who sent it."""
    listed = [{"credential_name": name, "credential_values": values} for name, values in stored.items()]
    return read_credentials(node_of(listed, Problems()), Problems())


def check_credential(name: str, values: Mapping[str, Any], config: Config) -> tuple[Problem, ...]:
    """Return what keeps a credential that is sent from being used: it is read as one of `credential_list`, and kept
    from what only who writes the file may do."""
    problems = Problems(slips="error")
    node = node_of([{"credential_name": name, "credential_values": values}], problems)
    params = node_of({"litellm_params": values}, problems)
    if node is None or params is None:
        return tuple(problems.sorted())
    _refuse(params, frozenset(config.general.values.get("stored_models_may_read") or ()), problems)
    read_credentials(node, problems)
    return tuple(problem for problem in problems.sorted() if problem.level == "error")


def node_of(value: Any, problems: Problems, place: str = PLACE) -> Node | None:
    """Make the tree of a JSON value, as the file's are; None, and an error, for one that is too deep or too large."""
    left = MAX_NODES

    def made(value: Any, depth: int) -> Node:
        nonlocal left
        left -= 1
        if left < 0:
            raise _TooLarge(f"holds more than {MAX_NODES:,} values")
        if depth > MAX_DEPTH:
            raise _TooLarge(f"is nested deeper than {MAX_DEPTH} levels")
        if isinstance(value, Mapping):
            return Node({str(key): made(inner, depth + 1) for key, inner in value.items()}, place, 0)
        if isinstance(value, list | tuple):
            return Node([made(inner, depth + 1) for inner in value], place, 0)
        return Node(value, place, 0, value if isinstance(value, str) else json.dumps(value))

    try:
        return made(value, 0)
    except _TooLarge as error:
        problems.error(place, 0, (), str(error))
        return None


class _TooLarge(Exception):
    """The message completes a sentence that begins with the entry."""


def _refuse(node: Node, may: frozenset[str], problems: Problems) -> None:
    """Add an error for each value that would read what is the gateway's own, or ask a metadata service."""
    for path, text in texts_in(node, ()):
        for name in variables_in(text):
            refuse_variable(name, path, may, problems)
    params = node.value.get("litellm_params")
    if params is None or not isinstance(params.value, dict):
        return
    for key, child in params.value.items():
        row = keys.params.get(key)
        if key == "extra_body" or (row is not None and row.status == "sent"):
            continue  # a client's words, such as a prompt: nothing here acts on them
        for path, text in texts_in(child, ("litellm_params", key)):
            _refuse_source(key, text, path, may, problems)
            if any(is_metadata(host) for host in hosts_in(text)):
                message = "leads to a cloud's metadata service, which tells this machine's keys; give another address"
                problems.error(PLACE, 0, path, message)


def refuse_variable(name: str, path: KeyPath, may: frozenset[str], problems: Problems, place: str = PLACE) -> None:
    """Add an error for a variable of the gateway's environment that is named and may not be."""
    if ALL not in may and name not in may:
        message = (
            f"names the variable {shown(name)}: what is sent over HTTP may not read the gateway's environment; "
            f"{_INSTEAD}, or allow it in the config: general_settings.stored_models_may_read"
        )
        problems.error(place, 0, path, message)


def _refuse_source(key: str, text: str, path: KeyPath, may: frozenset[str], problems: Problems) -> None:
    """Refuse a credential that stands for another place: it would be read here, and sent to where the entry says."""
    kind, _, rest = text.removeprefix("oidc/").partition("/")
    if text.startswith("oidc/env/"):
        refuse_variable(rest, path, may, problems)
    elif ALL in may:
        return
    elif text.startswith("oidc/") or "credential_source" in path or _names_file(key, text, path):
        message = (
            "names a file, or a service that gives credentials: what is sent over HTTP may not have the gateway read "
            f"it; {_INSTEAD}, or allow all of it in the config: general_settings.stored_models_may_read: '*'"
        )
        problems.error(PLACE, 0, path, message)


def _names_file(key: str, text: str, path: KeyPath) -> bool:
    """Tell whether a value is the path of a file where it may be one."""
    if key in ("vertex_credentials", "vertex_ai_credentials"):
        return len(path) == 2 and text.lstrip()[:1] not in ("{", "")
    if key == "aws_web_identity_token":
        return text.startswith(("/", "./", "~"))
    row = keys.params.get(key)
    return row is not None and (row.name == "private_key_path" or (row.spec == "tls" and not is_switch(text)))


def texts_in(node: Node, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    """Yield the texts in a tree, and those in texts that are JSON objects themselves, as a service account is."""
    value = node.value
    if isinstance(value, dict):
        for key, child in value.items():
            yield from texts_in(child, (*path, key))
    elif isinstance(value, list):
        for at, child in enumerate(value):
            yield from texts_in(child, (*path, at))
    elif isinstance(value, str):
        yield path, value
        if value.lstrip()[:1] == "{":
            try:
                inner = node_of(json.loads(value), Problems())
            except (ValueError, RecursionError):
                inner = None
            if inner is not None and isinstance(inner.value, dict):
                yield from texts_in(inner, path)
