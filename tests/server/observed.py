"""A gateway and a stand-in of a service that it tells of requests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from penstock.server.callbacks import Callbacks
from tests.served import ServedDoor, open_service
from tests.sinks.made import SERVICES, environment
from tests.sinks.vendors import Vendor, open_vendor

UPSTREAM = "sk-upstream-secret-4711"
YAML = f"""
model_list:
  - {{model_name: m, litellm_params: {{model: openai/gpt-4o-mini, api_base: "{{mock}}/v1", api_key: {UPSTREAM}}}}}
  - {{model_name: claude, litellm_params: {{model: anthropic/claude-3-5-haiku-20241022, api_base: "{{mock}}", api_key: {UPSTREAM}}}}}
  - {{model_name: v, litellm_params: {{model: openai/text-embedding-3-small, api_base: "{{mock}}/v1", api_key: {UPSTREAM}}}}}
router_settings: {{num_retries: 0}}
"""
SAYS = {"model": "m", "messages": [{"role": "user", "content": "what is up"}]}


class Served:
    """A gateway and a service that it tells."""

    def __init__(self, door: ServedDoor, vendor: Vendor) -> None:
        self.door, self.vendor = door, vendor
        self.callbacks: Callbacks = door.service.callbacks

    async def ask(self, body: Mapping[str, Any] | None = None, path: str = "/v1/chat/completions", **headers: str) -> int:
        body = {**(SAYS if "input" not in (body or {}) else {}), **(body or {})}
        status, _, _ = await self.door.post(body, path, **headers)
        return status

    async def told(self) -> None:
        """Wait until all is sent that was noted."""
        await self.door.settle()
        await self.callbacks.observer.finish()
        for shipper in [*self.callbacks._made.values()] + [one.shipper for one in self.callbacks._own.values() if one]:
            assert await shipper.flush(10)

    async def payloads(self) -> list[dict[str, Any]]:
        await self.told()
        return [payload for asked in self.vendor.asked for payload in asked.json]


@asynccontextmanager
async def serve(
    tmp_path,
    settings: str = "callbacks: [webhook]",
    name: str = "webhook",
    more: str = "",
    yaml: str | None = None,
    variables: Mapping[str, str] | None = None,
    **options: Any,
) -> AsyncIterator[Served]:
    """``variables``: of the environment, beside those of the service."""
    async with open_vendor(SERVICES[name][0]()) as vendor:
        text = f"{yaml or YAML}\nlitellm_settings: {{{settings}}}\n{more}"
        env = environment(name, vendor) | dict(variables or {})
        async with open_service(tmp_path, text, env, **options) as door:
            yield Served(door, vendor)
