"""``custom_key_generate``, ``custom_key_update``, ``custom_key_policy``: functions of the operator's own say which
virtual keys there may be, in LiteLLM's form: ``async def f(data) -> {"decision": bool, "message": str}``."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from penstock.core.errors import GatewayError
from penstock.runtime.custom_code import StandIns, load_named

log = logging.getLogger("penstock")
KEYS = ("custom_key_generate", "custom_key_update", "custom_key_policy")
PATIENCE = 30.0  # seconds that a function may take
REFUSED = "Authentication Failed - Custom Auth Rule"  # LiteLLM's word for a refusal without one
_HIDDEN = frozenset(("digests", "rotated"))
Rule = Callable[[Any], Any]


class KeyData:
    """What such a function is given: the fields of a call or of a key, as attributes and by ``json()``. LiteLLM's
    classes have more of them; what nobody said is None."""

    def __init__(self, **fields: Any) -> None:
        self.__dict__.update({name: value for name, value in fields.items() if name not in _HIDDEN})

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return None

    @property
    def model_fields_set(self) -> set[str]:
        """Return the names of what was said."""
        return set(self.__dict__)

    def json(self, **how: Any) -> dict[str, Any]:
        """Return the fields as a mapping, as LiteLLM's ``json()`` does."""
        return dict(self.__dict__)

    dict = model_dump = json


class CustomRule:
    """One such function. ``name``: of it, as the config says; ``key``: which of the three it is."""

    def __init__(self, key: str, name: str, rule: Rule) -> None:
        self.key, self.name, self._rule = key, name, rule

    async def check(self, data: KeyData) -> None:
        """Ask whether a key may be as it is to be. Raises "forbidden" where it may not, where the function fails, and
        where it says nothing: a rule that is broken lets nothing pass."""
        try:
            async with asyncio.timeout(PATIENCE):
                told = self._rule(data)
                if inspect.isawaitable(told):
                    told = await told
        except TimeoutError:
            raise GatewayError("forbidden", f"{self.name} did not answer in time.") from None
        except asyncio.CancelledError:
            raise
        except GatewayError:
            raise
        except Exception as error:  # boundary: the function is the operator's, and whatever it raises is a refusal
            raise self._refusal(error) from None
        if isinstance(told, Mapping):
            decision, message = told.get("decision", True), told.get("message")
        else:
            decision, message = told is True, None
        if not decision:
            raise GatewayError("forbidden", str(message)[:500] if message else REFUSED)

    def _refusal(self, error: Exception) -> GatewayError:
        said = getattr(error, "message", None) or getattr(error, "detail", None) or error
        code = getattr(error, "status_code", None) or getattr(error, "code", None)
        status = int(code) if isinstance(code, int | str) and str(code).isdigit() and 400 <= int(code) < 600 else 403
        log.info("%s: %s refused a key (%s)", self.key, self.name, type(error).__name__)
        return GatewayError("forbidden", str(said)[:500] or REFUSED, status=status)


class KeyHooks(Struct, frozen=True):
    """The three functions, None for those that the config does not name. ``generate`` and ``update`` are asked with
    what a call says, ``policy`` with the key that it would make."""

    generate: CustomRule | None = None
    update: CustomRule | None = None
    policy: CustomRule | None = None

    async def check_new(self, given: Mapping[str, Any], body: Mapping[str, Any]) -> None:
        """Ask whether a key may be made. Raises "forbidden"."""
        if self.generate is not None:
            await self.generate.check(KeyData(**given))
        await self._check_policy("generate", None, body, given)

    async def check_change(self, given: Mapping[str, Any], before: Mapping[str, Any], body: Mapping[str, Any]) -> None:
        """Ask whether a key may be changed. Raises "forbidden"."""
        if self.update is not None:
            await self.update.check(KeyData(**given))
        await self._check_policy("update", before, body, given)

    async def check_secret(self, given: Mapping[str, Any], before: Mapping[str, Any], body: Mapping[str, Any]) -> None:
        """Ask whether a key may have a new secret. Raises "forbidden"."""
        await self._check_policy("regenerate", before, body, given)

    async def _check_policy(
        self, what: str, before: Mapping[str, Any] | None, body: Mapping[str, Any], given: Mapping[str, Any]
    ) -> None:
        if self.policy is not None:
            existing = None if before is None else KeyData(**before)
            request = KeyData(**given)
            asked = KeyData(operation=what, existing_key=existing, effective_key=KeyData(**body), request=request)
            await self.policy.check(asked)


NO_HOOKS = KeyHooks()


def open_hooks(names: Mapping[str, str], folder: Path) -> KeyHooks:
    """Load the functions, by the keys that name them: out of modules beside the config file, else those that are
    installed. One that cannot be loaded lets no key be made or changed, and the log says why."""
    found = {key.rpartition("_")[2]: _open(key, name, folder) for key, name in names.items()}
    return KeyHooks(**found)


def _open(key: str, name: str, folder: Path) -> CustomRule:
    try:
        rule: Rule = load_named(name, folder, _TYPES)
        if not callable(rule):
            raise ValueError(f"{name} is no function")
    except Exception as error:  # boundary: the module is the operator's; it may raise anything while it is read
        log.error("general_settings.%s: %s cannot be used, so no key passes: %s", key, name[:200], error)
        return CustomRule(key, name, _closed)
    return CustomRule(key, name, rule)


async def _closed(data: object) -> None:
    raise GatewayError("forbidden", "Keys cannot be checked here; the gateway's log says why.", status=503)


_NAMES = "GenerateKeyRequest UpdateKeyRequest RegenerateKeyRequest LiteLLM_VerificationToken CustomKeyPolicyRequest"
_TYPES: StandIns = {
    "litellm.proxy._types": dict.fromkeys(_NAMES.split(), KeyData),
    "litellm.types.proxy.management_endpoints.key_management_endpoints": {"CustomKeyPolicyRequest": KeyData},
}
"""What such a module imports from LiteLLM, to name the types of what it is given."""
