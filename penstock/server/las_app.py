"""The service of the SDK over HTTP, as an ASGI application: all that the gateway serves, for any server.

What a request under `/api/v1/litellm` leaves out is what the service's config says, and its calls go through the very
engine, cache and sums of the service: who asks over HTTP what a program has asked is given the same answer. The work is
done on the SDK's loop, whatever loop the server has, so a message crosses from one to the other.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from msgspec import Raw

from penstock.config import load_values
from penstock.core.envelope import open_body, seal
from penstock.core.errors import GatewayError
from penstock.core.providers.resolve import resolve
from penstock.runtime.engine import Engine
from penstock.runtime.identity import Identity, is_loopback
from penstock.runtime.record_text import as_text
from penstock.runtime.records import LogSink, Records
from penstock.runtime.state import State
from penstock.sdk.background import Background, background
from penstock.sdk.exceptions import SdkError
from penstock.sdk.service import LiteLLMService, get_litellm_service
from penstock.sdk.states import environment
from penstock.server.doors.asgi import AsgiDoor, Receive, Scope, Send
from penstock.server.effect import InEffect, decide_who_may_call
from penstock.server.gateway import Gateway
from penstock.server.options import ServeOptions
from penstock.server.site import Site

if TYPE_CHECKING:
    from penstock.core.record import Record
    from penstock.core.route.plan import Plan
    from penstock.runtime.call import Call
    from penstock.runtime.targets import Target
    from penstock.sdk.client import Client

T = TypeVar("T")
Message = MutableMapping[str, Any]
PREFIX = "/api/v1/litellm"
SWEEP = 1.0  # seconds
_CHATS = (f"{PREFIX}/chat/completions", f"{PREFIX}/vision")
_SAID = ("model", "provider", "temperature", "max_tokens", "max_completion_tokens")


class _Waiting:
    """Waits for the record of a request that came over HTTP."""

    def __init__(self, service: LiteLLMService) -> None:
        self.record: Record | None = None
        self.hears: Callable[[Record], object] | None = service.hear


class ServiceEngine(Engine):
    """Answers requests as a service does: with its defaults, and by the engine that answers the service's own calls."""

    def __init__(self, service: LiteLLMService, there: Background) -> None:
        super().__init__(there.driver.pool, Records([]), lives=there.driver.engine.means.lives)
        self._service = service
        self._there = there

    async def handle(self, call: Call, state: State, plan: Plan[Target] | None = None) -> None:
        try:
            state = self._prepare(call) or state
        except (GatewayError, SdkError, msgspec.DecodeError, TypeError, ValueError):
            pass  # what is wrong with it is told by whoever reads it next
        await self._there.driver.handle(call, state, _Waiting(self._service))

    def _prepare(self, call: Call) -> State | None:
        """Write what the service's config says into a request's body where it says nothing. Return the state of its
        model; None where it names none."""
        surface, exchange, service = call.surface, call.exchange, self._service
        path = exchange.path
        if surface is None or not isinstance(exchange.body, bytes) or not (surface.json or path in _CHATS):
            return None
        fields = open_body(exchange.body)
        said = {name: msgspec.json.decode(fields[name]) for name in _SAID if name in fields}
        if isinstance(said.get("provider"), dict):  # OpenRouter's field of that name
            del said["provider"]
        if path.startswith(PREFIX):
            filled = service.fill_chat(said) if path in _CHATS else service.fill_model(said)
            for name in said.keys() - filled.keys():
                del fields[name]
            exchange.body = seal(fields | {name: Raw(msgspec.json.encode(value)) for name, value in filled.items()})
            said = filled
        model = said.get("model")
        others = msgspec.json.decode(fields["fallbacks"]) if "fallbacks" in fields else ()
        return service.state_of(model, others) if isinstance(model, str) and model else None


class ServiceApp:
    """The ASGI application. Made of the service when the first request comes, and again when its config has
    changed."""

    def __init__(self) -> None:
        self._made: tuple[Background, Client] | None = None
        self._door: AsgiDoor | None = None
        self._sweeping: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _live(receive, send)
            return
        own, there = asyncio.get_running_loop(), background()

        async def receive_there() -> Message:
            return await _across(receive(), own)

        async def send_there(message: Message) -> None:
            await _across(send(message), own)

        await there.acall(self._serve(there, _with_caller(scope), receive_there, send_there))

    async def _serve(self, there: Background, scope: Scope, receive: Receive, send: Send) -> None:
        service = get_litellm_service()
        if self._door is None or self._made is None or self._made[0] is not there:
            self._door = AsgiDoor(_gateway_of(service, there))
            self._sweeping = asyncio.get_running_loop().create_task(_sweep(self._door.gateway))
        elif self._made[1] is not service.client:
            self._door.gateway.state = _state_of(service)
        self._made = there, service.client
        await self._door(scope, receive, send)


async def _across(work: Awaitable[T], loop: asyncio.AbstractEventLoop) -> T:
    """Wait for something that another loop does."""
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_waited(work), loop))


def _waited(work: Awaitable[T]) -> Coroutine[Any, Any, T]:
    async def wait() -> T:
        return await work

    return wait()


async def _live(receive: Receive, send: Send) -> None:
    """Answer the server's questions about start and stop."""
    while True:
        message = await receive()
        kind = message["type"].rpartition(".")[2]
        await send({"type": f"lifespan.{kind}.complete"})
        if kind == "shutdown":
            return


async def _sweep(gateway: Gateway) -> None:
    """Give streams that say nothing a sign of life."""
    while True:
        await asyncio.sleep(SWEEP)
        gateway.tick()


def _state_of(service: LiteLLMService) -> State:
    """Make the state of lists, and of requests for which the service has none: its default model, and any other."""
    default = service.name_model()
    entries = [
        {"model_name": default, "litellm_params": {"model": default, **service.address_of(default)}},
        {"model_name": "*", "litellm_params": {"model": "*"}},
    ]
    loaded = load_values({"model_list": entries}, environment(), resolve=resolve)
    assert loaded.config is not None  # of our own making
    return State(loaded.config, loaded.config.environment)


def _gateway_of(service: LiteLLMService, there: Background) -> Gateway:
    state = _state_of(service)
    nobody = Identity(None, guard_loopback=True, local_only=True)
    gateway = Gateway(ServiceEngine(service, there), state, nobody, Site(root=state.env.get("SERVER_ROOT_PATH", "")))
    no_auth = os.environ.get("PENSTOCK_NO_AUTH", "").strip().lower() in ("true", "1", "yes", "on")
    # The server's address is the server's secret: as for one that others can reach.
    options = ServeOptions(host="0.0.0.0", no_auth=no_auth)
    decide_who_may_call(InEffect(options, gateway, LogSink(as_text)), state.config)
    return gateway


def _with_caller(scope: Scope) -> Scope:
    """Name this machine as the caller and as the host of a request that comes from within the process (test clients,
    `httpx.ASGITransport`): no socket has taken it, so the server has a name, and no address of somebody else's is in
    it."""
    server, client = scope.get("server"), scope.get("client")
    if not server or "/" in server[0] or _is_address(server[0]):  # a path: a Unix socket
        return scope
    if client and _is_address(client[0]) and not is_loopback(client[0]):
        return scope  # a bridge (of a cloud's functions) that names the host asked for
    headers = [(name, value) for name, value in scope["headers"] if name != b"host"]
    return {**scope, "client": ("127.0.0.1", 0), "headers": [*headers, (b"host", b"localhost")]}


def _is_address(host: str) -> bool:
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


app = ServiceApp()
