"""Providers under their old import path."""
