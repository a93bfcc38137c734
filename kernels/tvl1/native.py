"""The compiled CPU backend: finds the library and calls it, the interpreter lock released, through ctypes."""

import ctypes
import functools
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kernels.compiled import refuse_other_sources
from kernels.errors import KernelInputError
from kernels.tvl1.params import TVL1Params

MISSING = "its C++ library was not built: install a C++ compiler, then run pip install again"

_FLOATS = (
    "data_weight",
    "theta",
    "tau",
    "scale_step",
    "epsilon",
    "cubic_a",
    "presmooth",
    "edge_sensitivity",
    "light_residual",
)
_INTS = ("levels", "warps", "median_rounds", "iterations", "median_px", "five_point", "final_median_px", "retreat")


class _Schedule(ctypes.Structure):
    """TVL1Schedule of tvl1.cpp."""

    _fields_ = [(name, ctypes.c_float) for name in _FLOATS] + [(name, ctypes.c_int) for name in _INTS]


def library_path() -> Path | None:
    """The shared library beside this file, or None where no compiler was there at install time."""
    path = Path(__file__).with_name("_tvl1.so")
    return path if path.is_file() else None


@functools.cache
def library() -> ctypes.CDLL:
    """The loaded library. Raises KernelInputError where it is not there, not for this machine, or of other sources."""
    path = library_path()
    if path is None:
        raise KernelInputError(MISSING)
    try:
        loaded = ctypes.CDLL(str(path))
    except OSError as error:
        raise KernelInputError(f"{path} cannot be loaded here ({error}): run `pip install -e .` again") from error
    folder = Path(__file__).parent
    refuse_other_sources(path, loaded, "tvl1", [folder / "tvl1.cpp", *folder.glob("*.h")])
    pointer, integer = ctypes.c_void_p, ctypes.c_int
    loaded.tvl1_flow.argtypes = [pointer, pointer, *[integer] * 4, ctypes.POINTER(_Schedule), integer, pointer]
    loaded.tvl1_iterate.argtypes = [*[pointer] * 5, integer, integer, *[ctypes.c_float] * 3, integer, integer]
    loaded.tvl1_median.argtypes = [pointer, integer, integer, integer]
    loaded.tvl1_median.restype = None
    return loaded


def flow(
    first_BHW: NDArray[np.generic], second_BHW: NDArray[np.generic], params: TVL1Params, *, threads: int
) -> NDArray[np.float32]:
    """float32 flow (B, H, W, 2) in px of uint8 or float32 grey; `threads` pairs at a time, each on one core.

    Scratch, 40 bytes per pixel and pair in flight, is kept for the next call. Raises MemoryError.
    """
    first, second = np.ascontiguousarray(first_BHW), np.ascontiguousarray(second_BHW)
    flow_BHW2 = np.empty((*first.shape, 2), np.float32)
    schedule = _Schedule(*(getattr(params, name) for name in _FLOATS + _INTS))
    failed = library().tvl1_flow(
        first.ctypes.data,
        second.ctypes.data,
        first.dtype != np.uint8,
        *first.shape,
        ctypes.byref(schedule),
        threads,
        flow_BHW2.ctypes.data,
    )
    if failed:
        raise MemoryError(f"no memory for TV-L1 scratch of {threads} pairs of {first.shape[1]}x{first.shape[2]} px")
    return flow_BHW2


def iterate(
    state: list[NDArray[np.float32]],
    ix_HW: NDArray[np.float32],
    iy_HW: NDArray[np.float32],
    rc_HW: NDArray[np.float32],
    edge_HW: NDArray[np.uint8],
    params: TVL1Params,
    iterations: int,
    *,
    lanes: int = 16,
) -> int:
    """For tests: iterations of one linearisation on contiguous planes u, v, p11, p12, p21, p22, in place.

    Takes the rows written for at most `lanes` lanes (16, 8, or 1: the plain loop) and returns how many it found.
    """
    pointers = (ctypes.c_void_p * 6)(*(plane.ctypes.data for plane in state))
    found: int = library().tvl1_iterate(
        pointers,
        ix_HW.ctypes.data,
        iy_HW.ctypes.data,
        rc_HW.ctypes.data,
        edge_HW.ctypes.data,
        *ix_HW.shape,
        params.data_weight,
        params.theta,
        params.tau,
        iterations,
        lanes,
    )
    return found


def median(plane_HW: NDArray[np.float32], side_px: int) -> NDArray[np.float32]:
    """For tests: the median filter, replicated border."""
    filtered = np.array(plane_HW, dtype=np.float32, order="C")
    library().tvl1_median(filtered.ctypes.data, *filtered.shape, side_px)
    return filtered
