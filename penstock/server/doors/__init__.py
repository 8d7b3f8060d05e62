"""Doors: a client's bytes to an ``Exchange``, and its answer back to bytes. One file per door.

What belongs here: syntax, framing, the limits of a connection, and the news that a client has left. Who may call, and
what is answered, is decided behind ``Gateway.serve``.
"""
