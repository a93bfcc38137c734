"""Motion differential sampling, the choice: which clip starts are worth training on (METHOD 1.2)."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def clip_scores(differences_M: ArrayLike, *, length: int, stride: int, released: bool = False) -> NDArray[np.float32]:
    """Score of every clip start j: w_j = mean over n < length of d[j + n * stride].

    Clips that run past the end are no candidates (D17): the result has
    max(M - (length - 1) * stride, 0) scores, and none for a video shorter than a clip.

    Args:
        differences_M: motion differences d of one video, finite.
        length: L, indices of a clip.
        stride: s, index units between them.
        released: score every start and count the terms past the end as 0, like the released code:
            M scores.

    Raises:
        ValueError: `differences_M` is not one row of finite numbers.
    """
    d_M = np.asarray(differences_M, dtype=np.float32)
    if d_M.ndim != 1 or not np.isfinite(d_M).all():
        raise ValueError(
            f"motion differences must be one row of finite numbers, got shape {d_M.shape} with "
            f"{np.count_nonzero(~np.isfinite(d_M))} not finite; cut the fill values of the store off"
        )
    past_end = (length - 1) * stride
    starts = d_M.size if released else max(d_M.size - past_end, 0)
    padded = np.concatenate([d_M, np.zeros(past_end, dtype=np.float32)])
    # Summed in float32 and in order, like the reference: where all scores are equal but for rounding, as with
    # attention maps that sum to 1, this decides which starts lie above the median.
    total_S = np.zeros(starts, dtype=np.float32)
    for n in range(length):
        total_S += padded[n * stride : n * stride + starts]
    return total_S / np.float32(length)


def chosen_starts(scores: ArrayLike) -> NDArray[np.int64]:
    """Clip starts that score above the median, strictly, in ascending order.

    Empty where nothing stands out: no candidate, one candidate, or all scores equal (D18).
    """
    w = np.asarray(scores)
    if w.size == 0:
        return np.empty(0, dtype=np.int64)
    return np.flatnonzero(w > np.median(w)).astype(np.int64)
