"""The compiled part of motion differences: boundaries and weighted colours of fields, through ctypes.

It has the bits of the code in :mod:`kernels.motion`, which runs where no compiler was there at install time, on other
devices and in other precisions, and is four times slower on a CPU: PyTorch writes each step of it into memory.
"""

import ctypes
import functools
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kernels.colour import wheel_ramps
from kernels.compiled import refuse_other_sources
from kernels.rotation import NORMALISE_EPSILON_PX

_FILE = "_differences.so"


@functools.cache
def library() -> ctypes.CDLL | None:
    """The compiled code beside this file; None where it was not built, or not for this machine.

    Raises KernelInputError for one of other sources.
    """
    path = Path(__file__).parent / _FILE
    try:
        loaded = ctypes.CDLL(str(path))
    except OSError:
        return None
    refuse_other_sources(path, loaded, "differences", [Path(__file__).with_name("differences.cpp")])
    if not loaded.differences_usable():
        return None
    pointer, size, single = ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_float
    loaded.differences_boundaries.argtypes = [pointer, *[size] * 3, *[pointer] * 4]
    loaded.differences_boundaries.restype = None
    loaded.differences_paint.argtypes = [pointer, pointer, single, single, pointer, size, pointer, pointer]
    loaded.differences_paint.restype = None
    return loaded


class Painter:
    """Distances between the weighted colour pictures of neighbouring fields (H, W), at most `fields` at a time.

    Needs the library.
    """

    def __init__(self, fields: int, height: int, width: int) -> None:
        found = library()
        assert found is not None
        self._library = found
        self._planes_5MHW = np.empty((5, fields, height, width), np.float32)
        self._picture_3HW = np.zeros((3, height, width), np.float32)
        self._wheel_K2 = _wheel()

    def boundaries(self, flow_MHW2: Tensor) -> Tensor:
        """Motion boundaries of the next fields, contiguous float32: (M, H, W), overwritten by the next call."""
        minus_u, minus_v, _, edges, radius = (plane.ctypes.data for plane in self._planes_5MHW)
        self._library.differences_boundaries(
            flow_MHW2.data_ptr(), *flow_MHW2.shape[:3], minus_u, minus_v, edges, radius
        )
        _, _, _, edges_MHW, radius_MHW = self._tensors(len(flow_MHW2))
        radius_MHW.sqrt_()
        return _roots(edges_MHW)

    def distances(self, spread_MHW: Tensor, whole_M: Tensor) -> Tensor:
        """(M, H, W): how far the pictures of these fields, under attention spread / whole, are from the one before.

        The very first is compared with black. Overwritten by the next `boundaries`.
        """
        minus_u, minus_v, angle, _, distance = self._tensors(len(spread_MHW))
        torch.atan2(minus_v, minus_u, out=angle)
        spread_MHW = spread_MHW.contiguous()
        for field, whole in enumerate(whole_M.tolist()):
            self._library.differences_paint(
                angle[field].data_ptr(), spread_MHW[field].data_ptr(), whole, NORMALISE_EPSILON_PX,
                self._wheel_K2.ctypes.data, self._picture_3HW[0].size, self._picture_3HW.ctypes.data,
                distance[field].data_ptr(),
            )  # fmt: skip
        return _roots(distance)

    def _tensors(self, fields: int) -> list[Tensor]:
        return [torch.from_numpy(plane[:fields]) for plane in self._planes_5MHW]


def _roots(squares_MHW: Tensor) -> Tensor:
    """In place; what stands for 0 becomes 0."""
    return torch.threshold_(squares_MHW.sqrt_(), 2.0**-49, 0.0)


@functools.cache
def _wheel() -> NDArray[np.uint32]:
    """Of each hue what white loses to it, and the step to the next: (55, 2), a byte a colour, red the lowest."""
    ramps = [ramp_3K.numpy().astype(np.int64) & 255 for ramp_3K in wheel_ramps(torch.device("cpu"), torch.float32)]
    return np.stack([r | g << 8 | b << 16 for r, g, b in ramps], axis=-1).astype(np.uint32)
