#!/bin/sh
# Creates the virtual environment at $1 with the newest Python from 3.11 to 3.14 that this machine has.
# PYTHON=/path/to/python overrides the search. Exit 1 with one clear line when there is none.
set -eu
venv=$1

suits() {
  "$1" -c 'import sys; raise SystemExit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' >/dev/null 2>&1
}

found=
if [ -n "${PYTHON:-}" ]; then
  if suits "$PYTHON"; then found=$PYTHON; fi
else
  # python3 comes last: on macOS it is often the system's 3.9 while a newer one stands beside it.
  for name in python3.14 python3.13 python3.12 python3.11 python3 python; do
    if suits "$name"; then found=$name; break; fi
  done
fi
if [ -z "$found" ]; then
  have=$(python3 --version 2>/dev/null || echo 'no python3')
  echo "penstock needs Python 3.11 to 3.14; found ${PYTHON:+PYTHON=$PYTHON, }$have." >&2
  echo "Install one (apt install python3-venv, brew install python, or python.org), or: make ${MAKE_GOAL:-run} PYTHON=/path/to/python3" >&2
  exit 1
fi

echo "==> 1/3 creating $venv with $("$found" --version)"
rm -rf "$venv"
if ! "$found" -m venv "$venv" >"${TMPDIR:-/tmp}/penstock-venv.$$" 2>&1; then
  cat "${TMPDIR:-/tmp}/penstock-venv.$$" >&2
  rm -f "${TMPDIR:-/tmp}/penstock-venv.$$"
  rm -rf "$venv"
  echo "$found cannot create a virtual environment; on Debian and Ubuntu: apt install python3-venv" >&2
  exit 1
fi
rm -f "${TMPDIR:-/tmp}/penstock-venv.$$"
