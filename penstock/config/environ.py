"""Environment variables in a config: `os.environ/NAME`, `${NAME}`, the section `environment_variables`, and `.env`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from penstock.config.problems import KeyPath, Problems
from penstock.config.tree import Node

_PREFIX = "os.environ/"
_BRACES = r"\$(\$?)\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^{}]*))?\}"

_STEERING = (
    "PATH HOME SHELL USER LOGNAME IFS ENV BASH_ENV TMPDIR TMP TEMP CDPATH PYTHONPATH PYTHONHOME PYTHONSTARTUP "
    "PYTHONINSPECT PYTHONUSERBASE PYTHONEXECUTABLE PYTHONWARNINGS PYTHONBREAKPOINT PERL5LIB RUBYLIB NODE_OPTIONS "
    "NODE_PATH GCONV_PATH LOCPATH HOSTALIASES RESOLV_HOST_CONF MALLOC_CHECK_ SYSTEMROOT COMSPEC PATHEXT"
)
REFUSED = frozenset(_STEERING.split())
"""Names that steer the process itself: a config may not set them (LiteLLM refuses the like)."""
_REFUSED_PREFIXES = ("LD_", "DYLD_", "GLIBC_", "_RLD")


def load_dotenv(directory: Path, env: Mapping[str, str]) -> dict[str, str]:
    """Return `env` with the variables of `directory/.env` under it: a name set in both keeps the value of `env`.

    Syntax as in python-dotenv (quotes, `export`, `${NAME}`), unset values are left out. Neither `os.environ` nor
    `env` is changed. Raises OSError when the file exists but cannot be read.
    """
    path = directory / ".env"
    if not path.is_file():
        return dict(env)
    import io

    from dotenv import dotenv_values
    from dotenv.variables import parse_variables

    text = path.read_text(encoding="utf-8-sig", errors="surrogateescape")
    found: dict[str, str] = {}
    for name, value in dotenv_values(stream=io.StringIO(text), interpolate=False).items():
        if value is not None:
            # dotenv's own interpolation reads os.environ; a caller's env would be ignored.
            known: dict[str, str | None] = {**found, **env}
            found[name] = "".join(atom.resolve(known) for atom in parse_variables(value))
    return {**found, **env}


def apply_section(section: Node | None, env: Mapping[str, str], problems: Problems) -> dict[str, str]:
    """Return `env` with the section `environment_variables` over it. Values may use variables set above them.

    LiteLLM applies the section after `model_list` was resolved, so that `os.environ/K` sees nothing; here it comes
    first.
    """
    result = dict(env)
    if section is None or section.value is None:
        return result
    base: KeyPath = ("environment_variables",)
    if not isinstance(section.value, dict):
        problems.error(section.file, section.line, base, "expected a mapping of names to values")
        return result
    for name, node in section.value.items():
        path = (*base, name)
        if not _is_name(name):
            message = "is not a variable name; use letters, digits and _"
        elif name.upper() in REFUSED or name.upper().startswith(_REFUSED_PREFIXES):
            message = "a config may not set this variable, it steers the process itself; set it where Penstock starts"
        elif isinstance(node.value, dict | list):
            message = "expected text, got a mapping or list"
        else:
            value = resolve(node, path, result, problems)
            if value.value is not None:
                result[name] = value.text if isinstance(value.value, str) else str(value.value)
            continue
        problems.error(node.file, node.line, path, message)
    return result


def resolve(node: Node, path: KeyPath, env: Mapping[str, str], problems: Problems) -> Node:
    """Replace every variable by its value, at any depth of the tree, in lists too. Untouched parts are shared with
    `node`.

    `os.environ/NAME` stands for a whole string; `${NAME}` and `${NAME:-default}` also work inside one, `$${NAME}` is
    the
    literal text. An unset variable makes the value null and is a warning: a missing cloud key never blocks the start.
    """
    value = node.value
    if isinstance(value, str):
        return _resolve_text(node, path, env, problems) if "${" in value or value.startswith(_PREFIX) else node
    changed: dict[str, Node] | list[Node]
    if isinstance(value, dict):
        changed = {key: resolve(child, (*path, key), env, problems) for key, child in value.items()}
        same = all(changed[key] is child for key, child in value.items())
    elif isinstance(value, list):
        changed = [resolve(child, (*path, i), env, problems) for i, child in enumerate(value)]
        same = all(new is old for new, old in zip(changed, value, strict=True))
    else:
        return node
    return node if same else Node(changed, node.file, node.line)


def variables_in(text: str) -> list[str]:
    """List the variables that ``resolve`` would look up for a text."""
    if text.startswith(_PREFIX):
        return [text[len(_PREFIX) :].strip()]
    return [match[2] for match in re.finditer(_BRACES, text) if not match[1]] if "${" in text else []


def _resolve_text(node: Node, path: KeyPath, env: Mapping[str, str], problems: Problems) -> Node:
    missing: list[str] = []
    text = node.text
    if text.startswith(_PREFIX):
        name = text[len(_PREFIX) :].strip()
        result = env.get(name)
        if result is None:
            missing.append(name)
    else:

        def put(match: re.Match[str]) -> str:
            if match[1]:
                return match[0][1:]
            value = env.get(match[2])
            if match[3] is not None:
                return value or match[3]
            if value is None:
                missing.append(match[2])
            return value or ""

        result = re.sub(_BRACES, put, text)
        if result == text:
            return node
    for name in missing:
        problems.warn(node.file, node.line, path, _unset(name))
    final = None if missing else result
    return Node(final, node.file, node.line, final or "", written=text)


def _is_name(name: str) -> bool:
    return name.isascii() and name.isidentifier()


def _unset(name: str) -> str:
    if not _is_name(name):
        return "os.environ/ names no variable; write os.environ/NAME. The value counts as absent"
    if name.upper() != name:  # as keys are, and hardly any variable
        return "the environment variable that is named here is not set; the value counts as absent"
    return f"the environment variable {name} is not set; the value counts as absent"
