"""The folder in which a gateway keeps what is to outlive it, and the secret with which keys are digested."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from penstock.server.options import Refused

VARIABLE = "PENSTOCK_STATE_DIR"
SECRET_VARIABLES = ("PENSTOCK_SECRET_KEY", "LITELLM_SALT_KEY")
DATABASE, SECRET, SNAPSHOT = "penstock.db", "secret", "snapshot"


def state_folder(given: Path | None, env: Mapping[str, str]) -> Path:
    """Return the state directory: as somebody says, else where the system has such things."""
    if given is not None or env.get(VARIABLE):
        return (given or Path(env[VARIABLE])).expanduser().absolute()
    home = env.get("XDG_STATE_HOME") or os.path.join(env.get("HOME") or Path.home(), ".local", "state")
    return Path(home) / "penstock"


def make_folder(folder: Path) -> None:
    """Make the state directory, for its owner alone. Raises ``OSError``, also where nothing can be written into it."""
    folder.mkdir(0o700, parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(13, "nothing can be written there")


def read_secret(env: Mapping[str, str], folder: Path) -> bytes:
    """Return the secret with which keys are digested: from the environment, else from a file of mode 600, which is made
    where there is none. Raises ``Refused``."""
    for name in SECRET_VARIABLES:
        if env.get(name):
            return env[name].encode()
    path = folder / SECRET
    try:
        make_folder(folder)
        if not path.exists():
            _make_secret(path)
        found = path.read_bytes().strip()
    except OSError as error:
        text = f"the secret of the keys is neither in {SECRET_VARIABLES[0]} nor in {path}: {error.strerror or error}"
        raise Refused(text) from None
    if len(found) < 16:
        raise Refused(f"{path} holds no secret: at least 16 characters are wanted")
    return found


def _make_secret(path: Path) -> None:
    """Make the file whole before it has its name: another process may start at the same time."""
    new = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w") as file:
        file.write(secrets.token_hex(32) + "\n")
    try:
        os.link(new, path)
    except FileExistsError:
        pass  # the other one was faster
    finally:
        new.unlink()
