"""LiteLLM's module, by Penstock: calls, classes, helpers, and settings that are assigned to it.

What is not here is an AttributeError that says so; so is a setting that would change nothing.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from litellm import _settings as settings  # the package that this file is

from penstock import sdk

_OF_THE_SDK = frozenset(sdk.__all__) - settings.HEARD - {settings.QUIET}


class _Module(ModuleType):
    """The module. An assignment is a setting, and is acted on or refused."""

    def __getattr__(self, name: str) -> Any:
        if name in settings.FUNCTIONS:
            found: Any = settings.function(name)
        elif name in _OF_THE_SDK:
            found = getattr(sdk, name)
        elif name in settings.LAZY:
            found = settings.LAZY[name]()
        else:
            return settings.read(name)  # may change
        self.__dict__[name] = found
        return found

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("__") or isinstance(value, ModuleType):  # of Python's own, such as submodules
            self.__dict__[name] = value
        else:
            settings.write(name, value)

    def __delattr__(self, name: str) -> None:
        if name in self.__dict__:
            del self.__dict__[name]
        else:
            settings.write(name, None)

    def __dir__(self) -> list[str]:
        return sorted({*self.__dict__, *settings.FUNCTIONS, *_OF_THE_SDK, *settings.LAZY, *settings.NAMES})


sys.modules[__name__].__class__ = _Module
