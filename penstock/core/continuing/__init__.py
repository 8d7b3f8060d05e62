"""Streams that go on: what a client has of an answer that broke off, and how another target's answer is joined to it.

Pure: ``told`` knows what is out, ``asking`` makes the request for the rest, ``seam`` fits the rest to the text before
it, and ``joined`` gives both to the client as one stream.
"""

from __future__ import annotations
