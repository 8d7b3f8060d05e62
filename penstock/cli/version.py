"""The ways to ask for the version, for the quick answer and for click."""

VERSION_FLAGS = ("--version", "-V", "-v")
