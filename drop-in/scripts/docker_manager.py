"""The command line of the gateway's container."""

from penstock.engines.docker import build_litellm_docker_cmd

__all__ = ["build_litellm_docker_cmd"]
