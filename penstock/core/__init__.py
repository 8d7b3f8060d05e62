"""All that is pure: wire formats and the neutral form between them, providers, routing, prices, errors.

What belongs here: functions of their arguments alone. No I/O, no clock, no randomness, no environment, no logging; what
is imported is msgspec, this package, and what has no effects of the standard library.
"""
