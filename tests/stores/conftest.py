"""Databases for the tests of what is kept there."""

from tests.databases import (  # noqa: F401
    empty_mariadb,
    empty_postgres,
    empty_sqlite,
    mariadb,
    postgres,
    session_mariadb,
    session_postgres,
    session_sqlite,
)
