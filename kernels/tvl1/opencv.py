"""TV-L1 as OpenCV computes it: the yardstick, and the fallback where nothing was compiled."""

import numpy as np
from numpy.typing import NDArray

from kernels.tvl1.params import TVL1Params

MIN_SIDE_PX = 3
"""DualTVL1 takes differences over three rows and columns without looking."""


def flow(first_BHW: NDArray[np.generic], second_BHW: NDArray[np.generic], params: TVL1Params) -> NDArray[np.float32]:
    """float32 flow (B, H, W, 2) in px; uint8 or float grey 0..255.

    A new DualTVL1 for every pair: it overwrites its number of levels for good after a small image and may not be
    shared between threads. It multiplies float images by 255, which is undone here.
    """
    import cv2

    flow_BHW2 = np.empty((*first_BHW.shape, 2), np.float32)
    for index in range(len(first_BHW)):
        solver = cv2.optflow.DualTVL1OpticalFlow.create(
            tau=params.tau,
            lambda_=params.data_weight,
            theta=params.theta,
            nscales=params.levels,
            warps=params.warps,
            epsilon=params.epsilon,
            innnerIterations=params.iterations,
            outerIterations=params.median_rounds,
            scaleStep=params.scale_step,
            medianFiltering=params.median_px,
        )
        solver.calc(_frame(first_BHW[index]), _frame(second_BHW[index]), flow_BHW2[index])
    return flow_BHW2


def _frame(frame_HW: NDArray[np.generic]) -> NDArray[np.uint8] | NDArray[np.float32]:
    if frame_HW.dtype == np.uint8:
        return np.ascontiguousarray(frame_HW, dtype=np.uint8)
    return np.ascontiguousarray(frame_HW, dtype=np.float32) / np.float32(255)
