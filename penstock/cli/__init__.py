"""The command line: one file per command, imported when the command runs.

What belongs here: options, what is checked of them, and what is printed. What a command does belongs to a lower room.
"""
