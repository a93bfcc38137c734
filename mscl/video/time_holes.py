"""Times of frames: stretches of which a file holds none, though it has one at every tick around, and the mean rate."""

import math
from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

_ANY_PACE = {"mov", "avi", "gif", "apng", "webp_pipe", "webp"}
"""Containers in which a frame may last as long as it likes, or which count frames that a recorder skipped."""
_STEADY = 0.9
"""Share of the steps between frames that must be one tick; below it the video has no tick."""
_TICKS = 5
_LEAST_S = 0.2
"""A hole is this many ticks and seconds at least."""


@dataclass
class TimeHoles:
    """The times of a video's frames, in the order of the decoder."""

    format_names: str
    """FFmpeg's names of the container, with commas between."""
    _times_s: "array[float]" = field(default_factory=lambda: array("d"))

    def add(self, time_s: float | None) -> None:
        """A frame's time; None: it has none."""
        self._times_s.append(math.nan if time_s is None else time_s)

    def mean_rate(self) -> float | None:
        """Frames per second from the first to the last, without the holes; None where two have one time.

        In order of their times: those of an AVI with B frames come in another.
        """
        steps_s = _steps(sorted(self._times_s))
        holes = {number for number, _ in self.found()}
        kept_s = [step for number, step in enumerate(steps_s, 1) if number not in holes]
        return len(kept_s) / sum(kept_s) if kept_s and all(step > 0 for step in kept_s) else None

    def found(self) -> list[tuple[int, float]]:
        """(number of the first frame after it, seconds) of every hole."""
        if (
            _ANY_PACE & set(self.format_names.split(","))
            or len(self._times_s) < 10
            or any(map(math.isnan, self._times_s))
        ):
            return []
        steps_s = _steps(self._times_s)
        tick_s = sorted(steps_s)[len(steps_s) // 2]
        steady = sum(abs(step - tick_s) < 0.2 * tick_s for step in steps_s)
        if not steady >= _STEADY * len(steps_s):
            return []
        least_s = max(_LEAST_S, _TICKS * tick_s)
        return [(number, step) for number, step in enumerate(steps_s, 1) if step > least_s]


def _steps(times_s: Iterable[float]) -> list[float]:
    return [after - before for before, after in pairwise(times_s)]


def in_words(holes: list[tuple[int, float]], num_frames: int) -> str:
    """What is missing, for a reason; "" where nothing is."""
    if not holes:
        return ""
    number, seconds = max(holes, key=lambda hole: hole[1])
    where = f"{seconds:.2f} s are missing between frames {number - 1} and {number} of {num_frames}"
    more = len(holes) - 1
    return where + (f", and in {more} other place{'s' * (more > 1)}" if more else "")
