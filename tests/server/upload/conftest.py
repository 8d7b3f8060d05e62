"""Every async test here runs twice: under uvloop and under plain asyncio."""

from tests.runtime.http.conftest import pytest_asyncio_loop_factories

__all__ = ["pytest_asyncio_loop_factories"]
