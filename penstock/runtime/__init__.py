"""A request's life, and every effect it has: the way in, the tries at upstreams, the way out, the record.

What belongs here: what needs a clock, a connection or a memory, and works without a server: nothing here listens on
a port, or says when a config is read again.
"""
