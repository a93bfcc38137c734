"""How fast the pixels of a flow field move: mean, 99th percentile, and the share that moves at all."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels.arrays import flow_tensor

Floats = NDArray[np.float32]
_PIXELS_AT_ONCE = 1 << 16
"""So many are worked on in the cache."""


class Magnitudes(NamedTuple):
    """Of the lengths of a field's vectors, float32 (M,) each."""

    mean: Floats
    """px."""
    p99: Floats
    """99th percentile, px; interpolated as `numpy.percentile` does."""
    moving_share: Floats
    """Of the pixels, 0..1."""


def magnitudes(flow_MHW2: NDArray[np.float32], *, moving_px: float) -> Magnitudes:
    """Magnitudes of fields (M, H, W, 2) in px; a pixel moves where its vector is longer than `moving_px`.

    Raises KernelInputError for arrays that are no flow.
    """
    flow_MHW2 = np.ascontiguousarray(flow_tensor(flow_MHW2, "flow_MHW2", ndim=4).numpy(), np.float32)
    num_fields, height, width, _ = flow_MHW2.shape
    found = Magnitudes(*(np.empty(num_fields, np.float32) for _ in Magnitudes._fields))
    place = 0.99 * (height * width - 1)
    below, next_above = int(place), min(int(place) + 1, height * width - 1)
    at_once = max(1, _PIXELS_AT_ONCE // (height * width))
    for start in range(0, num_fields, at_once):
        some = slice(start, start + at_once)
        flow_MN2 = flow_MHW2[some].reshape(-1, height * width, 2)
        squared_MN2 = flow_MN2 * flow_MN2
        length_MN = squared_MN2[..., 0] + squared_MN2[..., 1]
        np.sqrt(length_MN, out=length_MN)  # a tenth of what hypot takes, which is for vectors of 1e20 px
        length_MN.mean(axis=1, out=found.mean[some])
        found.moving_share[some] = [np.count_nonzero(moves_N) for moves_N in length_MN > moving_px]
        length_MN.partition(below, axis=1)
        low_M, high_M = length_MN[:, below], length_MN[:, next_above:].min(axis=1)
        step_M, part = high_M - low_M, place - below
        found.p99[some] = low_M + part * step_M if part < 0.5 else high_M - (1 - part) * step_M
    found.moving_share[:] /= height * width
    return found
