"""Keeps the standard streams of a serving process from ending or blocking it."""

from __future__ import annotations

import atexit
import os
import sys
from typing import TextIO

from penstock.runtime.output import PatientStream


def keep_streams() -> None:
    """Send everything that is printed by way of an ``Output``. May be called again.

    Where a stream was closed before we began, its number goes to nothing: else the next socket would get it, and
    whatever is written to standard error would go to a client."""
    if isinstance(sys.stdout, PatientStream):
        return
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
    out = PatientStream(sys.stdout or _nothing(), "standard output")
    err = PatientStream(sys.stderr or _nothing(), "standard error")
    out.output.elsewhere = err.output
    sys.stdout, sys.stderr = out, err
    atexit.register(_end, out, err)


def _nothing() -> TextIO:
    return open(os.devnull, "w", encoding="utf-8")


def _end(*streams: PatientStream) -> None:
    for stream in streams:
        stream.flush()
        stream.output.close()
