"""Which indices a clip reads.

Everything here is in index units: index j addresses the aligned pair (frame[gap * j], field j).
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mscl.array_types import Ints

Shown = Literal["moving", "first", "middle", "last", "shuffled"]
"""What of a video's clips is shown: themselves; one frame of the video, the first, middle or last, as a single clip
that stands still; or the frames of each clip in random order."""


def sample_rng(seed: int, epoch: int, segment: int) -> np.random.Generator:
    """Randomness of one sample, whatever process loads it and in whatever order.

    The leading word keeps these streams apart from `epoch_rng`'s: SeedSequence drops trailing zeros.
    """
    return np.random.default_rng((1, seed, epoch, segment))


def epoch_rng(seed: int, epoch: int) -> np.random.Generator:
    """Randomness of one epoch's order."""
    return np.random.default_rng((2, seed, epoch))


def clip_indices(start: int, *, length: int, stride: int, num_indices: int) -> Ints:
    """(L,) indices o + n * s, wrapped modulo the number of indices of the segment (METHOD 1.3)."""
    indices: Ints = (start + stride * np.arange(length)) % num_indices
    return indices


def even_starts(num_indices: int, *, clips: int, length: int, stride: int) -> Ints:
    """(clips,) evenly spaced starts, first and last clip at the segment's ends.

    A segment shorter than the clip is looped by `clip_indices`; its starts spread over the loop, so that
    several clips of it are not one clip several times.
    """
    span = (length - 1) * stride + 1
    if num_indices < span:
        spread: Ints = np.arange(clips) * num_indices // clips
        return spread
    last = num_indices - span
    exact = np.linspace(0, last, clips) if clips > 1 else np.array([last / 2])
    starts: Ints = np.rint(exact).astype(np.int64)
    return starts


def shown_indices(indices_KT: Ints, shown: Shown, *, num_indices: int, rng: np.random.Generator) -> Ints:
    """Indices of the clips (K, T) as they are shown: (K, T), or (1, T) of a clip that stands still.

    One frame of the video, not one of each clip: two clips of a moving thing tell along which line it moves without any
    motion inside.
    """
    if shown == "moving":
        return indices_KT
    if shown == "shuffled":
        return rng.permuted(indices_KT, axis=1)
    frame = {"first": 0, "middle": num_indices // 2, "last": num_indices - 1}[shown]
    return np.full((1, indices_KT.shape[1]), frame, dtype=np.int64)


def part_indices(num_indices: int, *, parts: int, offsets: NDArray[np.float64]) -> Ints:
    """(parts,) one index of each of `parts` equal parts of the segment (METHOD 1.8, `segments`).

    `offsets` in [0, 1), one for all or one per part: where inside its part the index lies; 0.5 is the centre.
    Fewer indices than parts: indices repeat.
    """
    part = np.arange(parts)
    exact = (part + offsets) * (num_indices / parts)
    # An offset just below 1 may round up into the next part.
    last: Ints = -(-(part + 1) * num_indices // parts) - 1
    return np.minimum(exact.astype(np.int64), last)


def segment_name(segment: int, names: Sequence[Any] | None) -> str:
    """How error messages call a segment."""
    return f"segment row {segment}" if names is None else f"segment {names[segment]} (row {segment})"
