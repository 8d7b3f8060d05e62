"""Where Redis is: every key, every source and every way to write an address; and what is said of wrong ones."""

from __future__ import annotations

import json

import pytest
from config_helpers import MODEL, Check, lines
from hypothesis import given
from hypothesis import strategies as st

from penstock.config.keys_redis import OF_ROUTER, REDIS, VARIABLES
from penstock.config.redis import Found, RedisSettings, find_redis, shared_redis
from penstock.config.redis_address import parse_nodes, parse_url, show_node
from penstock.config.secret import Secret

PASSWORD = "a-long-password-77aa31"
GIVEN = {
    "url": "redis://far:7000/3", "host": "far", "port": 7000, "db": 3, "unix_socket_path": "/run/r.sock", "username": "ann",
    "password": PASSWORD, "startup_nodes": [{"host": "far", "port": 7001}], "redis_startup_nodes": [["far", 7001]],
    "sentinel_nodes": [["far", 7002]], "service_name": "mymaster", "sentinel_password": PASSWORD, "ssl": True,
    "ssl_ca_certs": "ca.pem", "ssl_certfile": "c.pem", "ssl_keyfile": "k.pem", "ssl_cert_reqs": "none", "ssl_check_hostname": False,
    "socket_timeout": 2, "socket_connect_timeout": 3, "max_connections": 7,
    "redis_url": "redis://far:7000/3", "gcp_service_account": "projects/-/serviceAccounts/a@b", "gcp_ssl_ca_certs": "server-ca.pem",
}  # fmt: skip
NEEDS = {"service_name": ("sentinel_nodes",), "sentinel_password": ("sentinel_nodes", "service_name"), "sentinel_nodes": ("service_name",)}
ADDRESSED = {"url", "redis_url", "unix_socket_path", "startup_nodes", "redis_startup_nodes", "sentinel_nodes", "host"}


def settings_of(found: Found) -> RedisSettings:
    assert found.problems == () and found.settings is not None, found
    return found.settings


def only(name: str) -> dict[str, object]:
    """The key, and what it cannot be without."""
    names = {name, *NEEDS.get(name, ())}
    if not names & ADDRESSED:
        names.add("host")
    return {one: GIVEN[one] for one in names}


@pytest.mark.parametrize("name", [row[0] for row in REDIS])
def test_every_key_changes_the_settings_and_nobody_shows_its_secrets(name: str) -> None:
    settings = settings_of(find_redis("here", only(name), {}))
    without = {key: value for key, value in only(name).items() if key != name}
    before = find_redis("here", without, {}).settings or RedisSettings(source="here")
    assert settings != before
    assert PASSWORD not in repr(settings) and PASSWORD not in settings.place


@pytest.mark.parametrize("variable", VARIABLES)
def test_every_variable_says_what_its_key_says(variable: str) -> None:
    name = VARIABLES[variable]
    spelled = {one: value if isinstance(value, str) else json.dumps(value) for one, value in only(name).items()}
    env = {next(v for v, n in VARIABLES.items() if n == one): text for one, text in spelled.items()}
    found = settings_of(find_redis("environment", {}, env))
    assert found == settings_of(find_redis("environment", only(name), {}))


@pytest.mark.parametrize("key", OF_ROUTER)
def test_every_key_of_the_router_is_acted_on(check: Check, key: str) -> None:
    names = {ours: theirs for theirs, ours in OF_ROUTER.items()}
    said = {names[one]: value for one, value in only(OF_ROUTER[key]).items()}
    loaded = check(MODEL + f"router_settings: {json.dumps(said)}\n")
    assert lines(loaded) == [] and loaded.config is not None
    settings = settings_of(shared_redis(loaded.config))
    assert settings == settings_of(find_redis("router_settings", only(OF_ROUTER[key]), {}))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("redis_url", "http://host:1", "expected an address such as redis://:password@host:6379/0 (rediss:// for TLS, unix:///path for a socket), got text"),
        ("redis_url", "redis://h/one", "what follows the host is the number of a database, got text"),
        ("redis_port", "70000", "expected a port, 1 to 65535, got 70000"),
        ("redis_db", "-1", "expected a whole number, 0 or more, got -1"),
        ("redis_ssl", "maybe", "expected true or false, got 'maybe'"),
        ("redis_startup_nodes", "[{port: 1}]", "expected a list of nodes, each {host: name, port: 6379}, [name, 6379] or name:6379, got a list"),
        ("sentinel_nodes", "[]", "expected a list of nodes"),
    ],
)  # fmt: skip
def test_wrong_values_are_told_with_their_line(check: Check, key: str, value: str, message: str) -> None:
    [line] = lines(check(MODEL + f"router_settings:\n  {key}: {value}\n"))
    assert f"c.yaml:6: router_settings.{key}: " in line and message in line


