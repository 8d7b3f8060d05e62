"""Finds `litellm` in this package, unless LiteLLM itself is there: then nobody finds it, and says why.

Loaded at the start of every Python that has it: so this imports nothing.
"""

import sys

_FOLDER = __path__[0] + "/litellm"


class _Finder:
    """Finds one name. `importlib` asks it before it looks into folders."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        """Return where `litellm` is. Raises ImportError where there is another one."""
        if name != "litellm":
            return None
        from importlib.machinery import PathFinder
        from importlib.util import spec_from_file_location

        other = PathFinder.find_spec(name)
        # A folder without an __init__.py is nobody's package; ours is found here when its parent is on the path.
        if other is not None and other.origin and not other.origin.startswith(_FOLDER):
            raise ImportError(
                f"penstock-litellm-shim does not stand in for the litellm that is at {other.origin}: uninstall one of "
                "the two (pip uninstall penstock-litellm-shim, or pip uninstall litellm)",
                name=name,
            )
        return spec_from_file_location(name, _FOLDER + "/__init__.py", submodule_search_locations=[_FOLDER])


sys.meta_path.insert(0, _Finder)
