"""Where WebSockets of providers are."""

from __future__ import annotations

import pytest

from penstock.core.providers import PROVIDERS
from penstock.core.providers.urls import endpoint

AZURE = "https://r.openai.azure.com"


@pytest.mark.parametrize(
    ("name", "base", "version", "expected"),
    [
        ("openai", None, "", "https://api.openai.com/v1/realtime"),
        ("openai", "http://127.0.0.1:9/v1", "", "http://127.0.0.1:9/v1/realtime"),
        ("openai", "http://127.0.0.1:9", "", "http://127.0.0.1:9/v1/realtime"),
        ("xai", None, "", "https://api.x.ai/v1/realtime"),
        ("azure", AZURE, "", AZURE + "/openai/v1/realtime"),
        ("azure", AZURE, "2025-04-01-preview", AZURE + "/openai/realtime?api-version=2025-04-01-preview&deployment=d"),
        ("azure", AZURE + "/openai/v1", "2025-04-01-preview", AZURE + "/openai/v1/realtime"),
    ],
)
def test_realtime(name, base, version, expected):
    assert endpoint(PROVIDERS[name], base, {}, "realtime", model="d", api_version=version) == expected


def test_who_has_sockets():
    having = {name for name, row in PROVIDERS.items() if row.sockets}
    assert having == {"openai", "azure", "xai"}
    assert all(PROVIDERS[name].sockets == {"realtime", "openai_responses"} for name in having)
