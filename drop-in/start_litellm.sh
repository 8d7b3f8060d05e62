#!/bin/sh
# Serve litellm_config.yaml of this folder on http://localhost:4000. `.env` beside it is read; further options are handed on.
set -eu
cd "$(dirname "$0")"
if [ -d venv/bin ]; then
  PATH="$PWD/venv/bin:$PATH"
fi
exec penstock serve --config litellm_config.yaml --port 4000 "$@"
