"""How many examples a law gets: ``PENSTOCK_LAWS=20000`` for the long run, 400 in CI, 100 on a developer's machine."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

_COUNT = int(os.environ.get("PENSTOCK_LAWS") or (400 if os.environ.get("CI") else 100))

settings.register_profile(
    "laws",
    max_examples=_COUNT,
    deadline=None,  # the machine is shared: a slow example is no fault
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    print_blob=True,
)
settings.load_profile("laws")
