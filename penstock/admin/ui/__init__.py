"""The pages for people, below ``/ui``: what runs, what it costs, what failed and why, and where it is changed.

One file for each page, which has rows made by ``page`` and ``form``; ``table`` lists them all, ``menu`` what is shown
in the menu. See ``view`` for how a page is made, and ``inner`` for what it asks.
"""
