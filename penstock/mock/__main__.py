"""`python -m penstock.mock`: the same as `penstock mock`."""

from penstock.cli.mock import mock

mock(prog_name="penstock mock")
