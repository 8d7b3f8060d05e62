"""What the classes of modules are, as text: the compiled form must say the same as the pure one.

    python shapes.py MODULE ...

Imports the modules, and all others of penstock that can be imported here. Prints JSON: ``shapes``: class -> how it is
made; ``heirs``: name of a class -> one that builds on it and is of another module; ``made``: the same of classes that
a metaclass makes. Runs by its path, in the tree that is judged.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import json
import os
import pkgutil
import sys
from collections.abc import Iterator
from typing import Any

from msgspec import NODEFAULT, Struct


def shape_of(cls: type) -> list[Any]:
    """Return how a class is made: fields, defaults and words of one that is made of fields."""
    shape: list[Any] = []
    if issubclass(cls, Struct):
        config = cls.__struct_config__
        words = {name: repr(getattr(config, name)) for name in dir(config) if name[0] != "_"}
        # Fields by name: what a decoder will make of the annotations, which are text still.
        annotations = {}
        for each in reversed(cls.__mro__):
            annotations |= {name: plain(str(text)) for name, text in each.__dict__.get("__annotations__", {}).items()}
        defaults = [None if d is NODEFAULT else repr(d).split(" at 0x")[0] for d in cls.__struct_defaults__]
        shape += [words, cls.__struct_fields__, cls.__struct_encode_fields__, annotations, defaults, cls.__match_args__]
    elif issubclass(cls, tuple) and hasattr(cls, "_fields"):
        shape += [cls._fields, {name: repr(value) for name, value in cls._field_defaults.items()}]
    return shape


def plain(text: str) -> str:
    """Return an annotation as the sources have it: a union with bars."""
    if not text.startswith("_Union["):
        return text
    inside = ast.parse(text, mode="eval").body.slice
    return " | ".join(map(ast.unparse, inside.elts))


def shapes_of(names: list[str]) -> dict[str, Any]:
    """Return the shapes of all classes that these modules define."""
    found = {}
    for name in names:
        module = importlib.import_module(name)
        for key, value in sorted(vars(module).items()):
            if isinstance(value, type) and value.__module__ == name:
                found[f"{name}.{key}"] = shape_of(value)
    return found


def heirs_of(names: list[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return which classes of these modules have heirs elsewhere; those that a metaclass makes (structs) apart."""
    for found in pkgutil.walk_packages([os.path.join(os.getcwd(), "penstock")], "penstock."):
        if not found.name.endswith("__main__") and ".migrations" not in found.name:
            with contextlib.suppress(ImportError):  # an extra that is not installed
                importlib.import_module(found.name)
    heirs, made = dict[str, str](), dict[str, str]()
    for name in names:
        for value in vars(sys.modules[name]).values():
            if isinstance(value, type) and value.__module__ == name and not getattr(value, "_is_protocol", False):
                below = [heir for heir in _below(value) if heir.__module__ not in names]
                others = [f"{heir.__module__}.{heir.__qualname__}" for heir in below]
                (heirs if type(value) is type else made).update({value.__name__: others[0]} if others else {})
    return heirs, made


def _below(cls: type) -> Iterator[type]:
    for heir in type.__subclasses__(cls):
        yield heir
        yield from _below(heir)


if __name__ == "__main__":
    shapes, (heirs, made) = shapes_of(sys.argv[1:]), heirs_of(sys.argv[1:])
    told = {"shapes": shapes, "heirs": heirs, "made": made}
    print(json.dumps(told, indent=1, sort_keys=True, default=str))
