"""Batches, as far as they are pure: what is kept of them, the lines that go in, and those that come out."""
