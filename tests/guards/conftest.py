from tests.guards.fakes import fakes

__all__ = ["fakes"]
