"""Who answers: names to groups (``catalog``), which try comes next (``plan``), which of several targets (``pick``).

What belongs here: decisions without a connection, a clock or dice, so that a test drives them with lists.
"""
