"""The small operations: completions, embeddings, rerank, moderations, images, audio.

One file each, pure: what a request must hold, what it looks like at each make of upstream, and what the client gets.
Who is asked, and when, is in ``penstock.runtime.ops``.
"""
