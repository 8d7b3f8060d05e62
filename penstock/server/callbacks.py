"""``success_callback``, ``failure_callback`` and ``callbacks``: what the config says of sinks -> their queues, and the
sinks that teams and keys have of their own.

A name that is none of ``SINKS`` is the path of an object of Python, which is loaded: so a config file may name one, and
nobody over HTTP (``config.over``).
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from penstock.config.sent import ALL
from penstock.core.admit.caller import BOTH, Caller, Logging
from penstock.core.errors import GatewayError
from penstock.runtime.custom_code import load_named
from penstock.runtime.observing import Destination, Manner, Observer
from penstock.runtime.posting import poster
from penstock.runtime.traced import Tracing
from penstock.sdk import answers
from penstock.server.alerting import Alerts
from penstock.sinks import ADDRESSES, OWN, SINKS
from penstock.sinks.base import Settings, Unset, Variables
from penstock.sinks.custom import sink_of
from penstock.sinks.objects import shared_params
from penstock.sinks.otel import Otel
from penstock.sinks.shipping import Bounds, Room, Shipper
from penstock.sinks.telling import CustomLogger
from penstock.stores.models_directory import open_values
from penstock.stores.sealing import BadSeal

if TYPE_CHECKING:
    from penstock.config import Config
    from penstock.runtime.means import Means
    from penstock.server.gateway import Gateway
    from penstock.sinks.base import Bucket, Sink

log = logging.getLogger("penstock")
LISTS = {"success_callback": (True, False), "failure_callback": (False, True), "callbacks": (True, True)}
KEYS = (
    *LISTS,
    *("turn_off_message_logging", "redact_user_api_key_info", "global_disable_no_log_param"),
    *("standard_logging_payload_excluded_fields", "allow_dynamic_callback_disabling", "langfuse_default_tags"),
    *("generic_logger_headers", "default_team_settings", "forward_traceparent_to_llm_provider"),
    "s3_callback_params",
)
"""Of `litellm_settings`."""
SECTION = "callback_settings"
_GENERIC = "generic_api"
_OWN_BOUNDS = Bounds(records=2000, size=4 * 1024 * 1024)
_MOST_OWN = 1000  # places of teams and keys that are open at once
_KINDS = {"success": (True, False), "failure": (False, True), BOTH: (True, True)}
_STAND_INS = {
    "litellm.integrations.custom_logger": {"CustomLogger": CustomLogger},
    "litellm.integrations.custom_batch_logger": {"CustomBatchLogger": CustomLogger},
    "litellm": {"CustomLogger": CustomLogger},
}
_ANSWERS: Mapping[str, type[answers.Answer]] = {
    "acompletion": answers.ModelResponse,
    "atext_completion": answers.TextCompletionResponse,
    "aembedding": answers.EmbeddingResponse,
    "aresponses": answers.ResponsesAPIResponse,
    "anthropic_messages": answers.AnthropicMessage,
    "arerank": answers.RerankResponse,
}


def answer_of(kind: str, said: Any) -> Any:
    """Make the object of an answer that callbacks get: fields by name and as attributes."""
    return _ANSWERS.get(kind, answers.Answer)(said if isinstance(said, dict) else {"text": said})


class Callbacks:
    """The sinks of a gateway. ``observer`` is the engine's while anybody may want to be told."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._post = poster(gateway.engine.means.pool)
        self._room = Room()
        self._own_room = Room(limit=64 * 1024 * 1024)  # a team's place that is away must not take the operator's room
        self._made: dict[Any, Shipper] = {}  # by all that they were made of
        self._loaded: dict[tuple[str, Path], Sink] = {}
        self._own: OrderedDict[Any, Destination | None] = OrderedDict()
        self._teams: Mapping[str, tuple[Logging, ...]] = {}
        self._config: Config | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self.alerts = Alerts(gateway)
        self.observer = Observer(self, lambda: gateway.state.mask)

    # What the config says. --------------------------------------------------------------------------------------------

    def put(self, config: Config) -> None:
        """Put what a config says into effect: queues whose settings are the same go on."""
        values = config.litellm.values
        self._let_go(self.alerts.put(config))
        self._config, before, self._made = config, self._made, {}
        wanted: dict[str, tuple[bool, bool]] = {}
        for key, (ok, failed) in LISTS.items():
            for name in values.get(key) or ():
                known = wanted.get(name, (False, False))
                wanted[name] = (known[0] or ok, known[1] or failed)
        found = []
        for name, kinds in wanted.items():
            shipper = self._open(name, config, before)
            if shipper is not None:
                found.append(Destination(name, shipper, *kinds, traces=bool(getattr(shipper.sink, "traces", False))))
        self.observer.everybody = tuple(found)
        samplers = [one.shipper.sink.sampler for one in found if isinstance(one.shipper.sink, Otel)]
        passes_on = values.get("forward_traceparent_to_llm_provider") is not False
        self.observer.tracing = Tracing(samplers[0], passes_on) if samplers else None
        self.observer.manner = Manner(
            redacts=bool(values.get("turn_off_message_logging")),
            hides_keys=bool(values.get("redact_user_api_key_info")),
            leaves_out=tuple(values.get("standard_logging_payload_excluded_fields") or ()),
            always=bool(values.get("global_disable_no_log_param")),
            may_disable=values.get("allow_dynamic_callback_disabling", True) is not False,
            end_users=not values.get("disable_end_user_cost_tracking"),
        )
        self._teams = self.observer.teams = _of_teams(values.get("default_team_settings") or ())
        anybody = found or self._teams or self._gateway.keyring is not None
        self._gateway.engine.observer = self.observer if anybody else None
        kept = set(map(id, self._made.values()))
        self._let_go([shipper for shipper in before.values() if id(shipper) not in kept])
        self._let_go([one.shipper for one in self._own.values() if one is not None])
        self._own.clear()

    def told(self) -> dict[str, Any]:
        """Tell how the queues stand, for who may see it."""
        found: dict[str, Any] = {one.name: one.shipper.told() for one in self.observer.everybody}
        own = [one.shipper for one in self._own.values() if one is not None]
        if own:
            counts = [shipper.counts for shipper in own]
            found["teams and keys"] = {
                "places": len(own),
                "waiting": sum(shipper.waiting for shipper in own),
                "written": sum(one.written for one in counts),
                "unsent": sum(one.unsent for one in counts),
            }
        if self.observer.dropped:
            found["not_looked_at"] = self.observer.dropped
        return found | self.alerts.told()

    def check(self, caller: Caller) -> list[str]:
        """List what is wrong with the callbacks of a caller's own: a sentence each."""
        found = []
        for callback in self.of(caller):
            destination = self.find(callback)
            if destination is None:
                found.append(f"The callback {callback.name} cannot be called; the gateway's log says why.")
            elif destination.shipper.trouble:
                found.append(f"Records wait to be sent: {destination.shipper.trouble}.")
        return found

    async def close(self) -> None:
        """Hand on what was noted, and give each queue a moment to be written."""
        await self.observer.finish()
        await self.alerts.close()
        shippers = {id(one): one for one in self._made.values()}
        shippers |= {id(one.shipper): one.shipper for one in self._own.values() if one is not None}
        await asyncio.gather(*(shipper.stop() for shipper in shippers.values()), *self._ending)

    def _let_go(self, shippers: Sequence[Shipper]) -> None:
        for shipper in shippers:
            self._loaded = {key: sink for key, sink in self._loaded.items() if sink is not shipper.sink}
            task = asyncio.get_running_loop().create_task(shipper.stop(30.0))
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

    def _open(self, name: str, config: Config, before: Mapping[Any, Shipper]) -> Shipper | None:
        """Return the queue of a name, that of the config before where all is the same; None, and say so, where it
        cannot be."""
        settings = self._settings(name, config)
        make = SINKS.get(name) or (SINKS[_GENERIC] if settings.options.get("callback_type") == _GENERIC else None)
        env = {key: value for key, value in config.environment.items() if key.startswith(_PREFIXES)}
        folder = config.files[0].resolve().parent if config.files else Path.cwd()
        made_of = (env, settings.options, list(settings.tags), settings.shared)
        key = (name, folder if make is None else msgspec.json.encode(made_of, enc_hook=str))
        if (known := before.get(key)) is not None:
            self._made[key] = known
            return known
        try:
            sink = self._load(name, folder) if make is None else make(settings)
        except Unset as error:
            log.error("litellm_settings: the callback %s is not called: it %s", name[:100], error)
            return None
        if sink is None:
            return None
        shipper = self._made[key] = Shipper(name, sink, room=self._room)
        return shipper

    def _settings(self, name: str, config: Config) -> Settings:
        section = config.raw.get(SECTION)
        options = section.get(name) if isinstance(section, Mapping) else None
        values = config.litellm.values
        found = dict(options) if isinstance(options, Mapping) else {}
        if SINKS.get(name) is SINKS[_GENERIC] or found.get("callback_type") == _GENERIC:
            headers = values.get("generic_logger_headers") or {}
            found["headers"] = {**headers, **(found.get("headers") or {})}
        tags = tuple(values.get("langfuse_default_tags") or ())
        open_bucket = partial(_bucket, config.environment, self._gateway.engine.means)
        shared = shared_params(name, values)
        return Settings(Variables(config.environment), self._post, found, tags, shared, open_bucket)

    def _load(self, name: str, folder: Path) -> Sink | None:
        """Load an object of the operator's. One that is there stays, as long as the config names it."""
        if "." not in name:  # said by ``runtime.review``
            return None
        known = self._loaded.get((name, folder))
        if known is None:
            try:
                found = load_named(name, folder, _STAND_INS)
                known, hooks = sink_of(name, found, answer_of)
            except Exception as error:  # boundary: the module is the operator's; it may raise anything while it is read
                log.error("litellm_settings: the callback %s cannot be used: %s", name[:200], error)
                return None
            if hooks:
                text = "the callback %s has hooks that are not called here: %s; what is called: log_*_event"
                log.warning(text, name[:200], ", ".join(hooks))
            self._loaded[name, folder] = known
        return known

    # What teams and keys have of their own, see ``runtime.observing.Own``. --------------------------------------------

    def of(self, caller: Caller) -> Sequence[Logging]:
        """List the callbacks of a caller, those of its team first."""
        teams = self._teams.get(caller.team) if self._teams else None
        return caller.logging if teams is None else (*teams, *caller.logging)

    def alias(self, team: str) -> str:
        """Return the name of a team."""
        keyring = self._gateway.keyring
        row = keyring.body("team", team) if keyring is not None else None
        return str((row or {}).get("team_alias") or "")

    def find(self, callback: Logging) -> Destination | None:
        """Return where a callback of a team or a key sends to; None, and say so once, where it cannot."""
        key = (callback.name, callback.kind, callback.place, msgspec.json.encode(callback.variables, enc_hook=str))
        if key in self._own:
            self._own.move_to_end(key)
            return self._own[key]
        found: Destination | None = None
        try:
            found = self._open_own(callback)
        except (Unset, BadSeal, OSError) as error:
            why = getattr(error, "strerror", None) or error
            log.error("The callback %s is not called: it %s", callback.place[:200], why)
        self._own[key] = found
        while len(self._own) > _MOST_OWN:
            _, old = self._own.popitem(last=False)
            if old is not None:
                self._let_go([old.shipper])
        return found

    def _open_own(self, callback: Logging) -> Destination:
        config, name = self._config, callback.name
        assert config is not None
        if name not in OWN:
            raise Unset(f"is none that a team or a key may have, which are {', '.join(OWN)}")
        storage = self._gateway.storage
        sealer = None if storage is None else storage.sealer
        variables = open_values(sealer, callback.place, callback.variables)
        quiet = str(variables.get("turn_off_message_logging", "")).lower() in ("true", "1")
        may = frozenset(config.general.values.get("stored_models_may_read") or ())
        given = {
            key: _resolved(str(value), config.environment, may, callback.place.startswith(_FILE))
            for key, value in variables.items()
            if key.lower() in OWN[name].split()
        }
        elsewhere = not ADDRESSES.isdisjoint(map(str.lower, given))
        settings = Settings(Variables({} if elsewhere else config.environment, given), self._post)
        shipper = Shipper(callback.place, SINKS[name](settings), _OWN_BOUNDS, self._own_room)
        return Destination(name, shipper, *_KINDS.get(callback.kind, (True, True)), redacts=quiet)


