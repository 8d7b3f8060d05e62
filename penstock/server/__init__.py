"""The gateway as a process that listens: doors, URLs, pages, where deployments come from, start, reload and end.

What belongs here: what is there because clients come over HTTP, or because a process serves for a long time. How a call
is answered belongs to ``penstock.runtime``.
"""
