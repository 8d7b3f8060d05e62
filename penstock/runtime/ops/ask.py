"""Asking a target for one operation: a request, its whole answer; or several of them at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from penstock.core.dialects import DIALECTS
from penstock.core.envelope import seal
from penstock.core.providers.apply import apply_defaults
from penstock.runtime.call import GATEWAY_FIELDS
from penstock.runtime.http import TransportError, in_task

if TYPE_CHECKING:
    from msgspec import Raw

    from penstock.core.errors import GatewayError
    from penstock.runtime.call import Call
    from penstock.runtime.http import Pool, Response
    from penstock.runtime.http.options import Timeouts
    from penstock.runtime.targets import Target

MAX_ANSWER = 256 * 1024 * 1024  # bytes: images in base64, vectors of a long list
MAX_ERROR = 1024 * 1024
AT_ONCE = 8  # requests that one client's request may have on their way
T = TypeVar("T")


def own_fields(call: Call, target: Target) -> dict[str, Raw]:
    """The client's fields without those for the gateway, with the deployment's defaults."""
    fields = {key: value for key, value in call.fields.items() if key not in GATEWAY_FIELDS}
    if target.defaults or target.drop:
        apply_defaults(fields, target.defaults, target.drop)
    return fields


def sealed(fields: dict[str, Raw], target: Target) -> bytes:
    """The body for the wire, under the upstream's name of the model."""
    fields["model"] = target.model_raw
    if target.seal is not None:
        target.seal(fields)
    return seal(fields)


async def send(
    pool: Pool,
    call: Call,
    target: Target,
    what: str,
    body: bytes | AsyncIterable[bytes],
    *,
    dialect: str = "openai_chat",
    extra: bytes = b"",
    timeouts: Timeouts | None = None,
) -> Response:
    """One POST to the target's ``what``; the answer is good and its body unread: the caller closes it. A refusal is
    raised as ``dialect`` reads it."""
    endpoint = target.endpoint(what)
    lines = b"x-request-id: %b\r\n%b" % (call.request_id, extra)
    if endpoint.fallback_headers and not extra:
        lines += b"".join(b"%b: %b\r\n" % pair for pair in endpoint.fallback_headers)
    if endpoint.signer is not None:
        await in_task()  # whatever it uses to fetch a token may want one
        lines += await endpoint.signer.lines(endpoint, "POST", body if isinstance(body, bytes) else b"")
    answer = await pool.send(endpoint.origin, endpoint.head, body, timeouts or target.timeouts, lines, target.tls)
    if 200 <= answer.status < 300:
        return answer
    try:
        raise await _refusal(answer, dialect)
    finally:
        answer.close()


async def _refusal(answer: Response, dialect: str) -> GatewayError:
    try:
        body = await answer.read(MAX_ERROR)
    except TransportError:
        body = b""
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in answer.headers}
    return DIALECTS[dialect].parse_error(answer.status, headers, body)


async def ask(
    pool: Pool, call: Call, target: Target, what: str, body: bytes, *, dialect: str = "openai_chat"
) -> bytes:
    """The whole answer to one POST."""
    answer = await send(pool, call, target, what, body, dialect=dialect)
    try:
        return await answer.read(MAX_ANSWER)
    finally:
        answer.close()


async def together(call: Call, jobs: Sequence[Callable[[], Awaitable[T]]]) -> list[T]:
    """The results of all jobs in order, ``AT_ONCE`` of them at a time; the first that fails ends the others. Counts
    the time as the upstream's."""
    sent = call.sent_at = call.clock()
    try:
        if len(jobs) == 1:
            return [await jobs[0]()]
        await in_task()
        gate = asyncio.Semaphore(AT_ONCE)

        async def run(job: Callable[[], Awaitable[T]]) -> T:
            async with gate:
                return await job()

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(run(job)) for job in jobs]
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return [task.result() for task in tasks]
    finally:
        call.upstream += call.clock() - sent
