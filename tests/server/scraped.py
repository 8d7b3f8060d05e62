"""A scrape, read by the client library of Prometheus: by name and labels."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_open
from prometheus_client.parser import text_string_to_metric_families as read_plain

from tests.door import Door

OPEN = "application/openmetrics-text; version=1.0.0; q=0.9, text/plain; q=0.5"


class Scraped:
    """All samples of a scrape."""

    def __init__(self, text: str, is_open: bool = False) -> None:
        self.text = text
        families = list((read_open if is_open else read_plain)(text))
        self.types = {family.name: family.type for family in families}
        self.samples = [(one.name, one.labels, one.value) for family in families for one in family.samples]
        seen = [(name, tuple(sorted(labels.items()))) for name, labels, _ in self.samples]
        assert len(seen) == len(set(seen)), "a sample is there twice"

    def sum(self, name: str, **labels: str) -> float:
        """The sum of all samples of a name that have these labels."""
        return sum(value for found, has, value in self.samples if found == name and labels.items() <= has.items())

    def of(self, name: str) -> list[Mapping[str, str]]:
        """The labels of all samples of a name."""
        return [labels for found, labels, _ in self.samples if found == name]


async def scrape(door: Door, accept: str = "", **headers: str) -> Scraped:
    if accept:
        headers["accept"] = accept
    status, answered, body = await door.ask("GET", "/metrics", headers=headers)
    assert status == 200, body
    is_open = answered["content-type"].startswith("application/openmetrics-text")
    assert is_open == bool(accept)
    return Scraped(body.decode(), is_open)
