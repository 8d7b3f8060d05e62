#!/bin/sh
# What a newcomer does: clone, `make run`, paste the printed curl line; then what a new developer does first, `make lint`.
# Exit 0 when the line answers and the linters find nothing.
# Works on a clone of the last commit in a folder of its own, on a free port (or PORT).
set -eu
top=$(git -C "$(dirname "$0")" rev-parse --show-toplevel)
work=$(mktemp -d)
pid=
stop() {
  if [ -n "$pid" ]; then
    kill "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  fi
  rm -rf "$work"
}
trap stop EXIT
trap 'exit 130' INT TERM

git -c advice.detachedHead=false clone --quiet --no-hardlinks "$top" "$work/penstock"
cd "$work/penstock"
make --no-print-directory .venv/.run
port=${PORT:-$(.venv/bin/python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')}
make --no-print-directory run ARGS="--port $port" >"$work/out" 2>&1 &
pid=$!

tries=0
until grep -q '^ *curl ' "$work/out"; do
  tries=$((tries + 1))
  if [ "$tries" -gt 100 ] || ! kill -0 "$pid" 2>/dev/null; then
    cat "$work/out"
    echo "make smoke: the gateway printed no curl line" >&2
    exit 1
  fi
  sleep 0.2
done
cat "$work/out"
# The line may go on after a backslash.
line=$(awk '/^ *curl /{on=1} on{print} on && !/\\$/{exit}' "$work/out")
answer=$(sh -c "$line" 2>/dev/null)
echo "$answer"
case $answer in
  *choices*) echo "make smoke: it answers" ;;
  *)
    echo "make smoke: that is no chat completion" >&2
    exit 1
    ;;
esac
make --no-print-directory lint
echo "make smoke: it lints"
