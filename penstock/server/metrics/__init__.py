"""What the gateway tells in numbers: ``/metrics`` for Prometheus, ``/metrics/series`` for the overview page.

The numbers are counted by ``runtime/tally``. What belongs here: who may read them, and what they are called.
"""
