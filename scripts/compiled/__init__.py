"""Wheels whose hot modules are compiled by mypyc.

What belongs here: what makes sources ready for the compiler, the build, the judge of what it made, hatchling's hook.
Which modules are compiled stands in `pyproject.toml`.
"""
