"""Pages for people below ``/ui``: opened unless they are switched off."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from penstock.admin.ui.rows import refused
from penstock.admin.ui.sessions import Sessions
from penstock.runtime.recent import Recent

if TYPE_CHECKING:
    from penstock.config import Config
    from penstock.runtime.records import Records
    from penstock.server.gateway import Gateway

NO_PAGES = "DISABLE_ADMIN_UI"


def open_pages(gateway: Gateway, config: Config, secret: bytes, records: Records | None) -> None:
    """Show pages to people, unless LiteLLM's ``DISABLE_ADMIN_UI`` switches them off. ``secret``: signs their sessions;
    b"": one is made, for this process. ``records``: whose last ones are kept for the pages; None where a database
    keeps them."""
    if config.environment.get(NO_PAGES, "").strip().lower() in ("true", "1", "yes"):
        return
    gateway.gate.sessions = Sessions(secret or os.urandom(32))
    gateway.pages = refused
    if records is not None:
        gateway.recent = Recent()
        records.sinks.append(gateway.recent)
