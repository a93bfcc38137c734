"""Flow as whole numbers: steps of a pixel, clipped where they are too large, and what that costs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from storage.errors import StorageError


@dataclass(frozen=True)
class Quantiser:
    """Flow as integers: code = round(flow_px * steps_per_px), clipped to +-limit_code; `fill` is no code."""

    name: str
    dtype: str
    steps_per_px: int
    limit_code: int
    fill: int

    @property
    def limit_px(self) -> float:
        """Largest component that can be stored; larger ones are clipped and counted."""
        return self.limit_code / self.steps_per_px

    @property
    def max_epe_px(self) -> float:
        """Largest end-point error of a vector that is not clipped: half a step in both components."""
        return float(np.sqrt(0.5)) / self.steps_per_px

    @property
    def numpy_dtype(self) -> np.dtype[Any]:
        return np.dtype(self.dtype)


QUANTISERS: Mapping[str, Quantiser] = {
    "int16_16": Quantiser("int16_16", "int16", 16, 32767, -32768),
    "int8_8": Quantiser("int8_8", "int8", 8, 127, -128),
    "int8_4": Quantiser("int8_4", "int8", 4, 127, -128),
}


@dataclass(frozen=True)
class Quantised:
    """What quantising one field found, in px."""

    num_clipped: int
    """Components that were too large to be stored."""
    error_sum: float
    error_max: float
    """Of the end-point errors."""
    radius_max: float
    """Largest |(u, v)| as stored."""


def quantise(field_HW2: npt.NDArray[np.float32], codes: Quantiser, out_2HW: npt.NDArray[Any]) -> Quantised:
    """Write the codes of one field into the top left corner of `out_2HW`.

    Raises:
        StorageError: NaN or infinite values.
    """
    height, width, _ = field_HW2.shape
    scaled_2HW = np.empty((2, height, width), np.float32)
    np.multiply(field_HW2.transpose(2, 0, 1), np.float32(codes.steps_per_px), out=scaled_2HW)
    rounded_2HW = np.rint(scaled_2HW)
    largest = float(np.abs(rounded_2HW).max())
    if not np.isfinite(largest):
        raise StorageError(
            f"the flow field has {int((~np.isfinite(field_HW2)).sum())} values that are NaN or infinite; "
            "no flow method should make them: check its input"
        )
    num_clipped = 0
    if largest > codes.limit_code:
        num_clipped = int((np.abs(rounded_2HW) > codes.limit_code).sum())
        np.clip(rounded_2HW, -codes.limit_code, codes.limit_code, out=rounded_2HW)
    out_2HW[:, :height, :width] = rounded_2HW
    scaled_2HW -= rounded_2HW
    error_HW = np.sqrt(_squared_lengths(scaled_2HW))
    return Quantised(
        num_clipped,
        error_sum=float(error_HW.sum()) / codes.steps_per_px,
        error_max=float(error_HW.max()) / codes.steps_per_px,
        radius_max=float(np.sqrt(_squared_lengths(rounded_2HW).max())) / codes.steps_per_px,
    )


def _squared_lengths(vectors_2HW: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Overwrites its input: a fresh array costs more than the arithmetic."""
    np.multiply(vectors_2HW, vectors_2HW, out=vectors_2HW)
    squared_HW: npt.NDArray[np.float32] = vectors_2HW[0]
    squared_HW += vectors_2HW[1]
    return squared_HW
