"""Videos are divided into segments: at cuts, and where they are long."""

import math
from collections.abc import Sequence
from itertools import pairwise


def shots(num_frames: int, cuts: Sequence[int]) -> list[tuple[int, int]]:
    """(first frame, frames) of each stretch of a video between its cuts."""
    return [(first, end - first) for first, end in pairwise([0, *cuts, num_frames])]


def segment_bounds(num_frames: int, *, fps: float, max_seconds: float, min_frames: int) -> list[tuple[int, int]]:
    """(first frame, frames) of each segment of a video: equal parts, none longer than `max_seconds` unless it must be.

    Args:
        fps: 0 where it is not known, which counts as 25.
        min_frames: a segment has as many, where the video has.
    """
    longest = max(math.floor(max_seconds * (fps or 25.0)), min_frames)
    number = max(1, min(math.ceil(num_frames / longest), num_frames // min_frames))
    bounds = [num_frames * part // number for part in range(number + 1)]
    return [(first, last - first) for first, last in pairwise(bounds)]


def shot_segments(
    num_frames: int, cuts: Sequence[int], *, fps: float, max_seconds: float, min_frames: int
) -> list[tuple[int, int]]:
    """(first frame, frames) of each segment of each shot; a shot of fewer than `min_frames` is a part by itself."""
    parts = []
    for start, frames in shots(num_frames, cuts):
        bounds = segment_bounds(frames, fps=fps, max_seconds=max_seconds, min_frames=min_frames)
        parts += [(start + first, count) for first, count in bounds]
    return parts
