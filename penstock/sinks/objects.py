"""Buckets: one object of JSON for each request, below the day it began, named as LiteLLM names them.

The bucket itself is lent by whoever makes the sink (``Settings.bucket``): who signs for it and how is no affair of
sinks. What is written twice, because nobody knew whether it was there, has the same name, and is there once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec

from penstock.sinks.base import Refused, Unavailable, Unset

if TYPE_CHECKING:
    from penstock.sinks.base import Bucket, Payload, Settings

_AT_ONCE = 8  # objects that are written beside each other
_LONG = 15.0  # seconds after which a write goes on as another one: each may take only so long
_PASSES = frozenset((408, 429))


class _Objects:
    """Writes to one bucket."""

    name = ""
    param = ""  # what names the bucket
    variable = ""

    def __init__(self, settings: Settings) -> None:
        params = self.params(settings)
        if not params.get(self.param):
            where = f"litellm_settings.{self.section}, or callback_settings.{self.name}"
            raise Unset(f"needs {self.param} in {where}" + (f", or {self.variable}" if self.variable else ""))
        if settings.bucket is None:
            raise Unset("is a sink of the gateway, and not of the SDK")
        self._bucket: Bucket = settings.bucket(self.kind, params)
        self._prefix = str(params.get(self.path) or "").strip("/")
        self._by_team = params.get("s3_use_team_prefix") is True

    kind = ""
    section = ""
    path = ""

    def params(self, settings: Settings) -> dict[str, Any]:
        """Return what says which bucket it is."""
        found = {**settings.shared, **settings.options}
        if self.variable and not found.get(self.param):
            found[self.param] = settings.variables.get(self.variable)
        return found

    async def write(self, batch: Sequence[Payload]) -> int:
        """Write an object each."""
        began, refused = time.monotonic(), 0
        for at in range(0, len(batch), _AT_ONCE):
            if time.monotonic() - began > _LONG:
                raise Unavailable(f"{self.name}: the bucket takes {at / _LONG:.0f} requests a second", 0.1, at)
            found = await asyncio.gather(*(self._put(one) for one in batch[at : at + _AT_ONCE]), return_exceptions=True)
            for error in found:
                if isinstance(error, Unavailable):
                    error.written = at
                    raise error
            bad = [error for error in found if isinstance(error, BaseException)]
            if bad and not isinstance(bad[0], Refused):
                raise bad[0]
            if bad and refused == 0 and len(bad) == len(found):  # it takes none: it says why
                raise Refused(str(bad[0]), at, None)
            refused += len(bad)
        return refused

    async def close(self) -> None:
        """Do nothing: connections are the pool's."""

    async def _put(self, payload: Payload) -> None:
        data = msgspec.json.encode(payload, enc_hook=str)
        try:
            await self._bucket.put(self.key(payload), data)
        except OSError as error:
            status = error.errno or 0  # of an answer; 0: there was none
            if 300 <= status < 500 and status not in _PASSES:
                raise Refused(str(error.strerror or error)) from None
            raise Unavailable(str(error.strerror or error)) from None

    def key(self, payload: Payload) -> str:
        """Name the object of a request."""
        began = datetime.fromtimestamp(payload["startTime"], UTC)
        team = str((payload.get("metadata") or {}).get("user_api_key_team_alias") or "") if self._by_team else ""
        parts = (self._prefix, quote(team, safe=""), f"{began:%Y-%m-%d}", self.object_name(payload, began))
        return "/".join(part for part in parts if part)

    def object_name(self, payload: Payload, began: datetime) -> str:
        """Name the object below its day."""
        raise NotImplementedError


class S3(_Objects):
    """Writes to Amazon S3, and to what speaks like it."""

    name, kind, section, param, path = "s3_v2", "s3", "s3_callback_params", "s3_bucket_name", "s3_path"

    def object_name(self, payload: Payload, began: datetime) -> str:
        """Name it by its time and its id."""
        return f"time-{began:%H-%M-%S-%f}_{quote(str(payload['litellm_call_id']), safe='')}.json"


class Gcs(_Objects):
    """Writes to Google Cloud Storage."""

    name, kind, section, param, path = "gcs_bucket", "gcs", "gcs_callback_params", "gcs_bucket_name", "gcs_path"
    variable = "GCS_BUCKET_NAME"

    def params(self, settings: Settings) -> dict[str, Any]:
        """Return what says which bucket it is. LiteLLM's variable may have a path behind the name."""
        found = super().params(settings)
        name, _, path = str(found.get(self.param) or "").partition("/")
        return {**found, self.param: name, self.path: found.get(self.path) or path}

    def object_name(self, payload: Payload, began: datetime) -> str:
        """Name it by its id; a failure says so."""
        failed = payload["status"] == "failure"
        return ("failure-" if failed else "") + quote(str(payload["litellm_call_id"]), safe="")


def shared_params(name: str, litellm: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what ``litellm_settings`` says of a sink of buckets."""
    found = litellm.get(_SECTIONS.get(name, ""))
    return found if isinstance(found, Mapping) else {}


_SECTIONS = {"s3": S3.section, "s3_v2": S3.section, "gcs_bucket": Gcs.section}
