"""A reload acts on every setting, or says by name which one it could not act on.

The test goes over the key table: a key that is acted on, and that a reload neither acts on nor names, fails it.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from msgspec.structs import astuple

from penstock.config import keys
from penstock.config.oidc import read_oidc
from penstock.config.routes import KEYS as ROUTE_KEYS
from penstock.runtime.keyring import Keyring
from penstock.runtime.record_text import as_json, as_text
from penstock.server import effect
from penstock.server.batches.quotas import most_kept
from penstock.server.books import Books
from penstock.server.effect import RESTART, SETTINGS, Setting, value_of
from penstock.server.metrics.settings import read_metrics
from penstock.server.options import ServeOptions
from penstock.server.service import Service
from penstock.server.sources.base import gather
from penstock.server.sources.registered import sources_of
from penstock.stores.spend_memory import MemorySpendStore
from tests.rules.repo import ROOT

SECTIONS = {"general_settings": keys.general, "litellm_settings": keys.litellm, "router_settings": keys.router}
ACTED = [
    f"{place}.{key.name}" for place, table in SECTIONS.items() for key in table.rows.values() if key.status == "acted"
]
NO_EFFECT = {
    "general_settings.require_master_key": "it says whether a config without a key is taken",
    "router_settings.ignore_invalid_deployments": "it says whether a config with a wrong entry is taken",
}
WITH_A_VERBOSE_LOG = {"litellm_settings.log_raw_request_response"}
# They say how answers are kept, where answers are kept.
WITH_A_CACHE = {f"litellm_settings.{key}" for key in ("cache_params", "caching_with_models", "default_in_memory_ttl", "default_redis_ttl")}
WITH_A_CACHE |= {"router_settings.cache_kwargs", "router_settings.caching_groups"}
# The one says whether the other counts.
TOGETHER = {
    "router_settings.set_verbose": {"debug_level": "DEBUG"},
    "router_settings.debug_level": {"set_verbose": True},
    "general_settings.trusted_proxy_ranges": {"use_x_forwarded_for": True},
    "general_settings.litellm_jwtauth": {"enable_jwt_auth": True},
    "litellm_settings.budget_duration": {"max_budget": 5},
    "litellm_settings.priority_reservation_settings": {"priority_reservation": {"x": 0.1}},
    "litellm_settings.langfuse_default_tags": {"callbacks": ["stdout"]},
    "litellm_settings.generic_logger_headers": {"callbacks": ["webhook"]},
    "litellm_settings.s3_callback_params": {"callbacks": ["s3"]},
    "litellm_settings.forward_traceparent_to_llm_provider": {"callbacks": ["otel"]},
}
# Two values per type, and per key where the type says too little. The models a to d exist.
BY_SPEC: dict[str, tuple[Any, Any]] = {
    "bool": (False, True),
    "size": (5, 600),
    "seconds": (5, 6),
    "wait": (5, 6),
    "count": (1, 2),
    "positive": (3, 4),
    "policy": ({"RateLimitErrorXX": 1}, {"RateLimitErrorXX": 2}),
    "policies": ({"d": {"RateLimitErrorXX": 1}}, {"d": {"RateLimitErrorXX": 2}}),
    "groups": ([{"group_name": "g", "models": ["d"], "routing_strategy": "least-busy"}], [{"group_name": "g", "models": ["b"]}]),
    "hedge": ("800ms", "p95"),
    "amount": (1.5, 2.5),
    "budgets": ({"openai": {"budget_limit": 1, "time_period": "1d"}}, {"openai": {"budget_limit": 2, "time_period": "1d"}}),
    "str": ("a", "b"),
    "port": (7001, 7002),
    "redis": ("redis://127.0.0.1:7001", "redis://127.0.0.1:7002"),
    "nodes": (["127.0.0.1:7001"], ["127.0.0.1:7002"]),
    "sentinels": (["127.0.0.1:7001"], ["127.0.0.1:7002"]),
    "connection": ({"host": "a"}, {"host": "b"}),
    "secret": ("sk-one-4f7a19c2d8aa", "sk-two-4f7a19c2d8bb"),
    "names": (["b"], ["c"]),
    "headers": ({"x-a": "b"}, {"x-a": "c"}),
    "texts": (["b"], ["c"]),
    "fallbacks": ([{"a": ["b"]}], [{"a": ["c"]}]),
    "aliases": ({"x": "a"}, {"y": "a"}),
    "tls": (True, False),
    "shares": ({"openai": 0.1}, {"openai": 0.2}),
    "margins": ({"openai": 0.1}, {"openai": 0.2}),
}
BY_KEY: dict[str, tuple[Any, Any]] = {
    "general_settings.alerting": (["webhook"], ["webhook", "pager"]),
    "general_settings.alert_types": (["budget_alerts"], ["outage_alerts"]),
    "general_settings.alert_to_webhook_url": (
        {"outage_alerts": "http://127.0.0.1:9/a"},
        {"outage_alerts": "http://127.0.0.1:9/b"},
    ),
    "general_settings.alerting_args": ({"alert_ttl": 1}, {"alert_ttl": 2}),
    "litellm_settings.s3_callback_params": (
        {"s3_bucket_name": "a", "s3_aws_access_key_id": "x", "s3_aws_secret_access_key": "y"},
        {"s3_bucket_name": "b", "s3_aws_access_key_id": "x", "s3_aws_secret_access_key": "y"},
    ),
    "general_settings.pass_through": (True, False),
    "general_settings.pass_through_endpoints": (
        [{"path": "/one", "target": "http://127.0.0.1:9/x"}],
        [{"path": "/two", "target": "http://127.0.0.1:9/x"}],
    ),
    "general_settings.user_header_mappings": (
        [{"header_name": "x-a", "litellm_user_role": "customer"}],
        [{"header_name": "x-a", "litellm_user_role": "internal_user"}],
    ),
    "general_settings.litellm_jwtauth": ({"user_id_jwt_field": "sub"}, {"user_id_jwt_field": "oid"}),
    "general_settings.oidc": (
        {"issuer": "https://a.test", "client_id": "c", "default_role": "internal_user"},
        {"issuer": "https://b.test", "client_id": "c", "default_role": "internal_user"},
    ),
    "general_settings.metrics_families": ("penstock", "litellm"),
    "litellm_settings.prometheus_metrics_config": ([{"group": "a", "metrics": ["litellm_x"]}], [{"group": "a", "metrics": ["litellm_y"]}]),
    "litellm_settings.prometheus_latency_buckets": ([0.1, 1], [0.2, 1]),
    "general_settings.trusted_proxy_ranges": (["10.0.0.0/8"], ["10.0.0.1"]),
    "general_settings.allowed_ips": (["10.0.0.0/8"], ["10.0.0.1"]),
    **{f"general_settings.{key}": (["/health"], ["/models", "/key/{key}"]) for key in ROUTE_KEYS},
    **{f"litellm_settings.{key}": (["stdout"], ["b"]) for key in ("callbacks", "success_callback", "failure_callback")},
    "litellm_settings.default_team_settings": (
        [{"team_id": "a", "success_callback": ["langfuse"]}],
        [{"team_id": "a", "failure_callback": ["langfuse"]}],
    ),
    "general_settings.service_account_settings": ({"enforced_params": ["a"]}, {"enforced_params": ["b"]}),
    "general_settings.on_ledger_failure": ("pass", "stop"),
    "general_settings.budget_sharing": ("redis", "leases"),
    "litellm_settings.budget_duration": ("1d", "30d"),
    "general_settings.token_rate_limit_type": ("input", "output"),
    "general_settings.require_master_key": (False, None),  # true is refused: the test has no key
    "general_settings.database_extra_connection_params": ({"schema": "a"}, {"schema": "b"}),
    "litellm_settings.cache_params": ({"ttl": 5}, {"ttl": 6}),
    "litellm_settings.default_redis_ttl": (5, 6),
    "router_settings.cache_kwargs": ({"ttl": 5}, {"ttl": 6}),
    "router_settings.caching_groups": ([["a", "b"]], [["a", "c"]]),
    "router_settings.debug_level": ("INFO", "DEBUG"),
    "router_settings.routing_strategy": ("simple-shuffle", "least-busy"),
    "litellm_settings.anthropic_prompt_caching_ttl": ("5m", "1h"),
    "router_settings.default_litellm_params": ({"temperature": 0.1}, {"temperature": 0.2}),
    "router_settings.routing_strategy_args": ({"ttl": 10}, {"ttl": 20}),
    "litellm_settings.default_key_generate_params": ({"max_budget": 1}, {"max_budget": 2}),
    "litellm_settings.upperbound_key_generate_params": ({"max_budget": 1}, {"duration": "1d"}),
    "litellm_settings.key_generation_settings": ({}, {"team_key_generation": {"required_params": ["tags"]}}),
    "litellm_settings.default_internal_user_params": ({"models": ["a"]}, {"models": ["b"]}),
    "litellm_settings.default_team_params": ({"max_budget": 1}, {"max_budget": 2}),
    "litellm_settings.max_internal_user_budget": (1, 2),
    "litellm_settings.default_max_internal_user_budget": (1, 2),
    "litellm_settings.default_soft_budget": (1, 2),
    "litellm_settings.tag_budget_config": ({"x": {"max_budget": 1}}, {"x": {"max_budget": 2}}),
    "litellm_settings.model_group_settings": (
        {"forward_client_headers_to_llm_api": ["a"]},
        {"forward_client_headers_to_llm_api": ["b"]},
    ),
    "litellm_settings.priority_reservation": ({"x": 0.1}, {"x": 0.2}),
    "litellm_settings.priority_reservation_settings": ({"default_priority": 0.1}, {"default_priority": 0.2}),
    "litellm_settings.internal_user_budget_duration": ("1d", "2d"),
    "router_settings.optional_pre_call_checks": (["session_affinity"], ["enforce_model_rate_limits"]),
    "router_settings.model_group_affinity_config": ({"d": ["session_affinity"]}, {"d": ["deployment_affinity"]}),
}
# Keys that a request reads from the state when it comes: the code that does so is looked for, and what it reads counts.
READS = re.compile(r'(?:state\.config\.(?:general|litellm)\.values\.get|_configured)\(\s*"(\w+)"')
# The same of an entry that is sent.
SENT_READS = re.compile(r'config\.general\.values\.get\(\s*"(\w+)"')


def late_keys() -> frozenset[str]:
    files = [path for room in ("server", "runtime", "admin") for path in (ROOT / "penstock" / room).rglob("*.py")]
    found = {name for file in files for name in READS.findall(file.read_text(encoding="utf-8"))}
    return frozenset(found.union(SENT_READS.findall((ROOT / "penstock/config/sent.py").read_text(encoding="utf-8"))))


LATE = late_keys()
# What ``Checker`` reads when a round begins.
CHECKS = ("health_check_concurrency", "background_health_check_model_groups", "health_check_ignore_transient_errors")


@pytest.fixture(autouse=True)
def _loggers() -> Iterator[None]:
    """The service takes the root logger for itself."""
    loggers = [logging.getLogger(name) for name in ("", "penstock", "uvicorn")]
    before = [(logger.level, logger.handlers[:]) for logger in loggers]
    yield
    for logger, (level, handlers) in zip(loggers, before, strict=True):
        logger.setLevel(level)
        logger.handlers[:] = handlers


class Running:
    """A service on a config file that the test rewrites. ``lines``: what it logged."""

    def __init__(self, path: Path, service: Service) -> None:
        self.path = path
        self.service = service
        self.lines: list[str] = []
        service.log.line = self.lines.append  # type: ignore[method-assign]

    @classmethod
    async def start(cls, folder: Path, environ: Mapping[str, str], options: ServeOptions | None = None, **more: Any):
        path = folder / "config.yaml"
        write(path, **more)
        sources = sources_of(path, lambda: dict(environ))
        config, _ = await gather(sources)
        assert config is not None
        service = Service(options or ServeOptions(config=path), config, sources)
        if service.gateway.keyring is None:  # keys and limits are looked at where there are some
            service.gateway.keyring = Keyring(b"the test's own")
            service.in_effect.put(config)
        service.gateway.books = await Books.open(service.gateway, MemorySpendStore(), folder / "state")
        return cls(path, service)

    async def reload(self, **more: Any) -> str:
        self.lines.clear()
        write(self.path, **more)
        await self.service.read_again()
        assert "config.yaml reloaded, " in self.lines[-1], self.lines
        return "".join(self.lines)


def write(path: Path, **more: Any) -> None:
    models = [{"model_name": n, "litellm_params": {"model": f"openai/{n}", "api_key": "k"}} for n in "abcd"]
    whole: dict[str, Any] = {"model_list": models, "router_settings": {"fallbacks": [{"d": ["b", "c"]}]}}
    for section, values in more.items():
        whole[section] = {**whole.get(section, {}), **values}
    path.write_text(yaml.safe_dump(whole))


def behaviour(service: Service) -> dict[str, Any]:
    """What requests and log lines will meet."""
    gateway, state = service.gateway, service.gateway.state
    plans = {name: state.plan(name) for name in "abcd"}
    trace = gateway.engine.means.trace
    return {
        "sizes": (gateway.max_body, gateway.max_upload, gateway.look_from, gateway.held.limit),
        "who": (gateway.identity._key, gateway.identity._local_only, gateway.identity.key_header),
        "others": getattr(gateway.gate.others, "settings", None) or getattr(gateway.gate.others, "name", None),
        "routes": gateway.gate.routes,
        "hooks": [hook and hook.name for hook in astuple(gateway.key_hooks)],
        "addresses": gateway.gate.addresses and (gateway.gate.addresses.trusted, gateway.gate.addresses.allowed),
        "admission": gateway.engine.admission and gateway.engine.admission.settings,
        "budgets": gateway.books and gateway.books.ledger.rules,
        "lines": (service.log.render, logging.getLogger("penstock").level, trace and trace._bodies),
        "targets": [(t.timeouts, t.stream_timeouts, t.tls, t.drop_params, t.validates, dict(t.defaults)) for t in state.targets],
        "settings": state.settings,
        "plans": {name: (p.fallbacks, p.depth, p.retries, p.retry_after, p.rules, p.final, p.continues, p.most) for name, p in plans.items()},
        "places": gateway.gate.places and gateway.gate.places.places,
        "checks": [state.config.general.background_health_checks, state.config.general.health_check_interval],
        "checked": {key: {**state.config.router.values, **state.config.general.values}.get(key) for key in CHECKS},
        "cache": state.caching,
        "names": {name: found.group for name in "gxy" if (found := state.catalog.find(name)) is not None},
        "state": (state.keep_alive, state.forced, state.tells_usage, sorted(state.catalog.names()), state.pass_through_endpoints),
        "managing": (state.managing, state.priorities),
        "batches": (gateway.batches.most_lines, gateway.batches.most_bytes, gateway.batches.places._most()),
        "files": (most_kept(gateway.batches), most_kept(gateway.batches, "_per_team"), gateway.batches._kept_free()),
        "callbacks": (
            gateway.engine.observer.manner,
            [one[:1] + one[2:] for one in gateway.engine.observer.everybody],
            service.callbacks._teams,
            service.callbacks.observer.tracing,
            service.callbacks.alerts.settings,
            repr(service.callbacks.alerts._made_of),
            [*service.callbacks._made],
        ),
        "metrics": (read_metrics(state.config), gateway.tally.most),
        "sign in": read_oidc(state.config),
        "late": [{n: of.values.get(n) for n in LATE} for of in (state.config.general, state.config.litellm)],
    }


@pytest.mark.parametrize("name", ACTED)
async def test_a_reload_acts_on_every_key_or_names_it(tmp_path: Path, name: str) -> None:
    section, _, key = name.partition(".")
    row = SECTIONS[section].rows[key]
    values = BY_KEY.get(name) or BY_SPEC[row.spec.partition(":")[0]]  # KeyError: a new type needs two values above
    values = eval(repr(values).replace("XX", row.spec.partition(":")[2]))  # the table's own text
    if name == "router_settings.fallbacks":
        values = tuple([{"d": ["b", "c"]}, *value] for value in values)
    environ = {"LITELLM_LOG": "DEBUG"} if name in WITH_A_VERBOSE_LOG else {}
    environ["GENERIC_LOGGER_ENDPOINT"] = "http://127.0.0.1:9"
    beside: dict[str, dict[str, Any]] = {"litellm_settings": {}, section: {}}
    beside[section] = dict(TOGETHER.get(name, {}))
    if name in WITH_A_CACHE:
        where = {"cache_params": {"type": "redis", "host": "localhost"}} if "redis" in key else {}
        beside["litellm_settings"] = {"cache": True, **where}
    one, two = ({**beside, section: {**beside[section], key: value}} for value in values)
    running = await Running.start(tmp_path, environ, **one)
    before = behaviour(running.service)
    said = await running.reload(**two)
    changed = behaviour(running.service) != before
    assert changed or name in said or name in NO_EFFECT, f"{name} was reloaded without effect and without a word"
    assert not (changed and name in NO_EFFECT)
    await running.reload(**one)
    assert behaviour(running.service) == before, "and back"


async def test_what_every_request_must_say_holds_without_keys_too(tmp_path: Path) -> None:
    running = await Running.start(tmp_path, {})
    running.service.gateway.keyring = None
    engine = running.service.gateway.engine
    for settings in ({"enforced_params": ["user"]}, {"enforce_user_param": True}, {"reject_clientside_metadata_tags": True}):
        await running.reload(general_settings={})
        assert engine.admission is None
        await running.reload(general_settings=settings)
        assert engine.admission is not None and engine.admission.settings.demands


async def test_a_reload_to_the_same_config_says_nothing_of_settings(tmp_path: Path) -> None:
    running = await Running.start(tmp_path, {}, general_settings={"json_logs": False, "max_file_size_mb": 5})
    assert (await running.reload(general_settings={"json_logs": False, "max_file_size_mb": 5})).count("\n") == 1


async def test_limits_log_form_and_level_act_at_once(tmp_path: Path) -> None:
    running = await Running.start(tmp_path, {})
    gateway, log = running.service.gateway, running.service.log
    assert gateway.max_body == 32 << 20 and gateway.max_upload == 500 << 20 and log.render is as_text
    await running.reload(general_settings={"max_request_size_mb": 2, "json_logs": True})
    assert gateway.max_body == gateway.max_upload == 2 << 20 and log.render is as_json
    assert '"message": "SIGHUP: ' in running.lines[-1], "log messages have the new form, too"
    await running.reload(general_settings={"max_request_size_mb": 2, "max_file_size_mb": 0.01, "set_verbose": True})
    assert (gateway.max_body, gateway.max_upload) == (2 << 20, 10485) and gateway.look_from == 10485
    assert log.render is as_text and logging.getLogger("penstock").level == logging.DEBUG
    await running.reload()
    assert gateway.max_body == 32 << 20 and gateway.look_from > 10485
    assert logging.getLogger("penstock").level == logging.INFO


async def test_the_command_line_wins_and_that_is_said(tmp_path: Path) -> None:
    options = ServeOptions(max_body_mb=3, json_logs=False, verbose=True)
    running = await Running.start(tmp_path, {}, options, general_settings={"max_request_size_mb": 10})
    before = behaviour(running.service)
    changed = {"max_request_size_mb": 20.5, "json_logs": True, "set_verbose": True}
    said = await running.reload(general_settings=changed)
    assert "max_request_size_mb changed from 10 to 20.5: --max-body-mb wins over it" in said
    assert "general_settings.json_logs changed from nothing to true: --log-format wins over it" in said
    assert "general_settings.set_verbose changed from nothing to true: --verbose wins over it" in said
    assert behaviour(running.service) == before
    assert "wins over" not in await running.reload(general_settings={"max_request_size_mb": 10}), (
        "as at the start again"
    )


# What needs a restart -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "before", "after", "shown"),
    [
        ("num_retries", 1, 2, " from 1 to 2"),
        ("cache", False, True, " from false to true"),
        ("request_timeout", None, 2.5, " from nothing to 2.5"),
        ("datadog_params", {"key": "secret-a"}, {"key": "secret-b"}, ""),
        ("model_cost_map_url", "http://u:secret-a@h/", "http://u:secret-b@h/", ""),
    ],
)
async def test_a_setting_that_needs_a_restart_is_named_until_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, before: object, after: object, shown: str
) -> None:
    name = f"litellm_settings.{key}"
    monkeypatch.setattr(effect, "SETTINGS", (*SETTINGS, Setting(name, RESTART)))
    running = await Running.start(tmp_path, {}, litellm_settings={key: before})
    for _ in range(2):
        said = await running.reload(litellm_settings={key: after})
        assert said.count(f"{name} changed{shown}: it takes effect after a restart\n") == 1
        assert "secret" not in said
    assert "restart" not in await running.reload(litellm_settings={key: before}), "what is in effect is asked for again"


async def test_another_proxy_needs_a_restart_and_its_password_is_not_shown(tmp_path: Path) -> None:
    environ = {"https_proxy": "http://u:secret-a@127.0.0.1:9"}
    running = await Running.start(tmp_path, environ)
    environ["https_proxy"] = "http://u:secret-b@127.0.0.1:9"
    said = await running.reload(environment_variables={"NO_PROXY": "h"})
    assert "HTTPS_PROXY changed: it takes effect after a restart" in said and "secret" not in said
    assert "NO_PROXY changed: it takes effect after a restart" in said and "HTTP_PROXY" not in said


def test_the_rows_are_names_that_users_may_write() -> None:
    from penstock.config import Config

    names = [row.name for row in SETTINGS]
    assert len(names) == len(set(names))
    for row in SETTINGS:
        value_of(Config(), row.name)
        assert row.name in ACTED or row.name.isupper() or row.name in keys.top.rows, row.name
        assert not row.option or hasattr(ServeOptions(), row.option)
    assert set(NO_EFFECT) <= set(ACTED)
