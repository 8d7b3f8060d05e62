"""Deployments that are added, changed and deleted while the gateway runs."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec

from penstock.admin import modelinfo
from penstock.config import keys
from penstock.config.deployments import place_of
from penstock.config.secret import is_secret_name
from penstock.config.sent import read_sent
from penstock.core.errors import GatewayError
from penstock.core.providers.resolve import resolve
from penstock.runtime.ids import new_id
from penstock.runtime.review import examine
from penstock.runtime.state import build
from penstock.stores.base import Outdated, StoredModel

if TYPE_CHECKING:
    from penstock.runtime.state import State
    from penstock.runtime.targets import Target
    from penstock.stores.base import ModelStore, StoredModels

log = logging.getLogger("penstock")
Credentials = Mapping[str, Mapping[str, object]]
BLOCKS = ("litellm_params", "model_info")
_TRIES = 5  # times that a change is made again because somebody else's came between
_LOST = "It is kept in memory: it is gone when the gateway is restarted. What is to stay belongs into the config file."


class Managed(Protocol):
    """What management URLs ask of the gateway. ``registry``: None where its deployments are as they are."""

    @property
    def registry(self) -> Registry | None: ...


class Change(NamedTuple):
    """What came of a change. ``lasts``: whether it outlives the gateway. ``warnings``: what does not keep it from being
    served, and its author should know."""

    model: StoredModel
    target: Target
    lasts: bool
    warnings: tuple[str, ...]


class Registry:
    """The deployments in a store, checked before they get there. ``state`` returns what is served; ``serve`` puts into
    effect what the store has now. ``clock``: seconds since 1970."""

    def __init__(
        self,
        store: ModelStore,
        state: Callable[[], State],
        serve: Callable[[], Awaitable[None]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._state = state
        self._serve = serve
        self._clock = clock
        self._one = asyncio.Lock()  # what is checked against the state must be served before the next is checked
        self._serving: set[asyncio.Future[None]] = set()

    async def add(self, entry: Mapping[str, Any], author: str) -> Change:
        """Add a deployment. Raises "bad_request" for an entry that cannot be served."""
        info = entry.get("model_info")
        given = info.get("id") if isinstance(info, Mapping) else None
        entry = {key: value for key, value in entry.items() if value is not None}
        if not given and (info is None or isinstance(info, Mapping)):
            # As LiteLLM does it. A digest of the entry, as the file's have, would be one of its key as well.
            given = new_id()
            entry["model_info"] = {**(info or {}), "id": given}
        async with self._one:
            params = entry.get("litellm_params")
            named = isinstance(params, Mapping) and params.get("litellm_credential_name")
            target, warnings = self._check(entry, None, (await self._stored()).credentials if named else {})
            now = self._clock()
            model = StoredModel(target.id, msgspec.json.encode(entry), 1, now, author, now, author)
            try:
                await self._put(model)
            except Outdated:
                text = f"model_info.id: the id {target.id!r} was taken just now; ids are unique"
                raise GatewayError("bad_request", text, param="model_info.id") from None
            return await self._changed("added", model, target, warnings)

    async def draft(self, entry: Mapping[str, Any]) -> tuple[Target, tuple[str, ...]]:
        """Build the target of an entry that is not stored, to try it out. Raises "bad_request" as ``add`` does."""
        params = entry.get("litellm_params")
        named = isinstance(params, Mapping) and params.get("litellm_credential_name")
        given = {**entry, "model_info": {**(entry.get("model_info") or {}), "id": new_id()}}
        return self._check(given, None, (await self._stored()).credentials if named else {})

    async def update(self, id: str, patch: Mapping[str, Any], author: str, clears: bool = True) -> Change:
        """Change a deployment: what ``patch`` gives takes the place of what is there, key by key within the blocks.
        ``clears``: a null takes a key away; else it leaves it. Raises "bad_request" and "upstream_not_found"."""
        async with self._one:
            for _ in range(_TRIES):
                known, credentials = await self._find(id)
                entry = merged(msgspec.json.decode(known.entry), self._without_echo(id, patch), clears)
                target, warnings = self._check(entry, id, credentials)
                model = msgspec.structs.replace(
                    known,
                    entry=msgspec.json.encode(entry),
                    version=known.version + 1,
                    updated_at=self._clock(),
                    updated_by=author,
                )
                try:
                    await self._put(model)
                except Outdated:
                    continue
                return await self._changed("changed", model, target, warnings)
        raise GatewayError("overloaded", f"The model {id!r} is being changed by others; try again.", retry_after=1)

    async def delete(self, id: str, author: str) -> None:
        """Delete a deployment. Raises "bad_request" for one that is in the config file, "upstream_not_found" for one
        that is not there."""
        async with self._one:
            await self._find(id)
            try:
                await self._store.delete(id, author)
            except OSError as error:
                raise _unreachable(error) from None
            log.warning("the model %r was deleted by %s", id, author)
            await self.put_into_effect()

    async def _stored(self) -> StoredModels:
        try:
            return await self._store.read_all()
        except OSError as error:
            raise _unreachable(error) from None

    async def _find(self, id: str) -> tuple[StoredModel, Credentials]:
        """Find a stored model, and the credentials that it may mean. Says where one stands that is not stored."""
        stored = await self._stored()
        for model in stored.models:
            if model.id == id:
                return model, stored.credentials
        built = self._state().built.get(id)
        if built is None:
            raise GatewayError("upstream_not_found", f"Model {id[:120]} not found: GET /model/info lists the ids.")
        deployment = built.deployment
        if deployment.file:
            text = f"stands in {place_of(deployment)}: change it there, and reload (SIGHUP)"
        else:
            text = "was found by the gateway itself, by a key of the environment or a local engine, and is in no store"
        raise GatewayError("bad_request", f"The model {id[:120]!r} {text}.", param="id")

    def _check(
        self, entry: Mapping[str, Any], id: str | None, credentials: Credentials
    ) -> tuple[Target, tuple[str, ...]]:
        """Build the target of an entry as the file's are, and collect what does not hold. ``id``: of the model that it
        takes the place of. Raises "bad_request" that names the first key."""
        state = self._state()
        taken = {one.id: one for one in state.config.deployments if one.id != id}
        sent = read_sent(entry, state.config, resolve, taken, credentials)
        deployment = sent.deployment
        if deployment is None:
            texts = "; ".join(problem.text().partition(": ")[2] for problem in sent.errors)
            raise GatewayError("bad_request", texts, param=sent.errors[0].path or None)
        built = build(deployment, state.settings, state.env)
        target = built.target
        if target is None:
            raise GatewayError("bad_request", " ".join(built.problems), param="litellm_params")
        told = [problem.text().partition(": ")[2] for problem in sent.problems]
        return target, (*told, *examine(target))

    def _without_echo(self, id: str, patch: Mapping[str, Any]) -> Mapping[str, Any]:
        """Leave out of a patch what its author was shown and sends back as it was: prices and abilities of the price
        list would become the deployment's own, and an address its shown form."""
        built = self._state().built.get(id)
        if built is None or built.target is None:
            return patch
        shown = msgspec.json.decode(msgspec.json.encode(modelinfo.row_of(built.target), enc_hook=str))
        left = dict(patch)
        for block in BLOCKS:
            given = patch.get(block)
            if isinstance(given, Mapping):
                was = shown[block]
                left[block] = {
                    key: value for key, value in given.items() if value is None or key not in was or was[key] != value
                }
        return left

    async def _put(self, model: StoredModel) -> None:
        try:
            await self._store.put(model)
        except OSError as error:
            raise _unreachable(error) from None

    async def put_into_effect(self) -> None:
        """Serve what is stored now, also when the client does not wait for it."""
        serving = asyncio.ensure_future(self._serve())
        self._serving.add(serving)
        serving.add_done_callback(self._serving.discard)
        await asyncio.shield(serving)

    async def _changed(self, verb: str, model: StoredModel, target: Target, warnings: tuple[str, ...]) -> Change:
        await self.put_into_effect()
        log.warning("the model %r was %s by %s (%s)", target.deployment.model_name, verb, model.updated_by, model.id)
        lasts = self._store.lasts
        return Change(model, target, lasts, warnings if lasts else (*warnings, _LOST))


def merged(entry: Mapping[str, Any], patch: Mapping[str, Any], clears: bool) -> dict[str, Any]:
    """Lay a patch over an entry. A null takes a key away where it ``clears``; never a credential, which clients are not
    shown and send as null."""
    result = dict(entry)
    for key, value in patch.items():
        if key in BLOCKS and isinstance(value, Mapping) and isinstance(result.get(key, {}), Mapping):
            result[key] = _laid(result.get(key, {}), value, clears)
        elif value is not None:
            result[key] = value
    return result


def _laid(block: Mapping[str, Any], patch: Mapping[str, Any], clears: bool) -> dict[str, Any]:
    result = dict(block)
    for key, value in patch.items():
        if value is not None:
            result[key] = value
        elif clears and not _is_secret(key):
            result.pop(key, None)
    return result


def _is_secret(key: str) -> bool:
    row = keys.params.get(key)
    return is_secret_name(key) if row is None else row.spec in ("secret", "headers")


def _unreachable(error: OSError) -> GatewayError:
    return GatewayError("overloaded", f"The store of models cannot be used: {error.strerror or error}.", retry_after=1)
