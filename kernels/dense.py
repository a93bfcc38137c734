"""Cheap dense flow through OpenCV: DIS (Kroeger et al. 2016) and Farneback (2003), one pair after the other.

OpenCV uses its own threads inside a pair (DIS: yes, Farneback: some); `cv2.setNumThreads(1)` is the caller's to say.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from kernels.arrays import Array, ArrayT, to_tensor
from kernels.errors import KernelInputError

if TYPE_CHECKING:
    from torch import Tensor

DISPreset = Literal["ultrafast", "fast", "medium"]
_DIS_PRESETS = {
    "ultrafast": cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST,
    "fast": cv2.DISOPTICAL_FLOW_PRESET_FAST,
    "medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
}
_DIS_FINEST_SCALE = {"ultrafast": 2, "fast": 2, "medium": 1}
_PATCH_PX = 8
_LEAST_SIDE_PX = 12

_local = threading.local()


def dis_flow(first_BHW: ArrayT, second_BHW: ArrayT, *, preset: str = "medium") -> ArrayT:
    """Flow from the first frames to the second, float32 (B, H, W, 2) in px, by dense inverse search.

    Frames are grey uint8, NumPy or torch (moved to the CPU and back). Frames that are too small for the preset's finest
    scale are done at a finer one; sides under 12 px are padded by their last row or column.
    Raises KernelInputError for frames that do not fit together, or a preset that does not exist.
    """
    if preset not in _DIS_PRESETS:
        raise KernelInputError(f"no DIS preset is called {preset!r}; choose one of {', '.join(_DIS_PRESETS)}")
    first, second = _grey_pair(first_BHW, second_BHW)
    batch, height, width = first.shape
    pad = ((0, 0), (0, max(0, _LEAST_SIDE_PX - height)), (0, max(0, _LEAST_SIDE_PX - width)))
    if pad != ((0, 0), (0, 0), (0, 0)):
        first = np.pad(first, pad, mode="edge")
        second = np.pad(second, pad, mode="edge")
    finest_scale = min(_DIS_FINEST_SCALE[preset], _coarsest_scale(*first.shape[1:]))
    finder = _finder(("dis", preset, finest_scale), lambda: _create_dis(preset, finest_scale))
    flow_BHW2 = np.empty((batch, height, width, 2), np.float32)
    for index in range(batch):
        flow_BHW2[index] = finder.calc(first[index], second[index], None)[:height, :width]
    return _back(flow_BHW2, first_BHW)


def farneback_flow(first_BHW: ArrayT, second_BHW: ArrayT) -> ArrayT:
    """Flow from the first frames to the second, float32 (B, H, W, 2) in px, by polynomial expansion.

    Frames are grey uint8, NumPy or torch (moved to the CPU and back); OpenCV's default settings.
    Raises KernelInputError for frames that do not fit together.
    """
    first, second = _grey_pair(first_BHW, second_BHW)
    finder = _finder(("farneback",), cv2.FarnebackOpticalFlow.create)
    batch, height, width = first.shape
    flow_BHW2 = np.empty((batch, height, width, 2), np.float32)
    for index in range(batch):
        flow_BHW2[index] = finder.calc(first[index], second[index], None)
    return _back(flow_BHW2, first_BHW)


def _coarsest_scale(height: int, width: int) -> int:
    """OpenCV's coarsest pyramid level of a frame of at least 12 x 12 px.

    With a finest scale above it OpenCV guesses scales from the width alone, and a wide strip of few rows then ends the
    process (5.0: 16 x 300 with preset fast), so the finest scale has to be lowered before.
    """
    by_motion = int(math.log2(max(height, width) / (4 * _PATCH_PX)) + 0.5)
    by_patch = int(math.log2(min(height, width) // _PATCH_PX))
    return max(0, min(by_motion, by_patch))


def _create_dis(preset: str, finest_scale: int) -> cv2.DISOpticalFlow:
    finder = cv2.DISOpticalFlow.create(_DIS_PRESETS[preset])
    finder.setFinestScale(finest_scale)
    return finder


def _finder(key: tuple[str | int, ...], create: Callable[[], object]) -> Any:
    """One finder per thread and setting: creating it costs its scratch memory, and it is not thread-safe."""
    finders: dict[tuple[str | int, ...], object] | None = getattr(_local, "finders", None)
    if finders is None:
        finders = _local.finders = {}
    if key not in finders:
        finders[key] = create()
    return finders[key]


def _grey_pair(first: Array | Tensor, second: Array | Tensor) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    pair = [_as_given(frames, name) for frames, name in ((first, "first_BHW"), (second, "second_BHW"))]
    shapes = [tuple(frames.shape) for frames in pair]
    if shapes[0] != shapes[1] or len(shapes[0]) != 3 or 0 in shapes[0][1:]:
        raise KernelInputError(f"first is {shapes[0]}, second is {shapes[1]}; both must be grey (B, H, W) of one size")
    if any(str(frames.dtype).removeprefix("torch.") != "uint8" for frames in pair):
        raise KernelInputError(
            f"first is {pair[0].dtype}, second is {pair[1].dtype}; DIS and Farneback need uint8 grey"
        )
    ready_first, ready_second = (
        np.ascontiguousarray(frames if isinstance(frames, np.ndarray) else frames.cpu().numpy()) for frames in pair
    )
    return ready_first, ready_second


def _as_given(frames: Array | Tensor, name: str) -> Array | Tensor:
    return frames if isinstance(frames, np.ndarray) and frames.dtype == np.uint8 else to_tensor(frames, name)


def _back(flow_BHW2: NDArray[np.float32], source: ArrayT) -> ArrayT:
    if isinstance(source, np.ndarray):
        return flow_BHW2
    import torch

    return torch.from_numpy(flow_BHW2).to(source.device)
