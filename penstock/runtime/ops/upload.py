"""A form that is passed on while it arrives. What the gateway must know of it (the model) is read first; a file is
never held in memory.

Three ways, decided once per upload:

- at most ``HELD`` bytes: it becomes a body like any other, and everything is as for other requests;
- the model stands before the file (of an image, also the prompt): the form is passed on as it comes. Its first ``HELD``
  bytes are kept, so a try that failed within them can be repeated; after that there is no second try;
- the file stands before the model: nobody knows yet where it is to go, so it is put on disk first. It can be sent
  again as often as needed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING

from penstock.core.ops import forms
from penstock.core.ops.formstream import HEAD_KEPT, Form, Rewriter
from penstock.runtime.ops.spool import Spool

if TYPE_CHECKING:
    from msgspec import Raw

    from penstock.runtime.http.source import Source

HELD = 1024 * 1024  # bytes
_PORTION = 256 * 1024  # bytes read from disk, or written to it, at once
Late = Callable[[dict[str, "Raw"]], None]


class Upload:
    """One request's form on its way. ``length``: of the body, None when the client sends it chunked.

    ``spent``: bytes were passed on that are not held any more. ``whole``: the body, once it turned out to be small.
    The owner calls ``close`` when the request is over, however it ended."""

    def __init__(self, source: Source, length: int | None) -> None:
        self.source = source
        self.length = length
        self.spent = False
        self.whole: bytes | None = None
        self._kept: list[bytes] = []
        self._kept_size = 0
        self._spool: Spool | None = None
        self._form: Form | None = None
        self._boundary = b""

    def __len__(self) -> int:
        """Count the bytes that have come so far: what a record says of it."""
        return self.source.received

    @property
    def streams(self) -> bool:
        """Tell whether the body is not in memory: then send ``body``."""
        return self.whole is None

    async def open(self, boundary: bytes, needed: frozenset[str]) -> dict[str, Raw] | None:
        """Read the form as far as it must be known (fields ``needed``), and decide whether it is passed on, spooled or
        held. Return the plain fields so far; None for a small form, which is in ``whole``. Raises "bad_request", and
        whatever ended the client's sending."""
        self._boundary = boundary
        form = self._form = Form(boundary)
        while data := await self.source.take():
            form.feed(data)
            known = form.file_open and needed <= form.names
            if known and self._spool is None and (self.length or self._kept_size + len(data)) > HELD:
                self._keep(data)
                return form.fields()
            await self._hold(data)
        form.reader.close()
        if self._spool is None:
            self.whole = b"".join(self._kept)
            self._kept = []
            return None
        await self._flush()
        return form.fields()

    def body(self, changes: Mapping[str, bytes], adds: Mapping[str, bytes], leave: frozenset[str], late: Late) -> Body:
        """Make the form for an upstream, see ``Rewriter``. ``late`` gets all plain fields when the last of them is
        known."""
        if self._spool is not None:
            assert self._form is not None
            plan = forms.plan(self._boundary, self._form.reader.parts, {**changes, **adds}, leave)
            return SpooledBody(self._spool, plan)
        return StreamedBody(self, Rewriter(self._boundary, changes, adds, leave), late)

    def file(self) -> tuple[bytes, int] | None:
        """Return the first bytes of the file that was sent and its length in bytes, None without one."""
        form = self._form
        return (form.file_head[:HEAD_KEPT], form.file_size) if form is not None and form.file_size else None

    def close(self) -> None:
        self.source.close()
        self._kept = []
        if self._spool is not None:
            self._spool.close()

    # -- own

    def _keep(self, data: bytes) -> None:
        self._kept.append(data)
        self._kept_size += len(data)

    async def _hold(self, data: bytes) -> None:
        """Keep data in memory up to ``HELD``, then all of it on disk."""
        self._keep(data)
        if self._spool is None and self._kept_size > HELD:
            self._spool = Spool()
        if self._spool is not None and self._kept_size >= _PORTION:
            await self._flush()

    async def _flush(self) -> None:
        assert self._spool is not None
        data, self._kept, self._kept_size = b"".join(self._kept), [], 0
        await self._spool.write(data)

    async def more(self) -> AsyncIterator[bytes]:
        """Yield what comes behind the bytes that are kept."""
        while data := await self.source.take():
            if not self.spent and self._kept_size + len(data) > HELD:
                self.spent = True
                self._kept = []
            if not self.spent:
                self._keep(data)
            yield data

    def kept(self) -> list[bytes]:
        """Return the client's bytes from the first on, as long as they are few."""
        return self._kept

    def passed(self, form: Form) -> None:
        """Note that ``form`` is what the client sent, to its end."""
        self._form = form


class StreamedBody:
    """A form for ``Pool.send``, as it comes."""

    def __init__(self, upload: Upload, rewriter: Rewriter, late: Late) -> None:
        self._upload = upload
        self._rewriter = rewriter
        self._late = late
        self._begun = [rewriter.feed(data) for data in upload.kept()]
        self.size = None if upload.length is None else rewriter.size(upload.length)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        upload, rewriter = self._upload, self._rewriter
        for piece in self._begun:
            yield piece
        self._begun = []
        async for data in upload.more():
            yield rewriter.feed(data)
        end = rewriter.finish(self.size)
        upload.passed(rewriter.form)
        self._late(rewriter.form.fields())
        yield end


class SpooledBody:
    """A form for ``Pool.send``, from disk."""

    def __init__(self, spool: Spool, plan: list[bytes | tuple[int, int]]) -> None:
        self._spool = spool
        self._plan = plan
        self.size = sum(one[1] - one[0] if isinstance(one, tuple) else len(one) for one in plan)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for one in self._plan:
            if not isinstance(one, tuple):
                yield one
                continue
            for at in range(one[0], one[1], _PORTION):
                yield await self._spool.read(at, min(_PORTION, one[1] - at))


Body = StreamedBody | SpooledBody
