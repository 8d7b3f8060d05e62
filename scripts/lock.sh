#!/bin/sh
# Regenerates the lock files from pyproject.toml. Needs uv (`make lock` installs it into .venv).
# uv writes no index address and no --find-links line unless asked, so the files install from whatever index
# the reader has; tests/rules/test_packaging.py checks that none slipped in.
set -eu
cd "$(dirname "$0")/.."
UV=${UV:-uv}

compile() {
  out=$1
  shift
  echo "make lock: $out"
  "$UV" pip compile "$@" --universal --python-version 3.11 --generate-hashes --upgrade --quiet \
    --no-annotate --custom-compile-command "make lock" -o "$out"
}

compile requirements.lock pyproject.toml
# The container image has the drivers of databases and Redis, which an address in the environment may ask for.
compile requirements-image.lock pyproject.toml --extra postgres --extra mysql --extra redis
compile requirements-build.lock --group build
compile requirements-compile.lock --group compile
compile requirements-dev.lock pyproject.toml --all-extras --group dev --group build

# Clients that the end-to-end tests install, each into an environment of its own.
clients=tests/e2e/clients/python
compile "$clients/langchain.lock" "$clients/langchain.in"
compile "$clients/langchain-chains.lock" "$clients/langchain-chains.in"
compile "$clients/litellm.lock" "$clients/litellm.in" --override "$clients/overrides.txt"
compile "$clients/schemathesis.lock" "$clients/schemathesis.in"
