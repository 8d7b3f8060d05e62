"""A whole service in the test's own event loop, behind its quick door: sources, reloads and the stored models, too."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from penstock.mock import Mock
from penstock.server.doors.asgi import AsgiDoor
from penstock.server.doors.quick import QuickProtocol
from penstock.server.options import ServeOptions
from penstock.server.service import Service
from penstock.server.sources.base import gather
from penstock.server.sources.registered import sources_of
from penstock.server.storage import open_storage, with_settings
from tests.door import Door, Kept

MASTER = "sk-served-master-2f60c1d9"


class ServedDoor(Door):
    """A door of a service. ``lines``: what it logged; ``path``: of its config file."""

    service: Service
    path: Path
    lines: list[str]

    async def call(self, path: str, body: Any = None, method: str = "", key: str = MASTER) -> tuple[int, Any]:
        """One request with the master key: status, and what its JSON says."""
        data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"content-type": "application/json", "content-length": str(len(data))}
        headers |= {"authorization": f"Bearer {key}"} if key else {}
        method = method or ("GET" if body is None else "POST")
        status, _, answer = await self.ask(method, path, data, headers)
        return status, json.loads(answer)


@asynccontextmanager
async def open_service(
    tmp_path: Path, yaml: str, env: Mapping[str, str] | None = None, **options: Any
) -> AsyncIterator[ServedDoor]:
    """``yaml`` may hold ``{mock}`` for the mock's address. With ``state_dir``, and with a database in the config, there is
    a database; else there is none, also where a master key would bring one."""
    loggers = [logging.getLogger(name) for name in ("", "penstock", "uvicorn")]
    before = [(logger.level, logger.handlers[:]) for logger in loggers]  # a service takes them for itself
    async with Mock() as mock:
        path = tmp_path / "config.yaml"
        path.write_text(yaml.replace("{mock}", mock.url))
        environ = dict(env or {})
        sources = sources_of(path, lambda: dict(environ))
        config, problems = await gather(sources)
        assert config is not None, [str(problem) for problem in problems]
        told = ServeOptions(config=path, **options)
        asked = told.state_dir is not None or config.general.database_url is not None
        storage = open_storage(config, told) if asked else None
        if storage is not None:
            config, _ = await with_settings(config, sources, storage)
        service = Service(told, config, sources, storage)
        watching = asyncio.create_task(storage.watch()) if storage is not None else None
        gateway, kept = service.gateway, Kept()
        service.records.sinks.append(kept)
        server = uvicorn.Config(
            AsgiDoor(gateway), http=QuickProtocol, ws="none", lifespan="off", log_config=None, proxy_headers=False
        )
        server.load()
        state = ServerState()
        door = ServedDoor(gateway, service.pool, mock, kept, state)
        door.service, door.path, door.lines = service, path, []
        service.log.line = door.lines.append  # type: ignore[method-assign]
        listener = await asyncio.get_running_loop().create_server(
            lambda: QuickProtocol(config=server, server_state=state, app_state={}), "127.0.0.1", 0
        )
        door.port = listener.sockets[0].getsockname()[1]
        try:
            yield door
        finally:
            listener.close()
            for connection in list(state.connections):
                connection.transport.abort()
            if storage is not None and watching is not None:
                watching.cancel()
                await gateway.engine.means.store.close()
                await storage.close()
            await service.callbacks.close()
            await service.pool.close()
            await asyncio.sleep(0)
            for logger, (level, handlers) in zip(loggers, before, strict=True):
                logger.setLevel(level)
                logger.handlers[:] = handlers
