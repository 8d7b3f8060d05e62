"""Sinks: each against a stand-in of its service that checks what it is sent, and all against one contract."""
