"""R8: everything on. A virtual key in a team, budgets, RPM and TPM, the ledger on SQLite, one log line a request."""

from __future__ import annotations

import asyncio
from pathlib import Path

from bench.arms import Context, Penstock

STATE = "state"  # the state directory, beside the config
KEY = "sk-of-the-benchmark-0123456789"
TEAM = "team-of-the-benchmark"
_MANY = 1_000_000_000
# Limits that nobody meets, and all of them counted.
_LIMITS = {"max_budget": 1_000_000.0, "budget_duration": "30d", "rpm_limit": _MANY, "tpm_limit": _MANY}


def store_key(config: Path) -> None:
    """Write a team and its key into the database beside a config, which starts as a gateway would start it."""
    from penstock.server.options import ServeOptions
    from penstock.server.sources.base import gather
    from penstock.server.sources.registered import sources_of
    from penstock.server.storage import open_storage

    async def store() -> None:
        options = ServeOptions(config=config, state_dir=config.parent / STATE)
        found, _ = await gather(sources_of(config, lambda: {}))
        assert found is not None
        storage = await asyncio.to_thread(open_storage, found, options)
        assert storage is not None
        id_ = storage.keyring.digest(KEY.encode())
        await storage.desk.add("team", TEAM, {"team_id": TEAM, **_LIMITS}, "bench")
        body = {"token": id_, "digests": [{"digest": id_}], "team_id": TEAM, **_LIMITS}
        await storage.desk.add("key", id_, body, "bench")
        await storage.close()

    asyncio.run(store())


class Everything(Penstock):
    """Penstock with a database of its own, asked with a virtual key."""

    name = "everything"

    def command(self, context: Context, port: int) -> list[str]:
        config = context.folder / f"{self.name}.yaml"
        command = super().command(context, port)
        text = (context.folder / "penstock.yaml").read_text()
        config.write_text(f"{text}general_settings: {{master_key: {context.key}}}\n")
        store_key(config)
        command[command.index("--config") + 1] = str(config)
        return [*command, "--state-dir", str(context.folder / STATE)]

    def headers(self, context: Context) -> dict[str, str]:
        return {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}
