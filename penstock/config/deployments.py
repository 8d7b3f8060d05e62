"""`model_list` and `credential_list` -> deployments."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from penstock.config import keys
from penstock.config.keys_engines import PREFIX
from penstock.config.models import Deployment, Waiting
from penstock.config.problems import KeyPath, Problems, shown
from penstock.config.secret import Secret
from penstock.config.section import Section, check, warn_unknown, warn_unknown_info, warn_unknown_params
from penstock.config.tree import Node, describe_type
from penstock.core.route.quotas import CLOCK_FORMS, seconds_of

if TYPE_CHECKING:
    from penstock.config.engines import EngineModel

Resolve = Callable[[str, str | None, str | None], tuple[str, str]]
"""(model, api_base, custom_llm_provider) -> (provider, model name for the upstream). Raises LookupError, with a
message."""

_COPIED_NAMES = (
    "api_key api_version organization stream_timeout max_retries num_retries weight order drop_params on_unsupported "
    "ssl_verify validate guided_engine"
)
_COPIED = tuple(_COPIED_NAMES.split())
_COPIED_LISTS = ("tags", "additional_drop_params", "allowed_openai_params")
# LiteLLM's second spellings: the first is read where both are given.
_SPELLINGS = {f"vertex_ai_{name}": f"vertex_{name}" for name in ("project", "location", "credentials")}


class Placed(Protocol):
    """What stands somewhere. `line` 0: the whole of `file`."""

    @property
    def file(self) -> str: ...
    @property
    def line(self) -> int: ...


class DeploymentReader:
    """Reads `model_list`; `written` is the same list before variables were put in, for ids that do not change with
    them. `leaves_out`: an entry with errors is left out and the others serve, as LiteLLM's proxy does it. `defaults`:
    the `litellm_params` that stand under those of every entry. `stored`: credentials that are not in the config may be
    kept in a database; entries that name one are put into `waiting`."""

    def __init__(
        self,
        credentials: Mapping[str, Section],
        resolve: Resolve | None,
        problems: Problems,
        leaves_out: bool = True,
        defaults: Section | None = None,
        stored: bool = False,
    ) -> None:
        self.stored = stored
        self.waiting: list[Waiting] = []
        self.credentials = credentials
        self.resolve = resolve
        self.problems = problems
        self.leaves_out = leaves_out
        self.defaults = defaults or Section()
        self.ids: dict[str, Placed] = {}
        self.engines: Mapping[str, EngineModel] = {}
        self.named: set[str] = set()
        """Every model_name seen, also of entries that are broken, so that one mistake is not reported twice."""

    def read(self, node: Node | None, written: Node | None) -> tuple[Deployment, ...]:
        """Read all entries that are whole. Broken ones are errors, null ones (commented out) are skipped."""
        if node is None or not node.value:
            return ()
        if not isinstance(node.value, list):
            message = f"expected a list of models, got {describe_type(node)}; begin each with `- model_name:`"
            self.problems.error(node.file, node.line, ("model_list",), message)
            return ()
        originals = written.value if written is not None and isinstance(written.value, list) else node.value
        found = []
        for i, (item, original) in enumerate(zip(node.value, originals, strict=True)):
            if item.value is not None:
                for one, written_one in _by_key(item, original):
                    deployment = self._whole(one, written_one, ("model_list", i))
                    if deployment is not None:
                        found.append(deployment)
        return tuple(found)

    def read_one(self, node: Node, written: Node | None = None, path: KeyPath = ()) -> Deployment | None:
        """Read an entry that stands alone; None for one with errors. Problems have its own paths, behind `path`."""
        return self._whole(node, written or node, path)

    def _whole(self, node: Node, original: Node, path: KeyPath) -> Deployment | None:
        """Read one entry; None for one with errors."""
        before = self.problems.errors
        with self.problems.graded("error" if self.leaves_out else "fatal"):
            deployment = self._entry(node, original, path)
        return deployment if self.problems.errors == before else None

    def _entry(self, node: Node, original: Node, path: KeyPath) -> Deployment | None:
        problems = self.problems
        entry = check(keys.entry, node, path, problems)
        if not isinstance(node.value, dict):
            return None
        warn_unknown(keys.entry, entry, path, problems)
        params_node, info_node = node.value.get("litellm_params"), node.value.get("model_info")
        params_path, info_path = (*path, "litellm_params"), (*path, "model_info")
        block, facts = _mapping(params_node), _mapping(info_node)
        params = check(keys.params, block, params_path, problems)
        params.values = {**self.defaults.values, **params.values}
        info = check(keys.info, facts, info_path, problems)
        _tidy_key(params, block, params_path, problems)
        _check_base(params, block, params_path, problems)
        warn_unknown_params(keys.params, params, params_path, problems)
        warn_unknown_info(keys.info, info, info_path, problems)
        waits = not self._merge_credential(params, block, params_path)
        name = self._required(entry, "model_name", node, path, "it is the name that clients send")
        if name is not None:
            self.named.add(name)
        if waits:
            self.waiting.append(Waiting(node, original, path))
            return None
        if params_node is not None and not (isinstance(params_node.value, dict) or _is_empty(params_node)):
            return None  # the wrong type has been said
        hint = "write provider/model, such as openai/gpt-4o-mini"
        model = self._required(params, "model", params_node or node, params_path, hint)
        if name is None or model is None:
            return None
        identity = self._identity(name, node, original, info, (path, info_path))
        return self._build(identity, name, model, node, (entry, params, info), params_path)

    def _required(self, section: Section, key: str, node: Node, path: KeyPath, hint: str) -> str | None:
        value = section.get(key)
        if isinstance(value, str) and value.strip():
            return value
        child = node.value.get(key) if isinstance(node.value, dict) else None
        if child is None or child.value is None or isinstance(child.value, str):
            line = (child or node).line
            self.problems.error(node.file, line, (*path, key), f"is {'empty' if child else 'missing'}; {hint}")
        return None

    def _merge_credential(self, params: Section, node: Node | None, path: KeyPath) -> bool:
        """Put in what a credential says; return False where it may be one that is stored."""
        name, problems = params.get("litellm_credential_name"), self.problems
        if name is None or node is None:
            return True
        credential = self.credentials.get(name)
        if credential is None:
            child = node.value["litellm_credential_name"]
            hint = problems.hint(name, self.credentials)
            message = f"no credential named {shown(name)} in credential_list{hint}"
            if self.stored:
                message += "; the model serves once /credentials has one"
                problems.warn(child.file, child.line, (*path, "litellm_credential_name"), message)
                return False
            problems.error(child.file, child.line, (*path, "litellm_credential_name"), message)
            return True
        params.values = {**credential.values, **params.values}
        return True

    def _identity(self, name: str, node: Node, original: Node, info: Section, paths: tuple[KeyPath, KeyPath]) -> str:
        path, info_path = paths
        given = info.get("id")
        if given:
            if given in self.ids:
                first = self.ids[given]
                message = f"the id {shown(given)} is taken by the model of {place_of(first)}; ids are unique"
                id_node = node.value["model_info"].value["id"]
                self.problems.error(id_node.file, id_node.line, (*info_path, "id"), message)
            self.ids.setdefault(given, node)
            return str(given)
        block = original.value.get("litellm_params") if isinstance(original.value, dict) else None
        text = json.dumps([name, block.plain() if block else None], sort_keys=True, ensure_ascii=True)
        digest = hashlib.sha256(text.encode()).hexdigest()
        if digest in self.ids:
            first = self.ids[digest]
            message = f"the same entry as {place_of(first)}; both take traffic"
            self.problems.warn(node.file, node.line, path, message)
            count = 2
            while (digest := hashlib.sha256(f"{count} {text}".encode()).hexdigest()) in self.ids:
                count += 1
        self.ids[digest] = node
        return digest

    def _build(
        self,
        identity: str,
        name: str,
        model: str,
        node: Node,
        sections: tuple[Section, Section, Section],
        path: KeyPath,
    ) -> Deployment:
        entry, params, info = sections
        api_base = params.get("api_base") or params.get("base_url")
        engine = self._engine(model, params, node, path) if model.startswith(PREFIX) else None
        if engine is not None:
            api_base, provider, upstream_model = engine.base, engine.provider, engine.served
            # It runs on this machine: what it costs is nobody's bill, unless the entry says so.
            info.values = {"input_cost_per_token": 0.0, "output_cost_per_token": 0.0, **info.values}
        else:
            provider, upstream_model = self._resolve(model, api_base, params, node, path)
        if "*" in model and "*" not in name:
            message = f"has a * but model_name {shown(name)} has none, so the * is sent upstream as it is"
            child = node.value["litellm_params"].value["model"]
            self.problems.warn(child.file, child.line, (*path, "model"), message)
        for other, name_ in _SPELLINGS.items():
            if other in params.values:
                params.values.setdefault(name_, params.values[other])
        if "base_model" in params.values:
            info.values.setdefault("base_model", params.values["base_model"])
        if "daily_reset_time" in params.values:
            self._check_clock(params.values, node, path)
        extra_info = {key: child.plain() for key, child in info.rest.items()}
        return Deployment(
            id=identity,
            model_name=name,
            model=model,
            provider=provider,
            upstream_model=upstream_model,
            api_base=api_base,
            timeout=params.get("timeout", params.get("request_timeout")),
            rpm=params.get("rpm", entry.get("rpm")),
            tpm=params.get("tpm", entry.get("tpm")),
            extra_headers={**params.get("headers", {}), **params.get("extra_headers", {})},
            defaults={key: value for key, value in params.values.items() if _is_sent(key)},
            extra_body=params.get("extra_body", {}),
            params=params.values,
            info={**extra_info, **info.values},
            mode=info.get("mode"),
            file=node.file,
            line=node.line,
            tag_patterns=self._patterns(params, node, path),
            engine="" if engine is None else engine.name,
            **{key: params.get(key) for key in _COPIED},
            **{key: params.get(key, ()) for key in _COPIED_LISTS},
        )

    def _check_clock(self, params: dict[str, Any], node: Node, path: KeyPath) -> None:
        """Report a `daily_reset_time` that is no time of day."""
        told = params["daily_reset_time"]
        try:
            seconds_of(told)
        except ValueError:
            child = node.value["litellm_params"].value["daily_reset_time"]
            message = f"{shown(told)} is no time of day: write {CLOCK_FORMS}"
            self.problems.error(child.file, child.line, (*path, "daily_reset_time"), message)
            del params["daily_reset_time"]

    def _patterns(self, params: Section, node: Node, path: KeyPath) -> tuple[re.Pattern[str], ...]:
        """Read `tag_regex`; one that is no regular expression is an error."""
        found = []
        for text in params.get("tag_regex", ()):
            try:
                found.append(re.compile(text))
            except (re.error, RecursionError, OverflowError) as error:
                child = node.value["litellm_params"].value["tag_regex"]
                message = f"{shown(text)} is no regular expression: {error}"
                self.problems.error(child.file, child.line, (*path, "tag_regex"), message)
        return tuple(found)

    def _engine(self, model: str, params: Section, node: Node, path: KeyPath) -> EngineModel | None:
        """Find the engine that an entry names; one that is not there is an error."""
        name = model.removeprefix(PREFIX)
        found, block = self.engines.get(name), node.value["litellm_params"]
        if found is None:
            child = block.value["model"]
            text = f"there is no engine {shown(name)} in engines.models{self.problems.hint(name, self.engines)}"
            self.problems.error(child.file, child.line, (*path, "model"), text)
            return None
        for key in ("api_base", "base_url", "custom_llm_provider"):
            if key in params.values and block.value.get(key) is not None:
                child = block.value[key]
                self.problems.warn(child.file, child.line, (*path, key), "is not read: the engine says where it is")
        # A key of the environment that is meant for the provider's own servers goes to none of ours.
        params.values.setdefault("api_key", Secret("none"))
        return found

    def _resolve(self, model: str, api_base: str | None, params: Section, node: Node, path: KeyPath) -> tuple[str, str]:
        if self.resolve is None or model.startswith(PREFIX):  # of an engine that is not there
            return "", model
        try:
            return self.resolve(model, api_base, params.get("custom_llm_provider"))
        except LookupError as exc:
            child = node.value["litellm_params"].value["model"]
            words = (model, params.get("custom_llm_provider") or "")
            told = str(exc.args[0]) if exc.args and all(shown(word) == repr(word) for word in words) else ""
            message = told or f"no provider is known for a model named {shown(model)}"
            self.problems.error(child.file, child.line, (*path, "model"), message)
            return "", model


def place_of(thing: Placed) -> str:
    """Render where something stands."""
    return f"{thing.file}:{thing.line}" if thing.line else thing.file


def _is_sent(key: str) -> bool:
    row = keys.params.get(key)
    return row is not None and row.status == "sent"


def read_credentials(node: Node | None, problems: Problems) -> dict[str, Section]:
    """Read `credential_list` by name, values checked like `litellm_params`."""
    found: dict[str, Section] = {}
    if node is None or node.value is None:
        return found
    if not isinstance(node.value, list):
        problems.error(node.file, node.line, ("credential_list",), f"expected a list, got {describe_type(node)}")
        return found
    for i, item in enumerate(node.value):
        path: KeyPath = ("credential_list", i)
        entry = check(keys.credential, item, path, problems)
        warn_unknown(keys.credential, entry, path, problems)
        if not isinstance(item.value, dict):
            continue
        name = entry.get("credential_name")
        if not name:
            problems.error(item.file, item.line, (*path, "credential_name"), "is missing; deployments refer to it")
            continue
        if name in found:
            problems.error(item.file, item.line, (*path, "credential_name"), f"{shown(name)} is given twice; keep one")
            continue
        values = item.value.get("credential_values")
        where = (*path, "credential_values")
        usable = _mapping(values)
        section = check(keys.params, usable, where, problems)
        _tidy_key(section, usable, where, problems)
        _check_base(section, usable, where, problems)
        warn_unknown_params(keys.params, section, where, problems)
        found[name] = section
    return found


def read_default_params(node: Node | None, problems: Problems) -> Section:
    """Read `default_litellm_params` of `router_settings`, which stand under the parameters of every deployment."""
    block = node.value.get("default_litellm_params") if node is not None and isinstance(node.value, dict) else None
    path = ("router_settings", "default_litellm_params")
    if block is None or not isinstance(block.value, dict):
        return Section()  # what is wrong with it is said where the section is read
    section = check(keys.params, block, path, problems)
    warn_unknown_params(keys.params, section, path, problems)
    return section


def _by_key(entry: Node, original: Node) -> list[tuple[Node, Node]]:
    """Return an entry once for each key where `api_key` is a list of them: deployments that differ in nothing else, of
    which one rests when its key is refused or used up."""
    keys_, written = _keys_of(entry), _keys_of(original)
    if keys_ is None or written is None or len(keys_) != len(written):
        return [(entry, original)]
    return [(_with_key(entry, key), _with_key(original, old)) for key, old in zip(keys_, written, strict=True)]


def _keys_of(entry: Node) -> list[Node] | None:
    params = entry.value.get("litellm_params") if isinstance(entry.value, dict) else None
    key = params.value.get("api_key") if params is not None and isinstance(params.value, dict) else None
    return key.value if key is not None and isinstance(key.value, list) and key.value else None


def _with_key(entry: Node, key: Node) -> Node:
    params = entry.value["litellm_params"]
    block = Node({**params.value, "api_key": key}, params.file, params.line)
    return Node({**entry.value, "litellm_params": block}, entry.file, entry.line)


def _is_empty(node: Node) -> bool:
    """Tell whether a value counts as absent."""
    return node.value is None or (isinstance(node.value, str) and not node.value.strip())


def _mapping(node: Node | None) -> Node | None:
    return node if node is not None and isinstance(node.value, dict) else None


def _check_base(params: Section, node: Node | None, path: KeyPath, problems: Problems) -> None:
    # A name and a password in an address are no credential that is sent: every request would be a 401.
    for key in ("api_base", "base_url"):
        if node is not None and "@" in urlsplit(params.get(key, "")).netloc:
            child = node.value[key]
            message = "holds a user name or password, which is not sent; give api_key, or extra_headers"
            problems.warn(child.file, child.line, (*path, key), message)


def _tidy_key(params: Section, node: Node | None, path: KeyPath, problems: Problems) -> None:
    # The key becomes a header. An upstream answers 401 to an empty one and 400 to a line break, far from the cause.
    key = params.get("api_key")
    if node is None or not isinstance(key, Secret):
        return
    child, where = node.value["api_key"], (*path, "api_key")
    text = key.reveal().strip()
    params.values["api_key"] = Secret(text)
    if not text:
        del params.values["api_key"]
        problems.warn(child.file, child.line, where, "is empty; counts as absent")
    elif any(ord(char) < 32 or ord(char) == 127 for char in text):
        problems.error(child.file, child.line, where, "holds a line break or control character, no key may")
    elif text != key.reveal():
        problems.warn(child.file, child.line, where, "has spaces around it; they are left out")
