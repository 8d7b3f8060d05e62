"""Key table of a connection to Redis or Valkey, as `coordination_redis`, `cache_kwargs` and `REDIS_*` variables have
it. A row is (key, type, status, default, meaning)."""

from __future__ import annotations

REDIS = (
    ("url", "redis", "acted", None, "address: `redis://:password@host:6379/0`, `rediss://` for TLS, `unix:///path`"),
    ("redis_url", "redis", "acted", None, "the same as url"),
    ("host", "str", "acted", None, "host name, where there is no url"),
    ("port", "port", "acted", 6379, "port"),
    ("db", "count", "acted", 0, "number of the database; a cluster has only 0"),
    ("unix_socket_path", "str", "acted", None, "path of a socket, in the place of host and port"),
    ("username", "str", "acted", None, "user, where the server has several"),
    ("password", "secret", "acted", None, "password"),
    ("startup_nodes", "nodes", "acted", None, "nodes of a cluster, one is enough to find the others"),
    ("redis_startup_nodes", "nodes", "acted", None, "the same"),
    ("sentinel_nodes", "sentinels", "acted", None, "sentinels, which know the server that is the master now"),
    ("service_name", "str", "acted", None, "what the sentinels call it"),
    ("sentinel_password", "secret", "acted", None, "password of the sentinels; of the server too, if it has no other"),
    ("ssl", "bool", "acted", False, "speak TLS"),
    ("ssl_ca_certs", "str", "acted", None, "path of the certificates to trust; absent: the system's"),
    ("ssl_certfile", "str", "acted", None, "path of the client's certificate"),
    ("ssl_keyfile", "str", "acted", None, "path of its key"),
    ("ssl_cert_reqs", "one:required,optional,none", "acted", "required", "whether the server's certificate is checked"),
    ("ssl_check_hostname", "bool", "acted", True, "whether its name is checked"),
    ("gcp_service_account", "str", "acted", None, "Memorystore: service account whose token is the password"),
    ("gcp_ssl_ca_certs", "str", "acted", None, "the same as ssl_ca_certs, and speak TLS"),
    ("socket_timeout", "seconds", "acted", 0.25, "longest wait for an answer to a command"),
    ("socket_connect_timeout", "seconds", "acted", 1, "longest wait for a connection"),
    ("max_connections", "positive", "acted", 50, "connections of a process"),
)

ADDRESS = ("url", "startup_nodes", "sentinel_nodes", "unix_socket_path", "host")
"""The keys that say where it is; of several that are given the first one counts."""

OF_ROUTER = {
    "redis_url": "url",
    "redis_host": "host",
    "redis_port": "port",
    "redis_db": "db",
    "redis_username": "username",
    "redis_password": "password",
    "redis_ssl": "ssl",
    "redis_startup_nodes": "startup_nodes",
    "sentinel_nodes": "sentinel_nodes",
    "service_name": "service_name",
    "sentinel_password": "sentinel_password",
}
"""What `router_settings` calls them."""

VARIABLES = {
    "REDIS_CLUSTER_NODES": "startup_nodes",
    **{f"REDIS_{row[0].upper()}": row[0] for row in REDIS if not row[0].startswith("redis_")},
}
"""Variables of the environment that stand in for keys that nobody gives (LiteLLM reads the same ones)."""
