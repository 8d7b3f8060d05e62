"""`Client` and `AsyncClient`: the gateway's engine in your own program, or a gateway elsewhere.

A call goes the way of a request at the gateway, without HTTP to oneself. `_Calls` is the one way in; what may be asked
for stands in `operations`.
"""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from penstock.core.providers.local import GATEWAY
from penstock.sdk.arguments import sort_arguments
from penstock.sdk.background import background
from penstock.sdk.calling import Calling
from penstock.sdk.operations import OPERATIONS, Operation
from penstock.sdk.states import States

if TYPE_CHECKING:
    from penstock.core.record import Record
    from penstock.runtime.state import State
    from penstock.sdk.driver import Driver

AT_ONCE = 100  # calls of a batch that are under way together


class _Calls:
    """What both clients have in common."""

    def __init__(
        self,
        config: str | os.PathLike[str] | Mapping[str, Any] | None = None,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        success_callback: Sequence[Any] = (),
        failure_callback: Sequence[Any] = (),
        callbacks: Sequence[Any] = (),
        hears: Callable[[Record], object] | None = None,
    ) -> None:
        if config is not None and base_url is not None:
            raise ValueError("give a config, or the base_url of a gateway that has one, not both")
        if api_key is not None and base_url is None:
            raise ValueError("api_key is the key of the gateway at base_url; those of providers go to the calls")
        if base_url is not None:
            params = {"model": f"{GATEWAY}/*", "api_base": base_url, "api_key": api_key}
            entry = {name: value for name, value in params.items() if value is not None}
            # What a gateway has tried again is not tried again here.
            config = {
                "model_list": [{"model_name": "*", "litellm_params": entry}],
                "router_settings": {"num_retries": 0},
            }
        heard = {"success_callback": success_callback, "failure_callback": failure_callback, "callbacks": callbacks}
        self._calling = Calling(States(config), base_url is not None, heard, hears)

    def state_of(self, arguments: Mapping[str, Any]) -> State:
        """Return the state in which a call with these arguments would be answered."""
        return self._calling.states.of(sort_arguments(arguments))

    if TYPE_CHECKING:  # the methods are made of the rows of ``operations``, below

        def __getattr__(self, name: str) -> Callable[..., Any]: ...

    def _run(self, operation: Operation, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        prepared = self._calling.prepare(operation, operation.bind(args, options), False)
        there = background()
        return there.call(self._calling.send(prepared, there.driver))

    async def _arun(self, operation: Operation, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        prepared = self._calling.prepare(operation, operation.bind(args, options), True)
        there = background()
        return await there.acall(self._calling.send(prepared, there.driver))

    def _run_batch(self, model: str, messages: Sequence[Any], options: dict[str, Any]) -> list[Any]:
        there = background()
        return there.call(self._together(self._prepared(model, messages, options), there.driver))

    async def _arun_batch(self, model: str, messages: Sequence[Any], options: dict[str, Any]) -> list[Any]:
        there = background()
        return await there.acall(self._together(self._prepared(model, messages, options), there.driver))

    def _prepared(self, model: str, messages: Sequence[Any], options: dict[str, Any]) -> tuple[int, list[Any]]:
        operation = OPERATIONS["completion"]
        most = int(options.pop("max_workers", None) or AT_ONCE)
        several = [operation.bind((model, one), options) for one in messages]
        return most, [self._calling.prepare(operation, one, False) for one in several]

    async def _together(self, given: tuple[int, list[Any]], driver: Driver) -> list[Any]:
        """Send several calls; in the place of an answer that did not come stands what it ended in."""
        most, prepared = given
        room = asyncio.Semaphore(most)

        async def send(one: Any) -> Any:
            async with room:
                return await self._calling.send(one, driver)

        return await asyncio.gather(*(send(one) for one in prepared), return_exceptions=True)


def _signed(function: Callable[..., Any], operation: Operation, name: str, doc: str) -> Callable[..., Any]:
    """Give a method the name, the words and the signature of its operation."""
    function.__name__ = name
    function.__qualname__ = name
    function.__doc__ = doc
    first = [inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    named = [inspect.Parameter(one, kind, default=None) for one in operation.named]
    more = [inspect.Parameter("options", inspect.Parameter.VAR_KEYWORD)]
    function.__signature__ = inspect.Signature([*first, *named, *more])  # type: ignore[attr-defined]
    return function


def _sync(operation: Operation, name: str) -> Callable[..., Any]:
    def method(self: _Calls, *args: Any, **options: Any) -> Any:
        return self._run(operation, args, options)

    return _signed(method, operation, name, f"Ask for {operation.name}, and wait for the answer.")


def _async(operation: Operation, name: str) -> Callable[..., Any]:
    async def method(self: _Calls, *args: Any, **options: Any) -> Any:
        return await self._arun(operation, args, options)

    return _signed(method, operation, name, f"Ask for {operation.name}, without blocking the loop.")


class Client(_Calls):
    """Calls that wait for their answers; those whose names begin with "a" are awaited.

    ``config``: a path of a config.yaml, or what one would hold as a dict; None, or settings without a `model_list`: any
    `provider/model`, with keys from the environment or from the calls. ``base_url`` and ``api_key``: a gateway
    elsewhere, in the place of all that. ``hears``: a function that is told the record of each call, on the SDK's loop.
    """

    kinds: ClassVar[tuple[str, ...]] = tuple(OPERATIONS)

    def batch_completion(self, model: str, messages: Sequence[Any], **options: Any) -> list[Any]:
        """Ask one model several chats at once. In the place of an answer that did not come stands its exception."""
        return self._run_batch(model, messages, options)

    async def abatch_completion(self, model: str, messages: Sequence[Any], **options: Any) -> list[Any]:
        """Ask one model several chats at once, awaited."""
        return await self._arun_batch(model, messages, options)


class AsyncClient(_Calls):
    """Calls that are awaited. Arguments as for `Client`."""

    async def batch_completion(self, model: str, messages: Sequence[Any], **options: Any) -> list[Any]:
        """Ask one model several chats at once. In the place of an answer that did not come stands its exception."""
        return await self._arun_batch(model, messages, options)

    abatch_completion = batch_completion


for _operation in OPERATIONS.values():
    setattr(Client, _operation.name, _sync(_operation, _operation.name))
    for _class, _name in (
        (Client, f"a{_operation.name}"),
        (AsyncClient, _operation.name),
        (AsyncClient, f"a{_operation.name}"),
    ):
        setattr(_class, _name, _async(_operation, _name))
