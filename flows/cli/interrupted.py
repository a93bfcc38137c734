"""What a command that is stopped from outside leaves behind: a line, and an exit code."""

CODE = 130
"""Of Ctrl-C, as shells have it."""
SAID = "\nmscl: stopped; the same command continues where this one ended."
