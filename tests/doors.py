"""Every door under the same test: ``each_door`` parametrizes a test with the way to open one."""

from __future__ import annotations

from functools import partial

import pytest

from tests.door import open_door
from tests.server.test_asgi import PARSERS, under_uvicorn

DOORS = {"quick": open_door, **{f"asgi-{parser}": partial(under_uvicorn, parser=parser) for parser in PARSERS}}
each_door = pytest.mark.parametrize("opened", DOORS.values(), ids=DOORS)
