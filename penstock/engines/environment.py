"""What an engine inherits of the gateway's environment: everything but its secrets.

An engine, and whatever it loads (code that comes with a model, plugins), runs as a process of its own: keys of vendors,
the master key and the way into the database are none of its business. `environment:` of an engine gives it more.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from penstock.config.known import secrets_in
from penstock.config.secret import is_secret_name
from penstock.core.mask import Mask

# The gateway's own, whatever stands in them.
_OURS = re.compile(r"(?:PENSTOCK|LITELLM|REDIS|JWT)_.*|(?:.*_)?DATABASE_URL|DIRECT_URL", re.IGNORECASE)
# Models are fetched with these, also from behind a proxy that wants a password.
_NEEDED = frozenset(
    "HF_TOKEN HUGGING_FACE_HUB_TOKEN HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY "
    # without these nothing runs, so no short password of somebody's takes them away
    "PATH HOME USER LOGNAME SHELL PWD LANG TMPDIR TMP TEMP TZ LD_LIBRARY_PATH LD_PRELOAD PYTHONPATH VIRTUAL_ENV "
    "SYSTEMROOT WINDIR COMSPEC PATHEXT USERPROFILE APPDATA LOCALAPPDATA".split()
)


SHORTEST = 4
"""Characters of a secret that is looked for by its value: "1" is also what switches something on."""


def inherited(environ: Mapping[str, str], secrets: Collection[str] = ()) -> dict[str, str]:
    """Return what an engine is given of an environment. ``secrets``: those of the config, which are left out under
    whatever name."""
    known, short = Mask(secrets), {text for text in secrets if len(text) >= SHORTEST}

    def passes(name: str, value: str) -> bool:
        if name.upper() in _NEEDED:
            return True
        if is_secret_name(name) or _OURS.fullmatch(name) or secrets_in({name: value}):
            return False
        return value not in short and known.text(value) == value

    return {name: value for name, value in environ.items() if passes(name, value)}
