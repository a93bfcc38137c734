"""Which clips show one shot only (settings `data.cuts`)."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mscl.video.config import ClipConfig


def clips_in_one_shot(
    num_starts: int, num_fields: int, cuts: Sequence[int], *, clip: ClipConfig, gap_frames: int, span_frames: int
) -> NDArray[np.bool_]:
    """(starts,) whether the frames that a clip's frames, fields and motion differences are made of are of one shot.

    Args:
        cuts: frames of the segment with which another shot begins.
        gap_frames: from the start of one field to the next.
        span_frames: from the start of a field to its end.
    """
    fields_M = np.arange(num_fields)
    # The motion difference d_j is of the fields j and j + 1: where that one crosses a cut, d_j is large for nothing.
    last_M = gap_frames * np.minimum(fields_M + 1, num_fields - 1) + span_frames
    begins_M = np.searchsorted(cuts, gap_frames * fields_M, side="right")
    ends_M = np.searchsorted(cuts, last_M, side="right")
    reads_SL = (np.arange(num_starts)[:, None] + clip.stride * np.arange(clip.length)) % max(1, num_fields)
    shot_S1 = begins_M[reads_SL[:, :1]]
    return np.asarray(((begins_M[reads_SL] == shot_S1) & (ends_M[reads_SL] == shot_S1)).all(axis=1))
