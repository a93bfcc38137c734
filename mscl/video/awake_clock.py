"""Time as a process that may be stopped has it."""

import time


class AwakeClock:
    """Seconds in which this process could run: Ctrl-Z, or a batch job that is suspended, costs no video its time.

    Nothing tells a process how long it was stopped. So what passes between two readings counts as `most_seconds` at
    the most, and who measures by this clock reads it more often than that.
    """

    def __init__(self, most_seconds: float = 5.0) -> None:
        self._most_seconds = most_seconds
        self._read_at, self._seconds = time.monotonic(), 0.0

    def seconds(self) -> float:
        """Since the clock was made."""
        now = time.monotonic()
        self._seconds += min(now - self._read_at, self._most_seconds)
        self._read_at = now
        return self._seconds
