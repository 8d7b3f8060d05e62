"""The pages of virtual keys, in a real browser."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.e2e.serving import MASTER_KEY, Served
from tests.ui.browser import Browser
from tests.ui.filled import Filled, api, fill

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def filled(gateway: Served) -> Filled:
    """What is in the gateway of this file."""
    return fill(gateway, gateway.log.parent)


def test_keys_look_good(filled: Filled, admin: Browser) -> None:
    admin.shots("keys", "/ui/keys")
    admin.shots("key", f"/ui/keys/{filled.ids['search-backend']}")
    admin.shots("key-new", "/ui/keys/new")
