"""Services under their old import path."""
