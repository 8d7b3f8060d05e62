"""Management: what whoever runs the gateway may see and change over HTTP.

What belongs here: rows of management URLs, and what they need of the stores. How they are reached is ``server``'s.
"""
