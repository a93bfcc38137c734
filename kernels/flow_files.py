"""Flow in the files of other programs: Middlebury's .flo, and PNG as KITTI has it."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from kernels.errors import KernelInputError

FLO_MAGIC = 202021.25
_UNKNOWN_PX = 1e9
_KITTI_STEPS_PER_PX = 64
_KITTI_ZERO = 2**15
KITTI_LIMIT_PX = _KITTI_ZERO // _KITTI_STEPS_PER_PX

Flow = NDArray[np.float32]


def read_flo(path: Path) -> tuple[Flow, NDArray[np.bool_]]:
    """Flow (H, W, 2) in px of a Middlebury .flo file, and where it is known (H, W); unknown vectors are 0.

    Raises KernelInputError for a file that is no .flo file, or shorter or longer than its size says.
    """
    content = path.read_bytes()
    if len(content) < 12 or np.frombuffer(content, "<f4", 1)[0] != np.float32(FLO_MAGIC):
        raise KernelInputError(f"{path} is no .flo file: {len(content)} bytes that do not start with {FLO_MAGIC}")
    width, height = (int(side) for side in np.frombuffer(content, "<i4", 2, 4))
    size = 12 + 8 * width * height
    if width < 1 or height < 1 or len(content) != size:
        raise KernelInputError(
            f"{path} says {width} x {height}, which is {size} bytes, and has {len(content)}; get it again"
        )
    flow_HW2 = np.frombuffer(content, "<f4", offset=12).reshape(height, width, 2).astype(np.float32)
    known_HW = np.abs(flow_HW2).max(axis=-1) < _UNKNOWN_PX  # NaN compares false: unknown
    flow_HW2[~known_HW] = 0
    return flow_HW2, known_HW


def flo_file(flow_HW2: Flow) -> bytes:
    """Middlebury's .flo: its mark, width and height, then u and v of each pixel in turn, float32 px."""
    height, width = flow_HW2.shape[:2]
    head = np.array([FLO_MAGIC], "<f4").tobytes() + np.array([width, height], "<i4").tobytes()
    return head + np.ascontiguousarray(flow_HW2, "<f4").tobytes()


def kitti_png(flow_HW2: Flow) -> bytes:
    """KITTI's PNG of three times 16 bits: 64 u + 2^15, 64 v + 2^15, and 1 where the vector is known, else zeros.

    Exact for multiples of 1/64 px. Where u or v is not between -512 and 512 px it does not fit: written as unknown.
    """
    codes_HW2 = np.rint(flow_HW2.astype(np.float64) * _KITTI_STEPS_PER_PX) + _KITTI_ZERO
    known_HW = ((codes_HW2 > 0) & (codes_HW2 < 2**16)).all(axis=-1)  # NaN compares false
    picture_HW3 = np.zeros((*known_HW.shape, 3), np.uint16)
    picture_HW3[..., 0] = known_HW
    picture_HW3[known_HW, 1:] = codes_HW2[known_HW][:, ::-1]
    return png(picture_HW3)


def png(bgr_HW3: NDArray[np.uint8] | NDArray[np.uint16]) -> bytes:
    """A picture as PNG, quickly rather than small."""
    done, buffer = cv2.imencode(".png", bgr_HW3, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not done:
        raise KernelInputError(f"a picture {bgr_HW3.shape} {bgr_HW3.dtype} cannot be written as PNG")
    return buffer.tobytes()
