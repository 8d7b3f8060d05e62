"""Faults that gateways have shipped, planted one by one: a law that misses one is no law. ``python -m tests.mutants``."""
