"""How a picture must be turned to stand upright, from the display matrix that cameras write."""

import numpy as np
from av.sidedata.sidedata import SideData
from av.video.frame import VideoFrame


def quarter_turns(rotation_deg: float) -> int:
    """Counter-clockwise quarter turns; a matrix that is not a number or no quarter turn counts as none."""
    turns = rotation_deg / 90
    return round(turns) % 4 if abs(rotation_deg) <= 360 and abs(turns - round(turns)) < 0.02 else 0


def is_mirrored(frame: VideoFrame) -> bool:
    """Whether the display matrix shows the picture as in a mirror, as selfie cameras write it."""
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if not isinstance(matrix, SideData):
        return False
    across_x, across_y, _, down_x, down_y = np.frombuffer(memoryview(matrix), np.int32)[:5].astype(float)
    return bool(across_x * down_y < across_y * down_x)