@pytest.mark.parametrize("name", [row[0] for row in REDIS])
def test_every_key_of_coordination_redis_is_acted_on(check: Check, name: str) -> None:
    loaded = check(MODEL + f"general_settings: {json.dumps({'coordination_redis': only(name)})}\n")
    assert lines(loaded) == [] and loaded.config is not None
    expected = find_redis("general_settings.coordination_redis", only(name), {})
    assert shared_redis(loaded.config) == expected


def test_wrong_keys_and_values_of_coordination_redis_are_told_with_their_lines(check: Check) -> None:
    text = "general_settings:\n  coordination_redis:\n    host: h\n    prot: 7\n    db: x\n"
    one, other = lines(check(MODEL + text))
    assert one.startswith("c.yaml:8: general_settings.coordination_redis.prot: unknown key, did you mean 'port'?")
    assert other.startswith("c.yaml:9: general_settings.coordination_redis.db: expected a whole number, 0 or more, got 'x'")


def test_a_wrong_address_is_never_shown(check: Check) -> None:
    [line] = lines(check(MODEL + f"router_settings:\n  redis_url: 'redis://:{PASSWORD}@h/x y'\n"))
    assert PASSWORD not in line


@pytest.mark.parametrize("port", ["tcp://10.0.0.1:6379", "70000"])
def test_a_wrong_variable_is_told_and_left_out(port: str) -> None:
    """Kubernetes sets REDIS_PORT to a URL where a service is called redis."""
    found = find_redis("environment", {}, {"REDIS_HOST": "h", "REDIS_PORT": port})
    assert found.settings is not None and (found.settings.host, found.settings.port) == ("h", 6379)
    [(where, text)] = found.problems
    assert where == "REDIS_PORT" and "expected a port, 1 to 65535" in text and "counts as absent" in text


SOURCES = {
    "general_settings.coordination_redis": "general_settings: {coordination_redis: {host: first}}\n",
    "router_settings": "router_settings: {redis_host: second}\n",
    "litellm_settings.cache_params": "litellm_settings: {cache: true, cache_params: {type: redis, host: third}}\n",
}


@pytest.mark.parametrize("missing", range(4))
def test_the_nearest_source_wins(check: Check, missing: int) -> None:
    """Also over the environment's URL: LiteLLM lets that win over a host in the file, and the file is not believed."""
    loaded = check(MODEL + "".join(list(SOURCES.values())[missing:]), {"REDIS_URL": "redis://last:1/1"})
    assert loaded.config is not None
    settings = settings_of(shared_redis(loaded.config))
    assert settings.source == [*SOURCES, "environment"][missing]
    assert settings.host == ["first", "second", "third", "last"][missing]
    assert settings.db == (1 if missing == 3 else 0)


def test_without_an_address_there_is_none(check: Check) -> None:
    loaded = check(MODEL + "litellm_settings: {cache_params: {type: redis, host: h}}\n", {"REDIS_PORT": "6379"})
    assert loaded.config is not None
    assert shared_redis(loaded.config) == Found(None), "no cache is asked for, and a port alone is no address"


def test_who_and_how_may_come_from_the_environment_and_where_from_the_file() -> None:
    env = {"REDIS_PASSWORD": PASSWORD, "REDIS_SSL": "True", "REDIS_DB": "4", "REDIS_HOST": "other", "REDIS_SENTINEL_NODES": '[["s", 1]]'}
    settings = settings_of(find_redis("here", {"host": "h"}, env))
    assert (settings.host, settings.db, settings.tls, settings.sentinels) == ("h", 0, True, ())
    assert settings.password == Secret(PASSWORD)
    settings = settings_of(find_redis("here", {"url": "redis://h"}, env))
    assert (settings.password, settings.tls) == (None, False), "a URL says all of it"
    settings = settings_of(find_redis("here", {"password": "mine"}, {"REDIS_HOST": "h", "REDIS_PASSWORD": PASSWORD}))
    assert (settings.host, settings.password) == ("h", Secret("mine"))


@pytest.mark.parametrize(
    ("given", "env", "expected"),
    [
        ({"host": "h"}, {"REDIS_PORT": "7", "REDIS_DB": "3"}, ("h", 7, 3)),
        ({"host": "h"}, {"REDIS_HOST": "h", "REDIS_PORT": "7"}, ("h", 7, 0)),
        ({"host": "h"}, {"REDIS_HOST": "other", "REDIS_PORT": "7"}, ("h", 6379, 0)),
        ({"host": "h"}, {"REDIS_URL": "redis://other:7/3", "REDIS_PORT": "7"}, ("h", 6379, 0)),
        ({"host": "h", "port": 8}, {"REDIS_PORT": "7"}, ("h", 8, 0)),
        ({"url": "redis://h"}, {"REDIS_PORT": "7", "REDIS_DB": "3"}, ("h", 6379, 0)),
        ({}, {"REDIS_URL": "redis://h:9/1", "REDIS_HOST": "other", "REDIS_PORT": "7", "REDIS_DB": "3"}, ("h", 9, 1)),
    ],
)  # fmt: skip
def test_a_port_belongs_to_its_host(given, env, expected) -> None:
    settings = settings_of(find_redis("here" if given else "environment", given, env))
    assert (settings.host, settings.port, settings.db) == expected


