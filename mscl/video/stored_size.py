"""The size that stores keep of a video, and its frames at that size."""

import cv2
import numpy as np
from numpy.typing import NDArray


def stored_size(height: int, width: int, short_side: int) -> tuple[int, int]:
    """(height, width) with that short side, aspect kept; never larger than given."""
    shorter = min(height, width)
    if shorter <= short_side:
        return height, width
    return max(1, round(height * short_side / shorter)), max(1, round(width * short_side / shorter))


def shrunk(frame_HW3: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """The frame at a size that is not larger, without aliasing: what stores keep of a video.

    Area averaging where both sides shrink by a whole number, else antialiased bilinear resizing, which is then five
    times as fast.
    """
    old_height, old_width, _ = frame_HW3.shape
    if (old_height, old_width) == (height, width):
        return frame_HW3
    if old_height % height == 0 and old_width % width == 0:
        return np.asarray(cv2.resize(frame_HW3, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    # Not at the top of the file: ingest's child processes look at videos without PyTorch.
    import torch
    import torch.nn.functional as F

    frame_13HW = torch.from_numpy(frame_HW3)[None].permute(0, 3, 1, 2)  # in this order it stays channels-last
    small_13hw = F.interpolate(frame_13HW, size=(height, width), mode="bilinear", antialias=True)
    return np.ascontiguousarray(small_13hw[0].permute(1, 2, 0).numpy())