def _bucket(env: Mapping[str, str], means: Means, kind: str, params: Mapping[str, Any]) -> Bucket:
    """Open a bucket that records are written to. Raises ``Unset``."""
    from penstock.runtime.cloud.buckets import gcs_bucket, s3_bucket  # few configs ask for it

    try:
        return (s3_bucket if kind == "s3" else gcs_bucket)(params, env, means)
    except GatewayError as error:
        raise Unset(f"cannot be opened: {error.message}") from None


_FILE, _VARIABLE = "config/", "os.environ/"
_PREFIXES = ("LANGFUSE_", "HELICONE_", "MLFLOW_", "GENERIC_LOGGER_", "OTEL_", "PHOENIX_", "DD_", "DATADOG_",
             "LITELLM_DD_", "AWS_", "S3_", "GCS_", "GOOGLE_", "STORAGE_EMULATOR_HOST", "HOSTNAME", "POD_NAME",
             "langfuse_", "helicone_", "mlflow_")  # fmt: skip


def _resolved(value: str, env: Mapping[str, str], may: frozenset[str], trusted: bool) -> str:
    """Return a variable's value. What was sent over HTTP reads nothing of the gateway's environment that it may not."""
    if not value.startswith(_VARIABLE):
        return value
    name = value.removeprefix(_VARIABLE).strip()
    if not (trusted or ALL in may or name in may):
        raise Unset(f"names the variable {name[:80]}, which it may not read (general_settings.stored_models_may_read)")
    return env.get(name, "")


def _of_teams(rows: Sequence[Any]) -> dict[str, tuple[Logging, ...]]:
    """Read ``default_team_settings``: of each team, which callbacks it has, and their variables beside them."""
    found: dict[str, tuple[Logging, ...]] = {}
    for row in rows:
        if not isinstance(row, Mapping) or not isinstance(team := row.get("team_id"), str):
            log.warning("litellm_settings.default_team_settings: an entry without a team_id says nothing")
            continue
        kinds: dict[str, set[bool]] = {}
        for key, (ok, _) in LISTS.items():
            names = row.get(key) or ()
            for name in (names,) if isinstance(names, str) else names:
                kinds.setdefault(str(name), set()).update((True, False) if key == "callbacks" else (ok,))
        variables = {key: value for key, value in row.items() if key not in LISTS and key != "team_id"}
        found[team] = tuple(
            Logging(name, BOTH if len(on) > 1 else "success" if True in on else "failure", variables,
                    f"{_FILE}{team}/{name}")
            for name, on in kinds.items()
        )  # fmt: skip
    return found
