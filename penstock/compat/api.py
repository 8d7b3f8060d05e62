"""`uvicorn api:app`: the service over HTTP, for any ASGI server."""

from penstock.server.las_app import app

__all__ = ["app"]