def test_who_the_sentinels_are_may_stand_apart_from_what_they_know() -> None:
    env = {"REDIS_SERVICE_NAME": "mymaster", "REDIS_SENTINEL_PASSWORD": PASSWORD}
    settings = settings_of(find_redis("here", {"sentinel_nodes": [["h", 1]]}, env))
    assert (settings.service, settings.sentinel_password, settings.password) == ("mymaster", PASSWORD, PASSWORD)


def test_variables_without_an_address_say_nothing() -> None:
    assert find_redis("environment", {}, {"REDIS_PORT": "tcp://10.0.0.1:6379", "REDIS_PASSWORD": "x"}) == Found(None)
    assert find_redis("environment", {}, {"REDIS_URL": "http://h"}).problems != ()


def test_what_cannot_be_is_told() -> None:
    assert find_redis("here", {"sentinel_nodes": [["h", 1]]}, {}).settings is None
    [(where, text)] = find_redis("here", {"sentinel_nodes": [["h", 1]]}, {}).problems
    assert where == "here.service_name" and "needed" in text
    found = find_redis("here", {"startup_nodes": [["h", 1]], "db": 3}, {})
    assert found.settings is not None and found.settings.db == 0 and "only database 0" in found.problems[0][1]
    found = find_redis("here", {"password": PASSWORD}, {})
    assert found.settings is None and "where" in found.problems[0][1] and PASSWORD not in str(found)
    found = find_redis("here", {"url": "redis://h?ssl_cert_reqs=nonne&decode=1"}, {})
    assert found.settings is not None and len(found.problems) == 2


def test_an_empty_password_is_none() -> None:
    assert settings_of(find_redis("here", {"host": "h", "password": "", "username": ""}, {})).password is None


@given(
    st.sampled_from(["redis", "rediss", "valkey", "valkeys"]), st.text(max_size=20), st.text(max_size=20),
    st.sampled_from(["h", "a.example", "127.0.0.1", "::1"]), st.none() | st.integers(1, 65535), st.none() | st.integers(0, 99),
)  # fmt: skip
def test_a_url_says_what_was_put_into_it(scheme, user, password, host, port, db) -> None:
    from urllib.parse import quote

    who = f"{quote(user, safe='')}:{quote(password, safe='')}@" if user or password else ""
    where = f"[{host}]" if ":" in host else host
    text = f"{scheme}://{who}{where}{'' if port is None else f':{port}'}{'' if db is None else f'/{db}'}"
    found = parse_url(text)
    assert found.pop("ssl") is (scheme in ("rediss", "valkeys"))
    expected = {"host": host, "port": port or 6379, "username": user, "password": password, "db": db}
    assert found == {name: value for name, value in expected.items() if value not in ("", None)}


@given(st.text(max_size=60) | st.sampled_from(["redis://", "redis://h:99999", "unix://", "redis://[", "redis://h:x"]))
def test_any_other_text_is_refused_with_what_was_expected(text: str) -> None:
    try:
        parse_url(text)
    except ValueError as error:
        assert "redis://:password@host:6379/0" in str(error)
    else:
        assert text.strip().lower().startswith(("redis:", "rediss:", "valkey", "unix:"))


HOSTS = st.sampled_from(["h", "a.example", "127.0.0.1", "::1"])


@given(st.lists(st.tuples(HOSTS, st.integers(1, 65535)), min_size=1, max_size=5))
def test_nodes_are_the_same_in_every_spelling(nodes) -> None:
    expected = tuple(nodes)
    for spelled in (
        [{"host": host, "port": port} for host, port in nodes],
        [{"host": host, "port": str(port)} for host, port in nodes],
        [[host, port] for host, port in nodes],
        [show_node(node) for node in nodes],
        ",".join(show_node(node) for node in nodes),
        json.dumps([{"host": host, "port": port} for host, port in nodes]),
        json.dumps([[host, str(port)] for host, port in nodes]),
    ):
        assert parse_nodes(spelled) == expected
    assert parse_nodes(["h"], 7) == (("h", 7),) and parse_nodes(["::1"], 7) == (("::1", 7),)


@pytest.mark.parametrize(
    "value", ["", "[", "[1]", [], {}, None, 5, [None], [["h"]], [["h", 0]], [["h", 70000]], [["h", True]], ["h:x"], ["/x"], [{"port": 1}],
              ["h"] * 201, "[" * 100_000],
)  # fmt: skip
def test_other_values_are_no_nodes(value) -> None:
    with pytest.raises(ValueError, match="a list of nodes"):
        parse_nodes(value)
