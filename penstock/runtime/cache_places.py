"""How the places in which answers are kept are opened: in memory, on disk, in Redis."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from penstock.stores.answers_disk import DiskAnswers
from penstock.stores.answers_memory import MemoryAnswers

if TYPE_CHECKING:
    from penstock.config.cache import CacheSettings
    from penstock.runtime.means import Means
    from penstock.stores.base import Answers


def open_memory(settings: CacheSettings, env: Mapping[str, str], means: Means) -> Answers:
    """Keep answers in this process."""
    return MemoryAnswers(settings.max_bytes, means.clock, settings.max_entries)


def open_disk(settings: CacheSettings, env: Mapping[str, str], means: Means) -> Answers:
    """Keep answers in a folder."""
    return DiskAnswers(settings.folder, settings.max_bytes)
