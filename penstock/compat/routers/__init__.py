"""Routers under their old import path."""
